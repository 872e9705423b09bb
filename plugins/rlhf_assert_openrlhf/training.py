"""What a scenario's function returns: one call of an OpenRLHF command."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlhf_assert.errors import UsageError

RewardFunction = Callable[..., Sequence[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRLHFTraining:
    """A call of an OpenRLHF command, ready to be launched.

    Attributes:
        entry_point: the command: its module in `openrlhf.cli`.
        flags: its flags without the dashes: True is a flag without value, False and None are none, a list is several
            values. They are checked with the command's own parser before anything is launched.
        prompts: rows of the prompt data set, each with `input` and, if there is an answer to compare with, `label`;
            sets the flags `data.prompt_dataset`, `data.input_key` and `data.label_key`.
        reward: a function as TRL takes it (`prompts`, `completions` and `labels` by name; a number per completion),
            defined at the top level of a file that imports no framework of the judging environment; or the path of a
            file with OpenRLHF's own `reward_func(queries, prompts, labels)`. Sets the flag `reward.remote_url`.
    """

    entry_point: str = "train_ppo_ray"
    flags: Mapping[str, Any] = field(default_factory=dict)
    prompts: Sequence[Mapping[str, Any]] = ()
    reward: RewardFunction | Path | None = None


def materialise(training: OpenRLHFTraining, folder: Path) -> dict[str, Any]:
    """Write a training's prompts and reward into a folder, and return its flags with those that name the files.

    Raises:
        UsageError: rows that cannot be written, or a reward function that OpenRLHF's processes could not import.
    """
    flags = dict(training.flags)
    if training.prompts:
        rows = [{"label": "", **row} for row in training.prompts]
        if any("input" not in row for row in rows):
            raise UsageError("a row of prompts has no `input`: give each row as {'input': ..., 'label': ...}")
        file = folder / "prompts.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        flags |= {"data.prompt_dataset": str(file), "data.input_key": "input", "data.label_key": "label"}
    if training.reward is not None:
        flags["reward.remote_url"] = str(reward_file(training.reward, folder))
    return flags


def reward_file(reward: RewardFunction | Path, folder: Path) -> Path:
    """Return the file whose `reward_func` OpenRLHF calls, written if `reward` is a function.

    Raises:
        UsageError: no such file, or a function that is not at the top level of a file.
    """
    if isinstance(reward, Path):
        if not reward.is_file():
            raise UsageError(f"{reward}: no such reward file")
        return reward.resolve()
    try:
        source = inspect.getfile(reward)
    except TypeError:
        source = ""
    name = getattr(reward, "__qualname__", "")
    if not name.isidentifier() or not Path(source).is_file():
        raise UsageError(
            f"reward={reward!r}: OpenRLHF's processes import it from its file: give a function at the top level of a "
            "module"
        )
    file = folder / "reward.py"
    file.write_text(_REWARD_FILE.format(source=source, name=name), encoding="utf-8")
    return file


_REWARD_FILE = '''"""Written by rlhf-assert: what OpenRLHF calls to reward completions."""
from rlhf_assert_openrlhf.inside.reward import adapt

reward_func = adapt({source!r}, {name!r})
'''
