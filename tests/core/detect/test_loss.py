from __future__ import annotations

import math
import random
from typing import Any

from rlhf_assert.detect import Severity
from rlhf_assert.detect.loss import LossRise


def losses(levels: list[float], **others: float) -> list[dict[str, float | None]]:
    noise = random.Random(0)
    return [{"loss": level * (1 + 0.05 * noise.gauss(0, 1)), **others} for level in levels]


LEARNING = [2.0 * math.exp(-row / 30) + 0.5 for row in range(60)]


def test_a_loss_that_gives_back_what_was_learnt(find: Any) -> None:
    found = find(LossRise(), losses(LEARNING + [4.0] * 40))

    assert [anomaly.severity for anomaly in found] == [Severity.warning, Severity.critical]
    assert 59 <= found[0].onset <= 64
    assert found[0].onset == found[1].onset


def test_a_rise_that_passes_is_a_warning_and_one_under_the_start_is_nothing(find: Any) -> None:
    assert [a.severity for a in find(LossRise(), losses(LEARNING + [4.0] * 14 + [0.8] * 40))] == [Severity.warning]
    assert find(LossRise(), losses(LEARNING + [1.5] * 40)) == []


def test_learning_noise_and_policy_losses_are_quiet(find: Any) -> None:
    assert find(LossRise(), losses(LEARNING)) == []
    assert find(LossRise(), losses([2.0] * 300)) == []
    assert find(LossRise(), losses([0.1] * 40 + [5.0] * 40, reward=0.5)) == []
