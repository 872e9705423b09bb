"""Logs with one JSON object a line: TRL, verl, OpenRLHF and most that people write themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from rlhf_assert.ingest.notation import parse
from rlhf_assert.ingest.text import Reading, lines_of

_SNIFFED_LINES = 20


def is_jsonl(head: bytes) -> bool:
    """Return whether at least half of the first lines are JSON objects; what else is there may be torn.

    A single object that holds lists is a document.
    """
    whole, _, cut = head.rpartition(b"\n")
    lines = [line for line in (whole or cut).split(b"\n", _SNIFFED_LINES)[:_SNIFFED_LINES] if line.strip()]
    objects = [each for line in lines if line.lstrip().startswith(b"{") and (each := _object(line)) is not None]
    if len(lines) == 1 and any(isinstance(value, list) for each in objects for value in each.values()):
        return False
    return 0 < len(lines) <= 2 * len(objects)


def read_jsonl(path: Path, reading: Reading) -> Iterator[dict[str, Any]]:
    """Yield the objects; a line that is no object is dropped and counted."""
    for line in lines_of(path):
        if not line:
            continue
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            record = None if line.isspace() else _object(line)
        if type(record) is dict:
            yield record
        elif not line.isspace():
            reading.dropped += 1


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        record = parse(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
