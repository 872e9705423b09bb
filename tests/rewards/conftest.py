"""Synthetic samples: 40 steps of 4 prompts with 8 completions, as a GRPO run records them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rlhf_assert.recording.run import Samples


def make_samples(
    score: Callable[..., np.ndarray[Any, Any]],
    /,
    *,
    steps: int = 40,
    groups: int = 4,
    size: int = 8,
    seed: int = 0,
    growth: float = 0.5,
    **columns: Any,
) -> Samples:
    """Return samples; `score` is called with the generator, the step and the length of each sample."""
    noise = np.random.default_rng(seed)
    count = steps * groups * size
    step = np.repeat(np.arange(1, steps + 1), groups * size)
    prompt = np.repeat([f"prompt{i}" for i in range(steps * groups)], size)
    length = np.clip(noise.normal(30 + growth * step, 8).round(), 1, None)
    value = np.asarray(score(noise, step, length), dtype=np.float64)
    group = np.repeat(np.arange(steps * groups), size)
    fields: dict[str, Any] = {
        "truncated": np.zeros(count),
        "reward": value,
        "rewards": {"score": value},
        "value": np.full(count, np.nan),
        "returns": np.full(count, np.nan),
        "logprob": np.full(count, np.nan),
        "ref_logprob": np.full(count, np.nan),
        "text": tuple(f"completion number {i}" for i in range(count)),
    }
    with np.errstate(all="ignore"):
        fields["advantage"] = value - (np.bincount(group, weights=np.nan_to_num(value)) / size)[group]
    return Samples(**{"step": step, "prompt": prompt, "length": length, **fields, **columns})


@pytest.fixture
def samples() -> Callable[..., Samples]:
    return make_samples
