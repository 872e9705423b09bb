"""Reading what a user named on the command line, and saying precisely why it cannot be read."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from rlhf_assert.detect.settings import settings_of
from rlhf_assert.errors import UnreadableRun
from rlhf_assert.recording.run import Run, read_run

PARTS = ("run.json", "metrics.jsonl", "samples.jsonl", "events.jsonl", "resources.jsonl")


def read(path: str) -> Run:
    """Read a run directory.

    Raises:
        UnreadableRun: whatever it is instead; the message does not repeat the path.
    """
    given = Path(path)
    require(given)
    if not given.is_dir():
        if given.name in PARTS and (given.parent / "run.json").is_file():
            raise UnreadableRun(f"a file of a run directory: name the directory, {given.parent}")
        raise UnreadableRun("no run directory; rlhf-assert check judges logs that other programs wrote")
    try:
        run = read_run(given)
        # What is damaged shows here, and not in a report.
        _ = run.seconds, run.steps, run.samples, run.resources, settings_of(run.info)
    except UnreadableRun as error:
        raise UnreadableRun(reason(error, path)) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise damaged(error) from error
    return run


def damaged(error: Exception) -> UnreadableRun:
    """Return the error for a file that breaks its own format, or cannot be opened."""
    if isinstance(error, OSError) and error.filename is not None:
        return UnreadableRun(f"{Path(os.fsdecode(error.filename)).name}: {error.strerror}")
    return UnreadableRun(f"damaged: {type(error).__name__}: {error}")


def require(path: Path) -> None:
    """Raise UnreadableRun, with the nearest names, if there is nothing at `path`."""
    if path.exists():
        return
    if path.is_symlink():
        raise UnreadableRun(f"a link to {path.readlink()}, which leads nowhere")
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        raise UnreadableRun(f"no such file, nor its folder {path.parent}") from None
    near = difflib.get_close_matches(path.name, names, n=2)
    raise UnreadableRun("no such file or folder" + (f"; near: {', '.join(near)}" if near else ""))


def reason(error: Exception, path: str) -> str:
    """Return an error's message without the path that stands beside it."""
    return str(error).removeprefix(f"{Path(path)}").lstrip("/").removeprefix(": ")
