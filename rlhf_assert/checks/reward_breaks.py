"""Rewards that break in the middle of a training, and rewards that a second scoring does not confirm."""

from __future__ import annotations

import numpy as np

from rlhf_assert.checked import Cause, Check
from rlhf_assert.checks.stating import failed
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.facts.reward_normalization import unlike_saved
from rlhf_assert.numbers import number
from rlhf_assert.recording.events import Rescored
from rlhf_assert.recording.run import Run
from rlhf_assert.recording.series import FloatArray
from rlhf_assert.rewards.breaks import find_advantage_break, find_reward_break

LOWEST_ADVANTAGE = 0.5
"""r of advantages and what they are made of: 1 by construction."""

FEWEST_PAIRS = 8
CONFIRMED = 0.7
"""r of two scorings of the same completions that its 97.5 % bound must reach: 1 for a reward without chance, and what
is asked of a judge that is not to drown its own signal."""


_ONLINE = ("reward", "response_length", "reward_std", "zero_std_fraction")


def shown(run: Run, names: tuple[str, ...] = _ONLINE) -> tuple[str, ...]:
    """Return which of some metrics a run logged; by default those that show what its rewards do."""
    return tuple(name for name in names if name in run.series)


def reward_failed(
    run: Run,
    kind: str,
    headline: str,
    *,
    onset: int | None = None,
    metrics: tuple[str, ...] = (),
    evidence: tuple[str, ...] = (),
    cause: Cause | None = None,
    suspicion: Cause | None = None,
    remedy: tuple[str, ...] = (),
    samples: tuple[str, ...] = (),
    override: str = "",
) -> Check:
    """Return a failure of the rewards: an anomaly of this kind, with the headline as its summary.

    What holds for all completions shows from the first of them on, unless an `onset` is given.
    """
    steps = run.samples.step if len(run.samples) else [row.step for row in run.rows]
    drawn = metrics or shown(run)
    anomaly = Anomaly(
        kind=kind,
        metric=drawn[0] if drawn else "reward",
        severity=Severity.critical,
        onset=int(steps[0] if onset is None else onset),
        summary=headline.partition(" ")[2],
    )
    return failed(
        headline,
        anomalies=[anomaly],
        metrics=drawn,
        evidence=evidence,
        cause=cause,
        suspicion=suspicion,
        remedy=remedy,
        samples=samples,
        override=override,
    )


def broken_rewards(run: Run) -> Check | None:
    """Return a change of the rewards' sign or scale, or rewards that became one value, in the middle of a training."""
    broken = find_reward_break(run.samples)
    if broken is None:
        return None
    was = f"it was between {number(broken.low)} and {number(broken.high)} before"
    low, high = broken.values
    if broken.kind == "constant":
        return reward_failed(
            run,
            "constant-reward",
            f"reward is constant from step {broken.step} on: {number(low)}, {was}",
            onset=broken.step,
            evidence=(was,),
            cause=Cause(f"the reward gives {number(low)} to every completion from step {broken.step} on"),
            remedy=("look at what the reward depends on that failed at this step: a service, a file, a cache",),
        )
    return reward_failed(
        run,
        "reward-range",
        f"reward left its range at step {broken.step}: {number(low)} to {number(high)}, {was}",
        onset=broken.step,
        evidence=(was, "learning moves rewards inside of their range"),
        cause=Cause("the sign of the reward changed" if high < 0.0 < broken.low else "the scale of the reward changed"),
        remedy=(f"compare the reward of one completion before and after step {broken.step}",),
    )


def broken_normalization(run: Run) -> Check | None:
    """Return a reward model that does not normalize as its configuration says."""
    moments = unlike_saved(run)
    if moments is None:
        return None
    return reward_failed(
        run,
        "reward-normalization",
        f"rewards are normalized by {moments[0]}, saved are {moments[1]}",
        onset=1,
        evidence=("normalized is: reward less mean, over deviation",),
        remedy=(),
    )


def broken_advantages(run: Run) -> Check | None:
    """Return advantages that do not belong to what they are made of from a step on.

    Where there is a critic that is the return less its value (Schulman et al., "High-Dimensional Continuous Control
    Using Generalized Advantage Estimation", 2015); where returns were recorded without a critic, the return, from which
    OpenRLHF makes the advantages of REINFORCE, RLOO, GRPO and their kin; otherwise the reward in GRPO, and the reward
    less its KL penalty in RLOO, each within the group of a prompt. Advantages are made of it by a shift and a positive
    factor.
    """
    samples = run.samples
    critic = bool(np.isfinite(samples.value - samples.returns).any())
    returned = bool(np.isfinite(samples.returns).any())
    source = "return less value" if critic else "return" if returned else "reward"
    made_of = samples.returns - samples.value if critic else samples.returns if returned else _rewarded(run)
    if made_of is None:
        return None
    broken = find_advantage_break(samples, made_of, LOWEST_ADVANTAGE, grouped=source == "reward")
    if broken is None:
        return None
    step, r = broken
    against = r < -LOWEST_ADVANTAGE
    plural = "rewards" if source == "reward" else "returns"
    return reward_failed(
        run,
        "advantage-sign",
        f"advantages {'go against' if against else 'do not follow'} their {plural} "
        f"from step {step} on: r {r:.2f}, limit {LOWEST_ADVANTAGE:.2f}",
        onset=step,
        evidence=(f"r(advantage, {source}) {r:.2f} at step {step}", "it is 1 by construction"),
        cause=Cause(
            "the sign of the advantages is flipped" if against else "advantages are given to other completions"
        ),
        remedy=(f"compare the trainer's advantages with {source}{' less group mean' if source == 'reward' else ''}",),
    )


def _rewarded(run: Run) -> FloatArray | None:
    samples, beta = run.samples, run.config.get("beta")
    if run.algorithm == "grpo":
        return samples.reward
    if run.algorithm != "rloo" or not isinstance(beta, float | int):
        return None
    penalty: FloatArray = beta * (samples.logprob - samples.ref_logprob) * samples.length
    return samples.reward - penalty if beta else samples.reward


def unconfirmed_rewards(run: Run) -> Check | None:
    """Return rewards that a second scoring of the same completions, after the training, gives other values."""
    failures = (_unconfirmed(run, event) for event in run.events_of(Rescored))
    return next((failure for failure in failures if failure is not None), None)


def _unconfirmed(run: Run, event: Rescored) -> Check | None:
    both = zip(event.first, event.second, strict=False)
    pairs = [(one, other) for one, other in both if np.isfinite(one) and np.isfinite(other)]
    first, second = np.asarray(pairs, dtype=np.float64).reshape(-1, 2).T
    if len(pairs) < FEWEST_PAIRS or np.array_equal(first, second):
        return None
    constant = min(np.ptp(first), np.ptp(second)) <= 0.0
    r = 0.0 if constant else float(np.corrcoef(first, second)[0, 1])
    # Fisher 1921: atanh(r) is about normal with standard deviation 1 / sqrt(n - 3).
    high = float(np.tanh(np.arctanh(np.clip(r, -0.999999, 0.999999)) + 1.96 / np.sqrt(len(pairs) - 3)))
    if high >= CONFIRMED:
        return None
    step = event.step
    return reward_failed(
        run,
        "unconfirmed-reward",
        f"reward is not repeatable: a second scoring of step {step} agrees with r {r:.2f}, limit {CONFIRMED:.2f}",
        onset=step,
        evidence=(
            f"r of two scorings of {len(pairs)} completions {r:.2f}, at most {high:.2f} with 97.5 % confidence",
            f"{int((first != second).sum())} of them got another reward",
        ),
        cause=Cause(
            "the reward depends on more than prompt and completion: chance, the order of the batch, or the last call"
        ),
        remedy=("score one completion twice by hand", "seed or average what is random in the reward"),
    )
