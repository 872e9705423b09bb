"""What is judged of a run: one phenomenon per module, each by `judge_<name>(run, ...)`."""

from __future__ import annotations

from rlhf_assert.checks.actors import judge_actors
from rlhf_assert.checks.checkpoints import judge_checkpoints
from rlhf_assert.checks.completeness import judge_promised_metric, judge_promised_metrics
from rlhf_assert.checks.completion import judge_completion
from rlhf_assert.checks.data import judge_data
from rlhf_assert.checks.engine import judge_engine
from rlhf_assert.checks.entropy import judge_entropy
from rlhf_assert.checks.gradients import judge_gradients
from rlhf_assert.checks.kl import judge_kl
from rlhf_assert.checks.learning import judge_learning
from rlhf_assert.checks.loop import judge_loop
from rlhf_assert.checks.losses import judge_loss, judge_losses
from rlhf_assert.checks.objective import judge_objective
from rlhf_assert.checks.optimizer import judge_optimizer
from rlhf_assert.checks.others import judge_other_metrics
from rlhf_assert.checks.reference import judge_reference
from rlhf_assert.checks.resources import judge_resources
from rlhf_assert.checks.resume import judge_resume
from rlhf_assert.checks.rewards import judge_rewards
from rlhf_assert.checks.rollout import judge_rollout
from rlhf_assert.checks.system import judge_system

__all__ = [
    "judge_actors",
    "judge_checkpoints",
    "judge_completion",
    "judge_data",
    "judge_engine",
    "judge_entropy",
    "judge_gradients",
    "judge_kl",
    "judge_learning",
    "judge_loop",
    "judge_loss",
    "judge_losses",
    "judge_objective",
    "judge_optimizer",
    "judge_other_metrics",
    "judge_promised_metric",
    "judge_promised_metrics",
    "judge_reference",
    "judge_resources",
    "judge_resume",
    "judge_rewards",
    "judge_rollout",
    "judge_system",
]
