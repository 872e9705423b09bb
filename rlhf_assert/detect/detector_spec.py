"""What rlhf-assert knows about a detector before it makes one: its name, how to make it, and what can be set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rlhf_assert.detect.anomaly import Detector
from rlhf_assert.detect.budget import Budget


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorContext:
    """What a detector may ask about the run that it will watch, and about its own settings.

    Attributes:
        algorithm: `ppo`, `grpo`, `rloo`, `online-dpo`, `dpo`, `kto`, `reward` or `sft`; empty where it is unknown.
        config: the trainer's hyper-parameters; empty where they are unknown.
        threshold: the number that the settings give for this detector, or None. `DetectorSpec.knob` says what it means.
        budget: the false-alarm budget that the statistical detectors of one run share.
        anomaly_threshold: the z-score from which any single value counts; None where nothing is set.
        metric_thresholds: the same by metric; infinity turns a metric off.
    """

    algorithm: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    threshold: float | None = None
    budget: Budget = field(default_factory=Budget)
    anomaly_threshold: float | None = None
    metric_thresholds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """One kind of detector. Each module of `rlhf_assert.detect.detectors` exports its own as `SPEC`.

    Attributes:
        name: the detector's name in kebab-case; settings and reports use it.
        make: returns a fresh detector for one run.
        knob: what a number means that the settings give for the detector; empty if it can only be on or off.
        on_by_default: whether the detector watches unless somebody turns it off; else somebody must turn it on.
    """

    name: str
    make: Callable[[DetectorContext], Detector]
    knob: str = ""
    on_by_default: bool = True
