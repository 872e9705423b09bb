"""The actors of a distributed training: they live, nothing restarted them, none stalls, and equals work equally."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rlhf_assert.checked import Check, Concern
from rlhf_assert.checks.registry import check
from rlhf_assert.checks.stating import evidence_of, failed, insufficient, passed, serious, skipped
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.facts.deaths import deaths
from rlhf_assert.failures import SystemUnsound
from rlhf_assert.numbers import count, number, share
from rlhf_assert.recording.events import Actors, ActorState, Log, ProcessLost, Resume, TrainBegin
from rlhf_assert.recording.run import Run

STALL, LONGER = 60.0, 10.0
"""A stall: seconds without a step that ended, and as a multiple of the longest step."""
IMBALANCE = {Severity.critical: 0.1, Severity.warning: 0.33}
"""Least work of an actor over the most of another of its class."""
FEWEST_LOOKS, LEAST_SECONDS, LEAST_WORK = 3, 10.0, 0.1


@check(
    name="actors",
    question="Do all processes of a distributed training live and work?",
    failure=SystemUnsound,
    order=160,
    concerns=frozenset({Concern.PROCESSES}),
    needs="looks at the actors",
    assertion="assert_system_sound",
    of_the_loop=True,
    finds=frozenset({"engine_killed", "actor_killed"}),
)
def judge_actors(run: Run, *, fail_on: Severity = Severity.critical) -> Check:
    """Judge the actors by the looks that were taken at them (events `actors`, and `process_lost`).

    - Death: an actor died, and neither its owner had ended it nor its owner's end; or another process of the training
      was lost, or a node. What died is named, with the runtime's own words.
    - Restart: an actor that was restarted has lost its state, its weights among it.
    - Stall: the training's time was over, and at the last look no step had ended for `STALL` seconds and `LONGER` times
      the longest step; the task that began last is what the others wait for.
    - Imbalance: of one class, an actor worked less than `IMBALANCE` of the time of another, over at least
      `FEWEST_LOOKS` looks since the first step, where the other worked a tenth of the time.

    False alarms: too few requests for all engines are an imbalance, and a reason for fewer engines.
    """
    looks = [event for event in run.events_of(Actors) if event.actors]
    if not looks and not run.events_of(ProcessLost):
        return skipped("the training has no actors, or none was recorded")
    anomalies = [*_died(run), *_nodes(looks), *_restarted(looks), *_stalled(run, looks), *_uneven(run, looks)]
    failing = serious(anomalies, fail_on)
    if failing:
        lead = failing[0]
        drawn = [name for name in ("ray_actor_utilization", "step_time") if name in run.series]
        evidence = [*dict.fromkeys(anomaly.summary for anomaly in failing[1:4]), *evidence_of(failing[:1])]
        return failed(lead.summary, anomalies=anomalies, metrics=drawn, evidence=evidence, remedy=[lead.remedy])
    alive = [[actor for actor in look.actors if actor.state == "ALIVE"] for look in looks]
    if not any(alive):
        return insufficient("no actor had come up at the last look")
    living = alive[-1]
    headline = f"{count(len(living), 'actor')} alive at the last look, none restarted"
    drawn = [name for name in ("ray_actor_utilization",) if name in run.series]
    return passed(headline, drawn, anomalies, note=count(len(living), "actor"))


def _died(run: Run) -> list[Anomaly]:
    return [
        _sign(
            "process-died",
            max(1, death.step),
            f"{death.what} died: {death.reason}",
            "its own last words are in output.log of the run directory; dmesg tells whether memory ran out",
        )
        for death in deaths(run)
    ]


def _nodes(looks: Sequence[Actors]) -> list[Anomaly]:
    gone = {node.node: look.step or 1 for look in reversed(looks) for node in look.nodes if not node.alive}
    return [
        _sign("node-lost", max(1, step), f"node {node} was lost", "look at that machine: its power, network and memory")
        for node, step in gone.items()
    ]


def _restarted(looks: Sequence[Actors]) -> list[Anomaly]:
    first: dict[str, tuple[int, ActorState]] = {}
    for look in looks:
        for actor in look.actors:
            if actor.restarts:
                first.setdefault(actor.id, (look.step or 1, actor))
    return [
        _sign(
            "actor-restarted",
            max(1, step),
            f"{actor} was restarted {count(actor.restarts, 'time')}: its state is lost",
            "find out why it died, in output.log; an actor that holds weights must not be restarted silently",
        )
        for step, actor in first.values()
    ]


def _stalled(run: Run, looks: Sequence[Actors]) -> list[Anomaly]:
    if run.status not in {"timeout", "running"} or not looks:
        return []
    ends = [event.time for event in run.events_of(Log) if event.time is not None]
    longest = max((later - earlier for earlier, later in pairwise(ends)), default=0.0)
    still = (looks[-1].time or 0.0) - (ends[-1] if ends else looks[0].time or 0.0)
    if still <= max(STALL, LONGER * longest):
        return []
    tasks = [actor for actor in looks[-1].actors if actor.task]
    waits = min(tasks, key=lambda actor: actor.seconds or 0.0, default=None)
    where = f": {waits} runs {waits.task} since {number(waits.seconds or 0.0)} s" if waits else ""
    before = f", the longest took {number(longest)} s" if longest else ""
    return [
        _sign(
            "actor-stalled",
            run.steps + 1,
            f"no step ended for {number(still)} s{before}{where}",
            "py-spy dump of that process shows what it waits for",
        )
    ]


def _uneven(run: Run, looks: Sequence[Actors]) -> list[Anomaly]:
    starts = [*run.events_of(TrainBegin), *run.events_of(Resume)]
    begun = max((event.time for event in starts if event.time is not None), default=None)
    # The actors of a process that was interrupted are others.
    judged = [look for look in looks if begun is not None and (look.time or 0.0) - look.window >= begun]
    seconds = sum(look.window for look in judged)
    if len(judged) < FEWEST_LOOKS or seconds < LEAST_SECONDS:
        return []
    work: dict[str, dict[str, float]] = {}
    for look in judged:
        for actor in look.actors:
            if actor.worker and actor.state == "ALIVE" and actor.utilization is not None:
                own = work.setdefault(actor.class_name, {})
                own[actor.id] = own.get(actor.id, 0.0) + actor.utilization * look.window
    anomalies = []
    for name, own in work.items():
        least, most = min(own.values()) / seconds, max(own.values()) / seconds
        severity = next((severity for severity, limit in IMBALANCE.items() if least < limit * most), None)
        if len(own) > 1 and most >= LEAST_WORK and severity is not None:
            anomaly = _sign(
                "actors-uneven",
                1,
                f"{name}: one of {len(own)} worked {share(least)} of the time, another {share(most)}",
                "look at how requests are spread over them, or take fewer",
                severity,
            )
            anomalies.append(anomaly)
    return anomalies


def _sign(kind: str, onset: int, summary: str, remedy: str, severity: Severity = Severity.critical) -> Anomaly:
    return Anomaly(
        kind=kind, metric="ray_actor_utilization", severity=severity, onset=onset, summary=summary, remedy=remedy
    )
