"""The detectors that watch a run unless somebody chooses others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from rlhf_assert.detect.anomaly import Detector
from rlhf_assert.detect.budget import Budget
from rlhf_assert.detect.detectors.constant import Frozen, NoVariance
from rlhf_assert.detect.detectors.contradictions import Contradictions
from rlhf_assert.detect.detectors.critic_fit import Critic
from rlhf_assert.detect.detectors.entropy_collapse import Entropy
from rlhf_assert.detect.detectors.explosion import FACTOR, Explosion
from rlhf_assert.detect.detectors.kl_runaway import KLRunaway
from rlhf_assert.detect.detectors.loss_rise import LossRise
from rlhf_assert.detect.detectors.lost_variance import LostVariance
from rlhf_assert.detect.detectors.no_update import NoUpdate
from rlhf_assert.detect.detectors.non_finite import NonFinite
from rlhf_assert.detect.detectors.oscillation import Oscillation
from rlhf_assert.detect.detectors.preference_loss import PreferenceLoss
from rlhf_assert.detect.detectors.preference_reversal import PreferenceReversal
from rlhf_assert.detect.detectors.reward_below_start import WorseThanStart
from rlhf_assert.detect.detectors.reward_collapse import RewardCollapse
from rlhf_assert.detect.detectors.reward_drift import SCORE, RewardDrift
from rlhf_assert.detect.detectors.reward_follows_length import RewardFollowsLength
from rlhf_assert.detect.detectors.rollout_mismatch import RolloutMismatch
from rlhf_assert.detect.detectors.step_one import StepOne
from rlhf_assert.detect.detectors.truncation import Truncation
from rlhf_assert.detect.detectors.trust_region import DISTANCE, TrustRegion
from rlhf_assert.detect.detectors.update_spike import UpdateSpike
from rlhf_assert.detect.detectors.vanished import Vanished
from rlhf_assert.detect.detectors.z_score import THRESHOLD, ZScore
from rlhf_assert.detect.level import LevelShift
from rlhf_assert.detect.settings import Settings

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
