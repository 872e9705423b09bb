"""What a command trains is told by its settings, in the words that the checks ask for."""

from __future__ import annotations

import pytest

from rlhf_assert_openrlhf.promises import algorithm_of, configuration, promised_metrics


@pytest.mark.parametrize(
    ("entry_point", "estimator", "algorithm"),
    [
        ("train_sft", None, "sft"),
        ("train_rm", None, "reward"),
        ("train_dpo", None, "dpo"),
        ("train_ppo_ray", "gae", "ppo"),
        ("train_ppo_ray", "group_norm", "grpo"),
        ("train_ppo_ray", "reinforce_baseline", "reinforce_baseline"),
    ],
)
def test_the_algorithm_follows_from_command_and_estimator(
    entry_point: str, estimator: str | None, algorithm: str
) -> None:
    assert algorithm_of(entry_point, {"algo.advantage.estimator": estimator}) == algorithm


def test_what_is_promised_depends_on_what_is_trained() -> None:
    assert "reward_margin" not in promised_metrics("train_sft", {})
    assert {"reward_margin", "reward_accuracy"} <= set(promised_metrics("train_rm", {}))
    online = {"algo.advantage.estimator": "gae", "algo.kl.init_coef": 0.01}
    assert {"value_loss", "explained_variance", "kl_div"} <= set(promised_metrics("train_ppo_ray", online))
    without = {"algo.advantage.estimator": "reinforce", "algo.kl.init_coef": 0}
    assert not {"value_loss", "explained_variance", "kl_div"} & set(promised_metrics("train_ppo_ray", without))


def test_settings_are_kept_and_have_the_names_that_checks_ask_for() -> None:
    settings = {"adam.lr": 1e-3, "model.beta": 0.1, "max_norm": 1.0, "model.ipo_enable": False}
    config = configuration("train_dpo", settings)
    assert settings.items() <= config.items()
    assert (config["learning_rate"], config["beta"], config["max_grad_norm"]) == (1e-3, 0.1, 1.0)
    assert config["loss_type"] == "sigmoid"
    assert configuration("train_dpo", {**settings, "model.ipo_enable": True})["loss_type"] == "ipo"
