"""Which processes of a distributed training died before their time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlhf_assert.facts.fact import fact
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
    found: dict[str, Death] = {}
    for event in run.events:
        step = int(event.get("step") or 0)
        moment = float(event.get("time") or 0.0)
        if event.get("event") == "process_lost":
            what = str(event.get("what") or "a process")
            found.setdefault(what, Death(what, _clause(event.get("reason")), moment, step))
        elif event.get("event") == "actors":
            for actor in event.get("actors") or ():
                if actor.get("state") == "DEAD" and actor.get("reason") not in EXPECTED:
                    ended = float(actor.get("ended") or moment)
                    reason = _clause(actor.get("message") or actor.get("reason"))
                    found.setdefault(str(actor.get("id")), Death(named(actor), reason, ended, step))
    return tuple(sorted(found.values(), key=lambda death: death.time))


def named(actor: Mapping[str, Any]) -> str:
    """Return how an actor is called: its class and process number."""
    return f"{actor.get('class') or 'an actor'} (process {actor.get('pid')})"


def _clause(text: object) -> str:
    """Return the beginning of a reason, on one line."""
    line = " ".join(str(text or "nothing is known of its end").split())
    return line if len(line) <= 140 else line[:139] + "…"
