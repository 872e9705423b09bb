"""The rewards: numbers, that differ, for what a completion says and not for its length."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from rlhf_assert.checked import Cause, Check, Concern
from rlhf_assert.checks.registry import check
from rlhf_assert.checks.reward_breaks import (
    broken_advantages,
    broken_normalization,
    broken_rewards,
    reward_failed,
    shown,
    unconfirmed_rewards,
)
from rlhf_assert.checks.spec import of_algorithms
from rlhf_assert.checks.stating import MIN_ROWS, insufficient, passed, skipped
from rlhf_assert.errors import UsageError, suggest
from rlhf_assert.failures import RewardUnreliable
from rlhf_assert.metrics import label
from rlhf_assert.numbers import count, number, share
from rlhf_assert.recording.run import Run
from rlhf_assert.rewards import RewardReliability, assess_rewards

ALLOWABLE = ("length", "inconsistent", "constant")
"""Findings that can be intended: a reward for brevity or length, a judge that varies, a reward of no interest."""

PREFERENCE = frozenset({"dpo", "kto", "reward"})
_OFFLINE = ("reward_margin", "chosen_reward", "rejected_reward", "reward_accuracy")
_OVERRIDE = 'assert_rewards_reliable(allow=["{}"])'
_LOWEST_AGREEMENT = 0.5


def _tells_them_apart(run: Run) -> bool:
    """Whether a spread or samples let this check judge: a finding that it allows is then allowed."""
    return len(run.samples) > 0 or "reward_std" in run.series


@check(
    name="rewards",
    question="Can the rewards be trusted?",
    failure=RewardUnreliable,
    order=180,
    concerns=frozenset({Concern.REWARDS, Concern.CRITIC}),
    needs="samples, or logged rewards",
    owns=("reward", "reward_std", "zero_std_fraction"),
    owns_when=_tells_them_apart,
    options={"allow": "allow"},
    assertion="assert_rewards_reliable",
    root_rank=10,
    finds=frozenset(
        {
            "weights_nan",
            "weights_inf",
            "reward_nan",
            "reward_inf",
            "reward_constant",
            "reward_random",
            "reward_shuffled",
            "reward_negated",
            "reward_rescaled",
            "reward_delayed",
            "reward_length",
            "advantages_negated",
            "advantages_shuffled",
            "kl_coefficient_wrong",
            "kl_coefficient_negated",
        }
    ),
    expected=of_algorithms("ppo", "grpo", "rloo", "online-dpo", "dpo", "kto", "reward"),
)
def judge_rewards(run: Run, *, allow: Collection[str] = ()) -> Check:
    """Judge the rewards of a run by its samples, and by its rows where it recorded none.

    Fails on: a reward that is NaN, None or infinite, be it one sample in a batch; rewards that never vary, or not
    inside of any group; a reward model that does not normalize as it was saved to; a sign, scale or spread that broke
    in the middle; advantages that do not follow their rewards (GRPO, RLOO); equal completions with unlike rewards, in
    the training or in a second scoring after it; a policy that was paid for length (see `LengthBias.follows`).

    Args:
        run: the run.
        allow: findings that are intended: "length", "inconsistent", "constant".

    Raises:
        UsageError: an unknown word in `allow`.
    """
    for word in allow:
        if word not in ALLOWABLE:
            known = ", ".join(ALLOWABLE)
            raise UsageError(f"allow={word!r} is no finding on rewards{suggest(word, ALLOWABLE)}; known: {known}")
    algorithm = run.algorithm
    if algorithm == "sft":
        return skipped("supervised fine-tuning has no reward")
    rows = _judge_rows(run, algorithm)
    if not len(run.samples):
        return _without_samples(run, algorithm, rows, allow)
    reliability = assess_rewards(run.samples, _weights(run))
    judged = broken_normalization(run) or _non_finite(run, reliability) or rows
    if judged is None and not reliability.missing:
        rules: tuple[tuple[str, Callable[[Run, RewardReliability], Check | None]], ...] = (
            ("constant", _constant),
            ("constant", _constant_in_groups),
            ("", lambda run, _: broken_rewards(run)),
            ("", lambda run, _: broken_advantages(run)),
            ("inconsistent", _inconsistent),
            ("inconsistent", lambda run, _: unconfirmed_rewards(run)),
            ("length", _length),
        )
        verdicts = (rule(run, reliability) for word, rule in rules if word not in allow)
        judged = next((check for check in verdicts if check is not None), None)
    if judged is not None:
        return judged
    if reliability.missing:
        return insufficient(reliability.missing, shown(run))
    return _pass(run, reliability)


def _weights(run: Run) -> dict[str, float]:
    """Return reward function -> weight, as far as the trainer's configuration tells."""
    weights = run.config.get("reward_weights")
    names = list(run.samples.rewards)
    if not isinstance(weights, list) or len(weights) != len(names):
        return {}
    return {name: float(weight) for name, weight in zip(names, weights, strict=True)}


def _judge_rows(run: Run, algorithm: str) -> Check | None:
    """Judge the logged rewards: not finite, or (preferences) never apart. KTO logs NaN where a batch has one kind."""
    names = ("reward",) if algorithm == "kto" else ("reward", "reward_margin", "chosen_reward", "rejected_reward")
    for name in shown(run, names):
        series = run[name]
        bad = ~np.isfinite(series.values)
        if bad.any():
            first = int(series.steps[bad][0])
            return reward_failed(
                run,
                "non-finite",
                f"{label(name)} is not finite from step {first}: {int(bad.sum())} of {count(len(series), 'row')}",
                onset=first,
                metrics=(name,),
                suspicion=Cause("a reward of NaN, None or infinity, or weights that are not finite"),
                remedy=(f"print the rewards of step {first}",),
            )
    if algorithm in PREFERENCE and "reward_margin" in run.series:
        return _no_margin(run)
    return None


def _no_margin(run: Run) -> Check | None:
    margin = run["reward_margin"].finite
    if len(margin) < MIN_ROWS or np.abs(margin.values).max() > 1e-9:
        return None
    chosen = run.series.get("chosen_reward")
    moved = chosen is None or bool((np.abs(chosen.finite.values) > 1e-9).any())
    return reward_failed(
        run,
        "no-margin",
        f"margin is exactly 0 at all {count(len(margin), 'row')}: no preference is learnt",
        metrics=shown(run, _OFFLINE),
        evidence=("chosen and rejected have equal rewards at every step",) if moved else (),
        cause=Cause("chosen and rejected answers are identical") if moved else None,
        suspicion=Cause("chosen and rejected answers are identical, or the policy does not move"),
        remedy=("compare the chosen and rejected columns of the dataset",),
    )


def _without_samples(run: Run, algorithm: str, rows: Check | None, allow: Collection[str]) -> Check:
    """Judge a run that recorded no samples by its rows."""
    if rows is not None:
        return rows
    names = shown(run, _OFFLINE) if algorithm in PREFERENCE else shown(run)
    if not names or names[0] not in {"reward", "reward_margin", "chosen_reward"}:
        reason = "no samples and no reward were recorded" if not names else f"no samples were recorded, only {names[0]}"
        return skipped(reason, names)
    lead = run[names[0]]
    if len(lead) < MIN_ROWS:
        return insufficient(f"{count(len(lead), 'row')} of {names[0]}, a judgement takes {MIN_ROWS}", names)
    if algorithm in PREFERENCE:
        return passed(f"{label(names[0])} {number(lead.first)} → {number(lead.last)}", names, note="from rows")
    spread = run.series.get("reward_std")
    flat = spread is not None and len(spread.finite) > 0 and float(spread.finite.values.max()) <= 1e-6
    if flat and np.ptp(lead.values) <= 1e-6 * max(1.0, abs(lead.first)):
        if "constant" in allow:
            return passed(f"reward is constant: {number(lead.first)}, as allowed", names, note="constant, allowed")
        return reward_failed(
            run,
            "constant-reward",
            f"reward is constant: {number(lead.first)} at all {count(len(lead), 'row')}, nothing to learn from",
            suspicion=Cause("the reward function returns one value"),
            override=_OVERRIDE.format("constant"),
        )
    return skipped("no samples were recorded: its rows are finite and vary, no more can be told", names)


def _non_finite(run: Run, reliability: RewardReliability) -> Check | None:
    if not reliability.non_finite:
        return None
    first = min(reliability.non_finite, key=lambda source: source.step)
    by = f" by {first.function}" if first.function else ""
    what = "NaN (or None)" if first.example == "nan" else first.example
    total = sum(source.count for source in reliability.non_finite)
    names = " and ".join(source.function or "total" for source in reliability.non_finite)
    return reward_failed(
        run,
        "non-finite",
        f"reward is not finite: {what}{by} at step {first.step}, {total} of {count(reliability.samples, 'completion')}",
        onset=first.step,
        evidence=tuple(
            f"{source.function or 'total'}: {count(source.count, 'completion')}, "
            f"first {source.example} at step {source.step}"
            for source in reliability.non_finite
        ),
        samples=tuple(_sample(run, int(index)) for index in first.samples[:2]),
        suspicion=Cause(f"{_function(run, first.function) if first.function else f'{names}:'} returns {what}"),
        remedy=("find the completion that is scored so", "return a finite number for every completion"),
    )


def _constant(run: Run, reliability: RewardReliability) -> Check | None:
    if reliability.constant is None:
        return None
    value = number(reliability.constant)
    return reward_failed(
        run,
        "constant-reward",
        f"reward is constant: {value} in all {count(reliability.finite, 'completion')}, nothing to learn from",
        suspicion=Cause(f"{_leading_function(run, reliability)} returns {value} for every completion"),
        remedy=("let the reward tell a better completion from a worse one",),
        override=_OVERRIDE.format("constant"),
    )


def _constant_in_groups(run: Run, reliability: RewardReliability) -> Check | None:
    if run.algorithm not in {"grpo", "rloo"} or not reliability.saturated_throughout:
        return None
    return reward_failed(
        run,
        "constant-in-groups",
        f"reward is equal within every group over {count(reliability.steps, 'step')}: "
        "no advantage, nothing to learn from",
        evidence=(
            f"reward {number(reliability.mean)} with std {number(reliability.std)} between prompts, 0 inside of them",
        ),
        cause=Cause(f"{_leading_function(run, reliability)} looks at the prompt, not at the completion"),
        remedy=("score two completions of one prompt by hand and compare",),
        override=_OVERRIDE.format("constant"),
    )


def _inconsistent(run: Run, reliability: RewardReliability) -> Check | None:
    agreement, flips = reliability.consistency.agreement, reliability.consistency.flips
    if not agreement.judged or agreement.high >= _LOWEST_AGREEMENT:
        return None
    return reward_failed(
        run,
        "inconsistent-reward",
        f"equal completions get unlike rewards: agreement {agreement.value:.2f} over "
        f"{count(reliability.consistency.repeated, 'repeated completion')}, limit {_LOWEST_AGREEMENT:.2f}",
        evidence=(
            f"ICC of repeated completions {agreement.value:.2f}, {_interval(agreement.low, agreement.high)}",
            f"{share(flips.value)} of {agreement.samples} repeats were scored unlike the first time",
        ),
        cause=Cause(
            f"{_leading_function(run, reliability)} depends on more than prompt and completion: chance, or the batch"
        ),
        remedy=("score one completion twice by hand", "seed or average what is random in the reward"),
        override=_OVERRIDE.format("inconsistent"),
    )


def _length(run: Run, reliability: RewardReliability) -> Check | None:
    bias = reliability.length
    if not bias.follows:
        return None
    r, rest, gain = bias.pearson, bias.gain_at_equal_length, bias.gain
    leading = _leading_function(run, reliability, by_length=True)
    shorter = "" if r.value > 0 else " (the shorter, the better)"
    return reward_failed(
        run,
        "length-bias",
        f"reward follows length, not quality: r {r.value:.2f} over {count(r.samples, 'completion')}",
        evidence=(
            f"r(reward, length) {r.value:.2f}, {_interval(r.low, r.high)}",
            f"inside of steps {bias.within_step.value:.2f}, so it is no common trend",
            f"length {number(bias.start_length)} → {number(bias.end_length)} tokens{shorter}",
            f"at equal length the reward rose {number(rest.value)} of its {number(gain.value)}",
        ),
        samples=_extremes(run),
        cause=Cause(leading),
        remedy=("bound what the reward gives for length, or drop it", "score length and quality apart"),
        override=_OVERRIDE.format("length"),
    )


def _function(run: Run, name: str) -> str:
    names = list(run.samples.rewards)
    return f"rewards[{names.index(name)}] {name}" if name in names else name or "the reward"


def _leading_function(run: Run, reliability: RewardReliability, *, by_length: bool = False) -> str:
    """Return the reward function that decides the total, with its share of the variance where it has one."""
    shares = {name: part for name, part in reliability.shares.items() if not np.isnan(part)}
    if by_length:
        shares = {name: part for name, part in shares.items() if abs(reliability.function_length[name]) > 0.5} or shares
    if not shares:
        return _function(run, next(iter(reliability.shares))) if len(reliability.shares) == 1 else "the reward"
    name = max(shares, key=lambda candidate: shares[candidate])
    return (
        f"{_function(run, name)}, {share(shares[name])} of the reward's variance" if by_length else _function(run, name)
    )


def _interval(low: float, high: float) -> str:
    return f"95 % interval {low:.2f} to {high:.2f}"


def _extremes(run: Run) -> tuple[str, ...]:
    """Return the best and the worst completion of the last step that has both."""
    samples = run.samples
    finite = np.flatnonzero(np.isfinite(samples.reward))
    last = finite[samples.step[finite] == samples.step[finite].max()]
    order = last[np.argsort(samples.reward[last], kind="stable")]
    return _sample(run, int(order[-1])), _sample(run, int(order[0]))


def _sample(run: Run, index: int) -> str:
    """Return one sample as a line of at most 80 columns."""
    samples = run.samples
    length = samples.length[index]
    tokens = f"{length:4.0f} tok" if np.isfinite(length) else "   ? tok"
    text = " ".join(samples.text[index].split())
    line = f"step {samples.step[index]}  reward {number(float(samples.reward[index]))}  {tokens}"
    room = 80 - len(line) - 4
    return f'{line}  "{text if len(text) <= room else text[: room - 1] + "…"}"' if text else line


def _pass(run: Run, reliability: RewardReliability) -> Check:
    gain = reliability.length.gain
    trend = "level"
    if gain.judged and gain.low > 0.0:
        trend = "rising"
    elif gain.judged and gain.high < 0.0:
        trend = "falling"
    r = reliability.length.pearson
    note = f"{trend}; r(length) {r.value:.2f}" if r.judged else trend
    series = run.series.get("reward")
    ends = f"{number(series.first)} → {number(series.last)}" if series is not None else number(reliability.mean)
    return passed(f"reward {ends} over {count(reliability.finite, 'completion')}", shown(run), note=note)
