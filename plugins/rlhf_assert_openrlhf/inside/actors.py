"""The state of Ray: its actors and what they do, tasks, placement groups, nodes, the object store.

The driver's process looks, whose main thread only waits: every few seconds at first, then less often, and so that
looking takes no more than `SHARE` of one processor. A last look comes when the driver ends, however it ends but by
SIGKILL. Everything is asked of the driver's own Ray, its global control store and the metrics pages of its nodes: of
several that run on a machine, an address might be another's. Each look is told as an event `actors`.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections import Counter
from typing import Any, NamedTuple

from rlhf_assert_openrlhf.inside.post_import import after, expect_parameters
from rlhf_assert_openrlhf.inside.recording import guarded, tell_event

FIRST_PAUSE, LONGEST_PAUSE, GROWTH = 2.0, 60.0, 0.02
"""Seconds between two looks, at first and at most; in between a share of the time since the beginning."""
SHARE = 0.005
LAG = 2.0
"""Seconds after which Ray's control store knows of a task for sure; workers report once a second."""
LAST_LOOK = 5.0
METRICS_EVERY = 10.0
"""Seconds between two updates of a node's metrics page, by default."""
WORKERS = frozenset(
    {"PolicyModelActor", "CriticModelActor", "ReferenceModelActor", "RewardModelActor", "RolloutRayActor"}
)
"""The actors that hold a model or an engine; the others direct them, in tasks that last as long as the training."""
RUNNING, ENDS = 8, (11, 12)
"""Ray's numbers of the task states RUNNING, FINISHED and FAILED (common.proto, TaskStatus)."""
_PAGE = {
    "ray_node_cpu_utilization": "cpu",
    "ray_node_mem_used": "memory",
    "ray_node_mem_total": "memory_total",
    "ray_object_store_used_memory": "object_store",
    "ray_object_store_num_local_objects": "objects",
}


class Task(NamedTuple):
    """A task of an actor: when it began to run and when it ended, in seconds since the epoch; None if it runs."""

    actor: str
    name: str
    start: float
    end: float | None


class Watch:
    """Looks at Ray until told to stop; made in the driver, once Ray is there."""

    def __init__(self) -> None:
        import ray
        from ray._private.state import state

        expect_parameters(state.actor_table, "actor_id", "job_id", "actor_state_name")
        self._state = state
        self._job = ray.get_runtime_context().get_job_id()
        self._since = time.time()
        self._page_read = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=guarded, args=(self._run,), name="rlhf-assert", daemon=True)

    def start(self) -> None:
        """Begin to look, in a thread of its own."""
        self._thread.start()
        atexit.register(self.stop)  # after Ray's own, so it runs before it

    def stop(self) -> None:
        """Look a last time, and return when that is done, or takes too long."""
        self._stop.set()
        self._thread.join(LAST_LOOK)

    def _run(self) -> None:
        pause, begun = FIRST_PAUSE, time.monotonic()
        while True:
            last = self._stop.wait(pause)
            started = time.thread_time()
            self.look()
            if last:
                return
            usual = min(max(FIRST_PAUSE, GROWTH * (time.monotonic() - begun)), LONGEST_PAUSE)
            pause = max(usual, (time.thread_time() - started) / SHARE)

    def look(self) -> None:
        """Tell what Ray is doing."""
        started = time.thread_time()
        table = [actor for actor in self._state.actor_table(None).values() if actor["JobID"] == self._job]
        since, until = self._since, time.time() - LAG
        tasks, states = self._tasks()
        busy, running = occupation(tasks, since, until)
        self._since = max(since, until)
        window = max(0.0, until - since)
        tell_event(
            "actors",
            "last",
            actors=[{**describe(actor), **_work(actor["ActorID"], busy, running, window)} for actor in table],
            window=window,
            tasks=states,
            placement_groups=dict(Counter(one["state"] for one in self._state.placement_group_table().values())),
            nodes=self._nodes(),
            cost=time.thread_time() - started,
        )

    def _tasks(self) -> tuple[list[Task], dict[str, int]]:
        """Return the tasks of this job's actors that have begun, and how many tasks are in each state."""
        from ray.core.generated import common_pb2, gcs_pb2

        gathered, states = [], Counter[str]()
        for raw in self._state._connect_and_get_accessor().get_task_events():  # noqa: SLF001 - there is no public way
            event = gcs_pb2.TaskEvents.FromString(raw)
            times = {int(state): stamp / 1e9 for state, stamp in event.state_updates.state_ts_ns.items()}
            if event.job_id.hex() != self._job or not event.task_info.actor_id or not times:
                continue
            states[common_pb2.TaskStatus.Name(max(times, key=lambda one: (times[one], one)))] += 1
            if RUNNING in times:
                end = next((times[one] for one in ENDS if one in times), None)
                gathered.append(Task(event.task_info.actor_id.hex(), event.task_info.name, times[RUNNING], end))
        return gathered, dict(states)

    def _nodes(self) -> list[dict[str, Any]]:
        """Return the nodes; with CPU and memory in use if it is time to ask for these again."""
        import ray

        fresh = time.monotonic() - self._page_read > METRICS_EVERY
        if fresh:
            self._page_read = time.monotonic()
        gathered = []
        for node in ray.nodes():
            known: dict[str, Any] = {"node": node["NodeManagerAddress"], "alive": bool(node["Alive"])}
            if fresh and known["alive"]:
                known |= read_page(node["NodeManagerAddress"], node["MetricsExportPort"])
            gathered.append(known)
        return gathered


def describe(actor: dict[str, Any]) -> dict[str, Any]:
    """Return what is told of an actor, of its row in Ray's table: class, state, and why it died if it did."""
    gathered = {
        "id": actor["ActorID"],
        "class": actor["ActorClassName"],
        "state": actor["State"],
        "restarts": int(actor["NumRestarts"]),
        "pid": int(actor["Pid"]),
        "node": actor["Address"]["IPAddress"],
        "worker": actor["ActorClassName"] in WORKERS,
    }
    if actor["State"] == "DEAD":
        gathered |= {"ended": float(actor["EndTime"]) / 1000.0, **cause_of(actor["DeathCause"])}
    return gathered


def cause_of(death: Any) -> dict[str, str]:
    """Return `reason` and `message` of a death: of Ray's `ActorDeathCause`, whatever kind it is of."""
    kind = death.WhichOneof("context") if hasattr(death, "WhichOneof") else None
    if kind is None:
        return {"reason": "UNKNOWN", "message": ""}
    context = getattr(death, kind)
    reason = kind.removesuffix("_context").upper()
    if kind == "actor_died_error_context":
        reason = context.DESCRIPTOR.enum_types_by_name["Reason"].values_by_number[context.reason].name
    told = getattr(context, "error_message", "") or getattr(context, "formatted_exception_string", "")
    message = " ".join(str(told).split())
    message = message.partition("Worker exit detail: ")[2] or message
    return {"reason": reason, "message": message.partition(" Some common causes")[0][:300]}


def occupation(tasks: list[Task], since: float, until: float) -> tuple[dict[str, float], dict[str, tuple[str, float]]]:
    """Return the seconds in which each actor ran a task, and the task that it runs now with its start.

    Tasks that an actor runs at a time count once; of several that run now, the last to begin is told.
    """
    by_actor: dict[str, list[tuple[float, float]]] = {}
    running: dict[str, tuple[str, float]] = {}
    for actor, name, start, end in tasks:
        if end is None and start > running.get(actor, ("", 0.0))[1]:
            running[actor] = name, start
        begin, finish = max(start, since), min(until if end is None else end, until)
        if finish > begin:
            by_actor.setdefault(actor, []).append((begin, finish))
    busy = {}
    for actor, spans in by_actor.items():
        total, reached = 0.0, since
        for begin, finish in sorted(spans):
            total += max(0.0, finish - max(begin, reached))
            reached = max(reached, finish)
        busy[actor] = total
    return busy, running


def _work(actor: str, busy: dict[str, float], running: dict[str, tuple[str, float]], window: float) -> dict[str, Any]:
    gathered: dict[str, Any] = {"utilization": busy.get(actor, 0.0) / window} if window > 0.0 else {}
    if actor in running:
        name, start = running[actor]
        gathered |= {"task": name, "seconds": time.time() - start}
    return gathered


def read_page(address: str, port: int) -> dict[str, float]:
    """Return what a node's metrics page says of its processors (share), memory and object store (bytes); or nothing."""
    import urllib.request

    try:
        with urllib.request.urlopen(f"http://{address}:{port}/metrics", timeout=2.0) as page:
            lines = page.read().decode().splitlines()
    except OSError:
        return {}
    gathered: dict[str, float] = {}
    for line in lines:
        name = _PAGE.get(line.partition("{")[0])
        if name is not None:
            gathered[name] = gathered.get(name, 0.0) + float(line.rpartition(" ")[2])
    if "cpu" in gathered:
        gathered["cpu"] /= 100.0
    return gathered


@after("openrlhf.trainer.ray.launcher")
def groups(module: Any) -> None:
    """The first group of actors that the driver makes: Ray is there, and nothing has been trained."""
    group = module.RayActorGroup
    original = group.__init__
    expect_parameters(
        original,
        *("self", "num_nodes", "num_gpus_per_node", "ray_actor_type", "pg", "num_gpus_per_actor"),
        *("duplicate_actors", "resources", "num_resources_per_node"),
    )
    begun = False

    def initialise(self: Any, *args: Any, **kwargs: Any) -> None:
        nonlocal begun
        original(self, *args, **kwargs)
        if not begun:
            begun = True
            guarded(lambda: Watch().start())

    group.__init__ = initialise


@after("vllm.v1.engine.output_processor")
def engine_core(module: Any) -> None:
    """The end of the process in which an engine computes, which is no actor."""
    processor = module.OutputProcessor
    original = processor.propagate_error
    expect_parameters(original, "self", "e")

    def propagate_error(self: Any, e: Exception) -> None:
        said = str(e).strip().partition("\n")[0]
        # The client's own error says no more than that the process ended; what the process said is in the output.
        known = type(e).__name__ != "EngineDeadError"
        reason = f"{type(e).__name__}: {said}" if known else "its process ended before its time"
        guarded(tell_event, "process_lost", "last", what="vLLM engine core", reason=reason)
        original(self, e)

    processor.propagate_error = propagate_error


HOOKS = (groups, engine_core)
