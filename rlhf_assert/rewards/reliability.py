"""The reliability of a reward, from what it gave to each sample: every number with its interval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rlhf_assert.numbers import number, share
from rlhf_assert.recording.run import Samples
from rlhf_assert.recording.series import FloatArray, IntArray
from rlhf_assert.rewards.bad_values import NonFinite, find_non_finite
from rlhf_assert.rewards.consistency import Consistency, consistency
from rlhf_assert.rewards.distribution import DistributionDrift, distribution_drift
from rlhf_assert.rewards.estimates import Estimate, not_judged, number_off
from rlhf_assert.rewards.length_bias import LengthBias, length_bias
from rlhf_assert.rewards.saturation import equal_within_groups, saturation
from rlhf_assert.rewards.stability import stability
from rlhf_assert.rewards.variance import within_group_share
from rlhf_assert.rewards.wiring import advantage_correlation

FEWEST_SAMPLES = 32
FEWEST_STEPS = 4
LAST = 1000
"""Samples that "recent" means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardReliability:
    """How far a reward can be relied on. Reliable is not valid: a scorer may agree with itself and be wrong.

    Attributes:
        samples: number of samples.
        finite: number of samples with a finite reward; all that follows is over them.
        steps: number of steps that they come from.
        mean: mean reward.
        std: standard deviation of the reward.
        recent_mean: mean of the last 1,000 samples.
        constant: the reward's one value if it never varies (within 1e-6 * max(1, |reward|)), else None.
        non_finite: rewards that are no numbers, by source.
        stability: see `stability.stability`.
        consistency: see `consistency.Consistency`.
        within_group: see `variance.within_group_share`.
        saturation: share of the groups whose rewards are all equal.
        saturated_throughout: whether that holds for every group.
        length: see `length_bias.LengthBias`.
        drift: see `distribution.DistributionDrift`.
        advantage: r(advantage, reward) inside of the groups.
        shares: reward function -> its share of the total reward's variance, cov(function, total) / var(total).
        function_length: reward function -> r with length.
        missing: why nothing but `non_finite` could be judged, empty if it could.
        recommendations: what to look into, the gravest first.
    """

    samples: int
    finite: int
    steps: int
    mean: float
    std: float
    recent_mean: float
    constant: float | None
    non_finite: tuple[NonFinite, ...]
    stability: Estimate
    consistency: Consistency
    within_group: Estimate
    saturation: Estimate
    saturated_throughout: bool
    length: LengthBias
    drift: DistributionDrift
    advantage: Estimate
    shares: Mapping[str, float]
    function_length: Mapping[str, float]
    missing: str = ""
    recommendations: tuple[str, ...] = ()


@np.errstate(all="ignore")  # rewards beyond 1e150 overflow their squares: what comes of that is not judged
def assess_rewards(samples: Samples, weights: Mapping[str, float] | None = None) -> RewardReliability:
    """Assess a reward from per-sample records.

    Args:
        samples: the per-sample records; samples of one step and prompt are one group.
        weights: reward function -> the weight with which the trainer adds it up, 1 where not given.
    """
    non_finite = find_non_finite(samples, _groups(samples.step, samples.prompt))
    kept = np.isfinite(samples.reward)
    for source in non_finite:
        kept[source.samples] = False
    reward = samples.reward[kept]
    step = number_off(samples.step[kept])
    group = _groups(samples.step[kept], samples.prompt[kept])
    length = samples.length[kept]
    steps = int(step.max(initial=-1)) + 1
    missing = _too_few(len(samples), len(reward), steps)
    equal = equal_within_groups(reward, group)[1]
    spread = float(np.ptp(reward)) if len(reward) else 0.0
    level = float(reward[0]) if len(reward) else float("nan")
    assessed = RewardReliability(
        samples=len(samples),
        finite=len(reward),
        steps=steps,
        mean=float(reward.mean()) if len(reward) else float("nan"),
        std=float(reward.std()) if len(reward) else float("nan"),
        recent_mean=float(reward[-LAST:].mean()) if len(reward) else float("nan"),
        constant=level if len(reward) > 1 and spread <= 1e-6 * max(1.0, abs(level)) else None,
        non_finite=non_finite,
        stability=stability(reward, group, step),
        consistency=consistency(reward, _completions(samples, kept), step),
        within_group=within_group_share(reward, group, step),
        saturation=saturation(reward, group, step),
        saturated_throughout=bool(len(equal) and equal.all()),
        length=length_bias(reward, length, step, samples.truncated[kept]),
        drift=distribution_drift(reward, step),
        advantage=advantage_correlation(reward, samples.advantage[kept], group, step)
        if len(reward)
        else not_judged("no rewards"),
        shares={
            name: _covariance_share(values[kept] * (weights or {}).get(name, 1.0), reward)
            for name, values in samples.rewards.items()
        },
        function_length={name: _correlation(values[kept], length) for name, values in samples.rewards.items()},
        missing=missing,
    )
    return replace(assessed, recommendations=tuple(_recommend(assessed)))


def _too_few(recorded: int, finite: int, steps: int) -> str:
    if not recorded:
        return "no samples were recorded"
    if finite < FEWEST_SAMPLES or steps < FEWEST_STEPS:
        return f"{finite} scored completions in {steps} steps, a judgement takes {FEWEST_SAMPLES} in {FEWEST_STEPS}"
    return ""


def _groups(step: IntArray, prompt: NDArray[np.str_]) -> IntArray:
    """Return the number of each sample's group: its step and prompt. Without prompts each sample is its own group."""
    numbers: dict[tuple[int, str], int] = {}
    pairs = zip(step.tolist(), prompt.tolist(), strict=True)
    named = (
        numbers.setdefault((at, text) if text else (rank, ""), len(numbers)) for rank, (at, text) in enumerate(pairs)
    )
    return np.fromiter(named, dtype=np.int64, count=len(step))


def _completions(samples: Samples, kept: NDArray[np.bool_]) -> IntArray:
    """Return equal numbers for equal completions of equal prompts, -1 where that cannot be told.

    A record holds the start of the completion. Texts as long as the longest one may be cut off there, so two of them
    are not known to be equal.
    """
    longest = max(map(len, samples.text), default=0)
    numbers: dict[tuple[str, str, float], int] = {}
    places = np.full(int(kept.sum()), -1, dtype=np.int64)
    prompts, lengths = samples.prompt.tolist(), samples.length.tolist()
    for place, index in enumerate(np.flatnonzero(kept).tolist()):
        text = samples.text[index]
        if text and len(text) < longest and lengths[index] == lengths[index]:
            places[place] = numbers.setdefault((prompts[index], text, lengths[index]), len(numbers))
    return places


def _covariance_share(part: FloatArray, total: FloatArray) -> float:
    known = np.isfinite(part)
    if known.sum() < 2 or total[known].var() <= 0.0:
        return float("nan")
    return float(np.cov(part[known], total[known], bias=True)[0, 1] / total[known].var())


def _correlation(one: FloatArray, other: FloatArray) -> float:
    known = np.isfinite(one) & np.isfinite(other)
    if known.sum() < 2 or min(np.ptp(one[known]), np.ptp(other[known])) <= 0.0:
        return float("nan")
    return float(np.corrcoef(one[known], other[known])[0, 1])


def _recommend(reliability: RewardReliability) -> Iterable[str]:
    for source in reliability.non_finite:
        yield f"make {source.function or 'the reward'} return a finite number for every completion"
    if reliability.missing:
        return
    if reliability.constant is not None:
        yield f"make the reward tell completions apart: it is {number(reliability.constant)} for all of them"
        return
    if reliability.advantage.judged and reliability.advantage.high < 0.0:
        yield "check the sign of the advantages"
    if reliability.length.follows:
        yield "bound what the reward gives for length"
    if reliability.consistency.agreement.judged and reliability.consistency.agreement.high < 0.5:
        yield "make the reward depend on the completion alone: equal ones are scored differently"
    if reliability.saturation.judged and reliability.saturation.low > 0.5:
        saturated = share(reliability.saturation.value)
        yield f"{saturated} of the groups have equal rewards: harder prompts, or a finer reward"
    if reliability.within_group.judged and reliability.within_group.high < 0.1:
        yield "the reward tells prompts apart more than completions: normalise it by prompt"
    if reliability.stability.judged and reliability.stability.high < 0.5:
        yield "the reward's level jumps from step to step: look for statistics of the batch in it"
