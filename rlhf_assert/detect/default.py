"""The detectors that watch a run unless somebody chooses others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from rlhf_assert.detect.anomaly import Detector
from rlhf_assert.detect.budget import Budget
from rlhf_assert.detect.config import Settings
from rlhf_assert.detect.constant import Frozen, NoVariance
from rlhf_assert.detect.contradictions import Contradictions
from rlhf_assert.detect.critic import Critic
from rlhf_assert.detect.drift import SCORE, RewardDrift
from rlhf_assert.detect.entropy import Entropy
from rlhf_assert.detect.explosion import FACTOR, Explosion
from rlhf_assert.detect.identities import StepOne
from rlhf_assert.detect.length import RewardFollowsLength
from rlhf_assert.detect.level import LevelShift
from rlhf_assert.detect.limit import KLRunaway
from rlhf_assert.detect.loss import LossRise
from rlhf_assert.detect.nonfinite import NonFinite
from rlhf_assert.detect.noupdate import NoUpdate
from rlhf_assert.detect.oscillation import Oscillation
from rlhf_assert.detect.preference import PreferenceLoss
from rlhf_assert.detect.reversal import PreferenceReversal
from rlhf_assert.detect.reward import RewardCollapse
from rlhf_assert.detect.rollout import RolloutMismatch
from rlhf_assert.detect.spike import UpdateSpike
from rlhf_assert.detect.truncation import Truncation
from rlhf_assert.detect.trustregion import DISTANCE, TrustRegion
from rlhf_assert.detect.vanished import Vanished
from rlhf_assert.detect.variance import LostVariance
from rlhf_assert.detect.worse import WorseThanStart
from rlhf_assert.detect.zscore import THRESHOLD, ZScore

OFF_BY_DEFAULT = frozenset({"level-shift"})


def default_detectors(
    algorithm: str = "",
    config: Mapping[str, Any] | None = None,
    *,
    anomaly_threshold: float = THRESHOLD,
    thresholds: Mapping[str, float] | None = None,
    settings: Settings | None = None,
    budget: Budget | None = None,
) -> list[Detector]:
    """Return fresh detectors for one run: invariants first, then limits, then statistics within the budget.

    Args:
        algorithm: `ppo`, `grpo`, `rloo`, `online-dpo`, `dpo`, `kto`, `reward` or `sft`; empty where it is unknown, and
            then what only holds for one algorithm is not judged.
        config: the trainer's hyper-parameters; without any, identities of step 1 are notes, not failures.
        anomaly_threshold: standard deviations from which a single value is a z-score anomaly.
        thresholds: the same by metric; infinity turns a metric off.
        settings: false-alarm rates per run, and checks that are off or have their own threshold. The two arguments
            above go before its own.
        budget: the budget that the statistical checks share, for who wants to ask it afterwards whether they drew on
            it; by default a fresh one of the settings.

    Raises:
        UsageError: a threshold that is not above 0.
    """
    chosen = settings or Settings()
    if anomaly_threshold != THRESHOLD:
        chosen = replace(chosen, anomaly_threshold=anomaly_threshold)
    budget, own, config = budget or chosen.budget(), chosen.threshold, config or {}
    makers: dict[str, Callable[[], Detector]] = {
        "non-finite": NonFinite,
        "step-one": lambda: StepOne(algorithm, config),
        "no-update": lambda: NoUpdate(algorithm, config),
        "no-variance": NoVariance,
        "lost-variance": LostVariance,
        "contradictions": lambda: Contradictions(algorithm),
        "frozen": Frozen,
        "vanished": Vanished,
        "kl-runaway": lambda: KLRunaway(algorithm, config, limit=own("kl-runaway")),
        "entropy": Entropy,
        "truncation": Truncation,
        "trust-region": lambda: TrustRegion(own("trust-region") or DISTANCE),
        "rollout-mismatch": RolloutMismatch,
        "critic": Critic,
        "explosion": lambda: Explosion(own("explosion") or FACTOR),
        "preference-loss": lambda: PreferenceLoss(algorithm, budget),
        "preference-reversal": PreferenceReversal,
        "loss-rise": lambda: LossRise(budget),
        "reward-collapse": lambda: RewardCollapse(budget, own("reward-collapse")),
        "reward-below-start": lambda: WorseThanStart(algorithm, config, budget),
        "reward-drift": lambda: RewardDrift(own("reward-drift") or SCORE),
        "reward-follows-length": RewardFollowsLength,
        "oscillation": Oscillation,
        "update-spike": UpdateSpike,
        "level-shift": lambda: LevelShift(budget, own("level-shift")),
        "z-score": lambda: ZScore(chosen.anomaly_threshold, thresholds={**chosen.thresholds, **(thresholds or {})}),
    }
    return [make() for name, make in makers.items() if chosen.wants(name, by_default=name not in OFF_BY_DEFAULT)]
