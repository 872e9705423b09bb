"""The log-probabilities with which a policy sampled its completions, as its own `generate` gives them.

TRL evaluates a completion again when it trains on it, and takes that for what sampled it. On the same weights, at the
same temperature, the two agree to the last digits; where they do not, the policy gradient is that of another policy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch  # noqa: TID253 - only imported by who has torch in memory already

from rlhf_assert_trl.describe import policy_of
from rlhf_assert_trl.promises import algorithm_of

MOST_BYTES = 1 << 28
"""Bytes of scores that a generation may keep; a larger one (long completions, a large vocabulary) is not looked at."""


class RolloutWatch:
    """Keeps what the last calls of the policy's `generate` sampled with.

    Args:
        trainer: a trainer that generates with `generate` of its own policy.
        guard: calls a function with its arguments such that an error of it cannot reach the trainer.
    """

    def __init__(self, trainer: Any, guard: Callable[..., Any]) -> None:
        self._trainer = trainer
        self._guard = guard
        self._policy = policy_of(trainer)
        self._generate = self._policy.generate
        self._before = vars(self._policy).get("generate")
        self._policy.generate = self._watched
        self._seen: list[torch.Tensor] = []

    def take(self) -> torch.Tensor | None:
        """Return each sampled token's log-probability, shape (batch, tokens), since the last call; None if unknown.

        Tokens after a completion's end have some value, to be masked.
        """
        seen, self._seen = self._seen, []
        return seen[0] if len(seen) == 1 else None

    def close(self) -> None:
        """Give the policy its own method back."""
        if self._before is None:
            vars(self._policy).pop("generate", None)
        else:
            self._policy.generate = self._before

    def _watched(self, *args: Any, **kwargs: Any) -> Any:
        config = kwargs.get("generation_config")
        if config is None or "return_dict_in_generate" in kwargs or not self._affordable(kwargs, config):
            return self._generate(*args, **kwargs)
        output = self._generate(*args, **kwargs, return_dict_in_generate=True, output_scores=True)
        self._guard(self._see, output.scores, output.sequences)
        return output.sequences

    def _affordable(self, given: dict[str, Any], config: Any) -> bool:
        prompts = given.get("input_ids", given.get("inputs"))
        tokens = getattr(config, "max_new_tokens", None)
        plain = all(getattr(config, name, None) in plain for name, plain in _UNWARPED.items())
        if prompts is None or tokens is None or not plain:
            return False
        vocabulary = getattr(self._policy.config, "vocab_size", MOST_BYTES)  # none for a model of text and images
        return bool(4 * len(prompts) * int(tokens) * int(vocabulary) <= MOST_BYTES)

    def _see(self, scores: Sequence[torch.Tensor], sequences: torch.Tensor) -> None:
        # OnlineDPO samples at a temperature that its loss does not know, by design.
        configured = float(getattr(self._trainer, "temperature", 1.0))
        assumed = 1.0 if algorithm_of(self._trainer) == "online-dpo" else configured
        factor = configured / assumed
        tokens = sequences[:, -len(scores) :]
        steps = [
            (score.float() * factor).log_softmax(-1).gather(1, token[:, None]).squeeze(1)
            for score, token in zip(scores, tokens.unbind(1), strict=True)
        ]
        self._seen.append(torch.stack(steps, 1))


_UNWARPED: dict[str, tuple[Any, ...]] = {
    "top_k": (None, 0),
    "top_p": (None, 1.0),
    "min_p": (None, 0.0),
    "repetition_penalty": (None, 1.0),
}
"""Settings with which `generate` samples from the policy itself, and not from a part of its distribution."""


def rollout_difference(sampled: torch.Tensor, evaluated: torch.Tensor, mask: torch.Tensor) -> float:
    """Return the mean absolute difference of two sets of log-probabilities under a mask, all (batch, tokens).

    The measure that TRL logs for vLLM as `sampling/sampling_logp_difference/mean`.
    """
    width = min(sampled.shape[1], evaluated.shape[1])
    kept = mask[:, :width].bool()
    difference = (sampled[:, :width] - evaluated[:, :width]).abs()[kept]
    return float(difference.mean()) if len(difference) else float("nan")
