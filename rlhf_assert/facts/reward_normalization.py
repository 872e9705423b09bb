"""By what a reward model normalizes, and by what it was saved to."""

from __future__ import annotations

from rlhf_assert.facts.fact import fact
from rlhf_assert.recording.events import RewardNormalization
from rlhf_assert.recording.run import Run

HALF_PRECISION = 0.01
"""Share of a number by which it may differ once it was kept in half precision; bfloat16 rounds by .004 at most."""


@fact
def unlike_saved(run: Run) -> tuple[str, str] | None:
    """Return by what a reward model normalizes and by what it was saved to, where these differ; two clauses.

    Reads the event `reward_normalization`; differences by the rounding of half precision are none.
    """
    for event in run.events_of(RewardNormalization):
        used, saved = (event.mean, event.std), (event.saved_mean, event.saved_std)
        tolerance = HALF_PRECISION * max(map(abs, saved))
        if not all(abs(one - other) <= tolerance for one, other in zip(used, saved, strict=True)):
            return _moments(used), _moments(saved)
    return None


def _moments(moments: tuple[float, float]) -> str:
    return f"mean {moments[0]:.3g} and deviation {moments[1]:.3g}"
