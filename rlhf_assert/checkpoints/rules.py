"""What tells a sick checkpoint from a sound one: one function per phenomenon, each free of scale.

The critical ones are invariants: no trained model holds a NaN or a matrix of zeros. The others state how far a number
is past a limit that no sound model reaches, and cost `1 - 0.75 / sqrt(excess)` of the score: a quarter at the limit,
more than half at four times it. The limits are this project's own. They were chosen from what the rules mean (a layer
that amplifies a hundredfold, one element that outweighs all others, a step as large as half the weight), not fitted to
data; the widely copied rules on raw norms call every 7B model sick, because a norm grows with the number of elements.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

import numpy as np

from rlhf_assert.checkpoints.dtypes import FLOATS
from rlhf_assert.checkpoints.issues import Issue, critical, note, warning
from rlhf_assert.checkpoints.tensor_statistics import TensorStatistics
from rlhf_assert.checkpoints.training_state import TrainingState
from rlhf_assert.numbers import number, share

LARGEST_GAIN = 100.0
"""rms * sqrt(inputs) of a linear layer: by how much it amplifies a random input. Sound layers lie around 0.1 to 10."""

LARGEST_FAMILY_RATIO = 10.0
"""A tensor's rms over the median of its role in all layers. Roles of sound models spread by a factor of 2 to 3."""

SMALLEST_FAMILY = 4

LARGEST_DEAD_SHARE = 0.05
"""Rows of zeros: padded vocabularies have under one in a hundred."""

DOMINANT_SHARE = 0.5
"""Share of a matrix' energy in a single element; the "super weights" of sound models (Yu et al. 2024) hold 1e-3."""

LARGEST_STEP = 0.5
"""Learning rate over the weights' median rms: Adam moves each weight by about the learning rate a step."""

IDLE = 0.1
"""What a training that did not move costs its checkpoint, whose weights are as good as before."""


def excess_penalty(excess: float) -> float:
    """Return what a number at `excess` times its limit costs: 0.25 at the limit, towards 1 far beyond it."""
    return 1.0 - 0.75 / math.sqrt(max(1.0, excess)) if excess < math.inf else 1.0


def weight_issues(tensors: Sequence[TensorStatistics]) -> Iterator[Issue]:
    """Yield what is wrong with the weights."""
    weights = [one for one in tensors if one.dtype in FLOATS and one.count]
    for one in weights:
        yield from non_finite(one)
        yield from all_zero(one)
        yield from dead_rows(one)
        yield from dominant_element(one)
        yield from large_gain(one)
    yield from large_in_family(weights)


def non_finite(one: TensorStatistics) -> Iterator[Issue]:
    """NaN or infinite elements."""
    if one.nan or one.infinite:
        what = " and ".join(f"{n} {word}" for n, word in ((one.nan, "NaN"), (one.infinite, "infinite")) if n)
        yield critical("non-finite-weight", f"{one.name}: {what} of {one.count} elements", one.name)


def all_zero(one: TensorStatistics) -> Iterator[Issue]:
    """A matrix of zeros. Vectors (biases) may begin at 0, and so does a LoRA's B, whose product must begin at 0."""
    if len(one.shape) >= 2 and one.zeros == one.count:
        if "lora_B" in one.name or "lora_embedding_B" in one.name:
            yield note("zero-lora-b", f"{one.name}: all zero, as before the first step", one.name)
        else:
            yield critical("all-zero-matrix", f"{one.name}: all {one.count} elements are zero", one.name)


def dead_rows(one: TensorStatistics) -> Iterator[Issue]:
    """Rows of zeros: outputs that carry nothing, and get no gradient through a following product."""
    if not one.dead_rows or one.zeros == one.count:
        return
    dead = one.dead_rows / one.shape[0]
    if dead > LARGEST_DEAD_SHARE:
        detail = f"{one.name}: {one.dead_rows} of {one.shape[0]} rows are zero"
        yield warning("dead-rows", detail, one.name, penalty=dead)


def dominant_element(one: TensorStatistics) -> Iterator[Issue]:
    """One element that outweighs all others together, as a flipped exponent bit leaves behind."""
    if len(one.shape) != 2 or min(one.shape) < 2 or one.count < 64 or not one.norm > 0.0:
        return
    held = (one.largest / one.norm) ** 2 if math.isfinite(one.norm) else 1.0
    if held > DOMINANT_SHARE:
        detail = f"{one.name}: one element, {number(one.largest)}, holds {share(held)} of the norm"
        yield warning("dominant-element", detail, one.name, penalty=0.75)


def large_gain(one: TensorStatistics) -> Iterator[Issue]:
    """A linear layer that amplifies beyond reason; embeddings are looked up, not multiplied."""
    if len(one.shape) != 2 or "emb" in one.name or "wte" in one.name or "wpe" in one.name:
        return
    gain = one.rms * math.sqrt(one.shape[1])
    if gain > LARGEST_GAIN:
        detail = f"{one.name}: amplifies {number(gain)}-fold (rms {number(one.rms)}), limit {number(LARGEST_GAIN)}"
        yield warning("large-weights", detail, one.name, penalty=excess_penalty(gain / LARGEST_GAIN))


def large_in_family(weights: Sequence[TensorStatistics]) -> Iterator[Issue]:
    """A layer's tensor that is out of proportion to the same tensor of the other layers."""
    families: dict[str, list[TensorStatistics]] = {}
    for one in weights:
        if len(one.shape) == 2 and one.rms > 0.0:
            families.setdefault(re.sub(r"\.\d+\.", ".*.", one.name), []).append(one)
    for family in families.values():
        if len(family) < SMALLEST_FAMILY:
            continue
        median = float(np.median([one.rms for one in family]))
        for one in family:
            ratio = one.rms / median
            if ratio > LARGEST_FAMILY_RATIO:
                detail = f"{one.name}: rms {number(one.rms)}, {number(ratio)} times that of the other layers"
                yield warning("large-weights", detail, one.name, penalty=excess_penalty(ratio / LARGEST_FAMILY_RATIO))


def learning_rate_issues(state: TrainingState, tensors: Sequence[TensorStatistics]) -> Iterator[Issue]:
    """A learning rate that is no number, was 0 throughout, or takes steps as large as the weights."""
    rate = state.learning_rate
    logged = state.learning_rates
    if any(not math.isfinite(one) or one < 0.0 for one in (*logged, *(() if math.isnan(rate) else (rate,)))):
        yield warning("learning-rate", "learning rate: not a finite number above 0", penalty=0.5)
        return
    if len(logged) >= 3 and not any(logged):
        yield warning("learning-rate", f"learning rate: 0 at all {len(logged)} logged steps", penalty=IDLE)
    sizes = [one.rms for one in tensors if one.dtype in FLOATS and len(one.shape) == 2 and one.rms > 0.0]
    if not sizes or math.isnan(rate):
        return
    size = float(np.median(sizes))
    highest = max((rate, *logged))
    step = highest / size
    if step > LARGEST_STEP:
        detail = f"learning rate: {highest:g} moves weights of rms {number(size)} by {share(step)} a step"
        yield warning("learning-rate", detail, penalty=excess_penalty(step / LARGEST_STEP))


def moment_issues(state: TrainingState) -> Iterator[Issue]:
    """Adam's second moment at 0: every gradient so far was 0."""
    if state.second_moment == 0.0:
        yield warning("zero-moments", "optimizer.pt: every gradient so far was 0 (Adam's v is 0)", penalty=IDLE)
