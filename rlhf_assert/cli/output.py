"""What the commands share: formats, colour, and the last line that says the exit code and why."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

import click

from rlhf_assert.recording.encoding import encode
from rlhf_assert.report.layout import columns, speaks_unicode

COLOURS = {"CRIT": "red", "FAIL": "red", "warn": "yellow", "WARN": "yellow", "pass": "green", "PASS": "green"}
NO_ANSWER = "unreadable"
format_option = click.option(
    "--format", "output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="What to print."
)


def plain() -> bool:
    """Return whether the output is limited to ASCII."""
    return not speaks_unicode(getattr(sys.stdout, "encoding", None))


def width() -> int:
    """Return the columns to print in: those of the terminal, at most 100, and 100 where there is none."""
    return max(60, min(100, shutil.get_terminal_size((100, 24)).columns))


def word(text: str, columns_: int = 0) -> str:
    """Return a verdict's word in its colour, padded; click drops the colour outside of a terminal."""
    if text not in COLOURS or "NO_COLOR" in os.environ:
        return text.ljust(columns_)
    return click.style(text, fg=COLOURS[text]) + " " * max(columns_ - columns(text), 0)


def print_json(answer: Mapping[str, Any]) -> None:
    """Print one JSON object; numbers that are not finite are the strings that a run directory has."""
    click.echo(json.dumps(encode(answer), indent=2, ensure_ascii=plain()))


def finish(code: int, why: str, *, quiet: bool = False) -> NoReturn:
    """Say the exit code and why, as the last line, and end.

    Args:
        code: 0 clean, 1 findings, 2 unreadable or nothing judged.
        why: the reason, in a few words.
        quiet: say it on stderr, because stdout is for a program.
    """
    click.echo(f"exit {code}   ({why})", err=quiet)
    sys.exit(code)
