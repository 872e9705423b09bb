"""`rlhf-assert checkpoint`: the health of a checkpoint."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from rlhf_assert.checkpoints import CheckpointHealth, inspect_checkpoint
from rlhf_assert.checks.saved_checkpoints import MAX_DRIFT
from rlhf_assert.cli.output import finish, format_option, plain, print_json, width, word
from rlhf_assert.errors import UnreadableRun
from rlhf_assert.judging.paths import require
from rlhf_assert.numbers import count, number, share
from rlhf_assert.report.layout import clean, hang

SHOWN = 5
"""Tensors that a list in the text output names."""


@click.command()
@click.argument("path")
@click.option("--reference", help="A checkpoint to measure drift against.")
@click.option("--min-score", type=click.FloatRange(0, 1), default=0.8, show_default=True, help="Least sound score.")
@click.option(
    "--max-drift",
    type=click.FloatRange(0, min_open=True),
    default=MAX_DRIFT,
    show_default=True,
    help="Most sound drift.",
)
@format_option
def checkpoint(path: str, reference: str | None, min_score: float, max_drift: float, output: str) -> None:
    """Score a checkpoint from 0 to 1: weights, training state and, with a reference, drift. Nothing is unpickled."""
    quiet = output == "json"
    for name in (path, reference):
        try:
            if name is not None:
                require(Path(name))
        except UnreadableRun as error:
            if quiet:
                print_json({"path": path, "score": None, "error": f"{name}: {error}"})
            else:
                click.echo(f"{name}   unreadable   {error}")
            finish(2, "nothing judged", quiet=quiet)

    health = inspect_checkpoint(path, reference)
    code, why = 0, f"score {health.score:.2f}, --min-score={min_score:g}"
    if health.score < min_score:
        code = 1
    elif health.drift is not None and health.drift.total > max_drift:
        code, why = 1, f"drift {share(health.drift.total)}, --max-drift={max_drift:g}"
    if quiet:
        print_json(as_json(health))
    else:
        _print(path, health, "FAIL" if code else "PASS")
    finish(code, why, quiet=quiet)


def as_json(health: CheckpointHealth) -> dict[str, Any]:
    """Return the JSON answer: what `CheckpointHealth` holds, paths as text and severities by name."""
    answer = asdict(health)
    answer["path"] = str(health.path)
    answer["step"] = health.step
    for issue, told in zip(health.issues, answer["issues"], strict=True):
        told["severity"] = issue.severity.name
    if health.drift is not None:
        largest, amount = health.drift.largest
        answer["drift"] |= {"path": str(health.drift.path), "reference": str(health.drift.reference)}
        answer["drift"]["largest"] = {"tensor": largest, "drift": amount}
    answer["error"] = None
    return answer


def _print(path: str, health: CheckpointHealth, verdict: str) -> None:

    elements = sum(tensor.count for tensor in health.tensors)
    step = "" if health.step is None else f"step {health.step}, "
    click.echo(f"{path}   {word(verdict)}   score {health.score:.2f}")
    click.echo(f"  {step}{count(len(health.tensors), 'tensor')}, {elements:,} elements")
    marks = {"critical": "CRIT", "warning": "warn", "info": "note"}
    for issue in health.issues:
        mark = marks[issue.severity.name]
        _row(mark, [f"{issue.kind}: {issue.detail}"], first=word(mark, 12))
    state = health.training_state
    told = [
        f"{name} {number(value)}"
        for name, value in (
            ("learning rate", state.learning_rate),
            ("rms of Adam's m", state.first_moment),
            ("root of mean v", state.second_moment),
        )
        if value == value  # noqa: PLR0124 - not NaN: the checkpoint tells
    ]
    _row("state", [", ".join(told)] if told else [])
    _row("training", [", ".join(f"{name.replace('_', ' ')} {value}" for name, value in health.facts.items())])
    _row("optimizer", [f"not judged: {state.unjudged}"] if state.unjudged else [])
    if health.drift is not None:
        moved = sorted(health.drift.tensors.items(), key=lambda item: -item[1])[:SHOWN]
        total = f"{share(health.drift.total)} from {health.drift.reference}"
        _row("drift", [total + (": no tensor differs" if health.drift.unchanged else "")])
        _row("", [] if health.drift.unchanged else [f"{share(drift):>7}  {name}" for name, drift in moved])
        for name, names in (("added", health.drift.added), ("missing", health.drift.missing)):
            _row(name, [", ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")] if names else [])
    largest = sorted(health.tensors, key=lambda tensor: -tensor.largest if tensor.largest == tensor.largest else 0.0)
    _row("largest", [f"{number(tensor.largest):>7}  {tensor.name}  rms {number(tensor.rms)}" for tensor in largest[:3]])
    _row("remedy", list(health.recommendations))


def _row(name: str, texts: list[str], first: str = "") -> None:
    lines = hang(name, [_kept(text) for text in texts], indent="  ", label_width=12, width=width())
    for index, line in enumerate(lines):
        click.echo("  " + first + line[14:] if first and not index else line)


def _kept(text: str) -> str:
    return " ".join(clean(part, ascii=plain()) for part in text.split(" "))
