"""A fingerprint of the reference model, to tell whether it moved during a training."""

from __future__ import annotations

import hashlib
from typing import Any

ELEMENTS = 1 << 18
"""Elements that are read at most, one MiB as float32: every element of a tiny model, every n-th of a large one."""


def reference_fingerprint(trainer: Any) -> str | None:
    """Return a hash over the weights of the trainer's reference model; None if it holds none of its own.

    Every tensor is sampled with one stride, so the cost is bounded. Two equal hashes mean that no sampled weight
    changed; training, noise and a reload change nearly all of them.
    """
    import torch

    model = getattr(trainer, "ref_model", None)
    if not isinstance(model, torch.nn.Module):
        return None
    tensors = list(model.parameters())
    stride = max(1, -(-sum(tensor.numel() for tensor in tensors) // ELEMENTS))
    digest = hashlib.blake2b(digest_size=16)
    with torch.no_grad():
        for tensor in tensors:
            if tensor.numel() and not tensor.is_meta:
                digest.update(tensor.detach().flatten()[::stride].float().cpu().numpy().tobytes())
    return digest.hexdigest()
