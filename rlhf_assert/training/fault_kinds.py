"""The kinds of faults: what can be broken in a training on purpose, in which trainings, and what should find it.

Nothing here knows a framework: a backend breaks a training, by the name of the kind (`Backend.train`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

Need = Literal["reference", "reward functions", "gradient clipping", "adam"]
"""What a trainer must have, beside its algorithm, for a fault to mean something."""

NEEDS: tuple[Need, ...] = get_args(Need)

_ALL = frozenset({"ppo", "grpo", "rloo", "reinforce", "online-dpo", "dpo", "kto", "reward", "sft"})
_GENERATING = frozenset({"ppo", "grpo", "rloo", "reinforce", "online-dpo"})
_GROUPED = frozenset({"grpo", "rloo"})
_REFERENCED = frozenset({"ppo", "grpo", "rloo", "reinforce", "online-dpo", "dpo", "kto"})
_CLIPPING = _ALL - {"ppo"}  # TRL's PPO clips no gradients


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultKind:
    """What a fault does, to what, and what should find it.

    Attributes:
        summary: what is wrong from the onset on; `{}` stands for the magnitude.
        algorithms: the algorithms that the fault can break.
        magnitude: the default magnitude.
        unit: what the magnitude counts. It is empty for a fault without degrees, whose magnitude is always 1.
        onset: the default onset: 10 for a fault that begins in the middle, 1 for one that is there from the start.
        needs: what else the trainer must have.
        abrupt: whether the whole fault is there from the onset on. Otherwise it adds up step by step, or shows only
            because the model does not learn.
        in_logs: whether the logged metrics alone can show the fault. Otherwise samples, weights, checkpoints or
            resources are needed.
    """

    summary: str
    algorithms: frozenset[str]
    magnitude: float = 1.0
    unit: str = ""
    onset: int = 10
    needs: tuple[Need, ...] = ()
    abrupt: bool = True
    in_logs: bool = True


FAULTS: Mapping[str, FaultKind] = MappingProxyType(
    {
        # the optimizer and its gradients
        "learning_rate_spike": FaultKind(
            summary="one step is taken with {} times the learning rate; the schedule does not say so",
            magnitude=1000.0,
            unit="times the learning rate",
            algorithms=_ALL,
        ),
        "learning_rate_zero": FaultKind(
            summary="the optimizer steps with learning rate 0; the schedule does not say so",
            algorithms=_ALL,
            in_logs=False,
        ),
        "gradient_drop": FaultKind(
            summary="{} of the parameters never get their gradients",
            unit="share of the parameter tensors, 0 to 1",
            algorithms=_ALL,
            in_logs=False,
        ),
        "gradient_noise": FaultKind(
            summary="noise of {} times their standard deviation is added to the gradients",
            magnitude=100.0,
            unit="standard deviations of each gradient tensor",
            algorithms=_ALL,
        ),
        "gradient_clipping_off": FaultKind(
            summary="gradients are not clipped any more, and come {} times as large",
            magnitude=10.0,
            unit="times the gradients",
            algorithms=_CLIPPING,
            needs=("gradient clipping",),
            in_logs=False,
        ),
        "gradient_nan": FaultKind(
            summary="one gradient is NaN at one step",
            algorithms=_ALL,
        ),
        "gradient_inf": FaultKind(
            summary="one gradient is infinite at one step",
            algorithms=_ALL,
        ),
        "optimizer_state_lost": FaultKind(
            summary="the optimizer forgets its moments, as after a resume without its state",
            algorithms=_ALL,
            needs=("adam",),
            in_logs=False,
        ),
        # the weights
        "parameters_frozen": FaultKind(
            summary="{} of the parameters are frozen",
            magnitude=0.5,
            unit="share of the parameter tensors, 0 to 1",
            algorithms=_ALL,
            in_logs=False,
        ),
        "weights_nan": FaultKind(
            summary="{} weights of one matrix become NaN",
            unit="weights",
            algorithms=_ALL,
        ),
        "weights_inf": FaultKind(
            summary="{} weights of one matrix become infinite",
            unit="weights",
            algorithms=_ALL,
        ),
        "value_head_scaled": FaultKind(
            summary="the value head's weights are multiplied by {}",
            magnitude=100.0,
            unit="times the weights",
            algorithms=frozenset({"ppo"}),
        ),
        # the rewards
        "reward_nan": FaultKind(
            summary="{} completions of each batch are rewarded with NaN",
            unit="completions",
            algorithms=_GENERATING,
            needs=("reward functions",),
            in_logs=False,
        ),
        "reward_inf": FaultKind(
            summary="{} completions of each batch are rewarded with infinity",
            unit="completions",
            algorithms=_GENERATING,
            needs=("reward functions",),
        ),
        "reward_constant": FaultKind(
            summary="every completion is rewarded with {}",
            magnitude=0.5,
            unit="the reward",
            algorithms=_GENERATING,
            needs=("reward functions",),
        ),
        "reward_random": FaultKind(
            summary="rewards are random numbers between 0 and {}",
            unit="largest reward",
            algorithms=_GENERATING,
            needs=("reward functions",),
            onset=1,
            abrupt=False,
        ),
        "reward_shuffled": FaultKind(
            summary="{} of the rewards of a batch are dealt to other completions",
            unit="share of the completions, 0 to 1",
            algorithms=_GENERATING,
            needs=("reward functions",),
            onset=1,
            abrupt=False,
        ),
        "reward_negated": FaultKind(
            summary="rewards have the wrong sign",
            algorithms=_GENERATING,
            needs=("reward functions",),
        ),
        "reward_rescaled": FaultKind(
            summary="rewards are multiplied by {}",
            magnitude=100.0,
            unit="times the reward",
            algorithms=_GENERATING,
            needs=("reward functions",),
        ),
        "reward_delayed": FaultKind(
            summary="each batch gets the rewards of the batch {} before it",
            unit="batches",
            algorithms=_GENERATING,
            needs=("reward functions",),
            onset=1,
            abrupt=False,
        ),
        "reward_length": FaultKind(
            summary="each token of a completion is rewarded with {} on top",
            magnitude=0.1,
            unit="reward per token",
            algorithms=_GENERATING,
            needs=("reward functions",),
            onset=1,
            abrupt=False,
        ),
        # what is made of them
        "advantages_negated": FaultKind(
            summary="advantages have the wrong sign",
            algorithms=_GROUPED | {"ppo"},
            in_logs=False,
        ),
        "advantages_shuffled": FaultKind(
            summary="{} of the advantages are given to other completions",
            unit="share of the completions, 0 to 1",
            algorithms=_GROUPED,
            in_logs=False,
        ),
        "kl_coefficient_wrong": FaultKind(
            summary="the KL coefficient is {} times the configured one",
            magnitude=100.0,
            unit="times the coefficient",
            algorithms=_REFERENCED,
            needs=("reference",),
        ),
        "kl_coefficient_negated": FaultKind(
            summary="the KL coefficient has the wrong sign, at {} times its size",
            magnitude=10.0,
            unit="times the coefficient",
            algorithms=_REFERENCED,
            needs=("reference",),
        ),
        "value_coefficient_wrong": FaultKind(
            summary="the value loss is weighted with {} times the configured coefficient",
            magnitude=1000.0,
            unit="times the coefficient",
            algorithms=frozenset({"ppo"}),
            in_logs=False,
        ),
        # the reference
        "reference_noised": FaultKind(
            summary="noise of standard deviation {} is added to the reference's weights",
            magnitude=0.05,
            unit="standard deviation",
            algorithms=_REFERENCED,
            needs=("reference",),
        ),
        "reference_zeroed": FaultKind(
            summary="the reference's weights are 0",
            algorithms=_REFERENCED,
            needs=("reference",),
        ),
        "reference_updated": FaultKind(
            summary="the reference is moved by {} of its way to the policy at each step",
            unit="share of the way, 0 to 1",
            algorithms=_REFERENCED,
            needs=("reference",),
            in_logs=False,
        ),
        # generation
        "rollout_weights_stale": FaultKind(
            summary="completions are generated with the weights of {} steps before",
            magnitude=10.0,
            unit="steps",
            algorithms=_GENERATING,
            in_logs=False,
        ),
        "temperature_mismatch": FaultKind(
            summary="completions are generated at {} times the temperature that the loss assumes",
            magnitude=2.0,
            unit="times the temperature",
            algorithms=_GENERATING,
            in_logs=False,
        ),
        "truncation": FaultKind(
            summary="completions are cut off after {} tokens",
            magnitude=4.0,
            unit="tokens",
            algorithms=_GENERATING,
        ),
        "eos_as_pad": FaultKind(
            summary="the tokenizer's end token and padding token are mixed up: no completion ends",
            algorithms=_GENERATING - {"ppo"},  # PPO cuts by its own stop token, and fills up with padding
        ),
        "dropout_left_on": FaultKind(
            summary="dropout of {} is on where log-probabilities are taken",
            magnitude=0.1,
            unit="probability, 0 to 1",
            algorithms=_REFERENCED,
            needs=("reference",),
            onset=1,
        ),
        # data, machine, disk
        "data_repeated": FaultKind(
            summary="the same {} batches come again and again",
            unit="batches",
            algorithms=_ALL,
            in_logs=False,
        ),
        "memory_leak": FaultKind(
            summary="{} MiB more are kept at each step",
            magnitude=16.0,
            unit="MiB per step",
            algorithms=_ALL,
            abrupt=False,
            in_logs=False,
        ),
        "slow_step": FaultKind(
            summary="each step takes {} seconds longer",
            magnitude=1.0,
            unit="seconds",
            algorithms=_ALL,
            in_logs=False,
        ),
        "checkpoint_truncated": FaultKind(
            summary="the weights of each checkpoint are cut off after {} of the file",
            magnitude=0.5,
            unit="share of the file, 0 to 1",
            algorithms=_ALL,
            in_logs=False,
        ),
        # what consists of several processes
        "critic_learning_rate_spike": FaultKind(
            summary="one step of the critic is taken with {} times its learning rate; the schedule does not say so",
            magnitude=1000.0,
            unit="times the learning rate",
            algorithms=frozenset({"ppo"}),
        ),
        "engine_killed": FaultKind(
            summary="the process of the engine that generates is killed",
            algorithms=_GENERATING,
            in_logs=False,
        ),
        "actor_killed": FaultKind(
            summary="the process that trains the policy is killed",
            algorithms=_GENERATING,
            in_logs=False,
        ),
    }
)
"""Every fault by name. A new one comes last: validations deal the faults to scenarios in this order."""
