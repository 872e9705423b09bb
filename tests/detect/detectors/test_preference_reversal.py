from __future__ import annotations

import random
from typing import Any

import pytest

from rlhf_assert.detect import Severity
from rlhf_assert.detect.detectors.preference_reversal import PreferenceReversal

Rows = list[dict[str, float | None]]


def rows(metric: str, levels: list[float], spread: float) -> Rows:
    noise = random.Random(0)
    return [{metric: level + spread * noise.gauss(0, 1)} for level in levels]


@pytest.mark.parametrize(
    ("metric", "before", "after", "spread"), [("reward_margin", 2.5, -2.0, 0.3), ("reward_accuracy", 0.9, 0.1, 0.03)]
)
def test_labels_that_are_swapped_turn_the_preference_round(
    find: Any, metric: str, before: float, after: float, spread: float
) -> None:
    (found,) = find(PreferenceReversal(), rows(metric, [before] * 20 + [after] * 10, spread))

    assert (found.kind, found.metric, found.severity) == ("preference-reversed", metric, Severity.warning)
    assert found.onset == 21


@pytest.mark.parametrize(
    ("levels", "spread"),
    [
        ([0.0] * 300, 1.0),  # a model that knows nothing
        ([2.5] * 20 + [0.5] * 20, 0.3),  # less sure than before
        ([2.5] * 20 + [-2.0] * 3 + [2.5] * 20, 0.3),  # an odd batch or two
        ([0.5] * 30 + [-0.5] * 10, 1.0),  # never certain
    ],
)
def test_margins_that_do_not_turn_round_are_quiet(find: Any, levels: list[float], spread: float) -> None:
    assert find(PreferenceReversal(), rows("reward_margin", levels, spread)) == []
