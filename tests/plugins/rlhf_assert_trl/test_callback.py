from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.errors import TrainingStopped, UsageError
from rlhf_assert.recording.events import (
    AlertFailed,
    AnomalyFound,
    EpochStatistics,
    Evaluation,
    MonitorFailed,
    ReferenceFingerprint,
    Stop,
)
from rlhf_assert.recording.run import Run, read_run
from rlhf_assert.verdict import judge

Watch = Callable[..., Run]
Build = Callable[..., Any]


class AtStep:
    """A detector that finds one anomaly, at a given step."""

    name = "at-step"

    def __init__(self, step: int, severity: Severity) -> None:
        self._step = step
        self._severity = severity

    def update(self, step: int, metrics: Mapping[str, float | None]) -> Iterable[Anomaly]:
        if step == self._step:
            yield Anomaly(kind=self.name, metric="loss", severity=self._severity, onset=step, summary="as asked")


class Broken:
    name = "broken"

    def update(self, step: int, metrics: Mapping[str, float | None]) -> Iterable[Anomaly]:
        raise ZeroDivisionError("in a detector")


def test_importing_the_package_imports_no_framework() -> None:
    code = (
        "import sys, rlhf_assert_trl, rlhf_assert_trl.backend\nprint({'torch', 'trl', 'transformers'} & {*sys.modules})"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


@pytest.mark.training
def test_grpo_run_is_recorded_whole(build: Build, watch: Watch) -> None:
    run = watch(build("grpo"))

    assert run.status == "completed"
    assert run.info["algorithm"] == "grpo"
    assert run.config["beta"] == 0.04
    assert run.config["reward_functions"] == ["animal_share"]
    assert [row.step for row in run.rows] == [1, 2, 3, 4, 5, 6]
    assert set(run.promised) <= set(run.series)
    assert {"kl_div", "advantage", "advantage_std", "kl_policy_ratio"} <= set(run.series)
    assert "completions/mean_length" in run.original
    assert run["kl_div"].first == 0.0
    assert run.info["monitor_seconds"] > 0.0
    assert len(run.resources) >= 2
    assert run.resources[0]["memory_rss"] > 0
    counts = Counter(event.name for event in run.events)
    for name in ("step_begin", "pre_optimizer_step", "optimizer_step", "step_end", "log"):
        assert counts[name] == 6, name
    assert counts["save"] == 2
    assert counts["train_begin"] == counts["train_end"] == counts["train_summary"] == 1
    assert run.events[0].name == "train_begin"
    assert run.events[-1].name == "train_end"
    begin, end = run.events_of(ReferenceFingerprint)
    assert begin.fingerprint == end.fingerprint


@pytest.mark.training
def test_ppo_run_is_recorded_whole(build: Build, watch: Watch) -> None:
    run = watch(build("ppo"))

    assert run.status == "completed"
    assert run.info["algorithm"] == "ppo"
    assert [row.step for row in run.rows] == [1, 2, 3, 4, 5, 6]
    assert set(run.promised) <= set(run.series)
    assert {"response_length", "truncated_fraction", "explained_variance", "advantage"} <= set(run.series)
    counts = Counter(event.name for event in run.events)
    assert counts["log"] == counts["step_end"] == 6
    assert counts["save"] == 2


@pytest.mark.training
def test_evaluations_and_the_summary_stay_out_of_the_series(build: Build, watch: Watch) -> None:
    run = watch(build("sft", eval_strategy="steps", eval_steps=2))

    assert len(run.rows) == 6
    assert not [key for key in run.original if key.startswith(("eval", "train_"))]
    evaluations = run.events_of(Evaluation)
    assert [event.step for event in evaluations] == [2, 4, 6]
    assert all(event.metrics["eval_loss"] > 0.0 for event in evaluations)


@pytest.mark.training
def test_epoch_statistics_are_those_of_the_epochs_rows(build: Build, watch: Watch) -> None:
    run = watch(build("sft"))  # 24 rows in batches of 8: 3 steps an epoch

    first, second = run.events_of(EpochStatistics)
    assert (first.epoch, second.epoch) == (1, 2)
    for event, rows in ((first, slice(0, 3)), (second, slice(3, 6))):
        losses = run["loss"].values[rows]
        statistics = event.metrics["loss"]
        assert statistics.mean == pytest.approx(losses.mean())
        assert statistics.std == pytest.approx(losses.std())
        assert (statistics.min, statistics.max) == (losses.min(), losses.max())
        assert statistics.trend in {"increasing", "decreasing", "stable"}


@pytest.mark.training
def test_a_critical_anomaly_stops_grpo(build: Build, watch: Watch) -> None:
    run = watch(build("grpo"), stop_on="critical", detectors=[AtStep(3, Severity.critical)])

    assert run.status == "stopped"
    assert run.steps == len(run.rows) == 3
    assert run.events_of(Stop)[0].reason == "loss: as asked"


@pytest.mark.training
def test_a_critical_anomaly_stops_ppo(build: Build, watch: Watch, tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped, match="loss: as asked"):
        watch(build("ppo"), stop_on="critical", detectors=[AtStep(3, Severity.critical)])

    run = read_run(tmp_path / "run")
    assert run.status == "stopped"
    assert run.steps == len(run.rows) == 3


@pytest.mark.training
@pytest.mark.parametrize("stop_on", [None, "critical"])
def test_a_lesser_anomaly_stops_nothing(build: Build, watch: Watch, stop_on: Any) -> None:
    run = watch(build("sft"), stop_on=stop_on, detectors=[AtStep(3, Severity.warning)])

    assert run.status == "completed"
    assert run.steps == 6
    (anomaly,) = run.events_of(AnomalyFound)
    assert (anomaly.kind, anomaly.severity, anomaly.onset) == ("at-step", "warning", 3)


@pytest.mark.training
def test_the_hook_receives_each_anomaly_and_may_fail(build: Build, watch: Watch) -> None:
    received: list[Anomaly] = []

    def alert(anomaly: Anomaly) -> None:
        received.append(anomaly)
        raise ConnectionError("no pager")

    run = watch(build("sft"), on_anomaly=alert, detectors=[AtStep(2, Severity.info), AtStep(4, Severity.critical)])

    assert [anomaly.onset for anomaly in received] == [2, 4]
    assert run.status == "completed"
    assert run.steps == 6
    assert [event.error for event in run.events_of(AlertFailed)] == ["ConnectionError: no pager"] * 2


@pytest.mark.training
def test_a_faulty_detector_costs_no_training(build: Build, watch: Watch) -> None:
    run = watch(build("sft"), detectors=[Broken()])

    assert run.status == "completed"
    assert len(run.rows) == 6
    assert [event.error for event in run.events_of(MonitorFailed)] == ["ZeroDivisionError: in a detector"]
    told = next(check for check in judge(run).checks if check.name == "detectors")
    assert told.headline == "failed to judge: broken (ZeroDivisionError: in a detector)"


@pytest.mark.training
def test_what_a_detector_of_ones_own_finds_is_in_the_verdict(build: Build, watch: Watch) -> None:
    run = watch(build("sft"), detectors=[Broken(), AtStep(3, Severity.critical)])

    assert [event.detector for event in run.events_of(AnomalyFound)] == ["at-step"]
    assert [(found.kind, found.detector) for found in judge(run).failures[0].anomalies] == [("at-step", "at-step")]


@pytest.mark.training
def test_a_recorded_run_is_not_overwritten(build: Build, watch: Watch) -> None:
    trainer = build("sft")
    before = watch(trainer)

    with pytest.raises(UsageError, match="holds a recorded run already"):
        watch(build("sft"))
    after = read_run(before.path)
    assert np.array_equal(after["loss"].values, before["loss"].values)


def test_unknown_severity_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    from rlhf_assert_trl import HealthCallback

    with pytest.raises(UsageError, match=r"did you mean critical\?"):
        HealthCallback(tmp_path / "run", stop_on="criticl")  # type: ignore[arg-type]
