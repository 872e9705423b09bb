"""Padding, what packing saves, and how advantages follow rewards, of a batch of experiences."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from rlhf_assert_openrlhf.inside import batches
from rlhf_assert_openrlhf.inside.optimizers import state_of

torch = pytest.importorskip("torch")


def experience(lengths: list[int], rewards: list[float], advantages: list[float]) -> SimpleNamespace:
    width = max(lengths)
    mask = (torch.arange(width) < torch.tensor(lengths)[:, None]).long()
    wrong = 99.0 * (1 - mask)  # what is under padding must not count
    return SimpleNamespace(
        attention_mask=mask,
        action_mask=mask.bool(),
        rewards=torch.tensor(rewards),
        advantages=torch.tensor(advantages)[:, None] * mask + wrong,
    )


def test_padding_and_what_packing_saves() -> None:
    batch = [experience([4, 2], [0, 0], [0, 0]), experience([3, 1], [0, 0], [0, 0])]
    assert batches.padding(batch, packing=False) == pytest.approx(
        {"packing/padding_share": 4 / 14, "packing/savings": 4 / 14}
    )
    assert batches.padding(batch, packing=True) == pytest.approx(
        {"packing/padding_share": 0.0, "packing/savings": 4 / 14}
    )
    packed = batches.padding(batch, packing=True, multiple=4)  # 6 and 4 tokens become 8 and 4
    assert packed == pytest.approx({"packing/padding_share": 2 / 12, "packing/savings": 2 / 14})
    assert batches.padding([], packing=False) == {}


def test_advantages_that_are_rewards_less_a_baseline_follow_them() -> None:
    rewards = [[0.1, 0.5, 0.2], [0.9, 0.3, 0.4]]
    sound = [experience([4, 2, 5], own, [one - 0.4 for one in own]) for own in rewards]
    assert batches.correlation(sound) == pytest.approx(1.0)
    turned = [experience([4, 2, 5], own, [0.4 - one for one in own]) for own in rewards]
    assert batches.correlation(turned) == pytest.approx(-1.0)
    assert math.isnan(batches.correlation([experience([4, 2], [0.5, 0.5], [0.1, 0.2])]))


def test_a_reward_model_that_normalizes_says_by_what() -> None:
    head = torch.nn.Linear(2, 1)
    head.register_buffer("mean", torch.tensor([2.0]))
    head.register_buffer("std", torch.tensor([4.0]))
    actor = SimpleNamespace(model=torch.nn.Sequential(head))
    assert batches.normalization(actor) is None
    head.normalize_reward = True
    head.config = SimpleNamespace(mean=2.5, std=4.5)
    assert batches.normalization(actor) == (2.0, 4.0, 2.5, 4.5)
    head.config = SimpleNamespace()  # one that was never told: rewards are to stay as they are
    assert batches.normalization(actor) == (2.0, 4.0, 0.0, 1.0)


def test_the_mean_reward_before_normalization_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_numbers", {"packing/savings": 0.5})
    monkeypatch.setattr(batches, "_normalization", [batches.Normalization(2.0, 4.0, 2.0, 4.0)])
    metrics: dict[str, Any] = {"reward": 0.5}
    batches.collect(1, metrics)
    assert metrics["reward/raw_mean"] == 4.0
    assert metrics["packing/savings"] == 0.5


def test_the_state_of_an_engine_is_what_it_tells() -> None:
    scaler = SimpleNamespace(cur_scale=65536.0)
    engine = SimpleNamespace(
        optimizer=SimpleNamespace(loss_scaler=scaler, overflow=True),
        skipped_steps=3,
        get_global_grad_norm=lambda: torch.tensor(0.5),
    )
    assert state_of(engine) == {"loss_scale": 65536.0, "skipped_steps": 3.0, "overflow": 1.0, "grad_norm": 0.5}
    assert state_of(SimpleNamespace(optimizer=SimpleNamespace())) == {}
