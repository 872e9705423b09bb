"""Which faults a training can have, and how its processes are told of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rlhf_assert.errors import UsageError
from rlhf_assert.training.faults import Fault
from rlhf_assert_openrlhf.inside.faults import INSTALLERS

if TYPE_CHECKING:
    from rlhf_assert_openrlhf.training import OpenRLHFTraining

KINDS = frozenset(INSTALLERS)
_REFERENCED = frozenset({"kl_coefficient_wrong", "kl_coefficient_negated", "reference_noised", "reference_zeroed"})
_GENERATING = frozenset({"rollout_weights_stale", "temperature_mismatch", "truncation", "engine_killed"})


def asked_for(fault: Fault | None, training: OpenRLHFTraining, settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment variables with which a training breaks itself; none without a fault.

    Args:
        fault: what to break.
        training: the training.
        settings: all its settings, by the names of its flags.

    Raises:
        UsageError: the fault does not apply to this training; the message says why.
    """
    if fault is None:
        return {}
    reason = refusal(fault, training, settings)
    if reason:
        raise UsageError(f"fault {fault.kind} does not apply: {reason}")
    return {"RLHF_ASSERT_FAULT": str(fault)}


def refusal(fault: Fault, training: OpenRLHFTraining, settings: Mapping[str, Any]) -> str | None:
    """Return why a fault does not apply to a training, or None if it does."""
    if training.entry_point != "train_ppo_ray":
        return f"it breaks train_ppo_ray, this is {training.entry_point}"
    if training.resume_after is not None:
        return "its steps are those of one launch, this training is interrupted and resumed (resume_after)"
    if fault.kind == "critic_learning_rate_spike" and not settings.get("critic.model_name_or_path"):
        return "the training has no critic (critic.model_name_or_path)"
    if fault.kind in _REFERENCED and not settings.get("algo.kl.init_coef"):
        return "the training has no reference model (algo.kl.init_coef = 0)"
    if fault.kind in _GENERATING and not settings.get("vllm.num_engines"):
        return "the training has no engine that generates (vllm.num_engines)"
    if fault.kind == "rollout_weights_stale" and settings.get("ds.zero_stage") == 3:
        return "ZeRO-3 has no whole weights to keep (ds.zero_stage)"
    return None
