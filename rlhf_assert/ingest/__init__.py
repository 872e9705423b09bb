"""Logs that other programs wrote, read as runs: the format is told by the content, not by the file's name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rlhf_assert.errors import UnreadableRun
from rlhf_assert.ingest.build import Source, runs_of
from rlhf_assert.ingest.console import is_console, read_console
from rlhf_assert.ingest.delimited import delimiter_of, read_delimited
from rlhf_assert.ingest.document import is_document, read_document
from rlhf_assert.ingest.folder import logs_in
from rlhf_assert.ingest.jsonl import is_jsonl, read_jsonl
from rlhf_assert.ingest.table import Table
from rlhf_assert.ingest.tensorboard import is_event_file, read_events
from rlhf_assert.ingest.text import Reading, head_of, require_text
from rlhf_assert.recording.run import Run, read_run

__all__ = ["is_run_directory", "logs_in", "read_log"]

Records = Iterable[Mapping[str, Any]]


def read_log(path: Path) -> list[Run]:
    """Read one log: a run directory, a folder of TensorBoard events, or a file of any known format.

    Returns:
        One run, or one for each training phase that the log unmistakably has. `info` of a run that rlhf-assert did not
        record has `log` (the format), `algorithm` (judged by the keys), `step_key`, `words` (keys with text only),
        `keys_left_out`, `rows` (all that were read) and `phase`; it has no `config`, and its `path` is that of the log.

    Raises:
        UnreadableRun: it cannot be read; the message does not repeat the path.
        MissingDependency: a package is missing that reads this format.
    """
    if path.is_dir():
        return [read_run(path)] if is_run_directory(path) else _gathered(path, read_events(path), "tensorboard")
    head = head_of(path)
    if is_event_file(head):
        return _gathered(path, read_events(path), "tensorboard")
    try:
        require_text(head)
    except UnreadableRun:
        if b"\0" in head or not is_console(head):  # a console may print bytes that are no text between its metrics
            raise
    reading = Reading()
    name, records = _reader(path, head, reading)
    return _gathered(path, records, name, reading)


def is_run_directory(path: Path) -> bool:
    """Return whether a folder is one that rlhf-assert recorded."""
    return (path / "run.json").exists()


def _reader(path: Path, head: bytes, reading: Reading) -> tuple[str, Records]:
    if is_jsonl(head) and not _is_state(head):
        return "jsonl", read_jsonl(path, reading)
    if is_document(head):
        return "trainer_state" if _is_state(head) else "json", read_document(path, reading)
    delimiter = delimiter_of(head)
    if delimiter is not None:
        return "csv", read_delimited(path, reading, delimiter)
    return "console", read_console(path, reading)


def _is_state(head: bytes) -> bool:
    return is_document(head) and b'"log_history"' in head


def _gathered(path: Path, records: Records, name: str, reading: Reading | None = None) -> list[Run]:
    table = Table()
    table.extend(records)
    if not len(table):
        raise UnreadableRun("no rows")
    return runs_of(path, table.finish(), Source(name, reading.dropped if reading else 0))
