"""What a fault makes of a batch's rewards, whatever gives them, and whatever trains on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch  # noqa: TID253 - only imported by who has torch in memory already


@dataclass(frozen=True, slots=True)
class Batch:
    """What a corruption sees.

    Attributes:
        rewards: shape (batch,).
        lengths: of the completions in tokens, shape (batch,).
        magnitude: of the fault.
        random: draws what the fault draws, on the CPU.
    """

    rewards: torch.Tensor
    lengths: torch.Tensor
    magnitude: float
    random: torch.Generator


def deal(values: torch.Tensor, share: float, random: torch.Generator) -> torch.Tensor:
    """Return a batch's values, a share of them dealt to other samples: none of these keeps its own."""
    chosen = torch.randperm(len(values), generator=random)[: round(share * len(values))]
    dealt = values.clone()
    dealt[chosen.to(values.device)] = values[chosen.roll(1).to(values.device)]
    return dealt


def _with(value: float) -> Callable[[Batch], torch.Tensor]:
    def change(batch: Batch) -> torch.Tensor:
        chosen = torch.randperm(len(batch.rewards), generator=batch.random)[: int(batch.magnitude)]
        return batch.rewards.index_fill(0, chosen, value)

    return change


def _random(batch: Batch) -> torch.Tensor:
    return batch.magnitude * torch.rand(batch.rewards.shape, generator=batch.random).to(batch.rewards)


CORRUPTIONS: Mapping[str, Callable[[Batch], torch.Tensor]] = {
    "reward_nan": _with(math.nan),
    "reward_inf": _with(math.inf),
    "reward_constant": lambda batch: torch.full_like(batch.rewards, batch.magnitude),
    "reward_random": _random,
    "reward_shuffled": lambda batch: deal(batch.rewards, batch.magnitude, batch.random),
    "reward_negated": lambda batch: -batch.rewards,
    "reward_rescaled": lambda batch: batch.rewards * batch.magnitude,
    "reward_length": lambda batch: batch.rewards + batch.magnitude * batch.lengths,
}
