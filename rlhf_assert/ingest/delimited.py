"""Tables in text: CSV, with commas, semicolons or tabs, and a header."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlhf_assert.errors import UnreadableRun
from rlhf_assert.ingest.table import MAX_KEYS
from rlhf_assert.ingest.text import LONGEST_LINE, Reading, lines_of
from rlhf_assert.ingest.values import NO_NUMBER, number_of

_UNWANTED = {0: None, ord("\r"): None}  # the csv module refuses both outside of quotes
DELIMITERS = (",", "\t", ";")


def delimiter_of(head: bytes) -> str | None:
    """Return what separates the cells of a table that begins so, or None if it is no table.

    A table's header and its first row have equally many cells, and its first row holds a number.
    """
    whole = head.split(b"\n")
    lines = [line.decode("utf-8", errors="replace").replace("\r", "") for line in whole if line.strip()][:2]
    if not lines or any("{" in line for line in lines):
        return None
    for delimiter in DELIMITERS:
        header, *rows = ([*csv.reader([line], delimiter=delimiter)][0] for line in lines)  # noqa: RUF015
        named = all(number_of(cell) is NO_NUMBER for cell in header if cell.strip())
        if len(header) < 2 or not named:
            continue
        if not rows and all(_word(cell) for cell in header[:-1]):  # the last one may be cut off
            return delimiter
        if rows and len(rows[0]) == len(header) and any(isinstance(number_of(cell), float) for cell in rows[0]):
            return delimiter
    return None


def read_delimited(path: Path, reading: Reading, delimiter: str) -> Iterator[dict[str, Any]]:
    """Yield the rows, empty cells left out; a row with more cells than the header is dropped and counted.

    Raises:
        UnreadableRun: a header without names, or what no table can hold.
    """
    text = (line.decode("utf-8", errors="replace").translate(_UNWANTED) for line in lines_of(path))
    csv.field_size_limit(LONGEST_LINE)
    reader = csv.reader(text, delimiter=delimiter)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        if len(header) > 100 * MAX_KEYS:
            raise UnreadableRun(f"{len(header)} columns: no log")
        for cells in reader:
            if len(cells) > len(header):
                reading.dropped += 1
                continue
            row = {name: cell for name, cell in zip(header, cells, strict=False) if cell and name}
            if row:
                yield row
    except csv.Error as error:
        raise UnreadableRun(f"no table: {error}") from None


def _word(cell: str) -> bool:
    return bool(cell.strip()) and len(cell) < 200 and cell.isprintable()
