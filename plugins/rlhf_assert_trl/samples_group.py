"""Samples of GRPO and RLOO.

The trainer keeps texts, rewards and advantages of the last generation in `_logs`, in the order in which they were
generated and gathered over all processes; this process made the first of them. Token data stays local: it is what
`_generate_and_score_completions` returns. For on-policy GRPO nobody keeps the policy's log-probabilities, so they are
taken from the loss, whose rows are shuffled and are found again by their tokens.
"""

from __future__ import annotations

from typing import Any

from rlhf_assert_trl.rollout import RolloutWatch, rollout_difference
from rlhf_assert_trl.samples import (
    MAX_PER_STEP,
    NAN,
    Batch,
    Observer,
    advantage_metrics,
    hash_prompt,
    masked_means,
    start_of,
    total_reward,
)


class GroupCapture:
    """Captures the samples of a `GRPOTrainer` or `RLOOTrainer`; see `samples.Capture`."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._observer = Observer(trainer)
        self._completions: list[list[int]] = []
        self._unlearned: list[Any] = []  # log-probabilities computed while generating: old policy, reference
        self._learned: list[tuple[Any, Any, Any]] = []  # token ids, mask and log-probabilities seen by the loss
        self._generated: dict[str, Any] | None = None
        self._rollout = RolloutWatch(trainer, self._observer.guard)
        self._observer.watch("_calculate_rewards", self._see_completions)
        self._observer.watch("_get_per_token_logps_and_entropies", self._see_logprobs)
        self._observer.watch("_generate_and_score_completions", self._see_generation, before=self._unlearned.clear)

    @property
    def failure(self) -> str | None:
        """Why samples cannot be had any more, or None."""
        return self._observer.failure

    def take(self, step: int) -> Batch:
        """Return the samples of the last generation, once."""
        generated, self._generated = self._generated, None
        batch: Batch | None = None
        if generated is not None:
            batch = self._observer.guard(self._records, generated, step)
        self._learned.clear()
        return batch or Batch()

    def close(self) -> None:
        """Leave the trainer as it was."""
        self._observer.undo()
        self._rollout.close()

    def _see_completions(self, _: Any, inputs: Any, prompts: Any, completions: Any, ids: list[list[int]]) -> None:
        del inputs, prompts, completions
        self._completions = ids

    def _see_logprobs(self, result: Any, _: Any, ids: Any, attended: Any, kept: int, *__: Any, **___: Any) -> None:
        import torch

        if not torch.is_grad_enabled():
            self._unlearned.append(result[0])
        elif self._generated is not None:
            self._learned.append((ids, attended, result[0].detach()[:, -kept:]))

    def _see_generation(self, output: dict[str, Any], *_: Any) -> None:
        if not self._trainer.model.training:  # an evaluation
            return
        logs = self._trainer._logs  # noqa: SLF001 - TRL has no public place for them
        count = len(self._completions) * self._trainer.accelerator.num_processes
        last = slice(-count, None)
        if "ref_per_token_logps" in output:
            reference = output["ref_per_token_logps"]
        else:  # RLOO asks for the old policy's first, then, with beta, for the reference's
            reference = self._unlearned[1] if len(self._unlearned) > 1 else None
        self._generated = {
            "output": output,
            "completions": self._completions,
            "sampled": self._rollout.take(),
            "evaluated": self._unlearned[0] if "old_logps" in output and self._unlearned else None,
            "reference": reference,
            "prompt": list(logs["prompt"])[last][:MAX_PER_STEP],
            "text": list(logs["completion"])[last][:MAX_PER_STEP],
            "advantage": list(logs["advantages"])[last],
            "rewards": {name: list(values)[last][:MAX_PER_STEP] for name, values in logs["rewards"].items()},
        }

    def _records(self, generated: dict[str, Any], step: int) -> Batch:
        output, mask = generated["output"], generated["output"]["completion_mask"]
        ends = {self._trainer.processing_class.eos_token_id, self._trainer.processing_class.pad_token_id}
        completions = generated["completions"]
        reference = generated["reference"]
        evaluated = self._evaluated(generated, mask)
        logprobs = self._policy_logprobs(output, mask, evaluated)
        ref_logprobs = masked_means(reference, mask) if reference is not None else []
        names = list(generated["rewards"])
        weights = self._trainer.reward_weights.tolist()
        records = []
        for index, (prompt, text, *rewards) in enumerate(
            zip(generated["prompt"], generated["text"], *generated["rewards"].values(), strict=True)
        ):
            own = index < len(completions)  # the rest was made by other processes
            records.append(
                {
                    "step": step,
                    "prompt": hash_prompt(prompt),
                    "length": len(completions[index]) if own else None,
                    "truncated": float(completions[index][-1] not in ends) if own else None,
                    "reward": total_reward(rewards, weights),
                    "rewards": dict(zip(names, rewards, strict=True)),
                    "advantage": generated["advantage"][index],
                    "logprob": logprobs[index] if index < len(logprobs) else None,
                    "ref_logprob": ref_logprobs[index] if index < len(ref_logprobs) else None,
                    "text": start_of(text),
                }
            )
        metrics = advantage_metrics(generated["advantage"])
        sampled = generated["sampled"]
        if sampled is not None and evaluated is not None:
            rows = slice(None, len(evaluated))
            metrics["rollout_kl"] = rollout_difference(sampled[rows], evaluated, mask[rows])
        return Batch(records, metrics)

    def _policy_logprobs(self, output: dict[str, Any], mask: Any, evaluated: Any) -> list[float | None]:
        """Return each local sample's mean log-probability per token under the policy that generated it."""
        if evaluated is not None:
            return masked_means(evaluated, mask)
        if "old_logps" in output:  # RLOO: summed over the completion
            sums: list[float | None] = (output["old_logps"] / mask.sum(1))[:MAX_PER_STEP].tolist()
            return sums
        return [NAN] * len(mask)

    def _evaluated(self, generated: dict[str, Any], mask: Any) -> Any:
        """Return the log-probability of each token under the policy as it was trained on, (batch, tokens), or None."""
        output = generated["output"]
        if "old_per_token_logps" in output:
            return output["old_per_token_logps"]
        if "old_logps" in output:
            return generated["evaluated"]
        import torch

        known: dict[bytes, Any] = {}
        for ids, attended, logprobs in self._learned:
            known.update(zip(_row_keys(ids, attended), logprobs[:MAX_PER_STEP], strict=False))
        ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
        attended = torch.cat([output["prompt_mask"], mask], dim=1)
        unseen = torch.full_like(mask[0], NAN, dtype=torch.float32)
        rows = [known.get(key, unseen) for key in _row_keys(ids, attended)]
        return torch.stack(rows).to(mask.device) if rows else None


def _row_keys(ids: Any, mask: Any) -> list[bytes]:
    """Return each row's tokens without padding, as bytes."""
    rows, masks = ids[:MAX_PER_STEP].cpu().numpy(), mask[:MAX_PER_STEP].bool().cpu().numpy()
    return [row[keep].tobytes() for row, keep in zip(rows, masks, strict=True)]
