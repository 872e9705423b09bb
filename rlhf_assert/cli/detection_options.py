"""What `check` may be told about detection: the keys of `[tool.rlhf-assert]` as options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import click

from rlhf_assert.detect.settings import CHECKS, Settings, project_settings, settings_of
from rlhf_assert.errors import UsageError
from rlhf_assert.recording.run import Run

SWITCHES = {"on": True, "off": False}

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Detection:
    """How the logs of one command line are judged.

    A run that rlhf-assert recorded is judged by the settings that it keeps, so that its verdict can be had again
    anywhere; any other log by those of the project. Options go before either.

    Attributes:
        project: what the nearest pyproject.toml sets.
        options: what the command line sets, with the keys of `[tool.rlhf-assert]`.
    """

    project: Settings = field(default_factory=Settings)
    options: Mapping[str, Any] = field(default_factory=dict)

    def apply(self, run: Run) -> Run:
        """Return the run with the settings by which it is to be judged.

        Raises:
            UnreadableRun: it keeps settings that this version does not know.
        """
        own = settings_of(run.info) if "detection" in run.info else self.project
        settings = own.changed_by(self.options, "command line")
        return replace(run, info={**run.info, "detection": settings.table()})


def detection_options(command: Command) -> Command:
    """Add `--false-alarms`, `--check` and `--z-threshold` to a command."""
    limits = ", ".join(name for name, meaning in CHECKS.items() if meaning)
    for option in (
        click.option(
            "--z-threshold",
            "z_thresholds",
            multiple=True,
            metavar="[METRIC=]Z",
            help="Standard deviations from which a single value is a finding, of every metric or of one; "
            "inf: never. Repeatable.",
        ),
        click.option(
            "--check",
            "checks",
            multiple=True,
            metavar="NAME=on|off|LIMIT",
            help=f"Turn a check on or off, or give it its own limit ({limits} take one). Repeatable.",
        ),
        click.option(
            "--false-alarms",
            metavar="WARNING[,CRITICAL]",
            help="Shares of healthy runs that may be flagged; without CRITICAL it is a tenth of WARNING.  "
            "[default: 0.05,0.005]",
        ),
    ):
        command = option(command)
    return command


def detection_of(false_alarms: str | None, checks: Sequence[str], z_thresholds: Sequence[str]) -> Detection:
    """Return what the options and the nearest pyproject.toml say.

    Raises:
        click.UsageError: an unknown check, metric or key, or a value that cannot be right.
    """
    try:
        options = _table(false_alarms, checks, z_thresholds)
        Settings().changed_by(options, "command line")
        return Detection(project_settings(), options)
    except UsageError as error:
        raise click.UsageError(str(error)) from error


def _table(false_alarms: str | None, checks: Sequence[str], z_thresholds: Sequence[str]) -> dict[str, Any]:
    table: dict[str, Any] = {"checks": dict(_check(text) for text in checks), "thresholds": {}}
    if false_alarms is not None:
        warning, comma, critical = false_alarms.partition(",")
        rate = _number("--false-alarms", false_alarms, warning)
        gravest = _number("--false-alarms", false_alarms, critical) if comma else rate / 10
        table["false-alarms"] = {"warning": rate, "critical": gravest}
    for text in z_thresholds:
        metric, equals, limit = text.rpartition("=")
        number = _number("--z-threshold", text, limit)
        if equals:
            table["thresholds"][metric] = number
        else:
            table["anomaly-threshold"] = number
    return table


def _check(text: str) -> tuple[str, float | bool]:
    name, _, value = text.partition("=")
    return name, SWITCHES[value] if value in SWITCHES else _number("--check", text, value, ", on or off")


def _number(option: str, text: str, number: str, other: str = "") -> float:
    try:
        return float(number)
    except ValueError:
        raise UsageError(f"{option}={text}: {repr(number) if number else 'nothing'} is no number{other}") from None
