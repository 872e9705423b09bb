"""What a scenario function is given to build its trainer from."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlhf_assert_tiny.task import animal_share, pick_prompts, write_answer
from rlhf_assert_tiny.tiny import Architecture, load_policy, load_scorer, load_tokenizer

if TYPE_CHECKING:
    from datasets import Dataset

GOOD, POOR = 0.8, 0.1
"""Share of animals in the better and in the worse answer of a preference pair."""


@dataclass(frozen=True)
class Context:
    """The `ctx` of a scenario: tiny models, data of every shape that a TRL trainer takes, and arguments.

    All of it depends on the seed alone. Models come from a local folder, so trainers that load the reference again
    from the model's name find it.

    Attributes:
        seed: seed of this run.
        steps: optimizer steps to train (PPO: updates).
        output_dir: folder for the trainer's checkpoints.
    """

    seed: int
    steps: int
    output_dir: Path

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer of the tiny models; it pads on the left and encodes any text."""
        return load_tokenizer()

    def tiny_model(self, architecture: Architecture = "qwen2") -> Any:
        """Return a warm-started causal language model of about 97,000 parameters: "qwen2" or "llama"."""
        return load_policy(architecture)

    def tiny_value_model(self, architecture: Architecture = "qwen2") -> Any:
        """Return the warm-started model with a new head of one number, for PPO's values."""
        return load_scorer(architecture)

    def tiny_reward_model(self, architecture: Architecture = "qwen2") -> Any:
        """Return the warm-started model with a new head of one number, for `RewardTrainer`."""
        return load_scorer(architecture)

    @property
    def reward_function(self) -> Any:
        """The task's reward function, 0 to 1: the share of a completion's words that are animals."""
        return animal_share

    def reward_module(self, reward_function: Any = None) -> Any:
        """Return a TRL reward function (default: the task's own) as the reward model that `PPOTrainer` takes.

        It finds the prompt's end by its colon, so it is for `prompts` and `tokenized_prompts`.
        """
        from rlhf_assert_trl.reward_module import RewardModule

        return RewardModule(self.tokenizer, reward_function or animal_share)

    def prompts(self, count: int = 64) -> Dataset:
        """Return `count` rows of `prompt`: for GRPO, RLOO and OnlineDPO."""
        return self._dataset([{"prompt": prompt} for prompt in pick_prompts(self._random("prompts"), count)])

    def tokenized_prompts(self, count: int = 64) -> Dataset:
        """Return `count` rows of `input_ids`: for PPO."""
        tokenizer = self.tokenizer
        prompts = pick_prompts(self._random("prompts"), count)
        return self._dataset([{"input_ids": tokenizer(prompt)["input_ids"]} for prompt in prompts])

    def preferences(self, count: int = 64) -> Dataset:
        """Return `count` rows of `prompt`, `chosen` and `rejected`: for DPO and reward models."""
        generator = self._random("preferences")
        return self._dataset(
            [
                {"prompt": prompt, "chosen": write_answer(generator, GOOD), "rejected": write_answer(generator, POOR)}
                for prompt in pick_prompts(generator, count)
            ]
        )

    def unpaired_preferences(self, count: int = 64) -> Dataset:
        """Return `count` rows of `prompt`, `completion` and `label`, good and poor in turn: for KTO."""
        generator = self._random("unpaired preferences")
        return self._dataset(
            [
                {
                    "prompt": prompt,
                    "completion": write_answer(generator, POOR if index % 2 else GOOD),
                    "label": index % 2 == 0,
                }
                for index, prompt in enumerate(pick_prompts(generator, count))
            ]
        )

    def demonstrations(self, count: int = 64, *, animals: float = 1.0) -> Dataset:
        """Return `count` rows of `prompt` and `completion`, by default best answers (a warm start: 1/3): for SFT."""
        generator = self._random("demonstrations")
        return self._dataset(
            [
                {"prompt": prompt, "completion": write_answer(generator, animals)}
                for prompt in pick_prompts(generator, count)
            ]
        )

    def training_arguments(self, **changes: Any) -> dict[str, Any]:
        """Return arguments for any TRL configuration: `GRPOConfig(**ctx.training_arguments(), beta=0.04)`.

        They train `steps` steps from `seed`, log each of them, save in the middle and at the end, report to nobody, and
        use a GPU if there is one. PPO counts episodes in place of steps: give `PPOConfig` also
        `total_episodes=ctx.steps * per_device_train_batch_size * gradient_accumulation_steps`.

        Args:
            changes: arguments that replace or join these.
        """
        import torch

        cpu = not torch.cuda.is_available()
        return {
            "output_dir": str(self.output_dir),
            "seed": self.seed,
            "max_steps": self.steps,
            "logging_steps": 1,
            "logging_nan_inf_filter": False,  # it would replace a NaN loss by 0
            "save_strategy": "steps",
            "save_steps": (self.steps + 1) // 2,
            "report_to": [],
            "disable_tqdm": True,
            "use_cpu": cpu,
            "bf16": False,
            "gradient_checkpointing": False,
            "dataloader_pin_memory": not cpu,
            **changes,
        }

    def _random(self, purpose: str) -> random.Random:
        return random.Random(f"{purpose} {self.seed}")  # noqa: S311 - data, no secret

    @staticmethod
    def _dataset(rows: list[dict[str, Any]]) -> Dataset:
        from datasets import Dataset

        return Dataset.from_list(rows)
