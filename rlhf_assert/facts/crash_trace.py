"""What the traceback of a crashed training tells: its frames, and which of them are the user's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rlhf_assert.recording.crash import is_own
from rlhf_assert.recording.run import Run

_FRAME = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a traceback's text."""

    file: str
    line: int
    function: str

    @property
    def where(self) -> str:
        """`file.py:12`."""
        return f"{Path(self.file).name}:{self.line}"


def first_line(error: Mapping[str, str]) -> str:
    """Return the first line of an error's message."""
    return (str(error.get("message") or "").splitlines() or [""])[0]


def frames(error: Mapping[str, str]) -> list[Frame]:
    """Return the frames of the last exception in an error's traceback, outermost first."""
    text = str(error.get("traceback") or "").rpartition("Traceback (most recent call last)")[2]
    return [Frame(matched["file"], int(matched["line"]), matched["function"]) for matched in _FRAME.finditer(text)]


def reward_function(run: Run, trace: list[Frame]) -> str | None:
    """Return the name of the user's reward function that the traceback passed through, if it did.

    It is a function that the run recorded rewards of, or the user's first frame below a trainer's reward computation
    (`_calculate_rewards` of TRL's GRPO and RLOO, `get_reward` of its PPO).
    """
    known = set(run.samples.rewards) | {str(name) for name in run.config.get("reward_functions") or ()}
    scoring = False
    for frame in trace:
        own = is_own(frame.file)
        if own and (frame.function in known or scoring):
            return frame.function
        scoring = scoring or (not own and "reward" in frame.function)
    return None
