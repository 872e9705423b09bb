"""What in a folder is a log."""

from __future__ import annotations

import re
from pathlib import Path

from rlhf_assert.errors import UnreadableRun
from rlhf_assert.ingest.tensorboard import event_folders

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".log", ".txt", ".out", ".ndjson")
MOST_LOGS = 10_000
_CHECKPOINT = re.compile(r"checkpoint-(\d+)$")
_STATE = "trainer_state.json"
_NO_LOG = re.compile(
    r"(config|tokenizer|vocab|index|special_tokens|added_tokens|args|requirements|readme|license|package|merges)",
    re.IGNORECASE,
)


def logs_in(folder: Path) -> list[Path]:
    """Return the logs of a folder: run directories, TensorBoard folders and files, in the order of their names.

    Of the `trainer_state.json` of several checkpoints of one training only the newest counts, since each holds all
    that the earlier ones hold. Configuration files are no logs.

    Raises:
        UnreadableRun: there is none, or more than `MOST_LOGS`.
    """
    found: list[Path] = []
    runs = {file.parent for file in folder.rglob("run.json") if (file.parent / "metrics.jsonl").exists()}
    files = [
        file
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in SUFFIXES and file.is_file() and not any(run in file.parents for run in runs)
    ]
    states = [file for file in files if file.name == _STATE]
    found += runs
    found += event_folders(folder)
    found += _newest(states)
    found += [file for file in files if file.name != _STATE and not _NO_LOG.search(file.name)]
    if not found:
        raise UnreadableRun("no log in this folder, nor below it")
    if len(found) > MOST_LOGS:
        raise UnreadableRun(f"{len(found)} files that may be logs, at most {MOST_LOGS} are read: name a folder below")
    return sorted(set(found))


def _newest(states: list[Path]) -> list[Path]:
    """Return one state for each training: the one beside its checkpoints, or that of its last checkpoint."""
    by_training: dict[Path, tuple[float, Path]] = {}
    for state in states:
        checkpoint = _CHECKPOINT.search(state.parent.name)
        training = state.parent.parent if checkpoint else state.parent
        rank = float(checkpoint.group(1)) if checkpoint else float("inf")
        if training not in by_training or rank > by_training[training][0]:
            by_training[training] = (rank, state)
    return [state for _, state in by_training.values()]
