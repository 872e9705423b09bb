"""The pace: steps that take many times as long from some step on."""

from __future__ import annotations

from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.numbers import number
from rlhf_assert.recording.events import StepBegin, StepEnd
from rlhf_assert.recording.run import Run

FACTOR = 3.0
LONGER = 0.5
STEPS = 3
SETTLED = 5


def find_slowdown(run: Run) -> Anomaly | None:
    """Return the first of `STEPS` steps in succession that each took `FACTOR` times the longest step before, or None.

    Each must also take `LONGER` seconds more, and `SETTLED` steps must have gone before; the first step, which compiles
    and allocates, is left out. Measured from the beginning of a step to its end where both were recorded, else from end
    to end. A machine that is busy for a moment slows a step, not each of several beyond all that there were.
    """
    durations = _durations(run)[1:]
    streak = 0
    longest = 0.0
    for index, (_, seconds) in enumerate(durations):
        if index >= SETTLED and seconds > max(FACTOR * longest, longest + LONGER):
            streak += 1
            if streak == STEPS:
                onset = durations[index - STEPS + 1][0]
                return Anomaly(
                    kind="slow-steps",
                    metric="step_time",
                    severity=Severity.critical,
                    onset=onset,
                    summary=f"rose at step {onset}: {number(seconds)} s, at most {number(longest)} s before",
                    evidence={"seconds": seconds, "longest before": longest},
                    causes=("a reward, a data source or an engine that waits", "memory that is swapped"),
                    remedy="look at what the process waits for: py-spy dump, or the reward's own log",
                )
            continue
        streak = 0
        longest = max(longest, seconds)
    return None


def _durations(run: Run) -> list[tuple[int, float]]:
    """Return (step, seconds) of each step."""
    begins = {event.step + 1: event.time for event in run.events_of(StepBegin) if event.time is not None}
    ends = {event.step: event.time for event in run.events_of(StepEnd) if event.time is not None}
    starts = begins or {step + 1: moment for step, moment in ends.items()}
    return [(step, ends[step] - starts[step]) for step in sorted(ends) if step in starts]
