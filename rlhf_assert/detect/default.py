"""The detectors that watch a run unless somebody chooses others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlhf_assert.detect.anomaly import Detector
from rlhf_assert.detect.nonfinite import NonFinite


def default_detectors(algorithm: str = "", config: Mapping[str, Any] | None = None) -> list[Detector]:
    """Return fresh detectors for one run.

    Args:
        algorithm: `ppo`, `grpo`, `rloo`, `online-dpo`, `dpo`, `kto`, `reward` or `sft`; empty where it is unknown, and
            then what only holds for one algorithm is not judged.
        config: the trainer's hyper-parameters.
    """
    return [NonFinite()]
