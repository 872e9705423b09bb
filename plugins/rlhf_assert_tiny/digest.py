"""A hash of a batch, by which it is known again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any


def digest_of(batch: Any) -> str:
    """Return a short hash of a batch: of its tensors, texts and numbers, nested as they are."""
    digest = hashlib.blake2b(digest_size=8)
    _feed(digest, batch)
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, Mapping):
        for key in sorted(value, key=str):
            _feed(digest, value[key])
    elif isinstance(value, list | tuple):
        for item in value:
            _feed(digest, item)
    elif hasattr(value, "detach"):
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    else:
        digest.update(str(value).encode(errors="replace"))
