"""Events of a training that consists of several processes: its engines, actors and nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rlhf_assert.recording.events.event import Event, event


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineUsage:
    """What one generation engine did for a step; times in seconds.

    Attributes:
        tokens: generated tokens.
        requests: requests that ended.
        preemptions: requests that were put aside because the KV cache was full.
        busy: time in which requests ran.
        first_token: sum of the times to the first token.
        first_tokens: number of these times.
        between: sum of the times between two tokens.
        betweens: number of these times.
        latency: sum of the times from a request's arrival to its end.
        queued: sum of the times that requests waited to be scheduled.
        kv_cache: highest share of the KV cache in use, 0 to 1.
        running: most requests that ran at a time.
        waiting: most requests that waited at a time.
        unfinished: requests in the engine when it was asked.
    """

    tokens: int = 0
    requests: int = 0
    preemptions: int = 0
    busy: float = 0.0
    first_token: float = 0.0
    first_tokens: int = 0
    between: float = 0.0
    betweens: int = 0
    latency: float = 0.0
    queued: float = 0.0
    kv_cache: float = 0.0
    running: int = 0
    waiting: int = 0
    unfinished: int = 0


@event("engines")
class Engines(Event):
    """What the generation engines did for a step.

    Attributes:
        engines: each engine, in the order of their numbers.
    """

    engines: tuple[EngineUsage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineAnswer:
    """How one engine answered to the canary, as the largest difference of a token's log-probability, in nats.

    Attributes:
        moved: difference that the changed weight made.
        off: difference that was left once the weight was back.
    """

    moved: float
    off: float


@event("weight_sync_canary")
class WeightSyncCanary(Event):
    """Before the first step one weight was changed, synced to the engines, put back, and synced again.

    Attributes:
        weight: name of the weight.
        engines: each engine's answer, in the order of their numbers.
        skipped: why this was not done.
    """

    weight: str | None = None
    engines: tuple[EngineAnswer, ...] | None = None
    skipped: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorState:
    """One actor of a distributed training, when it was looked at.

    Attributes:
        id: Ray's name of the actor.
        class_name: its class.
        state: `ALIVE`, `DEAD`, `PENDING_CREATION` and so on.
        restarts: how many times it was restarted.
        pid: number of its process.
        node: address of its node.
        worker: whether it holds a model or an engine.
        ended: when it died, in seconds since 1970.
        reason: why it died, by Ray's names.
        message: what is known of its death.
        utilization: share of the window in which it ran a task, 0 to 1.
        task: the task that it runs.
        seconds: for how long it has run this task.
    """

    id: str = ""
    class_name: str = field(default="", metadata={"on disk": "class"})
    state: str = ""
    restarts: int = 0
    pid: int | None = None
    node: str | None = None
    worker: bool = False
    ended: float | None = None
    reason: str | None = None
    message: str | None = None
    utilization: float | None = None
    task: str | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        return f"{self.class_name or 'an actor'} (process {self.pid})"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """One machine of a distributed training, when it was looked at.

    Attributes:
        node: its address.
        alive: whether Ray reaches it.
        cpu: share of its processors in use, 0 to 1.
        memory: memory in use, in bytes.
        memory_total: all of its memory, in bytes.
        object_store: memory in use by Ray's object store, in bytes.
        objects: number of objects in that store.
    """

    node: str = ""
    alive: bool = True
    cpu: float | None = None
    memory: float | None = None
    memory_total: float | None = None
    object_store: float | None = None
    objects: float | None = None


@event("actors")
class Actors(Event):
    """A look at Ray: what its actors, tasks and nodes do.

    Attributes:
        actors: the actors of the training.
        window: seconds before the look over which their utilization was measured.
        tasks: number of tasks by state.
        placement_groups: number of placement groups by state.
        nodes: the machines.
        cost: processor time that the look took, in seconds.
    """

    actors: tuple[ActorState, ...]
    window: float = 0.0
    tasks: Mapping[str, int] = field(default_factory=dict)
    placement_groups: Mapping[str, int] = field(default_factory=dict)
    nodes: tuple[NodeState, ...] = ()
    cost: float = 0.0


@event("process_lost")
class ProcessLost(Event):
    """A process of the training died, or a node was lost; it is no actor.

    Attributes:
        what: what it was.
        reason: what is known of its end.
    """

    what: str
    reason: str | None = None
