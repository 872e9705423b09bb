from __future__ import annotations

from typing import Any

import pytest

from rlhf_assert.detect import Severity
from rlhf_assert.detect.detectors.no_update import NoUpdate
from rlhf_assert.detect.detectors.step_one import LN2

FROZEN = {"kl_div": 0.0, "grad_norm": 1.0}


def test_a_sound_run_is_quiet(find: Any, sound: Any) -> None:
    assert find(NoUpdate("grpo"), sound) == []


def test_a_learning_rate_of_0_is_found_once_and_explains_the_rest(find: Any) -> None:
    (found,) = find(NoUpdate("grpo"), [{**FROZEN, "learning_rate": 0.0}] * 20)
    assert (found.kind, found.metric, found.severity, found.onset) == (
        "no-update",
        "learning_rate",
        Severity.critical,
        1,
    )


def test_a_warm_up_that_begins_at_0_is_sound(find: Any) -> None:
    assert find(NoUpdate(), [{"learning_rate": rate} for rate in (0.0, 1e-6, 2e-6, 3e-6, 4e-6, 5e-6)]) == []


def test_a_schedule_that_ends_early_is_a_warning(find: Any) -> None:
    (found,) = find(NoUpdate(), [{"learning_rate": rate} for rate in (1e-3, *[0.0] * 5)])
    assert (found.severity, found.onset) == (Severity.warning, 2)


@pytest.mark.parametrize(
    ("algorithm", "config", "row"),
    [
        ("grpo", {"beta": 0.04}, FROZEN),
        ("", {}, FROZEN),
        ("ppo", {}, {"kl_div": -2e-7, "approx_kl": 2e-14}),
    ],
)
def test_weights_that_do_not_change_show_in_the_kl(
    find: Any, algorithm: str, config: dict[str, float], row: dict[str, float]
) -> None:
    assert find(NoUpdate(algorithm, config), [row] * 5) == []  # the first row is 0 in every run
    (found,) = find(NoUpdate(algorithm, config), [row] * 6)
    assert (found.metric, found.severity, found.onset) == ("kl_div", Severity.critical, 2)


@pytest.mark.parametrize(
    ("algorithm", "config", "row"),
    [
        ("kto", {}, FROZEN),  # clamped at 0
        ("grpo", {"beta": 0.0}, FROZEN),
        ("grpo", {}, {"kl_div": 0.0, "grad_norm": 0.0}),  # no gradient: others judge why
        ("grpo", {}, {"kl_div": 1e-9, "grad_norm": 1.0}),
        ("ppo", {}, {"kl_div": 0.2, "approx_kl": 0.0}),
        ("ppo", {}, {"kl_div": 0.0, "approx_kl": 1e-4}),
    ],
)
def test_what_can_be_0_in_a_sound_run_is_quiet(
    find: Any, algorithm: str, config: dict[str, float], row: dict[str, float]
) -> None:
    assert find(NoUpdate(algorithm, config), [row] * 30) == []


def test_margins_of_exactly_0_are_found(find: Any) -> None:
    (found,) = find(NoUpdate("dpo"), [{"reward_margin": 0.0, "grad_norm": 2.0}] * 6)
    assert (found.metric, found.onset) == ("reward_margin", 2)
    assert find(NoUpdate("dpo"), [{"reward_margin": 1e-4, "grad_norm": 2.0}] * 6) == []


def test_no_gradient_although_rewards_differ(find: Any) -> None:
    row = {"grad_norm": 0.0, "zero_std_fraction": 0.0, "reward": 0.5, "reward_std": 0.2}
    (found,) = find(NoUpdate("grpo"), [row] * 10)
    assert (found.kind, found.onset) == ("no-gradient", 2)
    assert find(NoUpdate("grpo"), [{**row, "zero_std_fraction": 0.5}] * 10) == []
    assert find(NoUpdate("grpo"), [{**row, "reward_std": 2.5e-7}] * 10) == []


def test_pairs_that_do_not_differ(find: Any) -> None:
    (found,) = find(NoUpdate("reward"), [{"loss": LN2, "grad_norm": 1e-8}] * 11)
    assert (found.kind, found.metric, found.severity) == ("no-gradient", "loss", Severity.critical)
    assert find(NoUpdate("reward"), [{"loss": LN2, "grad_norm": 0.01}] * 80) == []  # flat before it learns: healthy


def test_a_streak_must_not_be_broken(find: Any) -> None:
    rows = [FROZEN, *[*[FROZEN] * 4, {"kl_div": 0.1, "grad_norm": 1.0}] * 5]
    assert find(NoUpdate("grpo"), rows) == []
