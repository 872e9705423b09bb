from __future__ import annotations

import math
import random
from typing import Any

import pytest

from rlhf_assert.detect import Severity
from rlhf_assert.detect.detectors.preference_loss import PreferenceLoss

LN2 = math.log(2.0)


def losses(values: list[float]) -> list[dict[str, float | None]]:
    return [{"loss": LN2}, *({"loss": value} for value in values)]


def test_pairs_known_by_heart(find: Any) -> None:
    (found,) = find(PreferenceLoss(), losses([0.5] * 10 + [0.001] * 25))

    assert (found.kind, found.severity) == ("preference-saturated", Severity.critical)
    assert 12 <= found.onset <= 23


@pytest.mark.parametrize(
    ("level", "severities"),
    [(0.82, [Severity.warning, Severity.critical]), (1.0, [Severity.critical])],  # lasting, and far above
)
def test_a_policy_that_is_confidently_wrong(find: Any, level: float, severities: list[Severity]) -> None:
    noise = random.Random(0)
    found = find(PreferenceLoss(), losses([level + 0.1 * noise.gauss(0, 1) for _ in range(120)]))

    assert [anomaly.severity for anomaly in found] == severities
    assert {anomaly.kind for anomaly in found} == {"preference-diverged"}


def test_what_is_healthy_or_no_preference_loss_is_quiet(find: Any) -> None:
    noise = random.Random(0)
    learning = [LN2 * math.exp(-row / 100) + 0.05 * noise.gauss(0, 1) for row in range(200)]
    wavering = [LN2 + 0.15 * noise.gauss(0, 1) for _ in range(200)]

    assert find(PreferenceLoss(), losses(learning)) == []
    assert find(PreferenceLoss(), losses(wavering)) == []
    assert find(PreferenceLoss(), [{"loss": 2.0}, *losses([0.001] * 40)]) == []
    assert find(PreferenceLoss(), [{"loss": LN2, "reward": 0.1}] + [{"loss": 0.0, "reward": 0.5}] * 40) == []


def test_a_chosen_text_that_loses_likelihood_is_a_note(find: Any) -> None:
    rows = [{"loss": LN2, "chosen_reward": 0.0, "reward_margin": 0.0}]
    rows += [{"loss": 0.3, "chosen_reward": -0.1 * row, "reward_margin": 0.1 * row} for row in range(1, 30)]

    (found,) = find(PreferenceLoss(), rows)

    assert (found.kind, found.severity) == ("margin-without-chosen", Severity.info)
