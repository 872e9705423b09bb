"""Reading the frames of a running trainer: TRL hands a callback neither the trainer nor PPO's batch."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any


def callers() -> Iterator[FrameType]:
    """Yield the frames that lead here, the nearest first."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way to a frame
    while frame is not None:
        yield frame
        frame = frame.f_back


def read_locals(frame: FrameType, names: Iterable[str]) -> dict[str, Any]:
    """Return those of the named local variables of a function's frame that are set."""
    variables = frame.f_locals
    present = {name: variables[name] for name in names if name in variables}
    if sys.version_info < (3, 13) and frame.f_code.co_flags & inspect.CO_OPTIMIZED:
        # Before PEP 667 the mapping is a copy that the frame keeps, and with it every tensor of the step.
        variables.clear()
    return present


def find_trainer(callback: object) -> Any | None:
    """Return the trainer that calls this callback: the nearest `self` whose handler holds it; None if there is none."""
    for frame in callers():
        if frame.f_code.co_varnames[:1] == ("self",):
            candidate = read_locals(frame, ["self"]).get("self")
            handler = getattr(candidate, "__dict__", {}).get("callback_handler")
            if any(held is callback for held in getattr(handler, "callbacks", ())):
                return candidate
    return None
