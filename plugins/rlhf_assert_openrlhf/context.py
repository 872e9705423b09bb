"""What a scenario function is given to build its training from."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlhf_assert_openrlhf import inside
from rlhf_assert_openrlhf.training import RewardFunction
from rlhf_assert_tiny.task import animal_share, pick_prompts, write_answer
from rlhf_assert_tiny.tiny import END

if TYPE_CHECKING:
    from rlhf_assert.training.scenario import Scenario

GOOD, POOR = 0.8, 0.1
"""Share of animals in the better and in the worse answer of a preference pair."""


@dataclass(frozen=True)
class Context:
    """The `ctx` of a scenario: a tiny model, prompts, a reward, and the flags that a tiny training needs.

    Attributes:
        seed: seed of this run.
        steps: optimizer steps to train.
        output_dir: folder for OpenRLHF's checkpoints.
        tiny_model: folder of a warm-started Qwen2 of about 97,000 parameters and its tokenizer.
        on_cpu: whether the training runs without CUDA.
    """

    seed: int
    steps: int
    output_dir: Path
    tiny_model: Path
    on_cpu: bool

    @property
    def reward_function(self) -> RewardFunction:
        """The task's reward function, 0 to 1: the share of a completion's words that are animals."""
        return animal_share

    @property
    def agent(self) -> Path:
        """The file of an agent of two turns, for `train.agent_func_path`: it is what rewards."""
        return Path(inside.__file__).parent / "agent.py"

    def prompts(self, count: int = 64) -> list[dict[str, Any]]:
        """Return `count` rows of `input`: for `train_ppo_ray`."""
        return [{"input": prompt} for prompt in pick_prompts(self._random("prompts"), count)]

    def preferences(self, count: int = 64, *, held_out: bool = False) -> list[dict[str, Any]]:
        """Return `count` rows of `prompt`, `chosen` and `rejected`: for `train_rm` and `train_dpo`.

        Args:
            count: how many.
            held_out: other rows, for an evaluation.
        """
        generator = self._random("held-out preferences" if held_out else "preferences")
        return [
            {
                "prompt": prompt,
                "chosen": write_answer(generator, GOOD) + END,
                "rejected": write_answer(generator, POOR) + END,
            }
            for prompt in pick_prompts(generator, count)
        ]

    def demonstrations(self, count: int = 64, *, held_out: bool = False) -> list[dict[str, Any]]:
        """Return `count` rows of `input` and `output`, the best answers: for `train_sft`; see `preferences`."""
        generator = self._random("held-out demonstrations" if held_out else "demonstrations")
        return [
            {"input": prompt, "output": write_answer(generator, 1.0) + END} for prompt in pick_prompts(generator, count)
        ]

    def trained(self, scenario: Scenario) -> Path:
        """Return the folder of the model that another scenario trains; see `rlhf_assert_openrlhf.trained.trained`."""
        from rlhf_assert_openrlhf.trained import trained

        return trained(scenario)

    def training_flags(self, *, prompts_per_step: int = 8, samples_per_prompt: int = 4) -> dict[str, Any]:
        """Return flags of `train_ppo_ray`: `{**ctx.training_flags(), "actor.adam.lr": 1e-3}`.

        They train the tiny model for `steps` steps, one for each batch of completions, on `steps * prompts_per_step`
        prompts; log every step; save the weights in the middle and at the end; generate with one vLLM engine; and give
        each model one GPU, or what means one on a CPU.
        """
        batch = prompts_per_step * samples_per_prompt
        return {
            "actor.model_name_or_path": str(self.tiny_model),
            "actor.num_nodes": 1,
            "actor.num_gpus_per_node": 1,
            "ref.num_nodes": 1,
            "ref.num_gpus_per_node": 1,
            "vllm.num_engines": 1,
            "vllm.tensor_parallel_size": 1,
            "vllm.enforce_eager": True,
            "vllm.gpu_memory_utilization": 0.1,
            "vllm.sync_backend": "gloo" if self.on_cpu else "nccl",
            "ds.attn_implementation": "sdpa",
            "ds.param_dtype": "bf16",
            "ds.zero_stage": 2,
            "data.max_len": 64,
            "data.max_samples": self.steps * prompts_per_step,
            "rollout.max_new_tokens": 24,
            "rollout.batch_size": prompts_per_step,
            "rollout.n_samples_per_prompt": samples_per_prompt,
            "rollout.micro_batch_size": batch,
            "train.batch_size": batch,
            "train.micro_batch_size": batch,
            "train.num_episodes": 1,
            "train.seed": self.seed,
            "actor.entropy_coef": 0.0,  # None logs no entropy
            "algo.advantage.is_correction_level": "token",  # "off" takes no log-probabilities from the engine
            "ckpt.path": str(self.output_dir),
            "ckpt.output_dir": str(self.output_dir / "final"),
            "ckpt.save_steps": (self.steps + 1) // 2,
            "ckpt.save_hf": True,
            "ckpt.disable_ds": True,
            "logger.logging_steps": 1,
        }

    def critic_flags(self) -> dict[str, Any]:
        """Return flags of `train_ppo_ray` with a critic, beside `training_flags`.

        The critic starts as the tiny model with a new head. It gets one GPU, a reward model another, and actor and
        critic are saved as DeepSpeed saves them.
        """
        return {
            "critic.model_name_or_path": str(self.tiny_model),
            "critic.num_nodes": 1,
            "critic.num_gpus_per_node": 1,
            "critic.save_value_network": True,
            "reward.num_nodes": 1,
            "reward.num_gpus_per_node": 1,
            "ckpt.disable_ds": False,  # the critic is saved in no other form before the end
        }

    def supervised_flags(self, *, batch: int = 8) -> dict[str, Any]:
        """Return flags of `train_sft`, `train_rm` and `train_dpo`: `{**ctx.supervised_flags(), "adam.lr": 1e-3}`.

        They train the tiny model once over the rows, `batch` of them in each step: `batch * steps` rows make `steps`
        steps. They log every step, evaluate and save the weights in the middle and at the end, and take a row's text
        as it is, without a template around it.
        """
        half = (self.steps + 1) // 2
        return {
            "model.model_name_or_path": str(self.tiny_model),
            "ds.attn_implementation": "sdpa",
            "ds.param_dtype": "bf16",
            "ds.zero_stage": 2,
            "data.max_len": 64,
            "data.input_template": "{}",  # without this flag `train_sft` puts "User: ... Assistant: " around a row
            "train.batch_size": batch,
            "train.micro_batch_size": batch,
            "train.max_epochs": 1,
            "train.seed": self.seed,
            "eval.steps": half,
            "ckpt.path": str(self.output_dir),
            "ckpt.output_dir": str(self.output_dir / "final"),
            "ckpt.save_steps": half,
            "ckpt.save_hf": True,
            "ckpt.disable_ds": True,
            "logger.logging_steps": 1,
        }

    def _random(self, purpose: str) -> random.Random:
        return random.Random(f"{purpose} {self.seed}")  # noqa: S311 - data, no secret
