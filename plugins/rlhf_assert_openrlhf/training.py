"""What a scenario's function returns: one call of an OpenRLHF command."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlhf_assert.errors import UsageError

RewardFunction = Callable[..., Sequence[float]]
Rows = Sequence[Mapping[str, Any]]

COLUMNS: dict[str, dict[str, str]] = {
    "train_ppo_ray": {"input": "data.input_key", "label": "data.label_key"},
    "train_sft": {"input": "data.input_key", "output": "data.output_key"},
    "train_rm": {"prompt": "data.prompt_key", "chosen": "data.chosen_key", "rejected": "data.rejected_key"},
    "train_dpo": {"prompt": "data.prompt_key", "chosen": "data.chosen_key", "rejected": "data.rejected_key"},
}
"""Command -> the columns of its rows, and the flags that name them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRLHFTraining:
    """A call of an OpenRLHF command, ready to be launched.

    Attributes:
        entry_point: the command: its module in `openrlhf.cli`.
        flags: its flags without the dashes: True is a flag without value, False and None are none, a list is several
            values. They are checked with the command's own parser before anything is launched.
        prompts: rows of the prompt data set, each with `input` and, if there is an answer to compare with, `label`;
            sets the flags `data.prompt_dataset`, `data.input_key` and `data.label_key`.
        data: rows of the data set of another command: `input` and `output` for `train_sft`, `prompt`, `chosen` and
            `rejected` for `train_rm` and `train_dpo`; sets `data.dataset` and the flags that name the columns.
        evaluation: rows of the same columns, held out; sets `eval.dataset` and `eval.split`.
        reward: a function as TRL takes it (`prompts`, `completions` and `labels` by name; a number per completion),
            defined at the top level of a file that imports no framework of the judging environment; or the path of a
            file with OpenRLHF's own `reward_func(queries, prompts, labels)`. Sets the flag `reward.remote_url`.
        resume_after: the step after which every process of the training is killed, in the middle of the next step, and
            the command launched again with `ckpt.load_enable`; None for a training in one go. `ckpt.save_steps` must
            save DeepSpeed's checkpoint of that step.
    """

    entry_point: str = "train_ppo_ray"
    flags: Mapping[str, Any] = field(default_factory=dict)
    prompts: Rows = ()
    data: Rows = ()
    evaluation: Rows = ()
    reward: RewardFunction | Path | None = None
    resume_after: int | None = None


def materialise(training: OpenRLHFTraining, folder: Path) -> dict[str, Any]:
    """Write a training's rows and reward into a folder, and return its flags with those that name the files.

    Raises:
        UsageError: rows that lack a column or that the command does not take, or a reward function that OpenRLHF's
            processes could not import.
    """
    flags = dict(training.flags)
    online = training.entry_point == "train_ppo_ray"
    if (training.data or training.evaluation) if online else training.prompts:
        given, takes = ("data", "prompts") if online else ("prompts", "data")
        raise UsageError(f"{training.entry_point} takes no {given}=: give its rows as {takes}=")
    labelled = [{"label": "", **row} for row in training.prompts]
    for name, flag, rows in (
        ("prompts", "data.prompt_dataset", labelled),
        ("data", "data.dataset", training.data),
        ("evaluation", "eval.dataset", training.evaluation),
    ):
        if rows:
            columns = COLUMNS.get(training.entry_point, {})
            flags |= {flag: str(write_rows(folder / f"{name}.jsonl", rows, columns))}
            flags |= {key: column for column, key in columns.items()}
    if training.evaluation:
        flags["eval.split"] = "train"  # the only one that a file has
    if training.reward is not None:
        flags["reward.remote_url"] = str(reward_file(training.reward, folder))
    return flags


def write_rows(file: Path, rows: Rows, columns: Iterable[str]) -> Path:
    """Write rows as JSON lines, and return the file.

    Raises:
        UsageError: a row lacks one of the columns.
    """
    for row in rows:
        if missing := [column for column in columns if column not in row]:
            shape = ", ".join(f"{column!r}: ..." for column in columns)
            raise UsageError(f"a row of {file.stem} has no `{missing[0]}`: give each row as {{{shape}}}")
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


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
