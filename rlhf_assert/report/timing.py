"""Where a run's time went, by phase."""

from __future__ import annotations

import numpy as np

from rlhf_assert.numbers import number, share
from rlhf_assert.recording.events import TrainBegin, TrainEnd
from rlhf_assert.recording.run import Run


def phases(run: Run) -> list[tuple[str, float, str]]:
    """Return (phase, seconds, a few words): before training, training, after it, the steps, the monitor.

    A phase whose begin or end was not recorded is left out.
    """
    begun = float(run.info.get("started") or 0.0)
    ended = begun + run.seconds
    times = {
        event.name: event.time
        for event in (*run.events_of(TrainBegin), *run.events_of(TrainEnd))
        if event.time is not None
    }
    phases: list[tuple[str, float, str]] = [("all", run.seconds, f"status {run.status}")]
    if "train_begin" in times:
        phases.append(("before training", times["train_begin"] - begun, "building the trainer"))
        until = times.get("train_end", ended)
        pace = f"{number((until - times['train_begin']) / run.steps)} s a step" if run.steps else ""
        phases.append(("training", until - times["train_begin"], pace))
    if "train_end" in times:
        phases.append(("after training", ended - times["train_end"], ""))
    if "step_time" in run.series:
        steps = run.series["step_time"].finite.values
        if len(steps):
            told = f"median of {len(steps)}; slowest {number(float(steps.max()))} s"
            phases.append(("one step", float(np.median(steps)), told))
    monitor = run.info.get("monitor_seconds")
    if monitor is not None:
        of = f"{share(float(monitor) / run.seconds)} of the run" if run.seconds > 0 else ""
        phases.append(("monitor", float(monitor), of))
    return phases
