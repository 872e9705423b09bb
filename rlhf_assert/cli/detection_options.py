"""What `check` may be told about detection: the keys of `[tool.rlhf-assert]` as options, and detectors of yours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from rlhf_assert.detect.detector_registry import BUILT_IN
from rlhf_assert.detect.settings import Settings, project_settings
from rlhf_assert.errors import UsageError
from rlhf_assert.judging.detection import Detection, add_sources

SWITCHES = {"on": True, "off": False}

Command = TypeVar("Command", bound=Callable[..., Any])


def detection_options(command: Command) -> Command:
    """Add `--false-alarms`, `--detector` and `--z-threshold` to a command."""
    limits = ", ".join(name for name, spec in BUILT_IN.items() if spec.knob)
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
            "--detector",
            "--check",
            "detectors",
            multiple=True,
            metavar="NAME=on|off|LIMIT",
            help=f"Turn a detector on or off, or give it its own limit ({limits} take one). MODULE:NAME or "
            "FILE.py[::NAME] adds a detector of yours. Repeatable. --check is its former name.",
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


def detection_of(false_alarms: str | None, detectors: Sequence[str], z_thresholds: Sequence[str]) -> Detection:
    """Return what the options and the nearest pyproject.toml say.

    Raises:
        click.UsageError: an unknown detector, metric or key, or a value that cannot be right.
    """
    sources, settings = split_words(detectors)
    try:
        add_sources(sources)
        options = _table(false_alarms, settings, z_thresholds)
        Settings().changed_by(options, "command line")
        return Detection(project_settings(), options, sources)
    except UsageError as error:
        raise click.UsageError(str(error)) from error


def split_words(words: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Return the words of `--detector` that say where a detector comes from, and those that set something about one."""
    sources = tuple(word for word in words if "=" not in word and (":" in word or word.endswith(".py")))
    return sources, [word for word in words if word not in sources]


def detector_settings(words: Sequence[str]) -> dict[str, float | bool]:
    """Return what `NAME=on|off|LIMIT` words set, by the detector's name.

    Raises:
        UsageError: a word that cannot be right.
    """
    return dict(_setting(word) for word in words)


def _table(false_alarms: str | None, detectors: Sequence[str], z_thresholds: Sequence[str]) -> dict[str, Any]:
    table: dict[str, Any] = {"detectors": detector_settings(detectors), "thresholds": {}}
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


def _setting(text: str) -> tuple[str, float | bool]:
    name, _, value = text.rpartition("=") if "=" in text else (text, "", "")
    return name, SWITCHES[value] if value in SWITCHES else _number("--detector", text, value, ", on or off")


def _number(option: str, text: str, number: str, other: str = "") -> float:
    try:
        return float(number)
    except ValueError:
        raise UsageError(f"{option}={text}: {repr(number) if number else 'nothing'} is no number{other}") from None
