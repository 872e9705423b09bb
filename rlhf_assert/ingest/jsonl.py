"""Logs with one JSON object a line: TRL, verl, OpenRLHF and most that people write themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from rlhf_assert.ingest.notation import parse
from rlhf_assert.ingest.reading import Reading
from rlhf_assert.ingest.text import lines_of

_SNIFFED_LINES = 20


def is_jsonl(head: bytes) -> bool:
    """Return whether one of the first whole lines is a JSON object, and not the beginning of a larger document."""
    lines = [line.strip() for line in head.split(b"\n")[: _SNIFFED_LINES + 1]]
    return any(line.startswith(b"{") and line.endswith(b"}") and _object(line) is not None for line in lines)


def read_jsonl(path: Path, reading: Reading) -> Iterator[dict[str, Any]]:
    """Yield the objects; a line that is no object is dropped and counted."""
    for line in lines_of(path):
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            record = _object(line)
        if type(record) is dict:
            yield record
        elif line.strip():
            reading.dropped += 1


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        record = parse(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
