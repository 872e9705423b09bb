"""The live recording: what a backend tells is on disk in order, and nothing that is not ours costs a training."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.errors import RecordingError, TrainingStopped, UsageError
from rlhf_assert.recording.live_recording import LiveRecording, Stopwatch
from rlhf_assert.recording.recorder import Recorder
from rlhf_assert.recording.run import Run, read_run


class Reports:
    """A detector that reports what it was given at step 2."""

    name = "reports"

    def __init__(self, *reported: Any) -> None:
        self._reported = reported

    def update(self, step: int, metrics: Mapping[str, float | None]) -> Iterable[Anomaly]:
        return self._reported if step == 2 else ()


class Raises:
    name = "raises"

    def update(self, step: int, metrics: Mapping[str, float | None]) -> Iterable[Anomaly]:
        raise ZeroDivisionError("in a detector")


def anomaly(severity: Severity) -> Anomaly:
    return Anomaly(kind="odd", metric="loss", severity=severity, onset=2, summary="is odd")


def recording(path: Path, **options: Any) -> LiveRecording:
    return LiveRecording(Recorder(path / "run"), **options)


def told(run: Run, name: str, field: str) -> list[Any]:
    return [getattr(event, field) for event in run.events if event.name == name]


def test_a_training_is_on_disk_in_the_order_in_which_it_was_told(tmp_path: Path) -> None:
    with recording(tmp_path) as live:
        live.describe(algorithm="grpo", config={"beta": 0.04})
        live.begin()
        for step in (1, 2):
            live.samples([{"step": step, "prompt": "a", "reward": 0.5}], {"advantage": 0.1 * step})
            live.samples([{"step": step, "prompt": "b", "reward": 0.5}], {"advantage": 0.2 * step})
            live.row(step, {"loss": 1.0, "kl": 0.01})
        live.event("save", 2)
        live.end()

    run = read_run(tmp_path / "run")
    assert run.status == "completed"
    assert [event.name for event in run.events] == ["train_begin", "log", "log", "save", "train_end"]
    assert [event.step for event in run.events] == [0, 1, 2, 2, 2]
    assert run["advantage"].values == pytest.approx([0.15, 0.3])
    assert len(run.samples) == 4
    assert len(run.resources) >= 2
    assert 0.0 < run.info["monitor_seconds"] < 5.0


def test_an_epoch_ends_where_the_first_row_of_the_next_begins(tmp_path: Path) -> None:
    with recording(tmp_path) as live:
        live.begin(sample_resources=False)
        for step, epoch in enumerate((0.5, 1.0, math.nan, 1.5, 2.0), start=1):
            live.row(step, {"loss": float(step)}, epoch=epoch)
        live.end()

    run = read_run(tmp_path / "run")
    assert told(run, "epoch_statistics", "epoch") == [1, 2]
    assert told(run, "epoch_statistics", "step") == [4, 5]
    assert [metrics["loss"].mean for metrics in told(run, "epoch_statistics", "metrics")] == [2.0, 4.5]


@pytest.mark.parametrize(
    ("stop_on", "severity", "stops"),
    [
        (None, Severity.critical, False),
        ("critical", Severity.warning, False),
        ("critical", Severity.critical, True),
        ("warning", Severity.critical, True),
    ],
)
def test_a_row_asks_to_stop_from_the_severity_on(
    tmp_path: Path, stop_on: Any, severity: Severity, *, stops: bool
) -> None:
    with recording(tmp_path, stop_on=stop_on, detectors=[Reports(anomaly(Severity.info), anomaly(severity))]) as live:
        assert live.row(1, {"loss": 1.0}) is None
        asks = live.row(2, {"loss": 1.0})
        assert (asks is not None) == stops
        if asks is not None:
            assert asks.severity is severity
            live.stop(2, asks)

    run = read_run(tmp_path / "run")
    assert run.status == ("stopped" if stops else "completed")
    assert told(run, "anomaly", "severity") == ["info", severity.name]
    assert told(run, "stop", "reason") == (["loss: is odd"] if stops else [])


def test_an_unknown_severity_to_stop_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"did you mean critical\?"):
        recording(tmp_path, stop_on="criticl")


@pytest.mark.parametrize(
    "detector",
    [Raises(), Reports({"kind": "no anomaly"}), Reports(anomaly("critical"))],  # type: ignore[arg-type]
    ids=["raises", "no-anomaly", "no-severity"],
)
def test_a_faulty_detector_costs_no_training(tmp_path: Path, detector: Any) -> None:
    with recording(tmp_path, stop_on="critical", detectors=[detector]) as live:
        for step in (1, 2, 3):
            assert live.row(step, {"loss": 1.0}) is None

    run = read_run(tmp_path / "run")
    assert (run.status, len(run.rows)) == ("completed", 3)
    assert len(told(run, "monitor_failed", "error")) == 1


def test_a_broken_alert_is_named_and_called_again(tmp_path: Path) -> None:
    received = []

    def alert(reported: Anomaly) -> None:
        received.append(reported.severity)
        raise ConnectionError("no pager")

    detectors = [Reports(anomaly(Severity.info), anomaly(Severity.critical))]
    with recording(tmp_path, on_anomaly=alert, detectors=detectors) as live:
        for step in (1, 2):
            live.row(step, {"loss": 1.0})

    assert received == [Severity.info, Severity.critical]
    assert told(read_run(tmp_path / "run"), "alert_failed", "error") == ["ConnectionError: no pager"] * 2


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize("error", [KeyError("logits"), Mute()])
def test_a_hook_that_raises_is_named_once_and_switched_off(tmp_path: Path, error: Exception) -> None:
    calls = []

    def hook(value: int) -> int:
        calls.append(value)
        if value == 2:
            raise error
        return value

    with recording(tmp_path) as live:
        live.row(7, {"loss": 1.0})
        returned = [live.guard("mine", hook, value) for value in (1, 2, 3)]
        assert live.guard("other", hook, 4) == 4

    assert (returned, calls) == ([1, None, None], [1, 2, 4])
    run = read_run(tmp_path / "run")
    assert told(run, "hook_failed", "hook") == ["mine"]
    assert told(run, "hook_failed", "step") == [7]
    assert told(run, "hook_failed", "error")[0].startswith(type(error).__name__)


@pytest.mark.parametrize("error", [RecordingError("disk full"), TrainingStopped("enough"), KeyboardInterrupt()])
def test_what_must_end_a_training_passes_the_guard(tmp_path: Path, error: BaseException) -> None:
    def hook() -> None:
        raise error

    with pytest.raises(type(error)):
        recording(tmp_path).guard("mine", hook)


class Odd:
    def __float__(self) -> float:
        raise AttributeError("moved")


@pytest.mark.parametrize(
    "value",
    [
        *("text", None, True, 10**400, 1 + 2j, Decimal("0.1"), b"bytes", float("nan"), object(), Odd()),
        *(
            [1, [2, {"a": 3}]],
            {"nested": {1: 2}},
            np.float32(0.5),
            np.array([1.5]),
            np.array([1, 2]),
            np.datetime64("NaT"),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_value_of_a_metric_costs_a_training(tmp_path: Path, value: Any) -> None:
    with recording(tmp_path) as live:
        live.row(1, {"loss": 1.0, "mine": value})
        live.row(2, {"loss": 1.0, 3: value})  # type: ignore[dict-item]
        live.samples([{"step": 1, "reward": value}])
        live.event("mine", 1, value=value)
        live.row(3, {"loss": 2.0})

    run = read_run(tmp_path / "run")
    assert run.status == "completed"
    assert run.rows[-1].step == 3
    missing = 3 - len(run.rows)
    assert len(told(run, "recording_failed", "reason")) >= missing, "a row that is left out is named"


def test_a_run_directory_that_cannot_be_written_ends_the_training(tmp_path: Path) -> None:
    live = recording(tmp_path)
    (tmp_path / "run" / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(RecordingError, match="No space left"):
        live.row(1, {"loss": 1.0})


def reward(value: float) -> float:
    return 1.0 / value


def test_an_exception_of_the_training_is_recorded_with_its_frame_and_goes_on(tmp_path: Path) -> None:
    def train() -> None:
        with recording(tmp_path) as live:
            live.begin()
            live.row(1, {"loss": reward(0.0)})

    with pytest.raises(ZeroDivisionError):
        train()

    run = read_run(tmp_path / "run")
    assert run.status == "crashed"
    assert run.error is not None
    assert (run.error["type"], run.error["message"]) == ("ZeroDivisionError", "float division by zero")
    line = reward.__code__.co_firstlineno + 1
    assert run.error["frame"] == f"{__file__}:{line} in reward"
    samples = len(run.resources)
    time.sleep(0.3)
    assert len(read_run(tmp_path / "run").resources) == samples, "nothing samples any more"


def test_a_machine_that_cannot_be_asked_costs_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rlhf_assert.resources import sampler

    answers = iter([{"memory_rss": 1}])
    monkeypatch.setattr(sampler._Process, "usage", lambda _: next(answers))
    with recording(tmp_path) as live:
        live.begin()
        live.row(1, {"loss": 1.0})
        time.sleep(0.2)
        live.end()

    run = read_run(tmp_path / "run")
    assert run.status == "completed"
    assert told(run, "hook_failed", "hook") == ["resources"]


def test_a_stopped_training_is_stopped_and_the_first_end_counts(tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped), recording(tmp_path) as live:
        raise TrainingStopped("enough")
    assert live.finish("crashed", ValueError("later")) == "stopped"

    run = read_run(tmp_path / "run")
    assert (run.status, run.error) == ("stopped", None)


def test_ranks_above_0_record_their_resources_alone(tmp_path: Path) -> None:
    Recorder(tmp_path / "run").finish("completed")
    with LiveRecording(Recorder(tmp_path / "run", rank=1), detectors=[Raises()], stop_on="critical") as live:
        live.begin()
        assert live.row(1, {"loss": math.nan}) is None
        live.samples([{"step": 1, "reward": 0.5}])
        live.end()

    assert {path.name for path in (tmp_path / "run").glob("*.jsonl")} == {"resources.rank1.jsonl"}


def test_fields_that_the_owner_described_stay(tmp_path: Path) -> None:
    live = LiveRecording(Recorder(tmp_path / "run", seed=3))
    live.learn(seed=4, algorithm="ppo")
    assert (live.info["seed"], live.info["algorithm"]) == (3, "ppo")


def test_time_within_time_counts_once() -> None:
    watch = Stopwatch()
    with watch:
        with watch:
            time.sleep(0.02)
        time.sleep(0.02)
    assert 0.04 <= watch.seconds < 0.06 + 0.5
