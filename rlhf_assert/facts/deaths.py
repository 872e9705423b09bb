"""Which processes of a distributed training died before their time."""

from __future__ import annotations

from dataclasses import dataclass

from rlhf_assert.facts.fact import fact
from rlhf_assert.recording.events import Actors, ProcessLost
from rlhf_assert.recording.run import Run

EXPECTED = frozenset({"OUT_OF_SCOPE", "REF_DELETED", "RAY_KILL", "OWNER_DIED"})
"""Ends of actors that their owner brought about, or that follow from its own."""


@dataclass(frozen=True, slots=True)
class Death:
    """A process that died before its time.

    Attributes:
        what: the class of the actor, with its process number, or what else it was.
        reason: one clause about its end, as the runtime told it.
        time: when, in seconds since the epoch.
        step: the last step that had been recorded.
    """

    what: str
    reason: str
    time: float
    step: int


@fact
def deaths(run: Run) -> tuple[Death, ...]:
    """Return the processes that died before their time, the first first (events `process_lost` and `actors`)."""
    by_name: dict[str, Death] = {}
    for event in run.events:
        step, moment = event.step or 0, event.time or 0.0
        if isinstance(event, ProcessLost):
            by_name.setdefault(event.what, Death(event.what, _clause(event.reason), moment, step))
        elif isinstance(event, Actors):
            for actor in event.actors:
                if actor.state == "DEAD" and actor.reason not in EXPECTED:
                    reason = _clause(actor.message or actor.reason)
                    by_name.setdefault(actor.id, Death(str(actor), reason, actor.ended or moment, step))
    return tuple(sorted(by_name.values(), key=lambda death: death.time))


def _clause(text: object) -> str:
    """Return the beginning of a reason, on one line."""
    line = " ".join(str(text or "nothing is known of its end").split())
    return line if len(line) <= 140 else line[:139] + "…"
