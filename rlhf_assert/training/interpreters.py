"""Finds another interpreter: frameworks that cannot share an environment have one of their own."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

OPENRLHF_PYTHON = "RLHF_OPENRLHF_PYTHON"
"""Environment variable with the path of the second environment's interpreter; an ini value of pytest sets it."""
OPENRLHF_FOLDER = ".venv-openrlhf"
"""The second environment's folder, in the working folder or above it."""


def interpreter_with(package: str) -> Path | None:
    """Return the interpreter in which to look for a package, or None if there is none.

    It is the one that the environment variable names, else this one if it has the package, else that of the folder.
    The package may still be missing there.
    """
    if given := os.environ.get(OPENRLHF_PYTHON):
        return Path(given).expanduser()
    if importlib.util.find_spec(package) is not None:
        return Path(sys.executable)
    here = Path.cwd()
    candidates = (folder / OPENRLHF_FOLDER / "bin" / "python" for folder in (here, *here.parents))
    return next((python for python in candidates if python.is_file()), None)
