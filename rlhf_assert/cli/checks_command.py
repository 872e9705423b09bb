"""`rlhf-assert checks`: every check that a run can be judged by, with what it asks."""

from __future__ import annotations

from typing import Any

import click

from rlhf_assert.checks.registry import checks as registered
from rlhf_assert.checks.spec import CheckSpec
from rlhf_assert.cli.output import finish, format_option, print_json, width
from rlhf_assert.numbers import count
from rlhf_assert.report.layout import clean, hang


@click.command()
@format_option
def checks(output: str) -> None:
    """List the checks: what each asks, what it needs, and which metrics it owns.

    Those of installed packages are among them (entry point group rlhf_assert.checks).
    """
    specs = registered()
    if output == "json":
        print_json({"checks": [as_json(spec) for spec in specs]})
    else:
        for spec in specs:
            click.echo("\n".join(_rows(spec)))
    finish(0, count(len(specs), "check"), quiet=output == "json")


def as_json(spec: CheckSpec[...]) -> dict[str, Any]:
    """Return the JSON form of a check."""
    return {
        "name": spec.name,
        "question": spec.question,
        "needs": spec.needs,
        "owns": list(spec.owns),
        "assertion": spec.assertion or "assert_check",
        "failure": spec.failure.__name__,
    }


def _rows(spec: CheckSpec[...]) -> list[str]:
    call = spec.assertion or f'assert_check("{spec.name}")'
    owns = ", ".join(spec.owns)
    told = [spec.question, f"needs {spec.needs}" if spec.needs else "", f"owns {owns}" if owns else "", call]
    return hang(spec.name, [clean(text) for text in told if text], label_width=14, width=width())
