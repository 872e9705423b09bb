"""Memory and pace: neither must get worse step by step."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from rlhf_assert.checked import Check, Concern
from rlhf_assert.checks.pace import find_slowdown
from rlhf_assert.checks.registry import check
from rlhf_assert.checks.stating import failed, insufficient, passed, skipped
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.failures import ResourceLeak
from rlhf_assert.numbers import count, share
from rlhf_assert.recording.events import StepEnd
from rlhf_assert.recording.run import Run
from rlhf_assert.recording.series import FloatArray

MIN_SAMPLES = 12
WARM_UP = 1 / 3
"""Share of the samples that is left out: allocators, caches and the optimizer's state fill up in the first steps."""

LEAK = 0.25
GROWTH = 0.05
FLOOR = 64 * 2**20
"""Bytes; less growth than this is an allocator's arena, whatever share of a tiny process it is."""

_MEMORIES = ("memory_rss", "gpu_memory")


@check(
    name="resources",
    question="Do memory and pace stay as they are?",
    failure=ResourceLeak,
    order=210,
    concerns=frozenset({Concern.MACHINE}),
    needs="samples of memory, times of steps",
    assertion="assert_resources_bounded",
    not_in_a_log="a log holds no samples of memory or processors",
    finds=frozenset({"memory_leak", "slow_step"}),
)
def judge_resources(run: Run, *, fail_on: Severity = Severity.critical) -> Check:
    """Judge whether memory of any rank's process, or of its GPUs, grows steadily after the warm-up, and the pace.

    Steady means that every quarter of the time after the warm-up lies above the one before and that the robust slope
    (Theil-Sen, Sen 1968) is positive with 99 % confidence: a step up, however high, is no leak. A growth by a quarter
    of the memory is critical, one by 5 % a warning; both only from 64 MiB on. For the pace see `find_slowdown`.
    """
    slow = find_slowdown(run)
    if slow is not None and slow.severity >= fail_on:
        drawn = [name for name in ("step_time",) if name in run.series]
        return failed(f"step_time {slow.summary}", anomalies=[slow], metrics=drawn, remedy=[slow.remedy])
    if not run.resources:
        return skipped("no resource sample was recorded", _MEMORIES)
    columns = {(memory, rank): _column(run, memory, rank) for memory in _MEMORIES for rank in _ranks(run)}
    judged = {key: column for key, column in columns.items() if len(column[1]) >= MIN_SAMPLES}
    note = _gpu_note(run.resources)
    if not judged:
        most = max((len(column[1]) for column in columns.values()), default=0)
        return insufficient(f"{count(most, 'memory sample')}, a judgement takes {MIN_SAMPLES}; {note}", _MEMORIES)
    anomalies = [anomaly for key, column in judged.items() if (anomaly := _growth(run, *key, *column)) is not None]
    failing = [anomaly for anomaly in anomalies if anomaly.severity >= fail_on]
    if failing:
        lead = max(failing, key=lambda anomaly: float(anomaly.evidence["growth"]))
        return failed(
            f"{lead.metric} {lead.summary}",
            anomalies=anomalies,
            metrics=[lead.metric],
            evidence=[f"{lead.metric} {anomaly.summary}" for anomaly in failing],
            remedy=[
                "what is kept per step: logged tensors with their graph (.item() or .detach()), lists of completions",
                "compare two steps with tracemalloc, or torch.cuda.memory_snapshot() on a GPU",
            ],
        )
    rss = next(column[1] for key, column in judged.items() if key[0] == "memory_rss" or len(judged) == 1)
    headline = f"memory_rss {_bytes(rss[0])} → {_bytes(rss[-1])}; {note}"
    return passed(headline, [key[0] for key in judged][:2], anomalies, note)


def _growth(run: Run, memory: str, rank: int, times: FloatArray, values: FloatArray) -> Anomaly | None:
    from scipy.stats import theilslopes  # noqa: PLC0415 - a second to import, and most runs are judged without

    column = times, values
    start = int(len(values) * WARM_UP)
    times, values = times[start:], values[start:]
    medians = [float(np.median(quarter)) for quarter in np.array_split(values, 4)]
    if not all(later > earlier for earlier, later in pairwise(medians)):
        return None
    thin = max(1, len(values) // 1000)  # the pairs of slopes are quadratic
    low = float(theilslopes(values[::thin], times[::thin], alpha=0.99).low_slope)
    grown = low * float(times[-1] - times[0])
    growth = grown / medians[0]
    if low <= 0.0 or growth < GROWTH or grown < FLOOR:
        return None
    of_rank = f" of rank {rank}" if len(_ranks(run)) > 1 else ""
    return Anomaly(
        kind="memory-growth",
        metric=memory,
        severity=Severity.critical if growth >= LEAK else Severity.warning,
        onset=_step_at(run, _begin(*column)),
        summary=f"grows steadily{of_rank}: {_bytes(medians[0])} → {_bytes(medians[-1])}, at least "
        f"{_bytes(low)} a second",
        evidence={"growth": growth, "of the memory": share(growth)},
        causes=("tensors that outlive their step",),
    )


def _begin(times: FloatArray, values: FloatArray) -> float:
    """Return the moment from which memory never again is within a tenth of the way from its start to its end."""
    low, high = float(np.median(values[: max(1, len(values) // 10)])), float(values[-1])
    under = np.flatnonzero(values <= low + 0.1 * (high - low))
    return float(times[min(int(under[-1]) + 1, len(times) - 1)]) if len(under) else float(times[0])


def _ranks(run: Run) -> list[int]:
    return sorted({int(sample.get("rank") or 0) for sample in run.resources})


def _column(run: Run, memory: str, rank: int) -> tuple[FloatArray, FloatArray]:
    """Return times in seconds and values in bytes of one rank's memory."""
    pairs = [
        (float(sample["time"]), float(sample[memory]))
        for sample in run.resources
        if int(sample.get("rank") or 0) == rank and isinstance(sample.get(memory), int | float)
    ]
    both = np.asarray(pairs, dtype=np.float64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _step_at(run: Run, moment: float) -> int:
    """Return the step that was made at a moment, where no event tells the ends of steps by the share of the run."""
    ends = {event.step: event.time for event in run.events_of(StepEnd) if event.time is not None}
    if ends:
        return min((step for step, end in ends.items() if end >= moment), default=max(ends))
    times = [float(sample["time"]) for sample in run.resources]
    span = max(times) - min(times)
    return max(1, round(run.steps * (moment - min(times)) / span)) if span > 0.0 else 1


def _gpu_note(samples: tuple[Mapping[str, Any], ...]) -> str:
    """Return what was seen of GPUs: that there is none is said."""
    seen = samples[-1].get("gpu")
    if isinstance(seen, list):
        return count(len(seen), "GPU")
    return str(seen).partition(":")[0] if seen else "GPUs were not looked for"


def _bytes(value: float) -> str:
    mebibytes = float(value) / 2**20
    return f"{mebibytes:.0f} MiB" if mebibytes >= 10.0 else f"{mebibytes:.1f} MiB"
