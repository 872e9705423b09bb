"""`rlhf-assert scenarios`: what can be trained here."""

from __future__ import annotations

from pathlib import Path

import click

from rlhf_assert.cli.output import finish, format_option, plain, print_json, width
from rlhf_assert.errors import UsageError
from rlhf_assert.report.scenario_list import entries, listing
from rlhf_assert.training.scenario import packaged_scenarios, scenarios_in_file


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
    listed = entries(found.values())
    ready = sum(entry["unavailable"] is None for entry in listed)
    if output == "json":
        print_json({"scenarios": listed})
        finish(0, f"{ready} of {len(listed)} can be trained here", quiet=True)
    click.echo("\n".join(listing(listed, width=width(), ascii=plain())))
    finish(0, f"{ready} of {len(listed)} can be trained here")
