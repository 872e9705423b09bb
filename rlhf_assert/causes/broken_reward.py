"""The reward: not a number, or the same for everything."""

from __future__ import annotations

import numpy as np

from rlhf_assert.causes.hypothesis import Finding, Likely, RuledOut, at_first_step, onset
from rlhf_assert.check import Check
from rlhf_assert.numbers import number
from rlhf_assert.recording.run import Run
from rlhf_assert.recording.series import FloatArray

MIN_SAMPLES = 16
MIN_ROWS = 5
_TOLD = frozenset({"gradients", "learning", "loss", "policy_loss"})
"""Checks in whose diagnosis a sound reward is news."""

_REWARDED = frozenset({"gradients", "kl", "learning", "loss", "metrics", "policy_loss", "rewards", "value_loss"})
"""Checks of what is computed from rewards."""

HALF_PRECISION = 0.01
"""Share of a number by which it may differ once it was kept in half precision; bfloat16 rounds by .004 at most."""

_UNTOUCHED = frozenset({"resources", "completeness"})


def nonfinite_reward(run: Run, check: Check) -> Finding | None:
    """A reward that is NaN, infinite or None poisons whatever is computed from it, from its step on."""
    if check.name in _UNTOUCHED or at_first_step(check):
        return None
    first = _first_nonfinite(run)
    if first is None:
        recorded = "reward" in run.series or len(run.samples) > 0
        return RuledOut("NaN reward", "every recorded reward is finite") if recorded and check.name in _TOLD else None
    step, what = first
    begun = onset(check)
    if begun is not None and begun < step:
        return None
    text = f"step {step} of samples.jsonl shows the completions" if len(run.samples) else f"print it at step {step}"
    return Likely(
        f"{what}, first at step {step}",
        (f"find the completion that is scored so: {text}", "return a finite number for every completion"),
        certain=True,
    )


def wrong_normalization(run: Run, check: Check) -> Finding | None:
    """A reward model that normalizes by other numbers than its configuration says; every reward is of another scale."""
    found = unlike_saved(run) if check.name in _REWARDED else None
    if found is None:
        return None
    lost = "transformers 5 leaves buffers that are not saved as they come out of memory"
    return Likely(
        f"the reward model normalizes by {found[0]}, its configuration says {found[1]}",
        (f"restore `mean` and `std` once the model is loaded: {lost}", "or train without reward.normalize_enable"),
        certain=True,
    )


def unlike_saved(run: Run) -> tuple[str, str] | None:
    """Return by what a reward model normalizes and by what it was saved to, where these differ; two clauses.

    Reads the event `reward_normalization`; differences by the rounding of half precision are none.
    """
    for event in run.events:
        if event.get("event") == "reward_normalization":
            used, saved = ((float(event[f"{of}mean"]), float(event[f"{of}std"])) for of in ("", "saved_"))
            tolerance = HALF_PRECISION * max(map(abs, saved))
            if not all(abs(one - other) <= tolerance for one, other in zip(used, saved, strict=True)):
                return _moments(used), _moments(saved)
    return None


def _moments(moments: tuple[float, float]) -> str:
    return f"mean {moments[0]:.3g} and deviation {moments[1]:.3g}"


def constant_reward(run: Run, check: Check) -> Finding | None:
    """A reward that is the same for every completion leaves nothing to learn from: no advantage, no gradient."""
    if check.name in _UNTOUCHED or at_first_step(check):
        return None
    samples = run.samples.reward[np.isfinite(run.samples.reward)]
    if len(samples) >= MIN_SAMPLES:
        if not _constant(samples):
            if check.name not in _TOLD:
                return None
            values = len(np.unique(samples))
            return RuledOut("constant reward", f"{values} different rewards over {len(samples)} completions")
        value = float(samples[0])
        functions = [name for name, column in run.samples.rewards.items() if _constant(column)]
        by = f"reward function {functions[0]} returns" if len(functions) == 1 else "every reward function returns"
        return _constantly(f"{by if functions else 'the reward is'} {number(value)} for every completion")
    series = run.series.get("reward")
    spread = run.series.get("reward_std")
    if series is None or len(series.finite) < MIN_ROWS or not _constant(series.values):
        return None
    if spread is not None and np.nanmax(spread.values, initial=0.0) > 1e-6:
        return None
    return _constantly(f"the reward is {number(series.first)} at every step")


def _constantly(clause: str) -> Likely:
    return Likely(
        f"constant reward: {clause}",
        ("let the reward tell a better completion from a worse one", "score two completions by hand and compare"),
        certain=True,
    )


def _first_nonfinite(run: Run) -> tuple[int, str] | None:
    """Return the first step with a reward that is no number, and a clause about it."""
    samples = run.samples
    for name, column in samples.rewards.items():
        # A function that scores only some completions returns None for the others: the total tells whether it hurt.
        bad = ~np.isfinite(column) & ~np.isfinite(samples.reward)
        if bad.any():
            return int(samples.step[bad].min()), _clause(f"reward function {name} returned", column, bad)
    bad = ~np.isfinite(samples.reward)
    if bad.any():
        return int(samples.step[bad].min()), _clause("the reward was", samples.reward, bad)
    series = run.series.get("reward")
    if series is None or np.isfinite(series.values).all():
        return None
    step = int(series.steps[~np.isfinite(series.values)][0])
    return step, f"the reward was not finite at {int((~np.isfinite(series.values)).sum())} of {len(series)} steps"


def _clause(beginning: str, column: FloatArray, bad: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> str:
    what = "an infinity" if np.isinf(column[bad]).any() else "NaN or None"
    return f"{beginning} {what} for {int(bad.sum())} of {len(column)} completions"


def _constant(values: FloatArray) -> bool:
    finite = values[np.isfinite(values)]
    if len(finite) < len(values) or not len(finite):
        return False
    return bool(np.ptp(finite) <= 1e-6 * max(1.0, float(np.abs(finite).max())))
