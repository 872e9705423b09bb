"""The vocabulary of faults: what can be broken in a training on purpose, to see whether it is found.

A `Fault` is a kind out of `FAULTS`, the step from which it is there, and how much of it. A backend injects it
(`Backend.train`); nothing here knows a framework.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from types import MappingProxyType
from typing import Any, Literal, get_args

from rlhf_assert.errors import UsageError, suggest

Need = Literal["reference", "reward functions", "gradient clipping", "adam"]
"""What a trainer must have, beside its algorithm, for a fault to mean something."""

NEEDS: tuple[Need, ...] = get_args(Need)

_ALL = frozenset({"ppo", "grpo", "rloo", "reinforce", "online-dpo", "dpo", "kto", "reward", "sft"})
_GENERATING = frozenset({"ppo", "grpo", "rloo", "reinforce", "online-dpo"})
_GROUPED = frozenset({"grpo", "rloo"})
_REFERENCED = frozenset({"ppo", "grpo", "rloo", "reinforce", "online-dpo", "dpo", "kto"})
_CLIPPING = _ALL - {"ppo"}  # TRL's PPO clips no gradients
_FORM = re.compile(r"(?P<kind>[a-z_]+?)(?:@(?P<onset>-?\d+))?(?:x(?P<magnitude>[-+]?[\d.]+(?:e[-+]?\d+)?))?")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault in one training.

    Attributes:
        kind: a name in `FAULTS`.
        onset: the first step that it touches, from 1 on; step n is the one after which n updates are done.
        magnitude: how much of it, in the unit of its kind.
    """

    kind: str
    onset: int
    magnitude: float

    def __str__(self) -> str:
        """Return the form that `parse_fault` reads, for example `reward_nan@10x2`."""
        return f"{self.kind}@{self.onset}x{self.magnitude:.12g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultKind:
    """What a fault does, to what, and what should find it.

    Attributes:
        summary: what is wrong from the onset on; `{}` stands for the magnitude.
        magnitude: the default magnitude.
        unit: what the magnitude counts; empty for a fault that is there or not, whose magnitude is always 1.
        onset: the default onset: 10 for what breaks in the middle, 1 for what is wrong from the start.
        algorithms: the algorithms that it can break.
        needs: what else the trainer must have.
        abrupt: whether it is there in full from the onset on; otherwise it shows only as it adds up, or as learning
            that does not come.
        found_by: names of checks and kinds of findings that are the right ones to find it, each alone enough.
        in_logs: whether the logged metrics alone can show it; else it takes samples, weights, checkpoints or resources.
    """

    summary: str
    algorithms: frozenset[str]
    found_by: tuple[str, ...]
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
            found_by=("optimizer", "kl", "loss", "entropy", "metrics", "checkpoints"),
        ),
        "learning_rate_zero": FaultKind(
            summary="the optimizer steps with learning rate 0; the schedule does not say so",
            algorithms=_ALL,
            found_by=("optimizer", "gradients", "checkpoints"),
            in_logs=False,
        ),
        "gradient_drop": FaultKind(
            summary="{} of the parameters never get their gradients",
            unit="share of the parameter tensors, 0 to 1",
            algorithms=_ALL,
            found_by=("optimizer", "gradients", "checkpoints"),
            in_logs=False,
        ),
        "gradient_noise": FaultKind(
            summary="noise of {} times their standard deviation is added to the gradients",
            magnitude=100.0,
            unit="standard deviations of each gradient tensor",
            algorithms=_ALL,
            found_by=("gradients", "metrics", "loss", "learning", "kl", "entropy"),
        ),
        "gradient_clipping_off": FaultKind(
            summary="gradients are not clipped any more, and come {} times as large",
            magnitude=10.0,
            unit="times the gradients",
            algorithms=_CLIPPING,
            needs=("gradient clipping",),
            found_by=("optimizer",),
            in_logs=False,
        ),
        "gradient_nan": FaultKind(
            summary="one gradient is NaN at one step",
            algorithms=_ALL,
            found_by=("gradients", "loss", "kl", "metrics", "completion", "checkpoints", "optimizer"),
        ),
        "gradient_inf": FaultKind(
            summary="one gradient is infinite at one step",
            algorithms=_ALL,
            found_by=("gradients", "loss", "kl", "metrics", "completion", "checkpoints", "optimizer"),
        ),
        "optimizer_state_lost": FaultKind(
            summary="the optimizer forgets its moments, as after a resume without its state",
            algorithms=_ALL,
            needs=("adam",),
            found_by=("optimizer", "checkpoints"),
            in_logs=False,
        ),
        # the weights
        "parameters_frozen": FaultKind(
            summary="{} of the parameters are frozen",
            magnitude=0.5,
            unit="share of the parameter tensors, 0 to 1",
            algorithms=_ALL,
            found_by=("optimizer", "gradients", "checkpoints"),
            in_logs=False,
        ),
        "weights_nan": FaultKind(
            summary="{} weights of one matrix become NaN",
            unit="weights",
            algorithms=_ALL,
            found_by=("completion", "optimizer", "checkpoints", "loss", "kl", "metrics", "gradients", "rewards"),
        ),
        "weights_inf": FaultKind(
            summary="{} weights of one matrix become infinite",
            unit="weights",
            algorithms=_ALL,
            found_by=("completion", "optimizer", "checkpoints", "loss", "kl", "metrics", "gradients", "rewards"),
        ),
        "value_head_scaled": FaultKind(
            summary="the value head's weights are multiplied by {}",
            magnitude=100.0,
            unit="times the weights",
            algorithms=frozenset({"ppo"}),
            found_by=("value_loss", "optimizer"),
        ),
        # the rewards
        "reward_nan": FaultKind(
            summary="{} completions of each batch are rewarded with NaN",
            unit="completions",
            algorithms=_GENERATING,
            needs=("reward functions",),
            found_by=("rewards", "completion"),
            in_logs=False,
        ),
        "reward_inf": FaultKind(
            summary="{} completions of each batch are rewarded with infinity",
            unit="completions",
            algorithms=_GENERATING,
            needs=("reward functions",),
            found_by=("rewards", "completion"),
        ),
        "reward_constant": FaultKind(
            summary="every completion is rewarded with {}",
            magnitude=0.5,
            unit="the reward",
            algorithms=_GENERATING,
            needs=("reward functions",),
            found_by=("rewards", "gradients", "metrics"),
        ),
        "reward_random": FaultKind(
            summary="rewards are random numbers between 0 and {}",
            unit="largest reward",
            algorithms=_GENERATING,
            needs=("reward functions",),
            onset=1,
            abrupt=False,
            found_by=("rewards", "learning"),
        ),
        "reward_shuffled": FaultKind(
            summary="{} of the rewards of a batch are dealt to other completions",
            unit="share of the completions, 0 to 1",
            algorithms=_GENERATING,
            needs=("reward functions",),
            onset=1,
            abrupt=False,
            found_by=("rewards", "learning"),
        ),
        "reward_negated": FaultKind(
            summary="rewards have the wrong sign",
            algorithms=_GENERATING,
            needs=("reward functions",),
            found_by=("rewards", "metrics", "learning"),
        ),
        "reward_rescaled": FaultKind(
            summary="rewards are multiplied by {}",
            magnitude=100.0,
            unit="times the reward",
            algorithms=_GENERATING,
            needs=("reward functions",),
            found_by=("rewards", "metrics", "value_loss", "loss"),
        ),
        "reward_delayed": FaultKind(
            summary="each batch gets the rewards of the batch {} before it",
            unit="batches",
            algorithms=_GENERATING,
            needs=("reward functions",),
            onset=1,
            abrupt=False,
            found_by=("rewards", "learning"),
        ),
        "reward_length": FaultKind(
            summary="each token of a completion is rewarded with {} on top",
            magnitude=0.1,
            unit="reward per token",
            algorithms=_GENERATING,
            needs=("reward functions",),
            onset=1,
            abrupt=False,
            found_by=("rewards",),
        ),
        # what is made of them
        "advantages_negated": FaultKind(
            summary="advantages have the wrong sign",
            algorithms=_GROUPED | {"ppo"},
            found_by=("rewards", "learning", "metrics"),
            in_logs=False,
        ),
        "advantages_shuffled": FaultKind(
            summary="{} of the advantages are given to other completions",
            unit="share of the completions, 0 to 1",
            algorithms=_GROUPED,
            found_by=("rewards",),
            in_logs=False,
        ),
        "kl_coefficient_wrong": FaultKind(
            summary="the KL coefficient is {} times the configured one",
            magnitude=100.0,
            unit="times the coefficient",
            algorithms=_REFERENCED,
            needs=("reference",),
            found_by=("objective", "loss", "metrics", "rewards", "policy_loss", "learning", "gradients"),
        ),
        "kl_coefficient_negated": FaultKind(
            summary="the KL coefficient has the wrong sign, at {} times its size",
            magnitude=10.0,
            unit="times the coefficient",
            algorithms=_REFERENCED,
            needs=("reference",),
            found_by=("objective", "loss", "kl", "metrics", "rewards", "policy_loss", "learning", "gradients"),
        ),
        "value_coefficient_wrong": FaultKind(
            summary="the value loss is weighted with {} times the configured coefficient",
            magnitude=1000.0,
            unit="times the coefficient",
            algorithms=frozenset({"ppo"}),
            found_by=("objective",),
            in_logs=False,
        ),
        # the reference
        "reference_noised": FaultKind(
            summary="noise of standard deviation {} is added to the reference's weights",
            magnitude=0.05,
            unit="standard deviation",
            algorithms=_REFERENCED,
            needs=("reference",),
            found_by=("reference", "kl", "loss"),
        ),
        "reference_zeroed": FaultKind(
            summary="the reference's weights are 0",
            algorithms=_REFERENCED,
            needs=("reference",),
            found_by=("reference", "kl", "loss"),
        ),
        "reference_updated": FaultKind(
            summary="the reference is moved by {} of its way to the policy at each step",
            unit="share of the way, 0 to 1",
            algorithms=_REFERENCED,
            needs=("reference",),
            found_by=("reference",),
            in_logs=False,
        ),
        # generation
        "rollout_weights_stale": FaultKind(
            summary="completions are generated with the weights of {} steps before",
            magnitude=10.0,
            unit="steps",
            algorithms=_GENERATING,
            found_by=("rollout", "policy_loss", "metrics", "kl"),
            in_logs=False,
        ),
        "temperature_mismatch": FaultKind(
            summary="completions are generated at {} times the temperature that the loss assumes",
            magnitude=2.0,
            unit="times the temperature",
            algorithms=_GENERATING,
            found_by=("rollout", "policy_loss", "metrics", "kl"),
            in_logs=False,
        ),
        "truncation": FaultKind(
            summary="completions are cut off after {} tokens",
            magnitude=4.0,
            unit="tokens",
            algorithms=_GENERATING,
            found_by=("metrics", "rollout"),
        ),
        "eos_as_pad": FaultKind(
            summary="the tokenizer's end token and padding token are mixed up: no completion ends",
            algorithms=_GENERATING - {"ppo"},  # PPO cuts by its own stop token, and fills up with padding
            found_by=("metrics", "rollout"),
        ),
        "dropout_left_on": FaultKind(
            summary="dropout of {} is on where log-probabilities are taken",
            magnitude=0.1,
            unit="probability, 0 to 1",
            algorithms=_REFERENCED,
            needs=("reference",),
            onset=1,
            found_by=("kl", "loss", "rollout", "policy_loss", "metrics"),
        ),
        # data, machine, disk
        "data_repeated": FaultKind(
            summary="the same {} batches come again and again",
            unit="batches",
            algorithms=_ALL,
            found_by=("data",),
            in_logs=False,
        ),
        "memory_leak": FaultKind(
            summary="{} MiB more are kept at each step",
            magnitude=16.0,
            unit="MiB per step",
            algorithms=_ALL,
            abrupt=False,
            found_by=("resources",),
            in_logs=False,
        ),
        "slow_step": FaultKind(
            summary="each step takes {} seconds longer",
            magnitude=1.0,
            unit="seconds",
            algorithms=_ALL,
            found_by=("resources",),
            in_logs=False,
        ),
        "checkpoint_truncated": FaultKind(
            summary="the weights of each checkpoint are cut off after {} of the file",
            magnitude=0.5,
            unit="share of the file, 0 to 1",
            algorithms=_ALL,
            found_by=("checkpoints",),
            in_logs=False,
        ),
        # what consists of several processes
        "critic_learning_rate_spike": FaultKind(
            summary="one step of the critic is taken with {} times its learning rate; the schedule does not say so",
            magnitude=1000.0,
            unit="times the learning rate",
            algorithms=frozenset({"ppo"}),
            found_by=("optimizer", "value_loss"),
        ),
        "engine_killed": FaultKind(
            summary="the process of the engine that generates is killed",
            algorithms=_GENERATING,
            found_by=("completion", "actors"),
            in_logs=False,
        ),
        "actor_killed": FaultKind(
            summary="the process that trains the policy is killed",
            algorithms=_GENERATING,
            found_by=("completion", "actors"),
            in_logs=False,
        ),
    }
)
"""Every fault by name. A new one comes last: validations deal the faults to scenarios in this order."""


def make_fault(kind: str, onset: int | None = None, magnitude: float | None = None) -> Fault:
    """Return a fault, with the defaults of its kind for what is not given.

    Raises:
        UsageError: an unknown kind, an onset below 1, or a magnitude that its unit does not allow.
    """
    if kind not in FAULTS:
        raise UsageError(f"unknown fault {kind}{suggest(kind, FAULTS)}; known: {', '.join(FAULTS)}")
    known = FAULTS[kind]
    onset = known.onset if onset is None else onset
    magnitude = known.magnitude if magnitude is None else magnitude
    if not _is_number(onset) or onset != int(onset) or onset < 1:
        raise UsageError(f"fault {kind}: onset={onset}: an onset is a step, 1 or later")
    if not _is_number(magnitude) or not isfinite(magnitude):
        raise UsageError(f"fault {kind}: magnitude={magnitude}: not a number{_meaning(known)}")
    if not known.unit and magnitude != 1.0:
        raise UsageError(f"fault {kind}: magnitude={magnitude:g}: it is there or not, and takes no magnitude")
    if magnitude < 0.0 or (known.unit.endswith("0 to 1") and magnitude > 1.0):
        raise UsageError(f"fault {kind}: magnitude={magnitude:g}: out of range{_meaning(known)}")
    return Fault(kind, int(onset), float(magnitude))


def parse_fault(text: str) -> Fault:
    """Return the fault of its text form `NAME[@ONSET][xMAGNITUDE]`, for example `reward_nan@10x2`.

    Raises:
        UsageError: not of this form, or see `make_fault`.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        name = re.split(r"[@\s]", text.strip())[0]
        hint = "" if name in FAULTS else suggest(name, FAULTS)
        raise UsageError(f"fault {text!r}: give it as NAME[@ONSET][xMAGNITUDE], for example reward_nan@10x2{hint}")
    onset, magnitude = match["onset"], match["magnitude"]
    try:
        number = None if magnitude is None else float(magnitude)
    except ValueError:
        raise UsageError(f"fault {text!r}: {magnitude} is no number") from None
    return make_fault(match["kind"], None if onset is None else int(onset), number)


def describe_fault(fault: Fault) -> str:
    """Return what a fault does and from when on, in one clause."""
    said = FAULTS[fault.kind].summary.format(f"{fault.magnitude:g}")
    return f"{said}, from step {fault.onset} on" if fault.onset > 1 else f"{said}, from the start"


def encode_fault(fault: Fault | None) -> dict[str, Any] | None:
    """Return the JSON form of a fault, as `run.json` and a job keep it."""
    return None if fault is None else {"kind": fault.kind, "onset": fault.onset, "magnitude": fault.magnitude}


def decode_fault(record: Mapping[str, Any] | None) -> Fault | None:
    """Return the fault of its JSON form."""
    return None if record is None else make_fault(record["kind"], record["onset"], record["magnitude"])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _meaning(known: FaultKind) -> str:
    return f"; it is: {known.unit}" if known.unit else ""
