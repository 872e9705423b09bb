"""Whether the same completion of the same prompt is scored the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rlhf_assert.recording.series import FloatArray, IntArray
from rlhf_assert.rewards.estimates import (
    Estimate,
    bootstrap,
    cluster_sums,
    not_judged,
    number_off,
    standardised,
    within,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Consistency:
    """Agreement of a scorer with itself on completions that came up more than once.

    Attributes:
        agreement: intraclass correlation ICC(1): 1 if repeats are scored equally, 0 if like strangers.
        flips: share of the repeats whose reward differs from that of the first time.
        level_shift: mean change from the first time to the last, in standard deviations of the reward: the level at
            equal behaviour.
        repeated: how many completions came up more than once.
    """

    agreement: Estimate
    flips: Estimate
    level_shift: Estimate
    repeated: int


def consistency(reward: FloatArray, completion: IntArray, step: IntArray) -> Consistency:
    """Return how a scorer agrees with itself, resampled by completion.

    Args:
        reward: shape (n,), finite.
        completion: shape (n,), equal numbers for equal completions of equal prompts; -1 where that is not known.
        step: shape (n,), the number of the step of each sample.
    """
    kept = np.flatnonzero(completion >= 0)
    kept = kept[np.argsort(step[kept], kind="stable")]
    key = number_off(completion[kept])
    repeated = (np.bincount(key) >= 2)[key] if len(key) else np.zeros(0, dtype=np.bool_)
    kept, key = kept[repeated], number_off(key[repeated])
    distinct = int(key.max(initial=-1)) + 1
    if distinct < 2:
        nothing = not_judged("hardly any completion came up twice", len(kept))
        return Consistency(agreement=nothing, flips=nothing, level_shift=nothing, repeated=distinct)
    raw = reward[kept]
    values = standardised(raw)
    first, last = _ends(key)
    differs = np.abs(raw - raw[first][key]) > 1e-6 * np.maximum(1.0, np.abs(raw))
    ones = np.ones(len(values))
    inside = cluster_sums(key, np.stack([ones, within(values, key) ** 2]))
    means = cluster_sums(key, values[None])[:, 0] / inside[:, 0]
    between = inside[:, 0] * means**2
    sums = np.column_stack([inside, between, inside[:, 0] * means, np.ones(distinct), inside[:, 0] ** 2])
    deviation = float(reward.std()) or 1.0
    shifts = np.column_stack([np.ones(distinct), (raw[last] - raw[first]) / deviation])
    return Consistency(
        agreement=bootstrap(sums, _intraclass_correlation, samples=len(values)),
        flips=bootstrap(
            np.column_stack([inside[:, 0], cluster_sums(key, differs[None].astype(np.float64)), np.ones(distinct)]),
            lambda s: s[:, 1] / (s[:, 0] - s[:, 2]),
            samples=len(values),
        ),
        level_shift=bootstrap(shifts, lambda s: s[:, 1] / s[:, 0], samples=len(values)),
        repeated=distinct,
    )


def _ends(key: IntArray) -> tuple[IntArray, IntArray]:
    """Return the index of the first and of the last sample of each key."""
    first = np.unique(key, return_index=True)[1]
    last = len(key) - 1 - np.unique(key[::-1], return_index=True)[1]
    return first.astype(np.int64), last.astype(np.int64)


def _intraclass_correlation(sums: FloatArray) -> FloatArray:
    """Return ICC(1) of unequal groups (Shrout and Fleiss 1979; Donner 1986 for the mean size) from sums."""
    n, inside, between, weighted, keys, sizes = sums.T
    mean_square_inside = inside / (n - keys)
    mean_square_between = (between - weighted**2 / n) / (keys - 1)
    size = (n - sizes / n) / (keys - 1)
    varied = mean_square_between + (size - 1) * mean_square_inside
    icc = np.where(varied > 1e-9, (mean_square_between - mean_square_inside) / varied, np.nan)
    clipped: FloatArray = np.clip(icc, -1.0, 1.0)
    return clipped
