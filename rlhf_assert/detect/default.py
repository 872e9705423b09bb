"""The detectors that watch a run unless somebody chooses others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlhf_assert.detect.anomaly import Detector
from rlhf_assert.detect.budget import Budget
from rlhf_assert.detect.constant import Frozen, NoVariance
from rlhf_assert.detect.contradictions import Contradictions
from rlhf_assert.detect.critic import Critic
from rlhf_assert.detect.entropy import Entropy
from rlhf_assert.detect.explosion import Explosion
from rlhf_assert.detect.identities import StepOne
from rlhf_assert.detect.level import LevelShift
from rlhf_assert.detect.limit import KLRunaway
from rlhf_assert.detect.nonfinite import NonFinite
from rlhf_assert.detect.noupdate import NoUpdate
from rlhf_assert.detect.preference import PreferenceLoss
from rlhf_assert.detect.reward import RewardCollapse
from rlhf_assert.detect.spike import UpdateSpike
from rlhf_assert.detect.truncation import Truncation
from rlhf_assert.detect.trustregion import TrustRegion
from rlhf_assert.detect.variance import LostVariance
from rlhf_assert.detect.worse import WorseThanStart
from rlhf_assert.detect.zscore import THRESHOLD, ZScore


def default_detectors(
    algorithm: str = "",
    config: Mapping[str, Any] | None = None,
    *,
    anomaly_threshold: float = THRESHOLD,
    thresholds: Mapping[str, float] | None = None,
    budget: Budget | None = None,
) -> list[Detector]:
    """Return fresh detectors for one run: invariants first, then limits, then the statistics of single values.

    Args:
        algorithm: `ppo`, `grpo`, `rloo`, `online-dpo`, `dpo`, `kto`, `reward` or `sft`; empty where it is unknown, and
            then what only holds for one algorithm is not judged.
        config: the trainer's hyper-parameters; without any, identities of step 1 are notes, not failures.
        anomaly_threshold: standard deviations from which a single value is a z-score anomaly.
        thresholds: the same by metric; infinity turns a metric off.
        budget: false-alarm rates per run; by default 5 % at warning and 0.5 % at critical.

    Raises:
        UsageError: a threshold that is not above 0.
    """
    shared = budget or Budget()
    return [
        NonFinite(),
        StepOne(algorithm, config or {}),
        NoUpdate(algorithm, config),
        NoVariance(),
        LostVariance(),
        Contradictions(algorithm),
        Frozen(),
        KLRunaway(algorithm, config),
        Entropy(),
        Truncation(),
        TrustRegion(),
        Critic(),
        Explosion(),
        PreferenceLoss(shared),
        RewardCollapse(shared),
        WorseThanStart(algorithm, config or {}, shared),
        LevelShift(shared),
        UpdateSpike(),
        ZScore(anomaly_threshold, thresholds=thresholds),
    ]
