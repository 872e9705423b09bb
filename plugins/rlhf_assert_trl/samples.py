"""Per-sample records of trainers that generate: what they are, and which capture serves which trainer."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

MAX_PER_STEP = 256
"""Samples recorded per step, the first ones of the batch: whole groups, and bounded disk for a long run."""
TEXT_LENGTH = 80
NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Batch:
    """The samples of one step.

    Attributes:
        records: one mapping per sample, with the fields of `rlhf_assert.recording.run.Samples`.
        metrics: what the trainer does not log itself, by canonical name.
    """

    records: Sequence[dict[str, Any]] = ()
    metrics: dict[str, float] = field(default_factory=dict)


class Capture(Protocol):
    """Takes the samples of one trainer from where it keeps them; made by `capture_for`."""

    @property
    def failure(self) -> str | None:
        """Why samples cannot be had (any more), or None."""

    def take(self, step: int) -> Batch:
        """Return the samples that were made since the last call. Called inside the trainer's loop, in a callback."""

    def close(self) -> None:
        """Leave the trainer as it was."""


def capture_for(trainer: Any, algorithm: str) -> Capture | None:
    """Return the capture for a trainer, or None for an algorithm that generates nothing.

    Raises:
        AttributeError: the trainer lacks what the capture reads, so this TRL is not one that it knows.
    """
    if algorithm in {"grpo", "rloo"}:
        from rlhf_assert_trl.samples_group import GroupCapture

        return GroupCapture(trainer)
    if algorithm == "online-dpo":
        from rlhf_assert_trl.samples_online_dpo import OnlineDPOCapture

        return OnlineDPOCapture(trainer)
    if algorithm == "ppo":
        from rlhf_assert_trl.samples_ppo import PPOCapture

        return PPOCapture(trainer)
    return None


class Observer:
    """Wraps methods of one trainer to see what they are given and return. What it does wrong never reaches them."""

    def __init__(self, trainer: Any) -> None:
        self.failure: str | None = None
        self._trainer = trainer
        self._wrapped: list[tuple[Any, str, Any]] = []

    def watch(
        self,
        name: str,
        after: Callable[..., None],
        before: Callable[[], None] | None = None,
        owner: Any = None,
    ) -> None:
        """Call `before()` and `after(result, *arguments)` around the method `name` of the trainer, or of `owner`.

        Raises:
            AttributeError: there is no such method.
        """
        owner = self._trainer if owner is None else owner
        method = getattr(owner, name)

        @functools.wraps(method)
        def watched(*args: Any, **kwargs: Any) -> Any:
            if before is not None:
                before()
            result = method(*args, **kwargs)
            self.guard(after, result, *args, **kwargs)
            return result

        self._wrapped.append((owner, name, vars(owner).get(name)))
        setattr(owner, name, watched)

    def guard(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call `function` unless something failed before; an exception becomes `failure` and the result None."""
        if self.failure is not None:
            return None
        try:
            return function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - a training must not break because a TRL version moved something
            self.failure = f"{type(error).__name__}: {error}"
            return None

    def undo(self) -> None:
        """Leave every method as it was found."""
        while self._wrapped:
            owner, name, attribute = self._wrapped.pop()
            if attribute is None:
                vars(owner).pop(name, None)
            else:
                setattr(owner, name, attribute)


def hash_prompt(prompt: Any) -> str:
    """Return a short hash of a prompt: text, messages or token ids."""
    return hashlib.blake2b(str(prompt).encode(errors="replace"), digest_size=6).hexdigest()


def start_of(completion: Any) -> str:
    """Return the start of a completion, which is text or messages."""
    if isinstance(completion, list):
        completion = completion[-1].get("content", "") if completion else ""
    return str(completion)[:TEXT_LENGTH]


def masked_means(values: Any, mask: Any) -> list[float | None]:
    """Return the mean of each row's values under the mask; both tensors (batch, tokens).

    A completion without a token has no mean: None, where NaN would say that something went wrong.
    """
    values, mask = values[:MAX_PER_STEP], mask[:MAX_PER_STEP].bool()
    counts = mask.sum(1)
    means = values.masked_fill(~mask, 0.0).sum(1) / counts
    return [mean if count else None for mean, count in zip(means.tolist(), counts.tolist(), strict=True)]


def mean(values: Sequence[float]) -> float:
    """Return the mean, NaN for no values."""
    return sum(values) / len(values) if values else NAN


def advantage_metrics(advantages: Sequence[float | None]) -> dict[str, float]:
    """Return `advantage` and `advantage_std` (of the population) over the samples that have one."""
    known = [advantage for advantage in advantages if advantage is not None]
    if not known:
        return {}
    centre = mean(known)
    return {"advantage": centre, "advantage_std": math.sqrt(mean([(value - centre) ** 2 for value in known]))}


def length_metrics(records: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return `response_length` and `truncated_fraction` over samples."""
    return {
        "response_length": mean([record["length"] for record in records]),
        "truncated_fraction": mean([record["truncated"] for record in records]),
    }


def total_reward(rewards: Sequence[float], weights: Sequence[float]) -> float:
    """Return the weighted sum over functions as TRL takes it: a NaN counts as nothing, NaN where all are NaN."""
    usable = [reward * weight for reward, weight in zip(rewards, weights, strict=True) if not math.isnan(reward)]
    return sum(usable) if usable else NAN
