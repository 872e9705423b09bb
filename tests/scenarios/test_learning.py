from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rlhf_assert.recording.run import Run

pytestmark = [
    pytest.mark.training,
    *(pytest.mark.filterwarnings(f"ignore::{name}") for name in ("FutureWarning", "DeprecationWarning", "UserWarning")),
]
MARGIN = {
    "ppo": 0.1,
    "grpo": 0.1,
    "rloo": 0.1,
    "online_dpo": 0.08,
    "dpo": 0.05,
    "kto": 0.05,
    "reward": 0.2,
    "sft": 0.2,
}
"""By how much the last third's mean must beat the first third's, in the unit of the scenario's own learning signal."""
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.thorough) for seed in range(1, 5))]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("module", MARGIN)
def test_a_healthy_scenario_learns(train: Callable[..., Run], module: str, seed: int) -> None:
    run = train(module, seed)

    signal = run[run.info["learns"]].values
    third = len(signal) // 3
    gain = signal[-third:].mean() - signal[:third].mean()
    assert (-gain if run.info["learns"] == "loss" else gain) > MARGIN[module]
    assert set(run.promised) <= set(run.series)
    if "kl_div" in run:
        tokens = run["response_length"].values.mean() if run.info["algorithm"] in {"ppo", "online-dpo"} else 1.0
        assert np.quantile(run["kl_div"].values, 0.9) / tokens < 0.5  # one rare token makes a row of k3 stand out
    if "entropy" in run:
        assert run["entropy"].values.min() > 0.5 * run["entropy"].first
    if "truncated_fraction" in run:
        assert run["truncated_fraction"].values.max() < 0.2
    if "zero_std_fraction" in run:
        assert run["zero_std_fraction"].values.mean() < 0.5


def test_a_scenario_that_cannot_learn_gains_nothing(train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: the same measure on a learning rate of 0."""
    import trl

    config = trl.SFTConfig
    monkeypatch.setattr(trl, "SFTConfig", lambda **arguments: config(**{**arguments, "learning_rate": 0.0}))
    signal = train("sft", 0)["loss"].values

    third = len(signal) // 3
    assert abs(np.mean(signal[-third:]) - np.mean(signal[:third])) < MARGIN["sft"] / 2
