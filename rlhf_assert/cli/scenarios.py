"""`rlhf-assert scenarios`: what can be trained here."""

from __future__ import annotations

from pathlib import Path

import click

from rlhf_assert.backend import find_backend
from rlhf_assert.cli.output import finish, format_option, plain, print_json, width
from rlhf_assert.errors import UsageError
from rlhf_assert.report.layout import clean, hang
from rlhf_assert.scenarios import packaged_scenarios, scenarios_in_file


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE.py]...")
@format_option
def scenarios(files: tuple[Path, ...], output: str) -> None:
    """List the installed scenarios, or those that files define, and which of them can be trained here."""
    try:
        found = {}
        for file in files:
            found.update(scenarios_in_file(file))
        if not files:
            found = packaged_scenarios()
    except UsageError as error:
        click.echo(str(error), err=True)
        finish(2, "the scenarios cannot be listed", quiet=output == "json")
    listed = [
        {
            "name": scenario.name,
            "backend": scenario.backend,
            "steps": scenario.steps,
            "learns": scenario.learns,
            "tags": list(scenario.tags),
            "unavailable": _unavailable(scenario.backend) or scenario.unmet(),
        }
        for scenario in found.values()
    ]
    ready = sum(entry["unavailable"] is None for entry in listed)
    if output == "json":
        print_json({"scenarios": listed})
        finish(0, f"{ready} of {len(listed)} can be trained here", quiet=True)
    name_width = max((len(str(entry["name"])) for entry in listed), default=0)
    name_width = max(name_width, len("scenario")) + 2
    click.echo(f"{'scenario':{name_width}}{'backend':10}{'steps':>5}  {'learns':18}available")
    for entry in listed:
        learns = str(entry["learns"] or "-")
        left = f"{entry['name']:{name_width}}{entry['backend']:10}{entry['steps']:>5}  {learns:18}"
        text = "yes" if entry["unavailable"] is None else f"no: {entry['unavailable']}"
        said = clean(text, ascii=plain())
        click.echo("\n".join(hang(left, [said], label_width=len(left), width=max(width(), len(left) + 30))))
    finish(0, f"{ready} of {len(listed)} can be trained here")


def _unavailable(backend: str) -> str | None:

    try:
        return find_backend(backend).missing()
    except UsageError as error:
        return str(error)
