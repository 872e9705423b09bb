"""Which algorithm wrote a log, judged by its keys."""

from __future__ import annotations

from collections.abc import Collection

from rlhf_assert.metrics import PREFIXES, canonical_name, normalised

CRITIC = frozenset({"value_loss", "explained_variance"})
PAIRS = frozenset({"chosen_reward", "rejected_reward", "reward_margin"})


def algorithm_of(keys: Collection[str]) -> str:
    """Return `ppo`, `grpo`, `rloo`, `online-dpo`, `dpo`, `kto`, `reward`, `sft`, or "" where the keys fit several.

    What only the configuration tells apart is not guessed: TRL's RLOO logs GRPO's keys and counts as such, and
    OpenRLHF's DPO and reward model share theirs and count as unknown, as do ORPO and a bare loss.
    """
    plain = {_bare(normalised(key)) for key in keys}
    names = {name for key in keys if (name := canonical_name(key))}
    if plain & {"log_odds_ratio", "log_odds_chosen", "nll_loss"}:
        return ""
    if names & PAIRS:
        return _of_pairs(plain, names)
    if {"min_reward", "max_reward", "accuracy"} <= plain:
        return "reward"
    if names & CRITIC:
        return "ppo"
    if "objective/rlhf_reward" in plain:
        return "rloo"
    if _of_groups(plain):
        return "grpo"
    if "mean_token_accuracy" in plain and not names & {"reward", "kl_div"}:
        return "sft"
    return ""


def _of_pairs(plain: set[str], names: set[str]) -> str:
    if "objective/kl" in plain or "objective/scores" in plain:
        return "online-dpo"
    if {"min_reward", "max_reward"} & plain or plain == {"margin"}:
        return "reward"
    if "reject_reward" in plain:
        return ""
    if "kl_div" in names:
        return "kto"
    return "dpo" if plain & {"rewards/chosen", "rewards/rejected", "rewards/margins", "logps/chosen"} else ""


def _of_groups(plain: set[str]) -> bool:
    if plain & {"frac_reward_zero_std", "group_reward_std", "completions/mean_length", "completions/clipped_ratio"}:
        return True
    if plain & {"actor/pg_loss", "actor/pg_clipfrac"}:  # verl without a critic
        return True
    return "reward" in plain and bool(plain & {"reward_std", "completion_length"})


def _bare(key: str) -> str:
    for prefix in PREFIXES:
        key = key.removeprefix(prefix)
    return key
