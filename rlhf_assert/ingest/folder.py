"""What in a folder is a log."""

from __future__ import annotations

import os
import re
from pathlib import Path

from rlhf_assert.errors import UnreadableRun
from rlhf_assert.ingest.tensorboard import is_event_name

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
    that the earlier ones hold. Configuration files are no logs. A folder below that cannot be opened is in the list
    too: what it hides must not pass for judged.

    Raises:
        UnreadableRun: there is none, or more than `MOST_LOGS`.
    """
    everything, state_files = _files_below(folder)
    runs = {
        file.parent for file in everything if file.name == "run.json" and (file.parent / "metrics.jsonl") in everything
    }
    files = [
        file
        for file in sorted(everything)
        if file.suffix.lower() in SUFFIXES and not any(run in file.parents for run in runs)
    ]
    states = [file for file in files if file.name == _STATE]
    state_files += runs
    state_files += {
        file.parent for file in everything if is_event_name(file.name)
    }  # each is one run, as TensorBoard has it
    state_files += _newest(states)
    state_files += [file for file in files if file.name != _STATE and not _NO_LOG.search(file.name)]
    if not state_files:
        raise UnreadableRun("no log in this folder, nor below it")
    if len(state_files) > MOST_LOGS:
        raise UnreadableRun(
            f"{len(state_files)} files that may be logs, at most {MOST_LOGS} are read: name a folder below"
        )
    return sorted(set(state_files))


def _files_below(folder: Path) -> tuple[set[Path], list[Path]]:
    """Return the regular files at or below a folder, and the folders that cannot be opened."""
    closed: list[Path] = []

    def note(error: OSError) -> None:
        closed.append(Path(os.fsdecode(error.filename)))

    files = {Path(parent) / name for parent, _, names in os.walk(folder, onerror=note) for name in names}
    return {file for file in files if file.is_file()}, closed


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
