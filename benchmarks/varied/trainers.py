"""The trainers of configurations, and a scenario for each algorithm whose seed is the configuration's number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from configurations import ALGORITHMS, SHAPES, Configuration, draw

from rlhf_assert import Scenario
from rlhf_assert_tiny.task import animal_share

if TYPE_CHECKING:
    from rlhf_assert_trl.context import Context

HELD_OUT_SEED = 1_000_000
HELD_OUT_EXAMPLES = 64
TIME_LIMIT = 1200.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What goes into a trainer beside its arguments."""

    model: Any
    tokenizer: Any
    rewards: Callable[..., list[float]]
    data: Any
    held_out: Any = None


def shaped(shape: str) -> Callable[..., list[float]]:
    """Return the task's reward in a shape of `SHAPES`, as a TRL reward function."""
    form = SHAPES[shape][1]

    def reward(completions: list[str], **_: Any) -> list[float]:
        return [form(share) for share in animal_share(completions)]

    return reward


def examples(ctx: Context, algorithm: str, count: int) -> Any:
    """Return the rows that an algorithm trains on."""
    rows = {
        "ppo": ctx.tokenized_prompts,
        "dpo": ctx.preferences,
        "reward": ctx.preferences,
        "kto": ctx.unpaired_preferences,
        "sft": ctx.demonstrations,
    }
    return rows.get(algorithm, ctx.prompts)(count)


def parts_of(ctx: Context, configuration: Configuration) -> Parts:
    """Return the sound parts of a configuration's trainer."""
    algorithm, architecture = configuration.algorithm, configuration.architecture
    model = ctx.tiny_reward_model if algorithm == "reward" else ctx.tiny_model
    held_out = None
    if not configuration.shape:
        held_out = examples(replace(ctx, seed=ctx.seed + HELD_OUT_SEED), algorithm, HELD_OUT_EXAMPLES)
    return Parts(
        model=model(architecture),
        tokenizer=ctx.tokenizer,
        rewards=shaped(configuration.shape) if configuration.shape else shaped("share"),
        data=examples(ctx, algorithm, configuration.examples),
        held_out=held_out,
    )


def build(ctx: Context, configuration: Configuration, parts: Parts) -> Any:
    """Return the trainer. Those without a reward are evaluated on held-out rows at three points."""
    import trl

    arguments = ctx.training_arguments(**configuration.arguments)
    given = {"model": parts.model, "processing_class": parts.tokenizer, "train_dataset": parts.data}
    algorithm = configuration.algorithm
    if algorithm == "ppo":
        return _ppo(ctx, configuration, parts, arguments)
    if algorithm == "online-dpo":
        from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

        arguments["max_length"] = 64
        return OnlineDPOTrainer(**given, reward_funcs=parts.rewards, args=OnlineDPOConfig(**arguments))
    name = {"grpo": "GRPO", "rloo": "RLOO", "dpo": "DPO", "kto": "KTO", "reward": "Reward", "sft": "SFT"}[algorithm]
    trainer, config = getattr(trl, f"{name}Trainer"), getattr(trl, f"{name}Config")
    if algorithm in ("grpo", "rloo"):
        return trainer(**given, reward_funcs=parts.rewards, args=config(**arguments))
    arguments |= {"eval_strategy": "steps", "eval_steps": ctx.steps // 2, "eval_on_start": True}
    return trainer(**given, eval_dataset=parts.held_out, args=config(**arguments))


def _ppo(ctx: Context, configuration: Configuration, parts: Parts, arguments: dict[str, Any]) -> Any:
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    batch = arguments["per_device_train_batch_size"] * arguments["gradient_accumulation_steps"]
    return PPOTrainer(
        model=parts.model,
        ref_model=ctx.tiny_model(configuration.architecture),
        value_model=ctx.tiny_value_model(configuration.architecture),
        reward_model=ctx.reward_module(parts.rewards),
        processing_class=parts.tokenizer,
        train_dataset=parts.data,
        args=PPOConfig(
            **arguments,
            total_episodes=ctx.steps * batch,
            num_sample_generations=0,
            stop_token="eos",
        ),
    )


def _healthy(algorithm: str) -> Scenario:
    def drawn(ctx: Context) -> Any:
        configuration = draw(algorithm, ctx.seed)
        return build(ctx, configuration, parts_of(ctx, configuration))

    return Scenario(name=f"healthy-{algorithm}", function=drawn, backend="trl", time_limit=TIME_LIMIT)


globals().update({f"healthy_{algorithm}": _healthy(algorithm) for algorithm in ALGORITHMS})
