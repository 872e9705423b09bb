"""The generation engines: they follow the trainer's weights, keep their pace, and have room for what they generate."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from rlhf_assert.checked import Check, Concern
from rlhf_assert.checks.registry import check
from rlhf_assert.checks.stating import MIN_ROWS, evidence_of, failed, insufficient, passed, serious, skipped
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.failures import SystemUnsound
from rlhf_assert.metrics import label
from rlhf_assert.numbers import count, number, share
from rlhf_assert.recording.events import Engines, EngineUsage, WeightSyncCanary
from rlhf_assert.recording.run import Run

FOLLOWED = 0.01
"""Nats per token by which a changed weight must move some log-probability of the engine: the canary adds 1 to every
other element of the last norm, which moves a tiny model's by 1 to 10, and rounding moves any by under 0.01."""
RETURNED = 0.1
"""Largest sound share of that movement that is left once the weight is put back; it is 0 but for unordered sums."""
SLOWER = {Severity.critical: 3.0, Severity.warning: 2.0}
"""How many times as long between two tokens, and as few tokens a second, from the first quarter to the last."""
WARM_UP, FEWEST = 3, 12
STEPS = 3
FULL, ROOM = 0.95, 0.5
THRASHING = 0.1
IDLE = 10.0
_CURVES = ("vllm_throughput", "vllm_latency")


@check(
    name="engine",
    question="Do the engines follow the trained weights, and keep their pace?",
    failure=SystemUnsound,
    order=170,
    concerns=frozenset({Concern.PROCESSES}),
    needs="states of the engines",
    assertion="assert_system_sound",
    of_the_loop=True,
)
def judge_engine(run: Run, *, fail_on: Severity = Severity.critical) -> Check:
    """Judge the engines that generated completions, if they are processes of their own.

    - The canary (event `weight_sync_canary`): a weight of the policy is changed, synced, put back and synced again,
      once before the first step. An invariant: each engine's log-probabilities move, and come back.
    - Stall: an engine with requests in it that generates no token in `STEPS` steps in succession, or in none of at
      least as many steps in which others work.
    - Pace: tokens a second fall and the time between two tokens rises, both by a factor of `SLOWER`, from quarter to
      quarter of the run. Either alone follows from completions that get longer or fewer.
    - KV cache: requests are preempted while it is not half empty (`ROOM`), or more than `FULL` of it is in use, in
      `STEPS` steps in succession: warnings, and critical where that hits a tenth of all requests, whose work is then
      done twice.

    False alarms: a machine that gets busier through all of a run slows its engines as well.
    """
    states = [event for event in run.events_of(Engines) if event.engines]
    canaries = run.events_of(WeightSyncCanary)
    anomalies = [
        *(anomaly for event in canaries for anomaly in _canary(event)),
        *_stalled(states),
        *_slower(run),
        *_full(run, states),
    ]
    failing = serious(anomalies, fail_on)
    if failing:
        lead = failing[0]
        return failed(
            f"{label(lead.metric)} {lead.summary}" if lead.metric in _CURVES else lead.summary,
            anomalies=anomalies,
            metrics=[name for name in (lead.metric, *_CURVES) if name in run.series],
            evidence=evidence_of(failing),
            remedy=[lead.remedy],
        )
    flown = [event for event in canaries if event.engines]
    if not states and not flown:
        return skipped("no engine of its own generated, or none was recorded", _CURVES)
    if len(states) < MIN_ROWS and not flown:
        return insufficient(f"{count(len(states), 'step')} of engines, a judgement takes {MIN_ROWS}", _CURVES)
    told = [_followed(flown[0]) if flown else _unflown(canaries), *_pace(run)]
    drawn = [name for name in _CURVES if name in run.series]
    return passed("; ".join(told), drawn, anomalies, note=told[0])


def _canary(event: WeightSyncCanary) -> list[Anomaly]:
    anomalies = []
    for index, engine in enumerate(event.engines or ()):
        moved, off = float(engine.moved), float(engine.off)
        if not moved > FOLLOWED:
            what = f"did not follow a changed weight: its log-probabilities moved by {number(moved)} nats"
        elif not off <= RETURNED * moved:
            what = f"did not follow a weight that was put back: its log-probabilities are {number(off)} nats off"
        else:
            continue
        anomalies.append(
            Anomaly(
                kind="weights-not-synced",
                metric="rollout_kl",
                severity=Severity.critical,
                onset=1,
                summary=f"engine {index} {what}",
                evidence={"moved": moved, "off": off, "must move by": FOLLOWED},
                causes=("the weight sync is skipped, or reaches another copy of the weights",),
                remedy="look at what sends the weights to the engines, and whether they load what they are sent",
            )
        )
    return anomalies


def _stalled(states: Sequence[Engines]) -> list[Anomaly]:
    anomalies = []
    for index in range(max((len(event.engines) for event in states), default=0)):
        streak = 0
        for event in states:
            engine = event.engines[index] if index < len(event.engines) else EngineUsage()
            streak = streak + 1 if engine.unfinished and not engine.tokens else 0
            if streak == STEPS:
                anomalies.append(
                    _stall(event, index, f"has unfinished requests and generated nothing in {STEPS} steps")
                )
                break
        else:
            others = sum(bool(sum(one.tokens for one in event.engines)) for event in states)
            own = sum(event.engines[index].tokens for event in states if index < len(event.engines))
            if not own and others >= STEPS:
                anomalies.append(_stall(states[0], index, f"generated nothing in {others} steps in which others did"))
    return anomalies


def _stall(event: Engines, index: int, what: str) -> Anomaly:
    return Anomaly(
        kind="engine-stalled",
        metric="vllm_throughput",
        severity=Severity.critical,
        onset=max(1, (event.step or 1) - (STEPS - 1 if "unfinished" in what else 0)),
        summary=f"0 tokens a second: engine {index} {what}",
        causes=("the engine waits, or died without a word", "requests are not spread over the engines"),
        remedy="py-spy dump of the engine's process shows what it waits for",
    )


def _slower(run: Run) -> list[Anomaly]:
    throughput, between = run.series.get("vllm_throughput"), run.original.get("engine/inter_token_latency")
    if throughput is None or between is None:
        return []
    values, gaps = throughput.finite.values[WARM_UP:], between.finite.values[WARM_UP:]
    if min(len(values), len(gaps)) < FEWEST:
        return []
    fast = [float(np.median(part)) for part in np.array_split(values, 4)]
    slow = [float(np.median(part)) for part in np.array_split(gaps, 4)]
    steady = all(one > two for one, two in pairwise(fast)) and all(one < two for one, two in pairwise(slow))
    factor = min(fast[0] / max(fast[-1], 1e-9), slow[-1] / max(slow[0], 1e-9))
    severity = next((severity for severity, limit in SLOWER.items() if factor >= limit), None)
    if not steady or severity is None:
        return []
    onset = int(throughput.finite.steps[WARM_UP + len(values) // 4])
    return [
        Anomaly(
            kind="throughput-decay",
            metric="vllm_throughput",
            severity=severity,
            onset=onset,
            summary=f"falls from step {onset} on: {number(fast[0])} → {number(fast[-1])} tokens a second",
            evidence={"s between two tokens at first": slow[0], "in the end": slow[-1]},
            causes=("requests that are never freed", "memory that is swapped", "a machine that got busier"),
            remedy="watch the engine's requests and memory: what is not freed makes each step slower",
        )
    ]


def _full(run: Run, states: Sequence[Engines]) -> list[Anomaly]:
    """Return the signs of a KV cache that is too small for the requests."""
    usage = run.original.get("engine/kv_cache_usage")
    # An engine that is paused for new weights (partial rollout) preempts what it works on, however empty its cache is.
    used = {} if usage is None else dict(zip(usage.steps.tolist(), usage.values.tolist(), strict=True))
    preempted = {
        event.step or 0: (
            sum(engine.preemptions for engine in event.engines),
            sum(engine.requests for engine in event.engines),
        )
        for event in states
        if not used.get(event.step or 0, 1.0) < ROOM
    }
    thrashed = _streak([(step, out > THRASHING * max(all_, 1)) for step, (out, all_) in preempted.items()])
    some = _streak([(step, out > 0) for step, (out, _) in preempted.items()])
    full = _streak([]) if usage is None else _streak(list(zip(usage.steps.tolist(), usage.values > FULL, strict=True)))
    onset = next((step for step in (thrashed, some, full) if step is not None), None)
    if onset is None:
        return []
    most = float(np.nanmax(usage.values)) if usage is not None else float("nan")
    total = sum(out for out, _ in preempted.values())
    return [
        Anomaly(
            kind="kv-cache-pressure",
            metric="vllm_throughput",
            severity=Severity.critical if thrashed is not None else Severity.warning,
            onset=onset,
            summary=f"suffers from step {onset} on: the KV cache is {share(most)} full, "
            f"{count(total, 'request')} preempted",
            evidence={"preempted": total, "of requests": sum(all_ for _, all_ in preempted.values())},
            causes=("the KV cache is too small for that many requests of that length",),
            remedy="more memory for the engine, or fewer requests at a time",
        )
    ]


def _streak(steps: Sequence[tuple[int, bool]]) -> int | None:
    """Return the first of `STEPS` steps in succession that are marked, or None."""
    streak = 0
    for index, (_, marked) in enumerate(steps):
        streak = streak + 1 if marked else 0
        if streak == STEPS:
            return int(steps[index - STEPS + 1][0])
    return None


def _followed(event: WeightSyncCanary) -> str:
    engines = event.engines or ()
    least = min(float(engine.moved) for engine in engines)
    return f"{count(len(engines), 'engine')} followed a changed weight ({number(least)} nats)"


def _unflown(canaries: Sequence[WeightSyncCanary]) -> str:
    reason = next((event.skipped for event in canaries if event.skipped), "none was recorded")
    return f"no weight sync canary: {reason}"


def _pace(run: Run) -> list[str]:
    parts = []
    if "vllm_throughput" in run.series:
        parts.append(f"{number(float(np.nanmedian(run.series['vllm_throughput'].values)))} tokens a second")
    if "engine/kv_cache_usage" in run.original:
        parts.append(f"KV cache at most {share(float(np.nanmax(run.original['engine/kv_cache_usage'].values)))}")
    return parts
