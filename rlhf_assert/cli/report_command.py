"""`rlhf-assert report`: a run as a page."""

from __future__ import annotations

from pathlib import Path

import click

from rlhf_assert.cli.output import finish
from rlhf_assert.errors import UnreadableRun
from rlhf_assert.judging.paths import read
from rlhf_assert.report.html import page
from rlhf_assert.verdict import judge


@click.command()
@click.argument("run")
@click.option("--out", type=click.Path(path_type=Path), help="File to write.  [default: RUN/report.html]")
def report(run: str, out: Path | None) -> None:
    """Write a run directory as one HTML page: curves, findings, epochs, resources, timing, events."""
    try:
        recorded = read(run)
    except UnreadableRun as error:
        click.echo(f"{run}   unreadable   {error}")
        finish(2, "nothing to report")

    file = out or recorded.path / "report.html"
    text = page(recorded, judge(recorded).checks)
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        click.echo(f"{file}   cannot be written: {error.strerror}; name another file with --out")
        finish(2, "no report written")
    click.echo(f"{file}   {len(text.encode()) / 1000:.0f} kB")
    finish(0, "report written; it judges nothing: rlhf-assert check does")
