"""A sample of a model's weights, small enough to be taken at every step."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch  # noqa: TID253 - only imported by who has torch in memory already

ELEMENTS = 64
"""Elements that are sampled of each tensor, evenly spread: an update of Adam moves nearly every one."""


def sample_weights(parameters: list[torch.nn.Parameter]) -> np.ndarray[Any, Any]:
    """Return evenly spread elements of tensors, about `ELEMENTS` of each, in order; one copy from the device."""
    with torch.no_grad():
        parts = [parameter.detach().flatten()[:: -(-parameter.numel() // ELEMENTS) or 1] for parameter in parameters]
        return torch.cat([part.float() for part in parts]).cpu().numpy() if parts else np.empty(0, dtype=np.float32)
