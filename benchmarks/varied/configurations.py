"""Configurations that somebody might sensibly train with, drawn around the packaged scenarios.

A configuration follows from the algorithm and a number alone, so a run can be repeated by its name.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

ALGORITHMS = ("ppo", "grpo", "rloo", "online-dpo", "dpo", "kto", "reward", "sft")
LEARNING_RATES = {
    "ppo": 5e-4,
    "grpo": 7e-4,
    "rloo": 7e-4,
    "online-dpo": 7e-4,
    "dpo": 2e-4,
    "kto": 2e-4,
    "reward": 3e-4,
    "sft": 5e-4,
}
"""Those of the packaged scenarios; a configuration's lies within a factor of 3."""

SHORTEST, LONGEST = 10, 150
LOGGING_STEPS = (1, 2, 5, 10)
SHAPES: Mapping[str, tuple[float, Callable[[float], float]]] = {
    "share": (1.0, lambda share: share),
    "signed": (1.0, lambda share: share - 1 / 3),
    "negative": (1.0, lambda share: share - 1.0),
    "binary": (1.0, lambda share: float(share >= 0.5)),
    "sparse": (1.0, lambda share: float(share >= 0.75)),
    "small": (1e-2, lambda share: 1e-2 * share),
    "huge": (1e3, lambda share: 1e3 * share),
    "offset": (1.0, lambda share: 10.0 + share),
}
"""Name of a shape -> its range, and what becomes of the share of animals, 0 to 1 and 1/3 at the start. `signed` starts
at zero, and `sparse` pays for a twentieth of the first completions."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is varied.

    Attributes:
        algorithm: one of `ALGORITHMS`.
        steps: optimizer steps (PPO: updates).
        architecture: of the tiny model.
        shape: of the reward, a key of `SHAPES`; empty where no reward is given.
        examples: rows of the data set.
        arguments: of TRL's configuration class.
    """

    algorithm: str
    steps: int
    architecture: str
    shape: str
    examples: int
    arguments: dict[str, Any] = field(default_factory=dict)


def draw(algorithm: str, number: int) -> Configuration:
    """Return the configuration of a number, 0 or more."""
    pick = random.Random(f"{algorithm} {number}")
    steps = round(_log_uniform(pick, SHORTEST, LONGEST))
    arguments = {
        "learning_rate": LEARNING_RATES[algorithm] * _log_uniform(pick, 1 / 3, 3),
        "lr_scheduler_type": pick.choice(("linear", "cosine", "constant", "constant_with_warmup")),
        "warmup_steps": round(steps * pick.choice((0.0, 0.05, 0.1, 0.2))),
        "max_grad_norm": pick.choice((0.5, 1.0)),
        "weight_decay": pick.choice((0.0, 0.01)),
        "gradient_accumulation_steps": pick.choice((1, 1, 2)),
        "logging_steps": pick.choice(LOGGING_STEPS),
    }
    shape = pick.choice(tuple(SHAPES)) if algorithm in ("ppo", "grpo", "rloo", "online-dpo") else ""
    arguments.update(_OWN[algorithm](pick, SHAPES[shape][0] if shape else 1.0))
    examples = pick.choice((64, 128)) if shape else pick.choice((256, 512, 1024))
    return Configuration(algorithm, steps, pick.choice(("qwen2", "llama")), shape, examples, arguments)


def _log_uniform(pick: random.Random, low: float, high: float) -> float:
    return math.exp(pick.uniform(math.log(low), math.log(high)))


def _ppo(pick: random.Random, scale: float) -> dict[str, Any]:
    return {
        "per_device_train_batch_size": pick.choice((16, 32)),
        "num_ppo_epochs": pick.choice((1, 2, 4)),
        "num_mini_batches": pick.choice((1, 1, 1, 2)),
        "response_length": pick.choice((16, 24, 32)),
        "temperature": pick.choice((0.7, 1.0, 1.0)),
        "kl_coef": pick.choice((0.02, 0.05, 0.1)) * scale,
        "kl_estimator": pick.choice(("k1", "k3")),
        "whiten_rewards": pick.random() < 0.25,
        "lam": pick.choice((0.95, 1.0)),
        "missing_eos_penalty": pick.choice((None, None, scale)),
    }


def _group(pick: random.Random) -> dict[str, Any]:
    return {
        "per_device_train_batch_size": pick.choice((16, 32, 48)),
        "num_generations": pick.choice((4, 8, 16)),
        "max_completion_length": pick.choice((16, 24, 40)),
        "temperature": pick.choice((0.8, 1.0, 1.0, 1.2)),
        "num_iterations": pick.choice((1, 1, 1, 2)),
    }


def _grpo(pick: random.Random, scale: float) -> dict[str, Any]:
    return _group(pick) | {
        "beta": pick.choice((0.0, 0.01, 0.04, 0.1)),
        "loss_type": pick.choice(("dapo", "grpo", "dr_grpo", "bnpo")),
        "scale_rewards": pick.choice(("group", "batch", "none") if scale == 1.0 else ("group", "batch")),
    }


def _rloo(pick: random.Random, scale: float) -> dict[str, Any]:
    return _group(pick) | {  # the penalty is part of the reward, so it is of the reward's scale
        "beta": pick.choice((0.01, 0.02, 0.05)) * scale,
        "normalize_advantages": pick.random() < 0.5,
    }


def _online_dpo(pick: random.Random, scale: float) -> dict[str, Any]:
    return {
        "per_device_train_batch_size": pick.choice((8, 16, 32)),
        "max_new_tokens": pick.choice((16, 24, 32)),
        "temperature": pick.choice((0.8, 1.0)),
        "beta": pick.choice((0.05, 0.1, 0.2)),
        "loss_type": pick.choice(("sigmoid", "sigmoid", "ipo")),
        "missing_eos_penalty": pick.choice((None, None, scale)),
    }


def _dpo(pick: random.Random, scale: float) -> dict[str, Any]:
    del scale
    loss = pick.choice(("sigmoid", "sigmoid", "sigmoid", "hinge", "ipo", "robust"))
    return {
        "per_device_train_batch_size": pick.choice((4, 8, 16)),
        "beta": pick.choice((0.05, 0.1, 0.3)),
        "loss_type": [loss],
        "label_smoothing": 0.1 if loss == "robust" else pick.choice((0.0, 0.0, 0.1)) if loss == "sigmoid" else 0.0,
    }


def _kto(pick: random.Random, scale: float) -> dict[str, Any]:
    del scale
    return {
        "per_device_train_batch_size": pick.choice((4, 8, 16)),
        "beta": pick.choice((0.05, 0.1, 0.3)),
        "desirable_weight": pick.choice((1.0, 1.0, 1.33)),
    }


def _reward(pick: random.Random, scale: float) -> dict[str, Any]:
    del scale
    return {
        "per_device_train_batch_size": pick.choice((4, 8, 16)),
        "center_rewards_coefficient": pick.choice((None, None, 0.01)),
    }


def _sft(pick: random.Random, scale: float) -> dict[str, Any]:
    del scale
    return {"per_device_train_batch_size": pick.choice((4, 8, 16)), "packing": False}


_OWN: Mapping[str, Callable[[random.Random, float], dict[str, Any]]] = {
    "ppo": _ppo,
    "grpo": _grpo,
    "rloo": _rloo,
    "online-dpo": _online_dpo,
    "dpo": _dpo,
    "kto": _kto,
    "reward": _reward,
    "sft": _sft,
}
