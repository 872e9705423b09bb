"""The header of a safetensors file, validated before a single weight is read.

Format: https://huggingface.co/docs/safetensors - 8 bytes of header length, a JSON object of tensors, the raw bytes. A
loader that trusts the offsets of a stranger's file can be made to read outside of it, so nothing is trusted here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from rlhf_assert.checkpoints.dtypes import BITS
from rlhf_assert.checkpoints.issues import Issue, critical

LONGEST_HEADER = 100_000_000
"""Bytes; the limit of the safetensors library."""


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where one tensor lies: its file, the byte at which it starts, and its size in bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    size: int

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def read_header(file: Path) -> tuple[tuple[TensorEntry, ...], tuple[Issue, ...]]:
    """Return the tensors of a safetensors file and what is wrong with it; a file that is wrong has no tensors."""
    try:
        if not file.is_file():
            kind = "not a file" if file.exists() else "no such file"
            return (), (critical("missing-file", f"{file.name}: {kind}"),)
        actual = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if actual < 8:
                return (), (critical("truncated-file", f"{file.name}: {actual} bytes are too few for a header"),)
            if length > LONGEST_HEADER:
                detail = f"{file.name}: no safetensors file: its header would be {length} bytes long"
                return (), (critical("broken-header", detail),)
            if length > actual - 8:
                detail = f"{file.name}: {actual} bytes, but the header alone takes {length + 8}: truncated"
                return (), (critical("truncated-file", detail),)
            header = orjson.loads(stream.read(length))
    except OSError as error:
        return (), (critical("unreadable-file", f"{file.name}: cannot be read: {error.strerror}"),)
    except orjson.JSONDecodeError as error:
        return (), (critical("broken-header", f"{file.name}: the header is not JSON: {error}"),)
    return _entries(file, header, first=8 + length, actual=actual)


def _entries(file: Path, header: Any, *, first: int, actual: int) -> tuple[tuple[TensorEntry, ...], tuple[Issue, ...]]:
    if not isinstance(header, dict):
        return (), (critical("broken-header", f"{file.name}: the header is no JSON object"),)
    entries: list[TensorEntry] = []
    for name, described in header.items():
        if name == "__metadata__":
            continue
        entry = _entry(file, name, described, first)
        if isinstance(entry, str):
            return (), (critical("broken-header", f"{file.name}: {name}: {entry}", name),)
        entries.append(entry)
    end = first
    for entry in sorted(entries, key=lambda entry: (entry.start, entry.size)):
        if entry.start != end:
            detail = f"{file.name}: {entry.name} starts at byte {entry.start}, but byte {end} follows"
            return (), (critical("broken-header", detail, entry.name),)
        end += entry.size
    if end > actual:
        detail = f"{file.name}: {actual} bytes, but its tensors take {end}: truncated"
        return (), (critical("truncated-file", detail),)
    if end < actual:
        detail = f"{file.name}: {actual - end} bytes belong to no tensor"
        return (), (critical("broken-header", detail),)
    return tuple(entries), ()


def _entry(file: Path, name: str, described: Any, first: int) -> TensorEntry | str:
    """Return one tensor's entry, or why it cannot be right."""
    if not isinstance(described, dict):
        return "no JSON object"
    dtype, shape, offsets = described.get("dtype"), described.get("shape"), described.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in BITS:
        return f"unknown number format {dtype!r:.40}"
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        return f"impossible shape {shape!r:.60}"
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(byte) is int for byte in offsets):
        return f"impossible offsets {offsets!r:.60}"
    begin, end = offsets
    bits = math.prod(shape) * BITS[dtype]
    if begin < 0 or bits % 8 or end - begin != bits // 8:
        return f"offsets {begin} to {end} do not hold {dtype} of shape {shape!r:.60}"
    return TensorEntry(name, dtype, tuple(shape), file, first + begin, end - begin)
