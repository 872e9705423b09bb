from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlhf_assert_trl.context import Context

pytestmark = pytest.mark.training
CONFIGS = ("GRPO", "RLOO", "DPO", "KTO", "Reward", "SFT", "OnlineDPO", "PPO")
DATA = ("prompts", "tokenized_prompts", "preferences", "unpaired_preferences", "demonstrations")


@pytest.mark.parametrize("name", CONFIGS)
def test_training_arguments_suit_every_configuration(context: Context, name: str) -> None:
    import trl

    module = {"OnlineDPO": "trl.experimental.online_dpo", "PPO": "trl.experimental.ppo"}.get(name)
    source = trl if module is None else pytest.importorskip(module, reason=f"this trl has no {name}")
    arguments = getattr(source, f"{name}Config")(**context.training_arguments(learning_rate=1e-3))

    assert arguments.seed == 0
    assert arguments.max_steps == 6
    assert arguments.learning_rate == 1e-3
    assert arguments.logging_steps == 1
    assert arguments.save_steps == 3
    assert arguments.report_to == []


def test_changes_replace_arguments(context: Context) -> None:
    assert context.training_arguments(seed=7, beta=0.1) == {**context.training_arguments(), "seed": 7, "beta": 0.1}


@pytest.mark.parametrize("name", DATA)
def test_data_depends_on_the_seed_alone(warm_backend: Any, tmp_path: Path, name: str) -> None:
    def rows(seed: int) -> list[dict[str, Any]]:
        return list(getattr(Context(seed=seed, steps=1, output_dir=tmp_path), name)(40))

    assert len(rows(0)) == 40
    assert rows(0) == rows(0)
    assert rows(0) != rows(1)


def test_preferences_prefer_animals(context: Context) -> None:
    from rlhf_assert_tiny.task import animal_share

    rows = context.preferences(64)
    assert sum(animal_share(rows["chosen"])) / 64 > 0.7
    assert sum(animal_share(rows["rejected"])) / 64 < 0.2


def test_the_reward_module_scores_completions_as_the_function_does(context: Context) -> None:
    utils = pytest.importorskip("trl.experimental.utils")
    tokenizer = context.tokenizer
    texts = ["Animals of the old sea: cat fox.", "Animals of the old sea: cat lamp road boat.", "Animals of the sea: x"]
    batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right")

    _, scores, _ = utils.get_reward(context.reward_module(), batch["input_ids"], tokenizer.pad_token_id, 1)

    assert scores.tolist() == [1.0, 0.25, 0.0]
