"""The optimizer: it does not move the weights, or moves them too far."""

from __future__ import annotations

from rlhf_assert.causes.hypothesis import RuledOut, about, about_training, at_first_step, onset
from rlhf_assert.checked import Cause, Check, Concern
from rlhf_assert.facts.saved_weights import typical_weight, weights_moved
from rlhf_assert.numbers import number, setting, share
from rlhf_assert.recording.events import Update
from rlhf_assert.recording.run import Run

DESTRUCTIVE_UPDATE = 0.1
"""Relative size of one update from which it destroys what the weights held. Adam moves each weight by about
learning_rate a step whatever the gradient (Kingma and Ba 2015, section 2.1), so learning_rate / rms(weights) is scale
free; sound trainings stay at 0.1 to 2 %."""

SOUND_UPDATE = 0.02
RATE_TOLERANCE = 0.01
"""Relative; what rounding may make of a learning rate."""


def learning_rate(run: Run) -> float | None:
    """Return the highest learning rate of the run; None if it is unknown."""
    named = run.config.get("learning_rate")
    if isinstance(named, int | float) and not isinstance(named, bool):
        return float(named)
    series = run.series.get("learning_rate")
    return float(series.finite.values.max()) if series is not None and len(series.finite) else None


def relative_update(run: Run) -> float | None:
    """Return the size of one Adam update relative to the weights; None if it is unknown or the optimizer is another."""
    rate, scale = learning_rate(run), typical_weight(run)
    optimizer = str(run.config.get("optim") or "adamw").lower()
    if rate is None or scale is None or "adam" not in optimizer:
        return None
    return rate / scale


def misapplied_rate(run: Run, check: Check) -> Cause | RuledOut | None:
    """The optimizer stepped with another learning rate than the schedule says, at or before what the check found."""
    if not about_training(check) or at_first_step(check):
        return None
    begun = onset(check)
    for update in run.events_of(Update):
        applied, scheduled, step = update.learning_rate, update.scheduled, update.step
        if applied is None or scheduled is None:
            continue
        if begun is not None and step > begun:
            break
        if abs(applied - scheduled) > RATE_TOLERANCE * max(abs(applied), abs(scheduled)):
            whose = "the critic's optimizer" if update.model == "critic" else "the optimizer"
            return Cause(
                f"{whose} stepped with learning rate {setting(applied)} at step {step}, the schedule says "
                f"{setting(scheduled)}",
                "certain",
                remedy=("look for what sets the learning rate of the optimizer's groups beside the scheduler",),
            )
    return None


def zero_learning_rate(run: Run, check: Check) -> Cause | RuledOut | None:
    """The learning rate is 0 at every step."""
    if not about_training(check) or at_first_step(check):
        return None
    series = run.series.get("learning_rate")
    logged = series is not None and len(series.finite) > 0
    zero = bool((series.finite.values == 0.0).all()) if series is not None and logged else learning_rate(run) == 0.0
    if zero:
        scale = typical_weight(run)
        rate = "1e-3 for a tiny model, 1e-6 for a large one" if scale is None else sound_rate(scale)
        return Cause("learning_rate is 0: no weight can move", "certain", remedy=(f"learning_rate = {rate}",))
    if logged and about(check, Concern.STANDSTILL):
        assert series is not None
        return RuledOut("learning rate of 0", f"learning_rate is {setting(float(series.finite.values.max()))}")
    return None


def frozen_weights(run: Run, check: Check) -> Cause | RuledOut | None:
    """The learning rate is not 0, gradients flow, and still no weight moved."""
    if not about(check, Concern.WEIGHTS) or at_first_step(check):
        return None
    moved = weights_moved(run)
    if moved is None:
        return None
    if moved:
        told = about(check, Concern.STANDSTILL)
        return RuledOut("frozen weights", "the weights differ between the first and the last save") if told else None
    gradient = run.series.get("grad_norm")
    if gradient is not None and len(gradient.finite) and gradient.finite.values.max() == 0.0:
        return None  # nothing to apply: another hypothesis says why
    return Cause(
        "the optimizer does not reach the weights: not a single one moved",
        remedy=(
            "requires_grad of the parameters, and that the optimizer holds them",
            "a gradient scaler that skips every step, or an optimizer.step() that is never called",
        ),
    )


def destructive_learning_rate(run: Run, check: Check) -> Cause | RuledOut | None:
    """One update changes the weights by a large part of themselves."""
    if not about_training(check) or at_first_step(check):
        return None
    rate = learning_rate(run)
    relative = relative_update(run)
    if not rate:
        return None
    if relative is None:
        # No matrix of a transformer has a root mean square above 1, so such a rate destroys it at any scale.
        if rate < DESTRUCTIVE_UPDATE:
            return None
        return Cause(
            f"learning_rate = {setting(rate)} moves a weight by about {setting(rate)} a step, more than most are",
            remedy=(f"learning_rate {setting(rate)} → {setting(_one_digit(rate / 1000))}",),
        )
    scale = rate / relative
    if relative < DESTRUCTIVE_UPDATE:
        if not about(check, Concern.UPDATES):
            return None
        return RuledOut("learning rate too high", f"{setting(rate)} is {share(relative)} of the weights a step")
    return Cause(
        f"learning_rate = {setting(rate)}, {_multiple(relative)} a typical weight ({number(scale)}) in one step",
        remedy=(
            f"learning_rate {setting(rate)} → {sound_rate(scale)}, {share(SOUND_UPDATE)} of a weight a step, or less",
        ),
    )


def sound_rate(scale: float) -> str:
    """Return a learning rate that moves weights of this scale by `SOUND_UPDATE` a step, to one digit."""
    return setting(_one_digit(SOUND_UPDATE * scale))


def _one_digit(value: float) -> float:
    return float(f"{value:.0e}")


def _multiple(relative: float) -> str:
    return f"{number(relative)} times" if relative >= 1.0 else f"{share(relative)} of"
