"""What a training uses: processor, memory and GPUs."""

from __future__ import annotations

from rlhf_assert.resources.sampler import ResourceSampler

__all__ = ["ResourceSampler"]
