"""What the vLLM engines did between two steps: latency, throughput, queue, KV cache, preemptions.

Each engine's process sums up what its statistics say at every iteration (vLLM's own loggers get the same numbers; it
takes `disable_log_stats` off, as OpenRLHF leaves it). The trainer's process asks for the sums before it computes the
experience of a step, and takes the answers, long there by then, when the step is logged: no step waits for them.
Prometheus' counters would say the same but for what was highest within a step.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from rlhf_assert_openrlhf.inside.post_import import after, expect_parameters
from rlhf_assert_openrlhf.inside.recording import at_log, guarded, tell_event, with_trainer

PATIENCE = 5.0
"""Seconds to wait for an engine's answer, which was asked for before the step's training: it has failed by then."""


@dataclass(slots=True)
class Usage:
    """What one engine did since it was asked before; times in seconds.

    Attributes:
        tokens: generated tokens.
        requests: requests that ended.
        preemptions: requests that were put aside because the KV cache was full.
        busy: time in which requests ran.
        first_token, first_tokens: sum and number of the times to the first token.
        between, betweens: sum and number of the times between two tokens.
        latency: sum of the times from a request's arrival to its end.
        queued: sum of the times that requests waited to be scheduled.
        kv_cache: highest share of the KV cache in use.
        running, waiting: most requests at a time.
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

    def add(self, scheduler: Any, iteration: Any) -> None:
        """Add one iteration: vLLM's `SchedulerStats` and `IterationStats`, each None where it has none."""
        if iteration is not None:
            self.tokens += iteration.num_generation_tokens
            self.preemptions += iteration.num_preempted_reqs
            self.first_token += sum(iteration.time_to_first_tokens_iter)
            self.first_tokens += len(iteration.time_to_first_tokens_iter)
            self.between += sum(iteration.inter_token_latencies_iter)
            self.betweens += len(iteration.inter_token_latencies_iter)
            for request in iteration.finished_requests:
                self.requests += 1
                self.latency += request.e2e_latency
                self.queued += request.queued_time
        if scheduler is not None:
            self.kv_cache = max(self.kv_cache, scheduler.kv_cache_usage)
            self.running = max(self.running, scheduler.num_running_reqs)
            self.waiting = max(self.waiting, scheduler.num_waiting_reqs + scheduler.num_skipped_waiting_reqs)

    def merge(self, later: Usage) -> None:
        """Add what the same engine did afterwards."""
        for field in fields(self):
            both = getattr(self, field.name), getattr(later, field.name)
            highest = field.name in {"kv_cache", "running", "waiting"}
            setattr(self, field.name, max(both) if highest else sum(both))
        self.unfinished = later.unfinished


_usage = Usage()
_working_since: float | None = None
"""When the last iteration ended, None before the first."""
_engines: list[Any] = []
_asked: list[list[Any]] = []


def iterate(scheduler: Any, iteration: Any) -> None:
    """Take in one iteration of the engine of this process, see `Usage.add`."""
    global _working_since  # noqa: PLW0603 - one engine per process
    if iteration is not None:
        # No iteration is longer than the longest wait for one of its tokens, which began while the one before ran.
        waits = (*iteration.inter_token_latencies_iter, *iteration.time_to_first_tokens_iter)
        now = iteration.iteration_timestamp
        _usage.busy += max(0.0, min(now - (_working_since or 0.0), max(waits, default=0.0)))
        _working_since = now
    _usage.add(scheduler, iteration)


def answer(actor: Any) -> Usage:
    """Return what the engine of this process did since the last call; runs in the engine's actor."""
    global _usage
    usage, _usage = _usage, Usage()
    usage.unfinished = int(actor.llm.output_processor.get_num_unfinished_requests())
    return usage


def ask() -> None:
    """Ask every engine; does not wait."""
    if _engines:
        _asked.append([engine.__ray_call__.remote(answer) for engine in _engines])


def collect(step: int, metrics: dict[str, Any]) -> None:
    """Add what all engines did for a step to its metrics, and tell what each did (event `engines`)."""
    if not _asked:
        return
    import ray

    answers, _asked[:] = _asked[:], []
    usages, *more = [ray.get(references, timeout=PATIENCE) for references in answers]
    for later in more:  # steps that were not logged
        for usage, addition in zip(usages, later, strict=True):
            usage.merge(addition)
    tell_event("engines", step, engines=[asdict(usage) for usage in usages])
    metrics |= summarise(usages)
    if "timing/broadcast" in metrics:
        metrics["engine/weight_sync_time"] = metrics["timing/broadcast"]


def summarise(usages: list[Usage]) -> dict[str, float]:
    """Return the numbers of a step: times in seconds, as means over requests or tokens; throughput in tokens a second.

    A mean over nothing is left out, as in a step whose completions had been generated before.
    """
    summary = {
        "engine/generated_tokens": float(sum(usage.tokens for usage in usages)),
        "engine/kv_cache_usage": max(usage.kv_cache for usage in usages),
        "engine/preemptions": float(sum(usage.preemptions for usage in usages)),
        "engine/running": float(max(usage.running for usage in usages)),
        "engine/waiting": float(max(usage.waiting for usage in usages)),
        "engine/unfinished": float(sum(usage.unfinished for usage in usages)),
    }
    for key, total, number in (
        ("engine/time_to_first_token", "first_token", "first_tokens"),
        ("engine/inter_token_latency", "between", "betweens"),
        ("engine/queue_time", "queued", "requests"),
        ("vllm_latency", "latency", "requests"),
    ):
        count = sum(getattr(usage, number) for usage in usages)
        if count:
            summary[key] = sum(getattr(usage, total) for usage in usages) / count
    busy = max(usage.busy for usage in usages)
    if busy > 0.0:
        summary["vllm_throughput"] = summary["engine/generated_tokens"] / busy
    return summary


@after("vllm.v1.metrics.loggers")
def iterations(module: Any) -> None:
    """Every iteration of an engine."""
    manager = module.StatLoggerManager
    original = manager.record
    expect_parameters(original, "self", "scheduler_stats", "iteration_stats", "mm_cache_stats", "engine_idx")

    def record(self: Any, scheduler_stats: Any, iteration_stats: Any, *args: Any, **kwargs: Any) -> None:
        original(self, scheduler_stats, iteration_stats, *args, **kwargs)
        guarded(iterate, scheduler_stats, iteration_stats)

    manager.record = record


def hold(trainer: Any) -> None:
    """Keep the engines of the trainer of this process."""
    _engines[:] = trainer.vllm_engines or []


with_trainer.append(hold)
at_log.append(collect)


@after("openrlhf.trainer.ppo_utils.experience_maker")
def step(module: Any) -> None:
    """The moment at which a step's completions are there and its training has not begun."""
    maker = module.RemoteExperienceMaker
    original = maker.make_experience_batch
    expect_parameters(original, "self", "rollout_samples")

    def make_experience_batch(self: Any, rollout_samples: Any) -> Any:
        guarded(ask)
        return original(self, rollout_samples)

    maker.make_experience_batch = make_experience_batch


HOOKS = (iterations, step)
