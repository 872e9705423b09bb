"""Generation: what sampled the completions is what is trained on them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from rlhf_assert.checked import Check, Concern
from rlhf_assert.checks.registry import check
from rlhf_assert.checks.spec import of_algorithms
from rlhf_assert.checks.stating import MIN_ROWS, anomalies_of, failed, insufficient, passed, serious, skipped
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.failures import LoopUnsound
from rlhf_assert.metrics import label
from rlhf_assert.numbers import count, number, share
from rlhf_assert.recording.run import Run
from rlhf_assert.recording.series import Series

LIMIT, ONE_ENGINE = 0.1, 0.03
"""Mean absolute difference of two log-probabilities, in nats per token. Two sound engines in half precision differ by
0.005 to 0.03 (what TRL logs for vLLM), one engine with and without its cache by about 0.01, in full precision by
1e-6."""

MEAN = 0.02
"""The same for a mean log-ratio, which estimates a KL divergence: about half of the square of the sizes above, so 5e-4.
Sound engines showed at most 0.001; weights that were stale for four steps 0.05 to 0.1."""

JUMP, FLOOR, SETTLED = 20.0, 0.01, 5
CUT, FEWEST, LASTS = 0.5, 8, 3
_LIMITS = ("max_completion_length", "response_length", "max_new_tokens")
MISMATCH, ENDINGS = "rollout-mismatch", "endings-lost"


@check(
    name="rollout",
    question="Is what generates the completions what is trained on them?",
    failure=LoopUnsound,
    order=130,
    concerns=frozenset({Concern.SAMPLING}),
    needs="rollout_kl, samples",
    owns=("rollout_kl",),
    assertion="assert_loop_sound",
    of_the_loop=True,
    finds=frozenset({"rollout_weights_stale", "temperature_mismatch", "truncation", "eos_as_pad", "dropout_left_on"}),
    expected=of_algorithms("ppo", "grpo", "rloo", "online-dpo"),
)
def judge_rollout(run: Run, *, fail_on: Severity = Severity.critical) -> Check:
    """Judge how far the sampler's log-probabilities are from the trainer's (`rollout_kl`, nats per token).

    Fails on two rows in succession above `LIMIT` (`ONE_ENGINE` where it is known to be one, `MEAN` where a mean
    log-ratio is logged), or above `FLOOR` and `JUMP` times all of the (at least `SETTLED`) rows before: stale weights,
    another temperature, dropout in one of the two. Also on completions that, from one step to the next, are nearly all
    cut off.
    """
    series = run.series.get("rollout_kl")
    anomalies = [
        *anomalies_of(run, ("rollout_kl",)),
        *(_apart(run, series.finite) if series is not None else []),
        *_endings(run),
    ]
    failing = serious(anomalies, fail_on)
    if failing:
        lead = failing[0]
        return failed(
            f"{label(lead.metric)} {lead.summary}",
            anomalies=anomalies,
            metrics=[name for name in (lead.metric, "kl_div", "entropy") if name in run.series],
            evidence=[
                f"{name}: {number(value)}" for name, value in lead.evidence.items() if not isinstance(value, str)
            ],
            remedy=_REMEDIES.get(lead.kind, (lead.remedy,)),
        )
    if series is None or not len(series.finite):
        return skipped("the sampler's log-probabilities were not recorded", ("rollout_kl",))
    if len(series.finite) < MIN_ROWS:
        reason = f"{count(len(series.finite), 'row')} of rollout_kl, a judgement takes {MIN_ROWS}"
        return insufficient(reason, ("rollout_kl",), anomalies)
    return passed(f"rollout_kl at most {number(float(series.finite.values.max()))}", ("rollout_kl",), anomalies)


_REMEDIES = {
    MISMATCH: (
        "generate with the weights that are trained: sync the engine after every update",
        "the same temperature in generation and in the loss, and dropout off in both",
    ),
    ENDINGS: (
        "the end and padding tokens of the tokenizer and of the generation's configuration",
        "max_completion_length, and what changed it",
    ),
}


def _endings(run: Run) -> list[Anomaly]:
    """Return the step from which completions are cut off as never before: 50 percentage points above any other step.

    `LASTS` such steps in succession, after `SETTLED` others: a policy that one update throws off may be back two steps
    later, one that learns to ramble passes through the shares in between, and a share of `FEWEST` completions has a
    standard deviation of 18 points at most. A completion at the configured limit counts, whatever the trainer says of
    its end: it may have taken padding for one.
    """
    samples = run.samples
    limit = next((run.config[name] for name in _LIMITS if isinstance(run.config.get(name), int)), None)
    cut = (samples.truncated > 0.0) | (samples.length >= (limit or np.inf))
    known = np.isfinite(samples.truncated)
    highest = 0.0
    broken: list[tuple[int, float]] = []
    for index, step in enumerate(dict.fromkeys(samples.step.tolist())):
        of_step = cut[known & (samples.step == step)]
        now = float(of_step.mean()) if len(of_step) else 0.0
        if index >= SETTLED and len(of_step) >= FEWEST and now >= highest + CUT:
            broken.append((step, now))
            if len(broken) == LASTS:
                onset, first = broken[0]
                return [
                    Anomaly(
                        kind=ENDINGS,
                        metric="truncated_fraction",
                        severity=Severity.critical,
                        onset=onset,
                        summary=f"{share(first)} from step {onset} on, at most {share(highest)} before",
                        evidence={"share": first, "before": highest},
                        causes=("the end token is not the one that the policy learnt", "a shorter limit"),
                    )
                ]
            continue
        broken.clear()
        highest = max(highest, now)
    return []


def _apart(run: Run, series: Series) -> list[Anomaly]:
    own = run.config.get("use_vllm", run.algorithm != "ppo") is False  # TRL's PPO has no such option
    highest = ONE_ENGINE if own else LIMIT
    if run.config.get("rollout_kl_estimator") == "k1":
        highest = MEAN
    values, steps = series.values.tolist(), series.steps.tolist()
    for (index, value), (_, later) in pairwise(enumerate(values)):
        usual = max(values[:index]) if index >= SETTLED else float("inf")
        limit = min(highest, max(FLOOR, JUMP * usual))
        if min(value, later) > limit:
            return [
                Anomaly(
                    kind=MISMATCH,
                    metric="rollout_kl",
                    severity=Severity.critical,
                    onset=int(steps[index]),
                    summary=f"{number(value)} from step {steps[index]} on, limit {number(limit)}",
                    evidence={"nats per token": value, "limit": limit},
                    causes=("stale weights in the sampler", "another temperature", "dropout left on"),
                )
            ]
    return []
