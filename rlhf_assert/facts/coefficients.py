"""The coefficients of the objective: as configured, and as the recorded numbers imply them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rlhf_assert.facts.fact import fact
from rlhf_assert.recording.events import Objective, ReferenceLogprob
from rlhf_assert.recording.run import Run

TOLERANCE = 0.05
"""Relative: what an implied coefficient may differ from the configured one by."""

AGREEMENT = 0.001
"""Relative: two implied coefficients in succession that agree so well are no chance, and show that the identity holds
for this trainer."""


EXACT = 0.01
"""Relative to the largest value: what a line through 0 may leave where it fits exactly."""


SMALLEST = 1e-3
"""Below this a term is too small to divide by: rounding would decide."""


SMALLEST_OF_SUMS = 0.02
"""The same for the difference of two sums over an answer's tokens, of some hundred nats each in 32 bits."""


@dataclass(frozen=True, slots=True)
class Coefficient:
    """One coefficient: as configured, and as the recorded numbers imply it, (step, value) in order."""

    name: str
    configured: float
    implied: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class ChangedCoefficient:
    """A coefficient that is not the configured one.

    Attributes:
        name: of the coefficient, as the trainer's configuration names it.
        configured: its value there.
        used: its value from `step` on.
        step: the first step with it.
    """

    name: str
    configured: float
    used: float
    step: int


@fact
def coefficients(run: Run) -> tuple[Coefficient, ...]:
    """Return the coefficients that the recorded numbers imply, by the identities of `checks.objective`."""
    return tuple(coefficient for coefficient in _coefficients(run) if coefficient.implied)


@fact
def changed_coefficients(run: Run) -> tuple[ChangedCoefficient, ...]:
    """Return the coefficients of which two implied values in succession agree, and are not the configured one."""
    return tuple(changed for coefficient in coefficients(run) if (changed := _changed(coefficient)) is not None)


def _changed(coefficient: Coefficient) -> ChangedCoefficient | None:
    configured = coefficient.configured
    for (step, value), (_, later) in pairwise(coefficient.implied):
        # Of a coefficient that is 0, rounding implies numbers that agree in nothing but that they are nearly 0.
        agree = abs(value - later) <= AGREEMENT * max(abs(value), abs(later), abs(configured))
        if agree and abs(value - configured) > TOLERANCE * abs(configured):
            used = value if abs(value) > AGREEMENT * abs(configured) else 0.0
            return ChangedCoefficient(coefficient.name, configured, used, step)
    return None


def _coefficients(run: Run) -> Iterator[Coefficient]:
    algorithm = run.algorithm
    penalty = "kl_coef" if algorithm == "ppo" else "beta"
    configured = run.config.get(penalty)
    if isinstance(configured, float | int) and configured != 0.0:
        implied = _IMPLIED.get(algorithm)
        if implied is not None:
            yield Coefficient(penalty, float(configured), tuple(implied(run)))
    weight = run.config.get("vf_coef")
    if algorithm == "ppo" and isinstance(weight, float | int) and run.config.get("num_mini_batches") == 1:
        yield Coefficient("vf_coef", float(weight), tuple(_value_weight(run)))


def _logged(run: Run) -> Iterator[tuple[int, float]]:
    """Imply the coefficient from the KL and its penalty, which are logged side by side."""
    penalty, kl = run.original.get("objective/non_score_reward"), run.original.get("objective/kl")
    if penalty is None or kl is None or len(penalty) != len(kl):
        return
    for step, paid, distance in zip(kl.steps.tolist(), penalty.values.tolist(), kl.values.tolist(), strict=True):
        if math.isfinite(paid) and abs(distance) > SMALLEST:
            yield step, -paid / distance


def _value_weight(run: Run) -> Iterator[tuple[int, float]]:
    policy, value = run.series.get("policy_loss"), run.series.get("value_loss")
    if policy is None or value is None:
        return
    whole = {event.step: event.loss for event in run.events_of(Objective)}
    parts = dict(zip(policy.steps.tolist(), policy.values.tolist(), strict=True))
    for step, loss in zip(value.steps.tolist(), value.values.tolist(), strict=True):
        total = whole.get(step)
        if total is not None and math.isfinite(total) and loss > SMALLEST and math.isfinite(parts[step]):
            yield step, (total - parts[step]) / loss


def _grpo(run: Run) -> Iterator[tuple[int, float]]:
    once = all(run.config.get(name) in {1, None} for name in _ON_POLICY)
    plain = all(run.config.get(name) in known for name, known in _PLAIN.items())
    loss, kl = run.series.get("loss"), run.series.get("kl_div")
    if not once or not plain or loss is None or kl is None or not _complete(run):
        return
    samples = run.samples
    distance = dict(zip(kl.steps.tolist(), kl.values.tolist(), strict=True))
    for step, total in zip(loss.steps.tolist(), loss.values.tolist(), strict=True):
        of_step = samples.step == step
        tokens = float(samples.length[of_step].sum())
        far = distance.get(step, 0.0)
        if tokens > 0.0 and far > SMALLEST and math.isfinite(total):
            policy = -float((samples.advantage[of_step] * samples.length[of_step]).sum()) / tokens
            if math.isfinite(policy):
                yield step, (total - policy) / far


_ON_POLICY = ("num_iterations", "steps_per_generation", "gradient_accumulation_steps", "logging_steps")


_PLAIN: dict[str, tuple[object, ...]] = {
    "loss_type": ("dapo", "bnpo"),
    "use_vllm": (False, None),
    "mask_truncated_completions": (False, None),
    "top_entropy_quantile": (1.0, None),
}
"""The settings of GRPO with which its loss is the sum that `judge_objective` names; a logged mean of several steps is
not."""


def _rloo(run: Run) -> Iterator[tuple[int, float]]:
    if run.config.get("normalize_advantages") or run.config.get("reward_clip_range") or not _complete(run):
        return
    samples = run.samples
    distance = (samples.logprob - samples.ref_logprob) * samples.length
    for step in dict.fromkeys(samples.step.tolist()):
        gains: list[float] = []
        distances: list[float] = []
        for prompt in dict.fromkeys(samples.prompt[samples.step == step].tolist()):
            group = (samples.step == step) & (samples.prompt == prompt)
            others = int(group.sum()) - 1
            if others < 1:
                continue
            with np.errstate(invalid="ignore"):  # an infinite reward has no lead
                lead = samples.reward[group] - samples.reward[group].mean()
            gains += (samples.advantage[group] * others / (others + 1) - lead).tolist()
            distances += (distance[group] - distance[group].mean()).tolist()
        implied = _slope(distances, gains)
        if implied is not None:
            yield step, -implied


def _preference(run: Run) -> Iterator[tuple[int, float]]:
    once = all(run.config.get(name) in {1, None} for name in ("gradient_accumulation_steps", "logging_steps"))
    rewards, policy = run.original.get("rewards/chosen"), run.original.get("logps/chosen")
    plain = run.config.get("loss_type") in _PREFERENCE_LOSSES
    if not once or not plain or rewards is None or policy is None or len(rewards) != len(policy):
        return
    reference = {event.step: event.chosen for event in run.events_of(ReferenceLogprob)}
    for step, reward, logprob in zip(
        rewards.steps.tolist(), rewards.values.tolist(), policy.values.tolist(), strict=True
    ):
        distance = logprob - (reference.get(step) or math.nan)
        if math.isfinite(reward) and abs(distance) > SMALLEST_OF_SUMS:
            yield step, reward / distance


def _shared_baseline(run: Run) -> Iterator[tuple[int, float]]:
    returns, samples = run.original.get("return"), run.samples
    plain = all(run.config.get(name) in known for name, known in _PENALISED_REWARD.items())
    per_step = int(run.config.get("rollout.batch_size") or 0) * int(run.config.get("rollout.n_samples_per_prompt") or 0)
    if returns is None or not plain:
        return
    distance = (samples.logprob - samples.ref_logprob) * samples.length
    for step, value in zip(returns.steps.tolist(), returns.values.tolist(), strict=True):
        of_step = distance[samples.step == step]
        far = float(of_step.mean()) if len(of_step) == per_step else math.nan
        if math.isfinite(value) and abs(far) > SMALLEST_OF_SUMS:
            yield step, -value / far


_PENALISED_REWARD: dict[str, tuple[object, ...]] = {
    "algo.kl.estimator": ("k1",),
    "algo.kl.use_loss": (False,),
    "algo.kl.target": (None,),
}


_PREFERENCE_LOSSES: tuple[object, ...] = ("sigmoid", ["sigmoid"], "kto")


_IMPLIED: dict[str, Callable[[Run], Iterator[tuple[int, float]]]] = {
    "ppo": _logged,
    "online-dpo": _logged,
    "grpo": _grpo,
    "rloo": _rloo,
    "dpo": _preference,
    "kto": _preference,
    "reinforce_baseline": _shared_baseline,
}


def _slope(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Return the slope of a line through 0 that fits exactly, None if none does."""
    one, other = np.asarray(x), np.asarray(y)
    square = float(one @ one)
    if not math.isfinite(square) or square <= SMALLEST or not np.isfinite(other).all():
        return None
    slope = float(one @ other) / square
    left = float(np.abs(other - slope * one).max())
    return slope if left <= EXACT * float(np.abs(other).max(initial=0.0)) else None


def _complete(run: Run) -> bool:
    """Whether every sample of every step was recorded, with the advantage that it had."""
    batch = run.config.get("per_device_train_batch_size")
    if not len(run.samples) or not isinstance(batch, int) or np.isnan(run.samples.advantage).any():
        return False
    return bool((np.unique(run.samples.step, return_counts=True)[1] == batch).all())
