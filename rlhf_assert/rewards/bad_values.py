"""Rewards that are no numbers: one in a batch is enough to spoil it, and no logged mean shows it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlhf_assert.recording.run import Samples
from rlhf_assert.recording.series import FloatArray, IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class NonFinite:
    """Rewards of one source that are NaN or infinite.

    Attributes:
        function: the reward function; empty for the total.
        count: how many samples.
        step: the first step that has one.
        example: "nan", "inf" or "-inf", the first of them.
        samples: indices into the samples.
    """

    function: str
    count: int
    step: int
    example: str
    samples: IntArray


def find_non_finite(samples: Samples, group: IntArray) -> tuple[NonFinite, ...]:
    """Return the sources of non-finite rewards, functions before the total that they spoil.

    A function may rightly have no opinion: TRL lets it return None for prompts of another task, which is stored as
    NaN. So a NaN counts where nobody scored the sample, or where the same function scored another completion of the
    same prompt in the same step. A column that is NaN throughout was not recorded.

    Args:
        samples: the per-sample records.
        group: shape (n,), the number of the group of each sample.
    """
    functions = {name: values for name, values in samples.rewards.items() if not np.isnan(values).all()}
    nobody = np.ones(len(samples), dtype=np.bool_)
    for values in functions.values():
        nobody &= np.isnan(values)
    sources = []
    for name, values in functions.items():
        missing = np.isnan(values)
        groups = int(group.max(initial=-1)) + 1
        scored = np.bincount(group, weights=~missing, minlength=groups) > 0
        alone = len(functions) == 1
        bad = np.isinf(values) | (missing & (scored[group] | (nobody & alone)))
        sources += _describe(name, values, bad, samples.step)
    if not np.isnan(samples.reward).all():
        known = np.zeros(len(samples), dtype=np.bool_)
        for source in sources:
            known[source.samples] = True
        sources += _describe("", samples.reward, ~np.isfinite(samples.reward) & ~known, samples.step)
    if len(functions) > 1:
        known = np.zeros(len(samples), dtype=np.bool_)
        for source in sources:
            known[source.samples] = True
        sources += _describe("", np.where(nobody, np.nan, 0.0), nobody & ~known, samples.step)
    return tuple(sources)


def _describe(function: str, values: FloatArray, bad: NDArray[np.bool_], step: IntArray) -> list[NonFinite]:
    indices = np.flatnonzero(bad)
    if not len(indices):
        return []
    first = indices[np.argmin(step[indices])]
    return [
        NonFinite(
            function=function,
            count=len(indices),
            step=int(step[first]),
            example=str(float(values[first])),
            samples=indices.astype(np.int64),
        )
    ]
