"""Which algorithm wrote a log, judged by its keys, and where those leave it open by its first row."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from rlhf_assert.metrics import PREFIXES, canonical_name, normalised
from rlhf_assert.recording.rows import Column

CRITIC = frozenset({"value_loss", "explained_variance"})
PAIRS = frozenset({"chosen_reward", "rejected_reward", "reward_margin"})


def algorithm_of(keys: Collection[str]) -> str:
    """Return `ppo`, `grpo`, `rloo`, `online-dpo`, `dpo`, `kto`, `reward`, `sft`, or "" where the keys fit several.

    What only the configuration tells apart is not guessed: TRL's RLOO logs GRPO's keys and counts as such, ORPO and a
    bare loss count as unknown. So do OpenRLHF's DPO and reward model, which share theirs; see `algorithm_by_start`.
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


def algorithm_by_start(metrics: Mapping[str, Column]) -> str:
    """Return `dpo` for a log of pairs whose chosen and rejected rewards both begin at exactly 0, else "".

    DPO's rewards are beta times the log-ratio of policy and reference, which are one model before the first update; the
    scores of a reward model are 0 for no reason (Rafailov et al. 2023, equation 5; TRL and OpenRLHF log them so).
    """
    begun = [metrics[name].values[0] for name in ("chosen_reward", "rejected_reward") if name in metrics]
    return "dpo" if len(begun) == 2 and not any(begun) else ""


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
