"""rlhf-assert: real, short RLHF trainings in pytest, recorded and judged.

Public names load on first use, so that importing the package costs nothing (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlhf_assert.asserts import CheckpointUnhealthy as CheckpointUnhealthy
    from rlhf_assert.asserts import EntropyAnomaly as EntropyAnomaly
    from rlhf_assert.asserts import GradientAnomaly as GradientAnomaly
    from rlhf_assert.asserts import HealthFailure as HealthFailure
    from rlhf_assert.asserts import KLAnomaly as KLAnomaly
    from rlhf_assert.asserts import LoopUnsound as LoopUnsound
    from rlhf_assert.asserts import LossAnomaly as LossAnomaly
    from rlhf_assert.asserts import MetricAnomaly as MetricAnomaly
    from rlhf_assert.asserts import MetricMissing as MetricMissing
    from rlhf_assert.asserts import NotJudged as NotJudged
    from rlhf_assert.asserts import NotLearning as NotLearning
    from rlhf_assert.asserts import ResourceLeak as ResourceLeak
    from rlhf_assert.asserts import RewardUnreliable as RewardUnreliable
    from rlhf_assert.asserts import RunUnhealthy as RunUnhealthy
    from rlhf_assert.asserts import SystemUnsound as SystemUnsound
    from rlhf_assert.asserts import TrainingFailed as TrainingFailed
    from rlhf_assert.asserts import assert_checkpoints_healthy as assert_checkpoints_healthy
    from rlhf_assert.asserts import assert_entropy_sound as assert_entropy_sound
    from rlhf_assert.asserts import assert_gradients_sound as assert_gradients_sound
    from rlhf_assert.asserts import assert_kl_anomaly_free as assert_kl_anomaly_free
    from rlhf_assert.asserts import assert_learns as assert_learns
    from rlhf_assert.asserts import assert_loop_sound as assert_loop_sound
    from rlhf_assert.asserts import assert_loss_sound as assert_loss_sound
    from rlhf_assert.asserts import assert_losses_sound as assert_losses_sound
    from rlhf_assert.asserts import assert_metric_logged as assert_metric_logged
    from rlhf_assert.asserts import assert_metrics_logged as assert_metrics_logged
    from rlhf_assert.asserts import assert_other_metrics_sound as assert_other_metrics_sound
    from rlhf_assert.asserts import assert_resources_bounded as assert_resources_bounded
    from rlhf_assert.asserts import assert_rewards_reliable as assert_rewards_reliable
    from rlhf_assert.asserts import assert_run_healthy as assert_run_healthy
    from rlhf_assert.asserts import assert_system_sound as assert_system_sound
    from rlhf_assert.asserts import assert_training_completed as assert_training_completed
    from rlhf_assert.check import Check as Check
    from rlhf_assert.check import Status as Status
    from rlhf_assert.detect.anomaly import Anomaly as Anomaly
    from rlhf_assert.detect.anomaly import Severity as Severity
    from rlhf_assert.recording.recorder import Recorder as Recorder
    from rlhf_assert.recording.run import Run as Run
    from rlhf_assert.recording.run import read_run as read_run
    from rlhf_assert.recording.series import Series as Series
    from rlhf_assert.testing.battery import Finds as Finds
    from rlhf_assert.testing.battery import check_detector as check_detector
    from rlhf_assert.training.scenario import Scenario as Scenario
    from rlhf_assert.training.scenario import scenario as scenario
    from rlhf_assert.verdict import Verdict as Verdict
    from rlhf_assert.verdict import judge as judge

__version__ = "0.1.0"

_HOMES = {
    "Anomaly": "detect.anomaly",
    "Check": "check",
    "CheckpointUnhealthy": "asserts",
    "EntropyAnomaly": "asserts",
    "Finds": "testing.battery",
    "GradientAnomaly": "asserts",
    "HealthFailure": "asserts",
    "KLAnomaly": "asserts",
    "LoopUnsound": "asserts",
    "SystemUnsound": "asserts",
    "LossAnomaly": "asserts",
    "MetricAnomaly": "asserts",
    "MetricMissing": "asserts",
    "NotJudged": "asserts",
    "NotLearning": "asserts",
    "Recorder": "recording.recorder",
    "ResourceLeak": "asserts",
    "RewardUnreliable": "asserts",
    "Run": "recording.run",
    "RunUnhealthy": "asserts",
    "Scenario": "training.scenario",
    "Series": "recording.series",
    "Severity": "detect.anomaly",
    "Status": "check",
    "TrainingFailed": "asserts",
    "Verdict": "verdict",
    "assert_checkpoints_healthy": "asserts",
    "assert_entropy_sound": "asserts",
    "assert_gradients_sound": "asserts",
    "assert_kl_anomaly_free": "asserts",
    "assert_learns": "asserts",
    "assert_loop_sound": "asserts",
    "assert_loss_sound": "asserts",
    "assert_losses_sound": "asserts",
    "assert_metric_logged": "asserts",
    "assert_metrics_logged": "asserts",
    "assert_other_metrics_sound": "asserts",
    "assert_resources_bounded": "asserts",
    "assert_system_sound": "asserts",
    "assert_rewards_reliable": "asserts",
    "assert_run_healthy": "asserts",
    "assert_training_completed": "asserts",
    "check_detector": "testing.battery",
    "judge": "verdict",
    "read_run": "recording.run",
    "scenario": "training.scenario",
}

__all__ = [*_HOMES, "__version__"]  # noqa: PLE0604 - the names are strings


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
