"""Samples of PPO, read from the local variables of `PPOTrainer.train`, which keeps them nowhere else."""

from __future__ import annotations

import math
from typing import Any

from rlhf_assert_trl.frames import callers, read_locals
from rlhf_assert_trl.samples import (
    MAX_PER_STEP,
    NAN,
    Batch,
    Observer,
    advantage_metrics,
    hash_prompt,
    length_metrics,
    masked_means,
)

_NAMES = (
    "approxkl_stats",
    *("self", "queries", "responses", "scores", "logprobs", "ref_logprobs", "advantages", "values", "returns"),
    *("padding_mask", "padding_mask_p1", "sequence_lengths", "contain_eos_token"),
)


class PPOCapture:
    """Captures the samples of a `PPOTrainer` from within `on_log`; see `samples.Capture`."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._observer = Observer(trainer)
        self._taken = -1
        model = trainer.reward_model
        self._reward_name = str(getattr(model, "__name__", type(model).__name__))

    @property
    def failure(self) -> str | None:
        """Why samples cannot be had any more, or None."""
        return self._observer.failure

    def take(self, step: int) -> Batch:
        """Return the samples of this update, once."""
        if step == self._taken:
            return Batch()
        self._taken = step
        return self._observer.guard(self._read, step) or Batch()

    def close(self) -> None:
        """Nothing was changed."""

    def _read(self, step: int) -> Batch:
        for frame in callers():
            if frame.f_code.co_name == "train":
                variables = read_locals(frame, _NAMES)
                if variables.get("self") is self._trainer:
                    return self._batch(variables, step)
        raise LookupError("no frame of PPOTrainer.train leads here")

    def _batch(self, variables: dict[str, Any], step: int) -> Batch:
        tokenizer = self._trainer.processing_class
        mask = ~variables["padding_mask"]
        logprobs, ref_logprobs = (
            masked_means(variables["logprobs"], mask),
            masked_means(variables["ref_logprobs"], mask),
        )
        advantages = masked_means(variables["advantages"], mask)
        values, returns = masked_means(variables["values"], mask), masked_means(variables["returns"], mask)
        lengths = (variables["sequence_lengths"][:MAX_PER_STEP] + 1).tolist()
        ended = variables["contain_eos_token"][:MAX_PER_STEP].tolist()
        queries, responses = (
            variables["queries"][:MAX_PER_STEP].tolist(),
            variables["responses"][:MAX_PER_STEP].tolist(),
        )
        records = []
        for index, score in enumerate(variables["scores"][:MAX_PER_STEP].tolist()):
            text = tokenizer.decode(responses[index][: lengths[index]], skip_special_tokens=True)
            records.append(
                {
                    "step": step,
                    "prompt": hash_prompt([token for token in queries[index] if token != tokenizer.pad_token_id]),
                    "length": lengths[index],
                    "truncated": float(not ended[index]),
                    "reward": score,
                    "rewards": {self._reward_name: score},
                    "advantage": advantages[index],
                    "value": values[index],
                    "return": returns[index],
                    "logprob": logprobs[index],
                    "ref_logprob": ref_logprobs[index],
                    "text": text[:80],
                }
            )
        metrics = {**advantage_metrics(advantages), **length_metrics(records)}
        # Before its first update a policy is the one that sampled, and half the mean squared log-ratio is 0.
        metrics["rollout_kl"] = math.sqrt(2.0 * max(0.0, float(variables["approxkl_stats"][0, 0, 0])))
        metrics["explained_variance"] = explained_variance(
            variables["values"], variables["returns"], ~variables["padding_mask_p1"]
        )
        return Batch(records, metrics)


def explained_variance(values: Any, returns: Any, mask: Any) -> float:
    """Return 1 - var(returns - values) / var(returns) over the tokens of the mask; NaN where returns do not vary."""
    values, returns = values[mask], returns[mask]
    variance = float(returns.var())
    return 1.0 - float((returns - values).var()) / variance if variance > 0.0 else NAN
