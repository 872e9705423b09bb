"""An exception that ended a training, as `run.json` keeps it: what was raised, and where in the user's own code."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

_OURS = frozenset({"rlhf_assert_trl", "rlhf_assert_tiny", "rlhf_assert_openrlhf", "pytest_rlhf_assert"})
_FOLDERS = Path(sysconfig.get_paths()["stdlib"]), Path(__file__).resolve().parents[1]
"""Folders whose files are not the user's: Python's, and this library's."""


def describe_crash(error: BaseException) -> dict[str, str]:
    """Return `type`, `message` and `traceback` of an exception, and `frame` if it passed through the user's code.

    `frame` is the deepest frame of the user's own code: `FILE:LINE in FUNCTION`.
    """
    crash = {
        "type": type(error).__name__,
        "message": _message(error),
        "traceback": "".join(traceback.format_exception(error)),
    }
    frame = own_frame(error)
    return crash if frame is None else {**crash, "frame": frame}


def own_frame(error: BaseException) -> str | None:
    """Return the deepest frame of the user's own code that an exception passed through, None if there is none."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if is_own(frame.filename)]
    return f"{own[-1].filename}:{own[-1].lineno} in {own[-1].name}" if own else None


def is_own(file: str) -> bool:
    """Whether a file is the user's: not installed, not compiled, not Python's, and not this library's."""
    if file.startswith("<") or file.endswith(".pyx") or "site-packages" in file or "dist-packages" in file:
        return False
    path = Path(file)
    return not any(path.is_relative_to(folder) for folder in _FOLDERS) and not _OURS & set(path.parts)


def name_error(error: BaseException) -> str:
    """Return the type and the message of an exception in one text."""
    return f"{type(error).__name__}: {_message(error)}"


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - the exception is the user's, and so is its __str__
        return f"(its text cannot be had: {type(broken).__name__})"
