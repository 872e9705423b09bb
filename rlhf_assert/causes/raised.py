"""The training raised: its own traceback names the cause."""

from __future__ import annotations

import re

from rlhf_assert.causes.hypothesis import RuledOut, about, about_the_end
from rlhf_assert.checked import Cause, Check, Concern
from rlhf_assert.facts.crash_trace import first_line, frames, reward_function
from rlhf_assert.recording.crash import is_own
from rlhf_assert.recording.run import Run

_NOT_A_NUMBER = re.compile(r"\b(nan|inf)\b|non-finite|not finite", re.IGNORECASE)
_OUT_OF_MEMORY = re.compile(r"out of memory|cannot allocate memory", re.IGNORECASE)


def raised(run: Run, check: Check) -> Cause | RuledOut | None:
    """The training's code raised; the deepest frame that is the user's own says where."""
    error = run.error
    if error is None or run.status != "crashed" or not about_the_end(run, check):
        return None
    message = first_line(error)
    if _OUT_OF_MEMORY.search(message):
        return Cause("the machine ran out of memory", "certain", remedy=("a smaller batch, or shorter completions",))
    trace = frames(error)
    own = [frame for frame in trace if is_own(frame.file)]
    if not own:
        return None
    name = reward_function(run, trace)
    if name is not None:
        place = next((frame for frame in reversed(own) if frame.function == name), own[-1])
        return Cause(
            f"reward function {name} raised {error.get('type')}: {message}",
            "certain",
            remedy=(f"mend {name} at {own[-1].where}", f"call {name} on a few completions, without a trainer")
            if place is own[-1]
            else (f"mend {own[-1].function} at {own[-1].where}, called by {name} at {place.where}",),
        )
    if own[-1] is not trace[-1] and _NOT_A_NUMBER.search(message):
        return None  # the library's sampler met a NaN: what made it is another hypothesis
    deepest = own[-1]
    return Cause(
        f"{deepest.function} raised {error.get('type')}: {message}"
        if deepest is trace[-1]
        else f"{error.get('type')} in what {deepest.function} called: {message}",
        "certain",
        remedy=(f"look at {deepest.where}",),
    )


def died(run: Run, check: Check) -> Cause | RuledOut | None:
    """One of several processes died, and took the training with it."""
    error = run.error
    if error is None or error.get("type") != "WorkerDied" or not about(check, Concern.ENDING):
        return None
    who = first_line(error).partition(" died")[0]
    return Cause(
        f"{who} died, and the training with it",
        "certain",
        remedy=(
            "look for what killed it: dmesg for the kernel's out-of-memory killer, or whoever sends signals here",
            "output.log holds what it printed last",
        ),
    )


def went_nonfinite(run: Run, check: Check) -> Cause | RuledOut | None:
    """The sampler or the optimizer met NaN in the model: the last resort for a crash that no other cause explains."""
    if run.error is None or not about(check, Concern.ENDING) or not _NOT_A_NUMBER.search(first_line(run.error)):
        return None
    return Cause(
        f"the model's numbers went non-finite by step {run.steps + 1}",
        remedy=(
            "float32 in place of half precision",
            "torch.autograd.set_detect_anomaly(True) names the operation that made the first NaN",
        ),
    )
