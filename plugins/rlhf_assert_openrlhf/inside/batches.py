"""What a batch of experiences says as a whole: padding, how advantages follow rewards, rewards before normalization."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from rlhf_assert_openrlhf.inside.post_import import after, expect_parameters
from rlhf_assert_openrlhf.inside.recording import at_log, guarded, tell_event, with_trainer

PATIENCE = 5.0

_numbers: dict[str, float] = {}
_reward_model: list[Any] = []
"""The actor of a reward model that normalizes, until it was asked how."""
_normalization: list[Any] = []
"""Its answer: first the promise of it, then a `Normalization`."""


class Normalization(NamedTuple):
    """By what a reward model normalizes: reward less mean, over standard deviation.

    Attributes:
        mean, std: those that it uses.
        saved_mean, saved_std: those of its configuration; 0 and 1, so that nothing changes, where it has none.
    """

    mean: float
    std: float
    saved_mean: float
    saved_std: float


def padding(experiences: Any, *, packing: bool, multiple: int = 1) -> dict[str, float]:
    """Return the share of computed tokens that are padding, and what packing saves or would save, both 0 to 1.

    Without packing each micro-batch is padded to its longest row. Packed rows lie end to end, and only the whole is
    padded, to a multiple of the ranks among which ring attention divides it.
    """
    real = whole = packed = 0
    for experience in experiences:
        tokens = int(experience.attention_mask.sum())
        real, whole = real + tokens, whole + experience.attention_mask.numel()
        packed += -(-tokens // multiple) * multiple
    if not whole:
        return {}
    computed = packed if packing else whole
    return {"packing/padding_share": 1.0 - real / computed, "packing/savings": 1.0 - packed / whole}


def correlation(experiences: Any) -> float:
    """Return Pearson's r of the samples' mean advantages and rewards; NaN where either does not vary.

    It is near 1 for estimators that subtract a baseline, and lower the more of an advantage is a critic's or a KL
    penalty's.
    """
    import torch

    masks = [experience.action_mask.float() for experience in experiences]
    sums = [(one.advantages.float() * mask).sum(1) for one, mask in zip(experiences, masks, strict=True)]
    advantages = (torch.cat(sums) / torch.cat([mask.sum(1).clamp(min=1) for mask in masks])).double()
    rewards = torch.cat([one.rewards.reshape(-1) for one in experiences]).double()
    centred = advantages - advantages.mean(), rewards - rewards.mean()
    size = float(centred[0].norm() * centred[1].norm())
    return float((centred[0] * centred[1]).sum()) / size if size > 0.0 else math.nan


def normalization(actor: Any) -> Normalization | None:
    """Return by what a reward model normalizes, None if it does not; runs in its actor."""
    for module in actor.model.modules():
        if getattr(module, "normalize_reward", False) and hasattr(module, "mean"):
            saved = getattr(module.config, "mean", 0.0), getattr(module.config, "std", 1.0)
            return Normalization(float(module.mean.item()), float(module.std.item()), *map(float, saved))
    return None


def note(experiences: Any, args: Any) -> None:
    """Keep the numbers of a batch until its step is logged; the first time, ask the reward model too."""
    if _reward_model:
        _normalization[:] = [_reward_model.pop().__ray_call__.remote(normalization)]
    packing = padding(
        experiences, packing=bool(args.ds.packing_samples), multiple=int(getattr(args.ds, "ring_attn_size", 1) or 1)
    )
    _numbers.update(packing, advantage_reward_correlation=correlation(experiences))


def collect(step: int, metrics: dict[str, Any]) -> None:
    """Add the numbers of a step's batch, and the mean reward without normalization where a reward model normalizes."""
    metrics |= _numbers
    _numbers.clear()
    if not _normalization:
        return
    if not isinstance(_normalization[0], Normalization):
        import ray

        answer = ray.get(_normalization[0], timeout=PATIENCE)
        _normalization[:] = [] if answer is None else [answer]
        if answer is not None:
            tell_event("reward_normalization", step, **answer._asdict())
    if _normalization and "reward" in metrics:
        packing: Normalization = _normalization[0]
        metrics |= {
            "reward/raw_mean": float(metrics["reward"]) * packing.std + packing.mean,
            "reward/normalization_mean": packing.mean,
            "reward/normalization_std": packing.std,
        }


def hold(trainer: Any) -> None:
    """Keep the reward model of the trainer of this process, if it normalizes."""
    if trainer.reward_model_group is not None and trainer.args.reward.normalize_enable:
        _reward_model[:] = trainer.reward_model_group._actor_handlers[:1]  # noqa: SLF001 - there is no other way


with_trainer.append(hold)
at_log.append(collect)


@after("openrlhf.trainer.ppo_utils.experience_maker")
def batch(module: Any) -> None:
    """Every batch, complete with advantages."""
    maker = module.RemoteExperienceMaker
    original = maker.make_experience_batch
    expect_parameters(original, "self", "rollout_samples")

    def make_experience_batch(self: Any, rollout_samples: Any) -> Any:
        experiences = original(self, rollout_samples)
        guarded(note, experiences, self.args)
        return experiences

    maker.make_experience_batch = make_experience_batch


HOOKS = (batch,)
