from __future__ import annotations

import random
from typing import Any

from rlhf_assert.detect import Severity
from rlhf_assert.detect.detectors.explosion import Explosion


def test_a_sound_run_is_quiet(find: Any, sound: Any) -> None:
    assert find(Explosion(), sound) == []


def test_a_replaced_value_head_is_found_at_its_step(find: Any) -> None:
    values = [8e-4] * 10 + [162.0, 72.8, 13.8, 7.4]
    (found,) = find(Explosion(), [{"value_loss": value} for value in values])
    assert (found.metric, found.severity, found.onset) == ("value_loss", Severity.critical, 11)


def test_a_value_loss_that_grows_with_the_reward_is_healthy(find: Any) -> None:
    noise = random.Random(0)
    assert (
        find(Explosion(), [{"value_loss": 1e-3 * 1.2**step * noise.lognormvariate(0, 0.5)} for step in range(100)])
        == []
    )


def test_two_rows_recover_ten_are_the_least_history(find: Any) -> None:
    assert find(Explosion(), [{"value_loss": value} for value in [*[1.0] * 20, 1e3, 1e3, *[1.0] * 20]]) == []
    assert find(Explosion(), [{"value_loss": value} for value in [*[1.0] * 9, *[1e3] * 5]]) == []


def test_a_gradient_is_a_warning_and_judged_beside_a_reward_only(find: Any) -> None:
    values = [1.0] * 20 + [100.0] * 5
    (found,) = find(Explosion(), [{"grad_norm": value, "reward": 0.0} for value in values])
    assert (found.metric, found.severity, found.onset) == ("grad_norm", Severity.warning, 21)
    assert find(Explosion(), [{"grad_norm": value, "loss": 0.7} for value in values]) == []


def test_a_reward_of_another_scale(find: Any) -> None:
    rows = [{"reward": 0.4 + 0.01 * (row % 3)} for row in range(20)] + [{"reward": 40.0}] * 5
    improving = [{"reward": 0.01 * 1.2**row} for row in range(40)]

    (found,) = find(Explosion(), rows)

    assert (found.metric, found.severity, found.onset) == ("reward", Severity.warning, 21)
    assert find(Explosion(), improving) == []
