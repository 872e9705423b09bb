"""What a checkpoint folder, or a single file, holds."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlhf_assert.checkpoints.header import TensorEntry, read_header
from rlhf_assert.checkpoints.issues import Issue, critical, warning
from rlhf_assert.checkpoints.partitioned import find_partitioned, newest_steps, read_partitioned

INDEX = "model.safetensors.index.json"
RECORDED = ("estimator", "reward_normalization", "packing")
"""Settings of `run.json` that say how the weights came about."""
_SHARD = re.compile(r".+-\d+-of-\d+\.safetensors")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The parts of a checkpoint that were found.

    Attributes:
        path: the folder or file.
        tensors: the weights, by shard in the order in which they lie in the files.
        issues: what is wrong with the files.
        files: the weight files.
        optimizer: `optimizer.pt`, or None.
        scheduler: `scheduler.pt`, or None.
        trainer_state: the content of `trainer_state.json`, empty if there is none.
        config: the content of `config.json`, empty if there is none.
        facts: what else it says of its training, for a reader: `zero_stage`, `ranks`, `estimator` and the like.
        moments: the files of all ranks with Adam's moments, where each rank wrote its own.
    """

    path: Path
    tensors: tuple[TensorEntry, ...]
    issues: tuple[Issue, ...]
    files: tuple[Path, ...]
    optimizer: Path | None
    scheduler: Path | None
    trainer_state: dict[str, Any]
    config: dict[str, Any]
    facts: Mapping[str, Any] = field(default_factory=dict)
    moments: tuple[Path, ...] = ()

    @property
    def step(self) -> int | None:
        """The step at which it was saved, by its trainer state or else by its name, or None."""
        step = self.trainer_state.get("global_step", self.facts.get("global_step"))
        if type(step) is int:
            return step
        number = re.search(r"(\d+)$", self.path.name)
        return int(number[1]) if number else None


def open_checkpoint(path: Path) -> Checkpoint:
    """Return what a checkpoint holds; whatever is wrong with it is an issue, never an exception.

    Weights are looked for as transformers looks for them: `model.safetensors`, then the index of the shards, then a
    lone adapter or other safetensors file. Pickled weights are never opened.
    """
    partitioned = find_partitioned(path)
    if partitioned is not None:
        return _open_partitioned(path, partitioned)
    folder = path if path.is_dir() else path.parent
    issues: list[Issue] = []
    if path.is_dir():
        files, expected, problems = _weight_files(folder)
        issues += problems
    elif path.name.endswith(".index.json"):
        files, expected, problems = _shards(path)
        issues += problems
    else:
        files, expected = (path,), None
    tensors: dict[str, TensorEntry] = {}
    for file in files:
        entries, problems = read_header(file)
        issues += problems
        for entry in entries:
            if entry.name in tensors:
                detail = f"{file.name}: {entry.name} is in {tensors[entry.name].file.name} as well"
                issues.append(critical("broken-index", detail, entry.name))
            tensors[entry.name] = entry
    if expected is not None and not issues:
        issues += _compare_with_index(expected, tensors)
    if not tensors and not issues:
        issues.append(critical("no-weights", f"{path.name}: holds no weights"))
    beside = path.is_dir()
    state, problems = _json(folder / "trainer_state.json") if beside else ({}, ())
    issues += problems
    config, problems = _json(folder / "config.json") if beside else ({}, ())
    issues += problems
    return Checkpoint(
        path=path,
        tensors=tuple(tensors.values()),
        issues=tuple(issues),
        files=files,
        optimizer=_existing(folder / "optimizer.pt") if beside else None,
        scheduler=_existing(folder / "scheduler.pt") if beside else None,
        trainer_state=state,
        config=config,
    )


def _open_partitioned(path: Path, folder: Path) -> Checkpoint:
    """Return the checkpoint that the ranks of a training wrote, each its own files."""
    entries, issues, facts = read_partitioned(folder)
    steps = newest_steps(path)
    if len(set(steps.values())) > 1:
        told = ", ".join(f"{name} at {step}" for name, step in steps.items())
        issues.append(warning("unequal-steps", f"{path.name}: {told}", penalty=0.5))
    return Checkpoint(
        path=folder,
        tensors=tuple(entries),
        issues=tuple(issues),
        files=tuple(dict.fromkeys(entry.file for entry in entries)),
        optimizer=None,
        scheduler=None,
        trainer_state={},
        config={},
        moments=tuple(facts.pop("moments", ())),
        facts={**facts, **_of_the_run(folder)},
    )


def _of_the_run(folder: Path) -> dict[str, Any]:
    """Return what the run directory that a checkpoint lies in, if any, says of how it was trained."""
    for parent in list(folder.resolve().parents)[:4]:
        if (parent / "run.json").is_file():
            config = _json(parent / "run.json")[0].get("config") or {}
            return {name: config[name] for name in RECORDED if name in config}
    return {}


def _weight_files(folder: Path) -> tuple[tuple[Path, ...], dict[str, str] | None, tuple[Issue, ...]]:
    """Return the weight files of a folder, the index's tensor -> file if there is one, and what is wrong."""
    if (folder / "model.safetensors").exists():
        return (folder / "model.safetensors",), None, ()
    if (folder / INDEX).exists():
        return _shards(folder / INDEX)
    files = tuple(sorted(folder.glob("*.safetensors")))
    shards = [file for file in files if _SHARD.fullmatch(file.name)]
    if shards:
        detail = f"{folder.name}: {len(shards)} shards, but no {INDEX} says which there must be"
        return files, None, (critical("broken-index", detail),)
    if files:
        return files, None, ()
    pickled = sorted(file.name for file in folder.glob("*model*") if file.suffix in {".bin", ".pt", ".pth"})
    if pickled:
        detail = f"{folder.name}: {pickled[0]} is a pickle, and is not opened: save as safetensors"
        return (), None, (critical("no-weights", detail),)
    return (), None, (critical("no-weights", f"{folder.name}: holds no model.safetensors and no {INDEX}"),)


def _shards(index: Path) -> tuple[tuple[Path, ...], dict[str, str] | None, tuple[Issue, ...]]:
    """Return the shards that an index names, its tensor -> file, and what is wrong with it."""
    content, problems = _json(index)
    if problems:
        return (), None, (critical("broken-index", problems[0].detail),)
    mapping = content.get("weight_map")
    if not isinstance(mapping, dict) or not mapping or not all(isinstance(name, str) for name in mapping.values()):
        return (), None, (critical("broken-index", f"{index.name}: has no weight_map of tensors to files"),)
    names = sorted(set(mapping.values()))
    foreign = [name for name in names if Path(name).name != name or name in {"", ".", ".."} or "\0" in name]
    if foreign:
        return (), None, (critical("broken-index", f"{index.name}: {foreign[0]!r:.60} is no file of this folder"),)
    return tuple(index.parent / name for name in names), mapping, ()


def _compare_with_index(expected: dict[str, str], tensors: dict[str, TensorEntry]) -> list[Issue]:
    issues: list[Issue] = []
    lost = [name for name, file in expected.items() if name not in tensors or tensors[name].file.name != file]
    if lost:
        detail = f"{expected[lost[0]]}: lacks {lost[0]}, which the index places there ({len(lost)} tensors)"
        issues.append(critical("broken-index", detail, lost[0]))
    extra = sorted(set(tensors) - set(expected))
    if extra:
        detail = f"{tensors[extra[0]].file.name}: {extra[0]} is not in the index, so nothing loads it"
        issues.append(warning("incomplete-index", detail, extra[0], penalty=0.25))
    return issues


def _existing(file: Path) -> Path | None:
    return file if file.is_file() else None


def _json(file: Path) -> tuple[dict[str, Any], tuple[Issue, ...]]:
    """Return a JSON object and what is wrong with it; a file that is not there is an empty object."""
    try:
        # Not orjson: transformers writes the bare words NaN and Infinity, which only Python's own parser takes.
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}, ()
    except OSError as error:
        return {}, (critical("unreadable-file", f"{file.name}: cannot be read: {error.strerror}"),)
    except (ValueError, RecursionError) as error:
        reason = "empty" if not file.stat().st_size else f"not JSON: {error}"
        return {}, (critical("truncated-file", f"{file.name}: {reason}"),)
    if not isinstance(content, dict):
        return {}, (critical("truncated-file", f"{file.name}: no JSON object"),)
    return content, ()
