"""Samples of OnlineDPO.

The trainer forwards each pair of completions through the policy, then through the reference, then asks for rewards,
all in one step; it keeps nothing, so the three calls are watched. Reward functions are watched one by one, because
TRL turns a NaN into 0 when it sums them.

`objective/kl` and `objective/entropy` of TRL 1.12 to 1.16 sum over padding too, where policy and reference differ by
chance, so `kl_div` (a sum over the completion, as TRL means it) and `entropy` (per token) come from the samples.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

from rlhf_assert_trl.rollout import RolloutWatch, rollout_difference
from rlhf_assert_trl.samples import (
    MAX_PER_STEP,
    NAN,
    Batch,
    Observer,
    hash_prompt,
    length_metrics,
    masked_means,
    mean,
    start_of,
)


class OnlineDPOCapture:
    """Captures the samples of an `OnlineDPOTrainer`; see `samples.Capture`."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._observer = Observer(trainer)
        self._forwards: list[tuple[Any, Any, Any]] = []  # log-probabilities, ids and mask: policy, reference
        self._outputs: dict[str, list[float]] = {}
        self._pending: list[dict[str, Any]] = []
        self._functions = list(trainer.reward_funcs)
        self._rollout = RolloutWatch(trainer, self._observer.guard)
        self._observer.watch("_forward", self._see_forward)
        self._observer.watch("_calculate_rewards_from_functions", self._see_rewards, before=self._outputs.clear)
        for index, (name, function) in enumerate(zip(trainer.reward_func_names, self._functions, strict=True)):
            if not hasattr(function, "forward"):  # a model's output passes through the total alone
                trainer.reward_funcs[index] = self._listen(name, function)

    @property
    def failure(self) -> str | None:
        """Why samples cannot be had any more, or None."""
        return self._observer.failure

    def take(self, step: int) -> Batch:
        """Return the samples of the micro-batches since the last call."""
        pending, self._pending = self._pending, []
        records: list[dict[str, Any]] = []
        differences: list[float] = []
        for part in pending:
            records += self._observer.guard(self._records, part, step) or []
            differences += self._observer.guard(_differences, part) or []
        records = records[:MAX_PER_STEP]
        if not records:
            return Batch()
        metrics = {**length_metrics(records), **divergence_metrics(records)}
        return Batch(records, {**metrics, "rollout_kl": mean(differences)} if differences else metrics)

    def close(self) -> None:
        """Leave the trainer as it was."""
        self._observer.undo()
        self._rollout.close()
        self._trainer.reward_funcs[:] = self._functions

    def _listen(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def listened(*args: Any, **kwargs: Any) -> Any:
            output = function(*args, **kwargs)
            self._observer.guard(self._see_output, name, output)
            return output

        return listened

    def _see_output(self, name: str, output: Any) -> None:
        self._outputs[name] = [NAN if reward is None else float(reward) for reward in output]

    def _see_forward(self, result: Any, _: Any, __: Any, ___: Any, ids: Any, mask: Any, *____: Any) -> None:
        self._forwards = [*self._forwards[-1:], (result.detach(), ids, mask)]

    def _see_rewards(self, total: Any, prompts: Any, completions: Any, *_: Any, **__: Any) -> None:
        if sum(len(part["texts"]) for part in self._pending) < MAX_PER_STEP:
            self._pending.append(
                {
                    "total": total,  # the trainer still takes its penalty off this tensor
                    "prompts": list(prompts),
                    "texts": [start_of(completion) for completion in completions],
                    "rewards": dict(self._outputs),
                    "forwards": self._forwards,
                    "sampled": self._rollout.take(),
                }
            )
        self._forwards = []

    def _records(self, part: dict[str, Any], step: int) -> list[dict[str, Any]]:
        (logprobs, ids, mask), (ref_logprobs, _, _) = part["forwards"]
        policy, reference = masked_means(logprobs, mask), masked_means(ref_logprobs, mask)
        lengths = mask.sum(1).tolist()
        ended = (ids == self._trainer.processing_class.eos_token_id).any(1).tolist()
        functions = part["rewards"] or {self._trainer.reward_func_names[0]: part["total"].tolist()}
        records = []
        for index, total in enumerate(part["total"].tolist()[:MAX_PER_STEP]):
            rewards = {name: values[index] for name, values in functions.items()}
            every_nan = bool(part["rewards"]) and all(math.isnan(reward) for reward in rewards.values())
            records.append(
                {
                    "step": step,
                    "prompt": hash_prompt(part["prompts"][index]),
                    "length": int(lengths[index]),
                    "truncated": float(not ended[index]),
                    "reward": NAN if every_nan else total,
                    "rewards": rewards,
                    "advantage": None,
                    "logprob": policy[index],
                    "ref_logprob": reference[index],
                    "text": part["texts"][index],
                }
            )
        return records


def _differences(part: dict[str, Any]) -> list[float]:
    """Return the difference of sampled and evaluated log-probabilities in a micro-batch, if both are known."""
    logprobs, _, mask = part["forwards"][0]
    return [] if part["sampled"] is None else [rollout_difference(part["sampled"], logprobs, mask)]


def divergence_metrics(records: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return `kl_div`, the mean of each completion's summed log-ratio, and `entropy`, estimated per token."""
    spoken = [record for record in records if record["length"]]
    tokens = sum(record["length"] for record in spoken)
    ratios = [(record["logprob"] - record["ref_logprob"]) * record["length"] for record in spoken]
    return {
        "kl_div": sum(ratios) / len(records) if records else NAN,
        "entropy": -sum(record["logprob"] * record["length"] for record in spoken) / tokens if tokens else NAN,
    }
