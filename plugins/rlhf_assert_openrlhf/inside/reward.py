"""A reward function as TRL takes it, in the form in which OpenRLHF calls it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from typing import Any


def adapt(source: str, name: str) -> Callable[[list[str], list[str], list[str]], dict[str, Any]]:
    """Return OpenRLHF's `reward_func(queries, prompts, labels)` for the function `name` of a file.

    A query is a prompt and its completion as decoded text, special tokens included; the function sees the completion
    without what the tokenizer adds at its end. Its rewards, one per query, serve as scores as well.

    Args:
        source: the file.
        name: the function in it.
    """
    function = getattr(_load(source), name)

    def reward_func(queries: list[str], prompts: list[str], labels: list[str]) -> dict[str, Any]:
        import torch

        completions = [strip_end(query.removeprefix(prompt)) for query, prompt in zip(queries, prompts, strict=True)]
        rewards: Sequence[float] = function(prompts=prompts, completions=completions, labels=labels)
        tensor = torch.tensor([float("nan") if reward is None else reward for reward in rewards], dtype=torch.float32)
        return {"rewards": tensor, "scores": tensor, "extra_logs": {}}

    return reward_func


def strip_end(completion: str) -> str:
    """Return a completion without special tokens such as `<|im_end|>` at its end.

    >>> strip_end(" cat fox.<|im_end|>")
    ' cat fox.'
    """
    while completion.endswith("|>") and "<|" in completion:
        completion = completion[: completion.rindex("<|")]
    return completion


def _load(source: str) -> Any:
    spec = importlib.util.spec_from_file_location("rlhf_assert_reward", source)
    if spec is None or spec.loader is None:
        raise ImportError(f"{source}: the file of the reward function cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    return module
