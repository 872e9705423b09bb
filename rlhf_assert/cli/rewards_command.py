"""`rlhf-assert rewards`: how far recorded rewards can be trusted."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import numpy as np

from rlhf_assert.checked import Check, Status
from rlhf_assert.checks.reward_reliability import judge_rewards
from rlhf_assert.cli.output import finish, format_option, plain, print_json, width, word
from rlhf_assert.errors import RlhfAssertError, UnreadableRun, UsageError
from rlhf_assert.judging.paths import read, require
from rlhf_assert.numbers import count, number, share
from rlhf_assert.recording.run import Run, Samples, read_samples
from rlhf_assert.report.diagnosis import diagnose
from rlhf_assert.report.layout import clean, hang
from rlhf_assert.report.wording import findings_of
from rlhf_assert.rewards import Estimate, RewardReliability, assess_rewards

ESTIMATES = (
    ("stability", "the share of its spread that is not jumps from step to step"),
    ("within_group", "share of the variance inside of the groups"),
    ("saturation", "share of the groups with equal rewards"),
    ("advantage", "r(advantage, reward) inside of the groups"),
)


class _SamplesOnly(Run):
    """A file of per-sample records as a run of which nothing else is known."""

    @cached_property
    def samples(self) -> Samples:
        return read_samples(self.path)


@click.command()
@click.argument("file")
@click.option("--allow", multiple=True, help="A finding that is intended: length, inconsistent or constant.")
@format_option
def rewards(file: str, allow: tuple[str, ...], output: str) -> None:
    """Judge the rewards of FILE: a run directory, or a samples.jsonl with one scored completion a line."""
    quiet = output == "json"
    try:
        run = _read(file)
        check = judge_rewards(run, allow=allow)
    except UsageError as error:
        raise click.UsageError(str(error)) from error
    except RlhfAssertError as error:
        if quiet:
            print_json({"source": file, "error": str(error)})
        else:
            click.echo(f"{file}   unreadable   {error}")
        finish(2, "nothing judged", quiet=quiet)
    assessed = assess_rewards(run.samples)
    if quiet:
        print_json(as_json(file, check, assessed))
    else:
        _print(file, check, run, assessed)
    if check.status is Status.FAIL:
        finish(1, "the rewards are not reliable", quiet=quiet)
    if check.status is Status.PASS:
        finish(0, "nothing found against the rewards", quiet=quiet)
    finish(2, f"nothing judged: {check.headline}", quiet=quiet)


def as_json(file: str, check: Check, assessed: RewardReliability) -> dict[str, Any]:
    """Return the JSON answer: the check, and what `RewardReliability` holds."""
    reliability = {name: value for name, value in asdict(assessed).items() if name != "non_finite"}
    reliability["non_finite"] = [{"function": one.function, "samples": len(one.samples)} for one in assessed.non_finite]
    return {
        "source": file,
        "status": check.status.value,
        "headline": check.headline,
        "findings": findings_of([check]),
        "reliability": _plain(reliability),
        "error": None,
    }


def _plain(value: Any) -> Any:
    """Return `value` with arrays as lists, at any depth."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _read(file: str) -> Run:
    path = Path(file)
    require(path)
    if path.is_dir():
        return read(file)
    if path.name == "samples.jsonl" and (path.parent / "run.json").is_file():
        return read(str(path.parent))
    try:
        samples = read_samples(path)
    except (OSError, ValueError, TypeError) as error:
        raise UnreadableRun(f"no per-sample records: {type(error).__name__}: {error}") from error
    if not len(samples):
        raise UnreadableRun("no line is a JSON object")
    if not (np.isfinite(samples.reward).any() or samples.rewards):
        raise UnreadableRun(f"{count(len(samples), 'record')}, none with a number under `reward`")
    return _SamplesOnly(path, {"status": "completed", "started": 0.0}, (), {}, {}, (), ())


def _print(file: str, check: Check, run: Run, assessed: RewardReliability) -> None:
    words = {Status.PASS: "PASS", Status.FAIL: "FAIL"}
    verdict = words.get(check.status, "not judged")
    click.echo(f"{file}   {word(verdict)}   {count(assessed.samples, 'sample')}, {count(assessed.steps, 'step')}")
    click.echo()
    click.echo(diagnose(check, run, width=min(width(), 92), ascii=plain()))
    click.echo()
    _row(
        "reward",
        f"mean {number(assessed.mean)}, std {number(assessed.std)}, last 1,000: mean {number(assessed.recent_mean)}",
    )
    for name, told in ESTIMATES:
        _row(name.replace("_", " "), _told(getattr(assessed, name), told))
    _row("agreement", _told(assessed.consistency.agreement, "between equal completions of one prompt"))
    _row("length", f"r(reward, length) {assessed.length.pearson}; given the step {assessed.length.within_step}")
    for name, its in assessed.shares.items():
        length = assessed.function_length.get(name, float("nan"))
        known = f", r with length {number(length)}" if np.isfinite(length) else ""
        _row(name[:14], f"{share(its)} of the reward's variance{known}")
    for index, advice in enumerate(assessed.recommendations):
        _row("remedy" if not index else "", advice)


def _told(estimate: Estimate, what: str) -> str:
    return str(estimate) if estimate.missing else f"{estimate}, {what}"


def _row(name: str, text: str) -> None:
    lines = hang(name, [clean(text, ascii=plain())], indent="  ", label_width=16, width=width())
    click.echo("\n".join(lines))
