"""JSON documents: `trainer_state.json` of the Hugging Face Trainer, a list of rows, or a table of columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rlhf_assert.errors import UnreadableRun
from rlhf_assert.ingest.notation import parse
from rlhf_assert.ingest.text import LARGEST_DOCUMENT, LONGEST_LINE, UTF8_BOM, Reading, lines_of, require_file

LISTS = ("log_history", "history", "logs", "metrics", "rows", "data", "records")
"""Keys under which documents keep their rows, the Trainer's first."""

_BEGINS = re.compile(rb"\s*(?:\{\s*\"|\[\s*[\[{])")


def is_document(head: bytes) -> bool:
    """Return whether a file begins like JSON."""
    return _BEGINS.match(head) is not None


def read_document(path: Path, reading: Reading) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a document.

    Raises:
        UnreadableRun: no JSON, too large to be read as a whole, or JSON without rows.
    """
    size = require_file(path)
    if size > LARGEST_DOCUMENT:
        raise UnreadableRun(
            f"a JSON document of {size / 2**30:.1f} GiB, and one has to be read as a whole: at most "
            f"{LARGEST_DOCUMENT // 2**20} MiB; write one JSON object a line"
        )
    if size > LONGEST_LINE:
        for _ in lines_of(path):  # raises at a line that is too long, before it is all in memory
            pass
    try:
        document = parse(path.read_bytes().removeprefix(UTF8_BOM))
    except ValueError as error:
        raise UnreadableRun(f"no JSON: {_first(error)}") from None
    except OSError as error:
        raise UnreadableRun(f"cannot be read: {error.strerror or error}") from error
    rows = _rows(document)
    if rows is None:
        raise UnreadableRun("JSON, but no rows: neither a list of objects, nor columns, nor a log_history")
    for row in rows:
        if isinstance(row, dict):
            yield row
        else:
            reading.dropped += 1


def _rows(document: Any) -> list[Any] | None:
    if isinstance(document, list):
        return document if any(isinstance(row, dict) for row in document) else None
    if not isinstance(document, dict):
        return None
    for key in LISTS:
        inner = document.get(key)
        if isinstance(inner, list) and any(isinstance(row, dict) for row in inner):
            return inner
        if key == "log_history" and inner == []:
            raise UnreadableRun("no rows: its log_history is empty")
    for candidate in (document, *(document.get(key) for key in LISTS)):
        if isinstance(candidate, dict) and (rows := _transposed(candidate)):
            return rows
    return [document] if any(isinstance(value, int | float) for value in document.values()) else None


def _transposed(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of `{"loss": [...], "reward": [...]}`; columns of different lengths end where they end."""
    columns = {key: value for key, value in table.items() if isinstance(value, list) and len(value) > 1}
    if not columns or any(isinstance(item, dict | list) for column in columns.values() for item in column):
        return []
    length = max(map(len, columns.values()))
    return [{key: column[index] for key, column in columns.items() if index < len(column)} for index in range(length)]


def _first(error: ValueError) -> str:
    return str(error).splitlines()[0]
