"""A weight sync, proved: changes one weight of the policy, syncs, and looks whether the engines' answers follow.

Once, before the first step, and after a sync of the weights as they are. Then the weight is put back bit by bit and
synced again, and the answers must return.
Nothing draws a random number, so the rest of the training is what it would have been. What was seen is told as
`weight_sync_canary`: by engine, how far the log-probabilities of a fixed prompt `moved` with the weight, and how far
`off` they were once it was back: the largest difference, in nats per token.
"""

from __future__ import annotations

from typing import Any

from rlhf_assert_openrlhf.inside.engine import answer
from rlhf_assert_openrlhf.inside.post_import import after, expect_parameters
from rlhf_assert_openrlhf.inside.recording import guarded, tell_event

PROMPT = list(range(5, 21))
"""Token numbers that any vocabulary has."""
PATIENCE = 120.0
"""Seconds to wait for an engine, which at first may have to compile."""


def fly(trainer: Any) -> None:
    """Change, sync, look; put back, sync, look. Every rank of the policy must call this, and the engines be idle."""
    import torch

    args = trainer.args
    leader = torch.distributed.get_rank() == 0
    if args.ds.tensor_parallel_size > 1:
        if leader:
            tell_event("weight_sync_canary", 0, skipped="tensor parallelism splits the policy's weights over its ranks")
        return
    name, weight = pick(trainer.actor.model.module)
    engines = trainer.vllm_engines if leader else []
    asleep = leader and args.vllm.enable_sleep
    looks: list[Any] = []
    # What fails here must not keep this rank from the syncs, in which the others wait for it.
    if asleep:
        guarded(_call, engines, "wake_up")
    trainer.broadcast_to_vllm()  # where a training goes on from a checkpoint, the engines have not seen its weights yet
    guarded(look, engines, looks)
    backup = [part.clone() for part in parts(weight)]
    for part in parts(weight):
        part.view(-1)[::2] += 1.0
    try:
        trainer.broadcast_to_vllm()
    finally:
        for part, kept in zip(parts(weight), backup, strict=False):  # what was gathered for the sync is gone
            part.copy_(kept)
    guarded(look, engines, looks)
    trainer.broadcast_to_vllm()
    guarded(look, engines, looks)
    guarded(forget, engines)
    if asleep:
        guarded(_call, trainer.vllm_engines, "sleep")
    if leader and len(looks) == 3:
        tell_event("weight_sync_canary", 0, weight=name, engines=compare(*looks))


def pick(model: Any) -> tuple[str, Any]:
    """Return name and parameter of the last vector: in a language model the weight of the norm before its head.

    Every logit depends on it, and to every other element may be added something without moving them all alike.
    """
    vectors = [pair for pair in model.named_parameters() if len(getattr(pair[1], "ds_shape", pair[1].shape)) == 1]
    vector: tuple[str, Any] = vectors[-1]
    return vector


def parts(weight: Any) -> list[Any]:
    """Return the tensors that hold a weight: under ZeRO-3 this rank's share of it, and all of it where it is kept."""
    shares = [weight.ds_tensor.data] if hasattr(weight, "ds_tensor") else []
    return [*shares, *([weight.data] if weight.numel() else [])]


def compare(before: Any, changed: Any, restored: Any) -> list[dict[str, float]]:
    """Return, by engine, how far the log-probabilities `moved` and how far `off` they were in the end, both at most."""

    def distance(left: list[float], right: list[float]) -> float:
        return max(abs(one - other) for one, other in zip(left, right, strict=True))

    return [
        {"moved": distance(first, second), "off": distance(first, third)}
        for first, second, third in zip(before, changed, restored, strict=True)
    ]


def look(engines: list[Any], looks: list[Any]) -> None:
    """Append to `looks` the log-probabilities, by engine, of the fixed prompt's tokens after the first."""
    from vllm import SamplingParams

    greedy = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0)
    outputs = _call(engines, "generate", PROMPT, greedy)
    looks.append(
        [
            [options[token].logprob for token, options in zip(PROMPT[1:], output.prompt_logprobs[1:], strict=True)]
            for output in outputs
        ]
    )


def forget(engines: list[Any]) -> None:
    """Leave the looks out of what the engines count for the first step."""
    import ray

    ray.get([engine.__ray_call__.remote(answer) for engine in engines], timeout=PATIENCE)


def _call(engines: list[Any], method: str, *args: Any) -> list[Any]:
    import ray

    answers: list[Any] = ray.get([getattr(engine, method).remote(*args) for engine in engines], timeout=PATIENCE)
    return answers


@after("openrlhf.trainer.ray.ppo_actor")
def canary(module: Any) -> None:
    """The moment at which the policy's trainer is complete, and no completion has been asked for."""
    trainer = module.ActorPPOTrainer
    original = trainer.__init__
    expect_parameters(trainer.broadcast_to_vllm, "self")

    def initialise(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if self.vllm_engines is not None:
            guarded(fly, self)

    trainer.__init__ = initialise


HOOKS = (canary,)
