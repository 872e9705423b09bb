"""TensorBoard event files, through TensorBoard's own reader."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlhf_assert.errors import MissingDependency, UnreadableRun
from rlhf_assert.ingest.table import MAX_KEYS

_MARK = "tfevents"
_FILE_VERSION = b"brain.Event:"


def is_event_file(head: bytes) -> bool:
    """Return whether a file begins with an event that names TensorBoard's file version."""
    return _FILE_VERSION in head[:64]


def is_event_name(name: str) -> bool:
    """Return whether a file is called as TensorBoard calls its event files."""
    return _MARK in name


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield a row for each step of an event file, or of all event files of one folder, in the order of the steps.

    Scalars of which several were written at one step are rows of their own.

    Raises:
        MissingDependency: tensorboard is not installed.
        UnreadableRun: TensorBoard's reader refuses the file.
    """
    try:
        from tensorboard.backend.event_processing.event_accumulator import (
            SCALARS,
            TENSORS,
            EventAccumulator,
        )
        from tensorboard.util.tensor_util import make_ndarray
    except ImportError:
        raise MissingDependency("TensorBoard events: pip install 'rlhf-assert[report]' to read them") from None
    log = logging.getLogger("tensorboard")
    level = log.level
    log.setLevel(logging.ERROR)  # it reports every file that was cut off
    try:
        events = EventAccumulator(str(path), size_guidance={SCALARS: 0, TENSORS: 0})
        events.Reload()
    except Exception as error:  # noqa: BLE001 - a damaged file raises anything, DataLossError to UnicodeDecodeError
        raise UnreadableRun(f"TensorBoard cannot read it: {type(error).__name__}: {_first(error)}") from None
    finally:
        log.setLevel(level)
    rows: dict[tuple[int, int], dict[str, Any]] = {}
    tags = events.Tags()
    for tag in tags[SCALARS][: 10 * MAX_KEYS]:
        _put(rows, tag, [(event.step, event.value) for event in events.Scalars(tag)])
    for tag in tags[TENSORS]:
        points = [(event.step, make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)]
        _put(
            rows, tag, [(step, float(value)) for step, value in points if value.size == 1 and value.dtype.kind in "fiu"]
        )
    for key in sorted(rows):
        yield {"step": key[0], **rows[key]}


def _put(rows: dict[tuple[int, int], dict[str, Any]], tag: str, values: list[tuple[int, float]]) -> None:
    counts: dict[int, int] = {}
    for step, value in values:
        again = counts[step] = counts.get(step, -1) + 1
        rows.setdefault((step, again), {})[tag] = value


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]
