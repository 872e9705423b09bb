"""The training raised: its own traceback names the cause."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rlhf_assert.causes.hypothesis import Finding, Likely
from rlhf_assert.check import Check
from rlhf_assert.recording.run import Run

_FRAME = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)', re.MULTILINE)
_LIBRARY = Path(__file__).resolve().parents[1]
_NOT_A_NUMBER = re.compile(r"\b(nan|inf)\b|non-finite|not finite", re.IGNORECASE)
_OUT_OF_MEMORY = re.compile(r"out of memory|cannot allocate memory", re.IGNORECASE)


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


def raised(run: Run, check: Check) -> Finding | None:
    """The training's code raised; the deepest frame that is the user's own says where."""
    error = run.error
    silenced = check.name == "completeness" and not run.rows
    if error is None or run.status != "crashed" or not (check.name == "completion" or silenced):
        return None
    message = first_line(error)
    if _OUT_OF_MEMORY.search(message):
        return Likely("the machine ran out of memory", ("a smaller batch, or shorter completions",), certain=True)
    trace = frames(error)
    own = [frame for frame in trace if is_own(frame.file)]
    if not own:
        return None
    name = reward_function(run, trace)
    if name is not None:
        place = next((frame for frame in reversed(own) if frame.function == name), own[-1])
        return Likely(
            f"reward function {name} raised {error.get('type')}: {message}",
            (f"mend {name} at {own[-1].where}", f"call {name} on a few completions, without a trainer")
            if place is own[-1]
            else (f"mend {own[-1].function} at {own[-1].where}, called by {name} at {place.where}",),
            certain=True,
        )
    if own[-1] is not trace[-1] and _NOT_A_NUMBER.search(message):
        return None  # the library's sampler met a NaN: what made it is another hypothesis
    deepest = own[-1]
    return Likely(
        f"{deepest.function} raised {error.get('type')}: {message}"
        if deepest is trace[-1]
        else f"{error.get('type')} in what {deepest.function} called: {message}",
        (f"look at {deepest.where}",),
        certain=True,
    )


def died(run: Run, check: Check) -> Finding | None:
    """One of several processes died, and took the training with it."""
    error = run.error
    if error is None or error.get("type") != "WorkerDied" or check.name != "completion":
        return None
    who = first_line(error).partition(" died")[0]
    return Likely(
        f"{who} died, and the training with it",
        (
            "look for what killed it: dmesg for the kernel's out-of-memory killer, or whoever sends signals here",
            "output.log holds what it printed last",
        ),
        certain=True,
    )


def went_nonfinite(run: Run, check: Check) -> Finding | None:
    """The sampler or the optimizer met NaN in the model: the last resort for a crash that no other cause explains."""
    if run.error is None or check.name != "completion" or not _NOT_A_NUMBER.search(first_line(run.error)):
        return None
    return Likely(
        f"the model's numbers went non-finite by step {run.steps + 1}",
        (
            "float32 in place of half precision",
            "torch.autograd.set_detect_anomaly(True) names the operation that made the first NaN",
        ),
    )


def first_line(error: Mapping[str, str]) -> str:
    """Return the first line of an error's message."""
    return (str(error.get("message") or "").splitlines() or [""])[0]


def frames(error: Mapping[str, str]) -> list[Frame]:
    """Return the frames of the last exception in an error's traceback, outermost first."""
    text = str(error.get("traceback") or "").rpartition("Traceback (most recent call last)")[2]
    return [Frame(found["file"], int(found["line"]), found["function"]) for found in _FRAME.finditer(text)]


def is_own(file: str) -> bool:
    """Whether a file is the user's: neither installed, nor Python's, nor ours."""
    if file.startswith("<") or "site-packages" in file or "dist-packages" in file:
        return False
    path = Path(file)
    library = Path(sysconfig.get_paths()["stdlib"]), _LIBRARY
    ours = {"rlhf_assert_trl", "rlhf_assert_openrlhf", "pytest_rlhf_assert"}
    return not any(path.is_relative_to(folder) for folder in library) and not ours & set(path.parts)


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
