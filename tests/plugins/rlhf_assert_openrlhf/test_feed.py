"""What OpenRLHF's processes tell becomes a run directory, whole lines only, NaN included."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from rlhf_assert import Recorder, read_run
from rlhf_assert.recording.events import (
    AnomalyFound,
    RecordingFailed,
    Resume,
    SamplesUnavailable,
    TrainBegin,
    Unknown,
    Update,
)
from rlhf_assert.recording.live_recording import LiveRecording
from rlhf_assert_openrlhf.backend import name_checkpoints
from rlhf_assert_openrlhf.ending import last_error
from rlhf_assert_openrlhf.feed import Feed
from rlhf_assert_openrlhf.inside import recording

LOGS = {"policy_loss": 0.1, "reward": 0.4, "kl": float("nan"), "actor_lr": 1e-3, "timing/generation": 0.3}
SAMPLE = {"prompt": "ab12", "length": 5, "truncated": 0.0, "reward": 0.5, "text": " cat."}


@pytest.fixture
def feed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RLHF_ASSERT_FEED", str(tmp_path / "feed.jsonl"))
    return tmp_path / "feed.jsonl"


def test_metrics_and_samples_are_recorded_by_their_canonical_names(tmp_path: Path, feed: Path) -> None:
    live = LiveRecording(Recorder(tmp_path / "run", config={"reward_functions": ["animals"]}))
    reader = Feed(feed, live)
    reader.take()
    assert not reader.begun
    for step in (1, 2):
        recording._waiting.append({"records": [SAMPLE, SAMPLE], "metrics": {"advantage": 0.25}})
        recording.record_metrics(step, {**LOGS, "generated_samples": ["text", 1.0], "score": None})
        reader.take()
    live.finish()

    run = read_run(tmp_path / "run")
    assert [row.step for row in run.rows] == [1, 2]
    assert run["reward"].values.tolist() == [0.4, 0.4]
    assert run["advantage"].values.tolist() == [0.25, 0.25]
    assert math.isnan(run["kl_div"].last)
    assert run.original["timing/generation"].values.tolist() == [LOGS["timing/generation"]] * 2
    assert not run.unmapped
    assert run.samples.step.tolist() == [1, 1, 2, 2]
    assert run.samples.rewards["animals"].tolist() == run.samples.reward.tolist() == [0.5] * 4
    assert run.events_of(AnomalyFound)[0].metric == "kl_div"
    assert run.events[0].name == "train_begin"


def test_half_a_line_waits_for_its_other_half(tmp_path: Path, feed: Path) -> None:
    live = LiveRecording(Recorder(tmp_path / "run"))
    reader = Feed(feed, live)
    line = json.dumps({"kind": "metrics", "step": 1, "metrics": LOGS}).encode() + b"\n"
    feed.write_bytes(line[:20])
    reader.take()
    with feed.open("ab") as file:
        file.write(line[20:])
    reader.take()
    live.finish()
    assert len(read_run(tmp_path / "run").rows) == 1


@pytest.mark.parametrize(
    "line", ["[1, 2]", "{half", '{"kind": "event", "name": "mine"}', '{"kind": "metrics", "step": "x"}']
)
def test_a_line_that_makes_no_sense_is_named_and_costs_no_training(tmp_path: Path, feed: Path, line: str) -> None:
    live = LiveRecording(Recorder(tmp_path / "run"))
    feed.write_text(line + "\n" + json.dumps({"kind": "metrics", "step": 1, "metrics": LOGS}) + "\n")
    Feed(feed, live).take()
    live.finish()
    run = read_run(tmp_path / "run")
    assert [row.step for row in run.rows] == [1]
    (failed,) = run.events_of(RecordingFailed)
    assert failed.reason.startswith("feed: ")


def test_samples_keep_their_step_where_only_every_third_is_logged(tmp_path: Path, feed: Path) -> None:
    live = LiveRecording(Recorder(tmp_path / "run"))
    for step in (3, 6):
        recording._waiting.extend({"records": [SAMPLE], "metrics": {"advantage": own}} for own in (0.1, 0.2, 0.3))
        recording.record_metrics(step, LOGS)
    Feed(feed, live).take()
    live.finish()
    run = read_run(tmp_path / "run")
    assert run.samples.step.tolist() == [1, 2, 3, 4, 5, 6]
    assert run["advantage"].values.tolist() == [0.3, 0.3]


def test_what_comes_after_the_last_step_is_lost_and_a_second_process_goes_on(tmp_path: Path, feed: Path) -> None:
    live = LiveRecording(Recorder(tmp_path / "run"))
    reader = Feed(feed, live, last=2)
    for step in (1, 2, 3):
        assert not reader.passed
        recording.tell("within", name="update", fields={"optimizer_step": step})
        recording._waiting.append({"records": [SAMPLE], "metrics": {}})
        recording.record_metrics(step, LOGS)
        reader.take()
    assert reader.passed
    feed.unlink()
    reader.resume()
    for step in (3, 4):
        recording._waiting.append({"records": [SAMPLE], "metrics": {}})
        recording.record_metrics(step, LOGS)
    reader.take()
    live.finish()

    run = read_run(tmp_path / "run")
    assert not reader.passed
    assert [row.step for row in run.rows] == [1, 2, 3, 4]
    assert run.samples.step.tolist() == [1, 2, 3, 4]
    marks = [(event.name, event.step) for event in run.events if isinstance(event, TrainBegin | Resume)]
    assert marks == [("train_begin", 0), ("resume", 2)]
    assert [event.step for event in run.events_of(Update)] == [1, 2]


def test_a_failing_hook_is_told_and_raises_nothing(tmp_path: Path, feed: Path) -> None:
    live = LiveRecording(Recorder(tmp_path / "run"))
    recording.guarded(recording.record_samples, [object()], None, reference=True)
    Feed(feed, live).take()
    live.finish()
    (event,) = read_run(tmp_path / "run").events_of(SamplesUnavailable)
    assert event.reason.startswith("record_samples: AttributeError: ")


def test_saved_weights_get_the_name_of_a_checkpoint(tmp_path: Path) -> None:
    live = LiveRecording(Recorder(tmp_path / "run"))
    for name in ("global_step2_hf", "global_step10_hf", "final", "_actor"):
        (live.path / "checkpoints" / name).mkdir()
    name_checkpoints(live.path / "checkpoints")
    name_checkpoints(live.path / "checkpoints")
    live.finish()
    assert [path.name for path in read_run(live.path).checkpoints] == ["checkpoint-2", "checkpoint-10"]


def test_the_last_exception_of_an_output_is_its_error(tmp_path: Path) -> None:
    output = tmp_path / "output.log"
    assert last_error(output) == "it said nothing"
    output.write_text(
        "Traceback (most recent call last):\nray.exceptions.RayTaskError(KeyError): x\n"
        "\x1b[36m(PolicyModelActor pid=7)\x1b[0m some talk: of something\n"
        "openrlhf.errors.ShapeError: expected 3\nbye\n"
    )
    assert last_error(output) == "ShapeError: expected 3"
    output.write_text("one\ntwo\n")
    assert last_error(output) == "two"


def test_an_event_that_is_not_as_it_should_be_is_kept_as_it_came(tmp_path: Path, feed: Path) -> None:
    live = LiveRecording(Recorder(tmp_path / "run"))
    recording.tell_event("actors", "last", actors="none", window=float("nan"))
    recording.tell_event("of_a_newer_version", 3, value=float("inf"))
    Feed(feed, live).take()
    live.finish()
    run = read_run(tmp_path / "run")
    assert [str(event) for event in run.unreadable] == ['event actors: actors: a list is expected, not "none"']
    assert run.unreadable[0].record["window"] == "nan"
    (unknown,) = run.events_of(Unknown)
    assert (unknown.name, unknown.step, unknown.fields) == ("of_a_newer_version", 3, {"value": "inf"})
