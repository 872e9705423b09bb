"""What a command trains is told by its settings, in the words that the checks ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlhf_assert import scenario
from rlhf_assert_openrlhf.backend import command, describe
from rlhf_assert_openrlhf.environment import Environment
from rlhf_assert_openrlhf.flags import parser_of
from rlhf_assert_openrlhf.promises import algorithm_of, configuration, promised_metrics
from rlhf_assert_openrlhf.training import OpenRLHFTraining

ESTIMATORS = {"gae", "reinforce", "rloo", "reinforce_baseline", "group_norm", "dr_grpo", "flash_reinforce"}


@pytest.mark.parametrize(
    ("entry_point", "estimator", "algorithm"),
    [
        ("train_sft", None, "sft"),
        ("train_rm", None, "reward"),
        ("train_dpo", None, "dpo"),
        ("train_ppo_ray", "gae", "ppo"),
        ("train_ppo_ray", "group_norm", "grpo"),
        ("train_ppo_ray", "rloo", "rloo"),
        *(("train_ppo_ray", name, name) for name in ("reinforce", "reinforce_baseline", "dr_grpo", "flash_reinforce")),
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


def test_every_estimator_that_openrlhf_offers_can_be_set_and_is_described(installed: Environment) -> None:
    offered = next(
        action.choices
        for action in parser_of(installed.package, "train_ppo_ray")._actions
        if "--algo.advantage.estimator" in action.option_strings
    )
    assert set(offered) == ESTIMATORS
    for estimator in offered:
        training = OpenRLHFTraining(
            reward=Path(__file__),
            flags={
                "algo.advantage.estimator": estimator,
                "algo.advantage.no_std_norm": True,
                "algo.kl.init_coef": 0.01,
                "algo.kl.use_loss": True,
                "reward.normalize_enable": True,
                "reward.clip_range": [-1.0, 1.0],
            },
        )
        _, settings = command(installed, training, training.flags)
        found = describe(training, settings, scenario(backend="openrlhf", promises=("entropy",))(print), on_cpu=True)
        critic = {"value_loss", "explained_variance"}
        assert found["algorithm"] == {"gae": "ppo", "group_norm": "grpo"}.get(estimator, estimator)
        assert critic & set(found["promised"]) == (critic if estimator == "gae" else set())
        assert {"reward", "advantage", "kl_div", "entropy"} <= set(found["promised"])
        assert found["config"]["reward.normalize_enable"] is True
        assert found["config"]["reward.clip_range"] == [-1.0, 1.0]


def test_the_rows_are_counted_that_the_command_takes() -> None:
    training, mine = OpenRLHFTraining(entry_point="train_sft", data=[{}] * 20), scenario(backend="openrlhf")(print)
    for most, rows in ((100, 20), (8, 8)):
        assert describe(training, {"data.max_samples": most}, mine, on_cpu=True)["config"]["dataset_rows"] == rows
    assert "dataset_rows" not in describe(OpenRLHFTraining(entry_point="train_sft"), {}, mine, on_cpu=True)["config"]


def test_settings_are_kept_and_have_the_names_that_checks_ask_for() -> None:
    settings = {"adam.lr": 1e-3, "model.beta": 0.1, "max_norm": 1.0, "model.ipo_enable": False}
    config = configuration("train_dpo", settings)
    assert settings.items() <= config.items()
    assert (config["learning_rate"], config["beta"], config["max_grad_norm"]) == (1e-3, 0.1, 1.0)
    assert config["loss_type"] == "sigmoid"
    assert configuration("train_dpo", {**settings, "model.ipo_enable": True})["loss_type"] == "ipo"
