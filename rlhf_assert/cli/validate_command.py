"""`rlhf-assert validate`: how good the detectors are, by real trainings with and without faults."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from rlhf_assert.cli.detection_options import detector_settings, split_words
from rlhf_assert.cli.output import finish, print_json
from rlhf_assert.detect import DetectorSpec, Severity
from rlhf_assert.detect.settings import Settings, project_settings
from rlhf_assert.errors import RlhfAssertError, UsageError
from rlhf_assert.numbers import count
from rlhf_assert.report.layout import cut
from rlhf_assert.report.live import seconds
from rlhf_assert.training.request import Request
from rlhf_assert.validation.contenders import find_contenders, installed_contenders
from rlhf_assert.validation.plan import PROFILES, chosen_faults, chosen_profile, chosen_scenarios, plan
from rlhf_assert.validation.results import Results, conclude, json_report, markdown_report, text_report, write
from rlhf_assert.validation.score import Judged
from rlhf_assert.validation.scorecard import Floor
from rlhf_assert.validation.trainings import Trainings, describe_machine

LINE_EVERY = 20.0
"""Seconds between two lines of progress where there is no terminal."""


@click.command()
@click.option(
    "--profile",
    type=click.Choice(list(PROFILES)),
    default="quick",
    show_default=True,
    help="quick: each fault in two of its scenarios, one seed, four healthy runs of each scenario (minutes). "
    "full: each fault in all of its scenarios, ten seeds (an hour or two).",
)
@click.option("--seeds", type=int, help="Seeds of each fault, in place of the profile's.")
@click.option(
    "--fault", "faults", multiple=True, metavar="NAME[@ONSET][xMAGNITUDE]", help="Only this fault; repeatable."
)
@click.option("--scenario", "scenarios", multiple=True, metavar="NAME|FILE.py[::NAME]", help="Only this; repeatable.")
@click.option(
    "--detector",
    "detectors",
    multiple=True,
    metavar="MODULE:NAME|FILE.py[::NAME]|NAME=on|off|LIMIT",
    help="A detector of yours, to be compared with ours on the same runs: a class, or a function that returns one. "
    "Or turn a detector on or off, or give it its own limit, as in `rlhf-assert check`.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Keep runs and results here; runs that are there are reused."
)
@click.option("--format", "output", type=click.Choice(["text", "json", "markdown"]), default="text", show_default=True)
@click.option("--ablation", is_flag=True, help="Say what is lost without each detector; trains nothing more.")
@click.option(
    "--fail-on",
    type=click.Choice(["warning", "critical"]),
    default="critical",
    show_default=True,
    help="The severity from which a finding counts, for faults and for healthy runs alike.",
)
@click.option(
    "--min-recall", type=float, default=Floor().recall, show_default=True, help="Least share of faults found."
)
@click.option(
    "--max-false-alarms",
    type=float,
    default=Floor().false_alarms,
    show_default=True,
    help="Of the healthy runs, 0 to 1.",
)
@click.option(
    "--max-delay", type=float, default=Floor().delay, show_default=True, help="Median of the abrupt faults, in steps."
)
def validate(
    *,
    profile: str,
    seeds: int | None,
    faults: tuple[str, ...],
    scenarios: tuple[str, ...],
    detectors: tuple[str, ...],
    out: Path | None,
    output: str,
    ablation: bool,
    fail_on: str,
    min_recall: float,
    max_false_alarms: float,
    max_delay: float,
) -> None:
    """Train with and without faults, and say which are found, how late, and how often health is flagged.

    Exit codes: 0 the floor is reached; 1 it is not; 2 usage, or nothing that could be trained.
    """
    quiet = output != "text"
    try:
        trainings = plan(chosen_profile(profile, seeds), chosen_scenarios(scenarios), chosen_faults(faults))
        sources, settings = split_words(detectors)
        contenders = {**installed_contenders(), **find_contenders(sources)}
        changes = {"detectors": detector_settings(settings)}
        chosen = project_settings().changed_by(changes, "command line")
        begun = time.monotonic()
        judged, inapplicable = _train(trainings, contenders, chosen, out, ablation=ablation)
        spent = time.monotonic() - begun
        about = {
            "profile": profile,
            "seeds": seeds,
            "severity": fail_on,
            "date": time.strftime("%Y-%m-%d"),
            "command": _command(sys.argv[1:]),
            "machine": describe_machine(trainings),
            "seconds": round(spent, 1),
            "processor_seconds": round(sum(os.times()[:4]), 1),
        }
        floor = Floor(recall=min_recall, false_alarms=max_false_alarms, delay=max_delay)
        results = conclude(
            judged, inapplicable, severity=Severity[fail_on], floor=floor, about=about, with_ablation=ablation
        )
        _show(results, output)
        failed = {name: error for each in judged for name, error in each.failed.items()}
        for name, error in failed.items():
            click.echo(f"detector {name} failed to judge: {error}", err=True)
        if out is not None:
            for file in write(results, out):
                click.echo(f"{file}   {file.stat().st_size / 1000:.0f} kB", err=quiet)
    except RlhfAssertError as error:
        click.echo(str(error), err=True)
        finish(2, "nothing was validated", quiet=quiet)
    except KeyboardInterrupt:
        again = "the same command goes on from here" if out else "with --out the next one would go on from here"
        finish(2, f"interrupted; {again}", quiet=quiet)
    if results.below:
        finish(1, "; ".join(results.below), quiet=quiet)
    finish(0, f"the floor is reached; {seconds(spent)}", quiet=quiet)


def _train(
    trainings: tuple[Request, ...],
    contenders: Mapping[str, DetectorSpec],
    settings: Settings,
    out: Path | None,
    *,
    ablation: bool,
) -> tuple[list[Judged], dict[Request, str]]:
    """Train and judge the plan; return what was judged, and what could not be and why."""
    progress = _Progress(len(trainings))
    judged: list[Judged] = []
    inapplicable: dict[Request, str] = {}
    with ExitStack() as stack:
        folder = out / "runs" if out else Path(stack.enter_context(TemporaryDirectory(prefix="rlhf-validation-")))
        running = stack.enter_context(
            Trainings(
                trainings,
                folder,
                contenders=contenders,
                settings=settings,
                keep=out is not None,
                ablation=ablation,
                on_wait=lambda: progress(0),
            )
        )
        for number, (training, result) in enumerate(running.results.items()):
            while not result.done():
                progress(running.done)
                running.wait(result)
            try:
                judged.append(result.result())
            except UsageError as error:
                if training.fault is None:
                    raise
                inapplicable[training] = str(error)
            progress(max(number + 1, running.done))
        progress.clear()
    if not any(each.training.fault for each in judged):
        raise UsageError(f"no fault could be tried: {next(iter(inapplicable.values()))}")
    return judged, inapplicable


def _command(words: Sequence[str]) -> str:
    """Return the command that repeats this validation, wherever its results go."""
    kept = [word for before, word in zip(["", *words], words, strict=False) if "--out" not in (before, word)]
    return shlex.join(["rlhf-assert", *(word for word in kept if not word.startswith("--out="))])


def _show(results: Results, output: str) -> None:
    if output == "json":
        print_json(json_report(results))
    elif output == "markdown":
        click.echo(markdown_report(results), nl=False)
    else:
        click.echo(text_report(results) + "\n")


class _Progress:
    """How far the trainings are, on stderr: one line that changes on a terminal, else a line now and then."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._begun = self._said = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now - self._said < (0.2 if self._terminal else LINE_EVERY):
            return
        self._said = now
        spent = now - self._begun
        left = f", {seconds(spent / done * (self._total - done))} left" if done else ""
        line = f"{done}/{count(self._total, 'training')}  {seconds(spent)}{left}"
        click.echo(f"\r\x1b[K{cut(line, 78)}" if self._terminal else line, nl=not self._terminal, err=True)

    def clear(self) -> None:
        if self._terminal:
            click.echo("\r\x1b[K", nl=False, err=True)
