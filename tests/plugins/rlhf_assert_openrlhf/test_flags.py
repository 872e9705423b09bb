"""Flags are checked by the command's own parser, which is had without importing the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlhf_assert.errors import MissingDependency, UsageError
from rlhf_assert_openrlhf.context import Context
from rlhf_assert_openrlhf.environment import Environment
from rlhf_assert_openrlhf.flags import arguments, check, parser_of

COMMAND = """
import argparse
import os
from datetime import datetime

import a_package_that_is_not_installed
from a_package_that_is_not_installed.cli import train

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for prefix in ("actor", "critic"):
        parser.add_argument(f"--{prefix}.adam.lr", type=float, default=1e-6)
        parser.add_argument(f"--{prefix}.adam.betas", type=float, nargs=2, default=(0.9, 0.95))
    parser.add_argument("--logger.run_name", default="ppo_%s" % datetime.now().year)
    parser.add_argument("--vllm.enforce_eager", action="store_true", default=False)
    parser.add_argument("--algo.kl.estimator", choices=["k1", "k2"], default="k1")
    args = parser.parse_args()
    train(args)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli" / "train_ppo_ray.py").write_text(COMMAND)
    return tmp_path


def test_flags_become_the_words_of_a_command_line() -> None:
    flags = {"a": True, "b": False, "c": None, "d": -1, "e": (0.9, 0.95), "f": "text"}
    assert arguments(flags) == ["--a", "--d", "-1", "--e", "0.9", "0.95", "--f", "text"]


def test_settings_are_what_the_command_would_see_defaults_included(package: Path) -> None:
    settings = check({"actor.adam.betas": [0.8, 0.9], "vllm.enforce_eager": True}, parser_of(package, "train_ppo_ray"))
    assert settings["actor.adam.betas"] == [0.8, 0.9]
    assert settings["critic.adam.betas"] == (0.9, 0.95)
    assert settings["vllm.enforce_eager"] is True
    assert settings["logger.run_name"].startswith("ppo_2")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"actor.adam.lrr": 1e-3}, r"no flag actor.adam.lrr \(did you mean actor.adam.lr\?\)"),
        ({"vllm.enforce": True}, "no flag vllm.enforce "),  # argparse alone would take an abbreviation
        ({"actor.adam.lr": "fast"}, "--actor.adam.lr: invalid float value: 'fast'"),
        ({"algo.kl.estimator": "k9"}, "--algo.kl.estimator: invalid choice: 'k9'"),
        ({"actor.adam.betas": [0.9]}, "--actor.adam.betas: expected 2 arguments"),
    ],
)
def test_what_the_command_would_refuse_is_refused_before(package: Path, flags: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        check(flags, parser_of(package, "train_ppo_ray"))
    assert "\n" not in str(caught.value)


def test_an_unknown_command_is_refused_with_the_known_ones(package: Path) -> None:
    with pytest.raises(UsageError, match=r"no command train_ppo \(did you mean train_ppo_ray\?\); known: train_ppo_r"):
        parser_of(package, "train_ppo")


@pytest.mark.parametrize("content", ["parser = 1\n", "if __name__ == '__main__':\n    parser = make_parser()\n"])
def test_a_command_that_is_written_otherwise_is_no_crash(package: Path, content: str) -> None:
    (package / "cli" / "train_ppo_ray.py").write_text(content)
    with pytest.raises(MissingDependency, match=r"install openrlhf 0\.11\.2"):
        parser_of(package, "train_ppo_ray")


@pytest.mark.parametrize("entry_point", ["train_ppo_ray", "train_dpo", "train_rm", "train_sft"])
def test_every_command_of_the_installed_openrlhf_tells_its_flags(installed: Environment, entry_point: str) -> None:
    assert len(check({}, parser_of(installed.package, entry_point))) > 50


def test_the_flags_of_a_context_are_flags_of_the_installed_openrlhf(installed: Environment, tmp_path: Path) -> None:
    context = Context(seed=1, steps=4, output_dir=tmp_path, tiny_model=tmp_path, on_cpu=True)
    settings = check(context.training_flags(), parser_of(installed.package, "train_ppo_ray"))
    assert settings["train.batch_size"] == settings["rollout.batch_size"] * settings["rollout.n_samples_per_prompt"]


@pytest.mark.parametrize("entry_point", ["train_sft", "train_rm", "train_dpo"])
def test_the_flags_of_a_supervised_training_are_known_to_its_command(
    installed: Environment, tmp_path: Path, entry_point: str
) -> None:
    context = Context(seed=1, steps=5, output_dir=tmp_path, tiny_model=tmp_path, on_cpu=True)
    settings = check(context.supervised_flags(batch=4), parser_of(installed.package, entry_point))
    assert (settings["train.batch_size"], settings["ckpt.save_steps"], settings["train.seed"]) == (4, 3, 1)
