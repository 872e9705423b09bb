"""A programmatic reward in the shape of a reward model, for trainers that only take models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch  # noqa: TID253 - only imported by who has torch in memory already


class RewardModule(torch.nn.Module):  # type: ignore[misc]
    """Scores token sequences with a TRL reward function, by the protocol of `trl.experimental.utils.get_reward`.

    That function calls `getattr(model, model.base_model_prefix)` for hidden states, `score` for one number per token,
    and reads it at the last token of the completion; here every token of a row has the row's reward.

    Args:
        tokenizer: decodes the sequences.
        reward_function: takes `prompts` and `completions` and returns one number per completion; None becomes NaN.
        separator: what ends the prompt; the rest of the text is the completion.
    """

    base_model_prefix = "backbone"

    def __init__(self, tokenizer: Any, reward_function: Callable[..., Sequence[float]], separator: str = ":") -> None:
        super().__init__()
        self.__name__ = getattr(reward_function, "__name__", type(reward_function).__name__)
        self._tokenizer = tokenizer
        self._reward_function = reward_function
        self._separator = separator

    def backbone(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any) -> SimpleNamespace:
        """Return the rewards, shape (batch, tokens, 1), as if they were hidden states."""
        texts = [
            self._tokenizer.decode(ids[mask].tolist(), skip_special_tokens=True)
            for ids, mask in zip(input_ids, attention_mask.bool(), strict=True)
        ]
        parts = [text.partition(self._separator) for text in texts]
        rewards = self._reward_function(
            prompts=[prompt + separator for prompt, separator, _ in parts],
            completions=[completion for _, _, completion in parts],
        )
        column = torch.tensor(
            [float("nan") if reward is None else reward for reward in rewards], device=input_ids.device
        )
        return SimpleNamespace(hidden_states=[column.float()[:, None, None].expand(*input_ids.shape, 1)])

    def score(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Return the rewards as they are."""
        return hidden_states
