"""The reward: not a number, or the same for everything."""

from __future__ import annotations

import numpy as np

from rlhf_assert.causes.hypothesis import RuledOut, about, about_training, at_first_step, onset
from rlhf_assert.checked import Cause, Check, Concern
from rlhf_assert.facts.reward_normalization import unlike_saved
from rlhf_assert.numbers import number
from rlhf_assert.recording.run import Run
from rlhf_assert.recording.series import FloatArray

MIN_SAMPLES = 16
MIN_ROWS = 5


def nonfinite_reward(run: Run, check: Check) -> Cause | RuledOut | None:
    """A reward that is NaN, infinite or None poisons whatever is computed from it, from its step on."""
    if not about_training(check) or at_first_step(check):
        return None
    first = _first_nonfinite(run)
    if first is None:
        recorded = "reward" in run.series or len(run.samples) > 0
        told = recorded and about(check, Concern.SIGNAL)
        return RuledOut("NaN reward", "every recorded reward is finite") if told else None
    step, what = first
    begun = onset(check)
    if begun is not None and begun < step:
        return None
    text = f"step {step} of samples.jsonl shows the completions" if len(run.samples) else f"print it at step {step}"
    return Cause(
        f"{what}, first at step {step}",
        "certain",
        remedy=(f"find the completion that is scored so: {text}", "return a finite number for every completion"),
    )


def wrong_normalization(run: Run, check: Check) -> Cause | RuledOut | None:
    """A reward model that normalizes by other numbers than its configuration says; every reward is of another scale."""
    moments = unlike_saved(run) if about(check, Concern.REWARDS) else None
    if moments is None:
        return None
    lost = "transformers 5 leaves buffers that are not saved as they come out of memory"
    return Cause(
        f"the reward model normalizes by {moments[0]}, its configuration says {moments[1]}",
        "certain",
        remedy=(
            f"restore `mean` and `std` once the model is loaded: {lost}",
            "or train without reward.normalize_enable",
        ),
    )


def constant_reward(run: Run, check: Check) -> Cause | RuledOut | None:
    """A reward that is the same for every completion leaves nothing to learn from: no advantage, no gradient."""
    if not about_training(check) or at_first_step(check):
        return None
    samples = run.samples.reward[np.isfinite(run.samples.reward)]
    if len(samples) >= MIN_SAMPLES:
        if not _constant(samples):
            if not about(check, Concern.SIGNAL):
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


def _constantly(clause: str) -> Cause:
    return Cause(
        f"constant reward: {clause}",
        "certain",
        remedy=(
            "let the reward tell a better completion from a worse one",
            "score two completions by hand and compare",
        ),
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
