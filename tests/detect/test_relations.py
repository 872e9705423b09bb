"""Truncation, lost variance, the critic, the trust region, spikes of an update, and contradictions."""

from __future__ import annotations

import random
from typing import Any

import pytest

from rlhf_assert.detect import Severity
from rlhf_assert.detect.detectors.contradictions import Contradictions
from rlhf_assert.detect.detectors.critic import Critic
from rlhf_assert.detect.detectors.lost_variance import LostVariance
from rlhf_assert.detect.detectors.truncation import Truncation
from rlhf_assert.detect.detectors.trust_region import TrustRegion
from rlhf_assert.detect.detectors.update_spike import UpdateSpike

Rows = list[dict[str, float | None]]


def told(found: list[Any]) -> list[tuple[str, str, Severity, int]]:
    return [(anomaly.kind, anomaly.metric, anomaly.severity, anomaly.onset) for anomaly in found]


def test_completions_that_come_to_be_cut_off(find: Any) -> None:
    def rows(reward: float) -> Rows:
        before = [{"truncated_fraction": 0.1, "reward": 0.5}] * 10
        return [*before, *[{"truncated_fraction": 1.0, "reward": reward}] * 10]

    assert told(find(Truncation(), rows(0.5))) == [("length-saturation", "truncated_fraction", Severity.warning, 11)]
    assert told(find(Truncation(), rows(0.1)))[0][2] is Severity.critical
    assert told(find(Truncation(), rows(0.9)))[0][2] is Severity.warning  # a reward that pays for length


def test_a_length_pinned_to_its_cap_where_the_share_is_not_logged(find: Any) -> None:
    growing: Rows = [{"response_length": 100.0 + 10 * row, "reward": 0.5} for row in range(20)]
    pinned: Rows = [{"response_length": 512.0, "reward": 0.5}] * 8

    assert find(Truncation(), growing) == []
    assert told(find(Truncation(), [*growing, {"response_length": 512.0}, *pinned]))[0][1:3] == (
        "response_length",
        Severity.warning,
    )


@pytest.mark.parametrize("share", [1.0, 0.95, 0.6])
def test_runs_that_are_cut_off_from_the_start_are_not_judged(find: Any, share: float) -> None:
    assert (
        find(Truncation(), [{"truncated_fraction": share, "reward": 0.5}] * 5 + [{"truncated_fraction": 1.0}] * 40)
        == []
    )


def test_group_variance_that_runs_out(find: Any) -> None:
    noise = random.Random(0)
    alive: Rows = [{"reward": 0.5, "reward_std": 0.2}] * 20
    half: Rows = [{"reward": 0.5, "reward_std": noise.choice([0.0, 0.2])} for _ in range(200)]
    spent: Rows = [{"reward": 0.5, "reward_std": 0.2 if row % 25 == 0 else 0.0} for row in range(80)]

    assert find(LostVariance(), half) == []
    assert [anomaly.severity for anomaly in find(LostVariance(), alive + spent)] == [
        Severity.warning,
        Severity.critical,
    ]


def test_a_value_loss_out_of_scale(find: Any) -> None:
    sound: Rows = [{"value_loss": 0.02, "reward": 0.3, "reward_std": 0.2}] * 20

    assert find(Critic(), sound) == []
    assert told(find(Critic(), [{**sound[0], "value_loss": 200.0}, *sound]))[0][0] == "value-out-of-scale"
    unspread: Rows = [{"value_loss": 0.5, "reward": 0.01 * (-1) ** row} for row in range(40)]
    assert find(Critic(), unspread) == [], "the rewards' spread is unknown, their mean is about 0"
    raw: Rows = [{"value_loss": 2e4, "reward": 250.0}] * 20
    assert told(find(Critic(), raw))[0][0] == "value-out-of-scale"


def test_a_value_loss_that_grows_without_the_rewards(find: Any) -> None:
    grown: Rows = [{"value_loss": 0.05 if row < 3 else 1.0, "reward": 0.3} for row in range(30)]
    along: Rows = [{"value_loss": 0.05 * (1 + row) ** 2, "reward": 0.3 * (1 + row)} for row in range(30)]

    assert told(find(Critic(), grown))[0][:3] == ("value-without-reward", "value_loss", Severity.warning)
    assert find(Critic(), along) == []


def test_a_critic_that_explains_nothing(find: Any) -> None:
    assert find(Critic(), [{"explained_variance": -0.9}] * 10 + [{"explained_variance": 0.1}] * 40) == []
    assert told(find(Critic(), [{"explained_variance": -0.9}] * 30))[0][0] == "explained-variance"


def test_a_critic_whose_error_outgrows_its_target(find: Any) -> None:
    fitted: Rows = [{"explained_variance": 0.8, "value_loss": 0.1}] * 20

    def after(explained: float, loss: float) -> list[Any]:
        return find(Critic(), fitted + [{"explained_variance": explained, "value_loss": loss}] * 20)

    assert told(after(-0.2, 0.5))[0][:3] == ("critic-lost", "explained_variance", Severity.warning)
    assert after(-0.2, 0.05) == [], "solved: returns that hardly differ leave nothing to explain"
    assert after(0.8, 5.0) == [], "returns of a larger scale"
    assert find(Critic(), [{"explained_variance": -0.2, "value_loss": 0.5}] * 40) == [], "it never fitted"


def test_updates_that_leave_the_trust_region(find: Any) -> None:
    once: Rows = [{"approx_kl": 0.5 if row % 20 == 5 else 0.01, "clip_ratio": 0.2} for row in range(100)]

    assert find(TrustRegion(), once) == []
    assert told(find(TrustRegion(), [{"approx_kl": 0.3}] * 5)) == [
        ("trust-region-left", "approx_kl", Severity.warning, 5)
    ]
    assert told(find(TrustRegion(), [{"clip_ratio": 0.4}] * 5))[0][1] == "clip_ratio"
    assert find(TrustRegion(distance=1.0), [{"approx_kl": 0.3}] * 30) == []


def calm(count: int) -> Rows:
    noise = random.Random(0)
    return [
        {"kl_div": 0.1 * noise.uniform(0.5, 2), "grad_norm": noise.uniform(0.5, 2), "reward": 0.5} for _ in range(count)
    ]


@pytest.mark.parametrize(
    ("kl", "gradient", "found"),
    [(5.0, 1.0, 0), (0.1, 40.0, 0), (5.0, 60.0, 1), (0.1, 400.0, 1)],
)
def test_one_update_that_moved_the_policy(find: Any, kl: float, gradient: float, found: int) -> None:
    rows = [*calm(30), {"kl_div": kl, "grad_norm": gradient, "reward": 0.5}, *calm(10)]

    spikes = find(UpdateSpike(), rows)

    assert told(spikes) == [("update-spike", "grad_norm", Severity.warning, 31)] * found


def test_the_first_twenty_rows_and_supervised_gradients_may_leap(find: Any) -> None:
    assert find(UpdateSpike(), [*calm(15), {"kl_div": 9.0, "grad_norm": 500.0, "reward": 0.5}]) == []
    supervised = [{"loss": 0.69, "grad_norm": row["grad_norm"]} for row in calm(30)]
    assert find(UpdateSpike(), [*supervised, {"loss": 0.69, "grad_norm": 500.0}]) == []


@pytest.mark.parametrize(
    ("row", "metric"),
    [
        ({"reward_accuracy": 120.0}, "reward_accuracy"),
        ({"reward_std": -0.1}, "reward_std"),
        ({"truncated_fraction": -0.5}, "truncated_fraction"),
        ({"grad_norm": -1.0}, "grad_norm"),
    ],
)
def test_values_that_cannot_be_are_told_once(find: Any, row: dict[str, float], metric: str) -> None:
    assert told(find(Contradictions(), [row] * 3)) == [("out-of-range", metric, Severity.warning, 1)]


def test_a_share_in_per_cent_is_a_note(find: Any) -> None:
    assert told(find(Contradictions(), [{"reward_accuracy": 85.0}] * 3)) == [
        ("out-of-range", "reward_accuracy", Severity.info, 1)
    ]


def test_margins_are_chosen_less_rejected(find: Any) -> None:
    sound = {"chosen_reward": 0.2, "rejected_reward": -0.3, "reward_margin": 0.5, "reward_accuracy": 1.0}

    assert find(Contradictions(), [sound] * 10) == []
    assert told(find(Contradictions(), [{**sound, "reward_margin": -0.5}] * 10)) == [
        ("contradiction", "reward_margin", Severity.warning, 5)
    ]


def test_a_group_loss_that_follows_the_rewards_scale(find: Any) -> None:
    raw: Rows = [{"loss": (-1) ** row * 30.0, "reward": 300.0, "reward_std": 200.0} for row in range(20)]
    unit: Rows = [{"loss": (-1) ** row * 0.3, "reward": 300.0, "reward_std": 200.0} for row in range(20)]

    assert told(find(Contradictions("grpo"), raw)) == [("advantage-scale", "loss", Severity.warning, 10)]
    assert find(Contradictions("grpo"), unit) == []
    assert find(Contradictions("sft"), raw) == []
