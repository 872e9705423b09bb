from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest

from rlhf_assert.detect import Severity
from rlhf_assert.detect.detectors.kl_runaway import KLRunaway, growth_onset, kl_limit


def runaway(onset: int = 15, growth: float = 1.26, steps: int = 40, level: float = 0.02) -> list[dict[str, float]]:
    return [
        {"kl_div": 0.0 if step == 1 else level * growth ** max(0, step - onset + 1)} for step in range(1, steps + 1)
    ]


def test_a_sound_run_is_quiet(find: Any, sound: Any) -> None:
    assert find(KLRunaway("grpo", {"beta": 0.04}), sound) == []


@pytest.mark.parametrize("spike", [[3.0], [3.0] * 4, [50.0, 0.1, 50.0]])
def test_a_spike_that_recovers_is_not_sustained(find: Any, spike: list[float]) -> None:
    assert find(KLRunaway("grpo"), [{"kl_div": value} for value in [*[0.1] * 20, *spike, *[0.1] * 20]]) == []


@pytest.mark.parametrize("level", [0.02, 0.1, 0.3])
def test_growth_is_dated_to_its_beginning(find: Any, level: float) -> None:
    found = find(KLRunaway("grpo"), runaway(level=level))[0]

    assert found.metric == "kl_div"
    begin = 15 if level >= 0.1 else 22  # under a tenth of the limit it is not yet growth that matters
    assert abs(found.onset - begin) <= 2
    assert float(found.evidence["growth"]) == pytest.approx(1.26, rel=0.05)
    assert float(found.evidence["doubling_steps"]) == pytest.approx(3.0, rel=0.2)
    assert found.summary.startswith(f"runaway from step {found.onset}: ")


def test_alone_it_is_a_warning_and_critical_once_something_agrees(find: Any) -> None:
    rows = [{"kl_div": 0.1, "reward": 0.2, "entropy": 2.0}] * 10
    rows += [{"kl_div": 1.5, "reward": 0.6, "entropy": 2.0}] * 10
    rows += [{"kl_div": 1.5, "reward": 0.1, "entropy": 2.0}] * 10

    first, second = find(KLRunaway("grpo"), rows)

    assert (first.severity, second.severity) == (Severity.warning, Severity.critical)
    assert first.onset == second.onset == 11
    assert "reward" in str(second.evidence["corroboration"])


@pytest.mark.parametrize(
    "late",
    [
        {"kl_div": 3.5},
        {"zero_std_fraction": 1.0},
        {"entropy": 0.9},
        {"entropy": 4.5},
        {"truncated_fraction": 1.0},
        {"reward": 0.1},
    ],
)
def test_each_corroboration_makes_it_critical(find: Any, late: dict[str, float]) -> None:
    start = {"kl_div": 0.0, "reward": 0.2, "entropy": 2.0, "truncated_fraction": 0.0, "zero_std_fraction": 0.0}
    rows = [*[start] * 5, *[{**start, "kl_div": 1.5, **late}] * 6]

    assert find(KLRunaway("grpo"), rows)[-1].severity is Severity.critical


@pytest.mark.parametrize(
    ("late", "severity"),
    [
        ({"entropy": 0.9}, Severity.warning),
        ({"truncated_fraction": 1.0}, Severity.warning),
        ({"zero_std_fraction": 1.0}, Severity.warning),  # solved: every answer gets the best reward
        ({"kl_div": 3.5}, Severity.critical),
    ],
)
def test_a_policy_that_leaves_for_a_better_reward_is_not_lost(
    find: Any, late: dict[str, float], severity: Severity
) -> None:
    start = {"kl_div": 0.0, "reward": 0.2, "entropy": 2.0, "truncated_fraction": 0.0, "zero_std_fraction": 0.0}
    rows = [*[start] * 5, *[{**start, "kl_div": 1.5, "reward": 0.6, **late}] * 6]

    assert find(KLRunaway("grpo"), rows)[-1].severity is severity


def test_an_offset_at_step_1_is_not_growth(find: Any) -> None:
    assert find(KLRunaway("grpo"), [{"kl_div": 1.5}] * 40) == []
    assert find(KLRunaway("grpo"), [{"kl_div": 1.5}] * 40, first=100) != []


def test_no_penalty_is_named_as_the_cause(find: Any) -> None:
    assert "beta = 0.0" in find(KLRunaway("grpo", {"beta": 0.0}), runaway())[0].causes[0]
    assert "beta" not in find(KLRunaway("grpo", {"beta": 0.04}), runaway())[0].causes[0]


@pytest.mark.parametrize(
    ("row", "algorithm", "config", "limit"),
    [
        ({}, "grpo", {}, 1.0),
        ({"value_loss": 1.0}, "grpo", {}, 1.0),
        ({}, "", {}, 1.0),
        ({"value_loss": 1.0}, "", {}, 53.0),
        ({}, "ppo", {}, 53.0),
        ({}, "ppo", {"response_length": 16}, 16.0),
        ({"response_length": 8.0}, "ppo", {"response_length": 16}, 8.0),
        ({}, "online-dpo", {"max_new_tokens": 24}, 24.0),
        ({"response_length": 8.0}, "ppo", {"response_length": 16, "kl_per_token": True}, 1.0),
    ],
)
def test_the_limit_knows_what_the_kl_is_a_sum_of(
    row: dict[str, float], algorithm: str, config: dict[str, int], limit: float
) -> None:
    assert kl_limit(row, algorithm, config) == limit


def test_kto_is_not_judged_and_a_limit_can_be_set(find: Any) -> None:
    assert find(KLRunaway("kto"), runaway()) == []
    assert find(KLRunaway("grpo", limit=1e3), runaway()) == []


@pytest.mark.parametrize("values", [[2.0], [2.0, 2.0], [5.0, 4.0, 3.0, 2.0]])
def test_what_does_not_grow_has_an_onset_all_the_same(values: list[float]) -> None:
    onset, growth = growth_onset(deque(enumerate(values, 1)), floor=0.1)
    assert 1 <= onset <= len(values)
    assert growth == 1.0


@pytest.mark.parametrize("slow", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("rows", [20, 200])
def test_a_jump_is_no_growth_that_began_long_before(slow: float, rows: int) -> None:
    noise = np.exp(np.random.default_rng(0).normal(0.0, 0.1, rows + 5))
    values = np.concatenate([np.linspace(0.02, slow, rows), np.full(5, 2.0)]) * noise
    assert growth_onset(deque(enumerate(values.tolist(), 1)), floor=0.1) == (rows + 1, 1.0)


def test_an_entropy_that_no_token_can_have_tells_of_sums_over_the_sequence() -> None:
    assert kl_limit({"kl_div": 2.0, "entropy": 3.0}) == 1.0
    assert kl_limit({"kl_div": 2.0, "entropy": 40.0, "response_length": 20.0}) == 20.0
    assert kl_limit({"kl_div": 2.0, "entropy": 40.0}, "grpo") == 1.0


@pytest.mark.parametrize("per_token", [False, True])
def test_a_mean_per_token_of_a_trainer_with_a_critic_runs_away_from_the_limit_of_a_token(
    find: Any, per_token: bool
) -> None:
    """2 to 5 nats: a sum over 20 tokens may well be that, a mean per token is lost."""
    rows = [{"kl_div": 0.001 * step, "value_loss": 0.5, "response_length": 20.0} for step in range(1, 10)]
    rows += [{"kl_div": 2.0 + 0.1 * step, "value_loss": 0.5, "response_length": 20.0} for step in range(30)]
    assert bool(find(KLRunaway("ppo", {"kl_per_token": per_token}), rows)) is per_token
