from __future__ import annotations

from math import inf, isnan

import numpy as np
import pytest

from rlhf_assert.validation.intervals import median, rate


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [
        (0, 32, 0.0, 0.1089),  # 1 - .025 ** (1 / 32)
        (32, 32, 0.8911, 1.0),
        (1, 20, 0.0013, 0.2487),  # R: binom.test(1, 20)
        (0, 0, 0.0, 1.0),
    ],
)
def test_the_interval_is_that_of_clopper_and_pearson(hits: int, total: int, low: float, high: float) -> None:
    found = rate(hits, total)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("truth", [0.02, 0.3, 0.95])
def test_the_interval_covers_the_truth_as_often_as_it_says(truth: float) -> None:
    hits = np.random.default_rng(0).binomial(40, truth, 400)
    covered = [found.low <= truth <= found.high for found in (rate(int(hit), 40) for hit in hits)]
    assert np.mean(covered) >= 0.95


def test_a_median_counts_what_was_never_found_as_infinitely_late() -> None:
    assert median([0, 1, inf]).value == 1
    assert median([0, inf, inf]).value == inf
    assert median([2.0] * 9).low == median([2.0] * 9).high == 2.0
    assert isnan(median([]).value)
