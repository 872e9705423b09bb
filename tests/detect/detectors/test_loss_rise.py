from __future__ import annotations

import math
import random
from typing import Any

from rlhf_assert.detect import Severity
from rlhf_assert.detect.detectors.loss_rise import LossRise


def losses(levels: list[float], **others: float) -> list[dict[str, float | None]]:
    noise = random.Random(0)
    return [{"loss": level * (1 + 0.05 * noise.gauss(0, 1)), **others} for level in levels]


LEARNING = [2.0 * math.exp(-row / 30) + 0.5 for row in range(60)]


def test_a_loss_that_gives_back_what_was_learnt(find: Any) -> None:
    found = find(LossRise(), losses(LEARNING + [5.0] * 40))

    assert [anomaly.severity for anomaly in found] == [Severity.warning, Severity.critical]
    assert 59 <= found[0].onset <= 64
    assert found[0].onset == found[1].onset


def test_a_rise_that_passes_is_a_warning_and_a_small_one_under_the_start_is_nothing(find: Any) -> None:
    assert [a.severity for a in find(LossRise(), losses(LEARNING + [4.0] * 14 + [0.8] * 40))] == [Severity.warning]
    assert find(LossRise(), losses(LEARNING + [1.1] * 40)) == []


def test_most_of_what_was_learnt_is_given_back(find: Any) -> None:
    (found,) = find(LossRise(), losses(LEARNING + [1.9] * 40))

    assert found.severity is Severity.warning
    assert found.onset == len(LEARNING) + 1


def test_labels_that_are_swapped_are_seen_in_a_short_run(find: Any) -> None:
    swapped = [0.69, 0.68, 0.65, 0.6, 0.5, 0.45, 0.4, 0.35, 0.3, 0.25, 0.22, 0.2, 3.6, 2.7, 3.2, 2.5, 2.5, 1.9]

    (found,) = find(LossRise(), losses(swapped))

    assert found.onset == 13


def test_learning_noise_and_policy_losses_are_quiet(find: Any) -> None:
    assert find(LossRise(), losses(LEARNING)) == []
    assert find(LossRise(), losses([2.0] * 300)) == []
    assert find(LossRise(), losses([0.1] * 40 + [5.0] * 40, reward=0.5)) == []
