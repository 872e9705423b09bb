"""`rlhf-assert scenarios`: what can be trained here."""

from __future__ import annotations

import click

from rlhf_assert.cli.output import finish, format_option, plain, print_json, width
from rlhf_assert.errors import UsageError
from rlhf_assert.report.scenario_list import entries, listing
from rlhf_assert.training.locator import locate_all, packaged_scenarios


@click.command()
@click.argument("words", nargs=-1, metavar="[NAME|all|FILE.py[::NAME]]...")
@format_option
def scenarios(words: tuple[str, ...], output: str) -> None:
    """List the packaged scenarios, or those that the words stand for, and which of them can be trained here."""
    try:
        chosen = locate_all(words) if words else list(packaged_scenarios().values())
    except UsageError as error:
        click.echo(str(error), err=True)
        finish(2, "the scenarios cannot be listed", quiet=output == "json")
    listed = entries(chosen)
    ready = sum(entry["unavailable"] is None for entry in listed)
    if output == "json":
        print_json({"scenarios": listed})
        finish(0, f"{ready} of {len(listed)} can be trained here", quiet=True)
    click.echo("\n".join(listing(listed, width=width(), ascii=plain())))
    finish(0, f"{ready} of {len(listed)} can be trained here")
