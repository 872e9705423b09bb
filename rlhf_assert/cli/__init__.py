"""The command line `rlhf-assert`: one module per command, imported when the command is called."""

from __future__ import annotations

import importlib

import click

from rlhf_assert import __version__
from rlhf_assert.errors import suggest

COMMANDS = {
    "check": "Judge training logs and run directories.",
    "checkpoint": "Score a checkpoint from 0 to 1.",
    "checks": "List the checks: what each asks, needs and owns.",
    "rewards": "Say how far recorded rewards can be trusted.",
    "demo": "Show what a sick training looks like.",
    "report": "Write a run directory as one HTML page.",
    "scenarios": "List what can be trained here.",
    "validate": "Say how good the detectors are, by faults in real trainings.",
}


class Commands(click.Group):
    """Imports a command's module only when the command is called: numpy alone takes longer than `--version`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the commands in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; an unknown name is a usage error with the nearest one."""
        if cmd_name not in COMMANDS:
            known = ", ".join(COMMANDS)
            raise click.UsageError(f"unknown command {cmd_name}{suggest(cmd_name, COMMANDS)}; known: {known}", ctx)
        command: click.Command = getattr(importlib.import_module(f"{__name__}.{cmd_name}_command"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="rlhf-assert")
def main() -> None:
    """Judge what RLHF trainings left behind. To train and judge: pytest --rlhf-scenario.

    Exit codes: 0 clean; 1 findings; 2 usage, unreadable input, or nothing that could be judged.
    """
