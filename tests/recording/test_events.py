"""What events.jsonl holds comes back as typed events, and nothing in it makes a reader or a verdict raise."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlhf_assert import Recorder, judge, read_run
from rlhf_assert.recording.events import (
    EVENTS,
    Actors,
    Batch,
    Engines,
    EngineUsage,
    EpochStatistics,
    Log,
    MetricStatistics,
    Rescored,
    StepBegin,
    TrainBegin,
    Unknown,
    Unreadable,
    Update,
    decode_event,
    encode_event,
)
from rlhf_assert.recording.events.lines import on_disk
from rlhf_assert.report.html import page

INPUTS = Path(__file__).parents[1] / "golden" / "inputs"

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.sampled_from([0, 1, 2, 7, -1, 0.5, 2**63 - 1, 2**63, 10**400, "nan", "inf", "ALIVE", "DEAD", "critical"])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
NUMBER = st.sampled_from(
    [0, 1, 2, 3, 50, 0.0, 0.5, 1.0, 1e-3, 1e308, -1e308, 2**63 - 1, math.nan, "nan", "inf", "-inf"]
)


def fitting(hint: str) -> st.SearchStrategy[Any]:
    """Values that a field of this type takes, and some that it does not."""
    hint = hint.removesuffix(" | None")
    parts = {part.__name__: part for part in PARTS}
    if hint.startswith("tuple["):
        return st.lists(fitting(hint.removeprefix("tuple[").removesuffix(", ...]")), max_size=3)
    if hint.startswith("Mapping["):
        inner = hint.removeprefix("Mapping[str, ").removesuffix("]")
        return st.dictionaries(st.sampled_from(["loss", "kl_div", "eval_loss"]), fitting(inner), max_size=2)
    if hint in parts:
        return objects(parts[hint])
    return {
        "int": st.integers(0, 5) | NUMBER,
        "float": NUMBER,
        "bool": st.booleans(),
        "str": st.sampled_from(["", "a", "critic", "ALIVE", "DEAD", "critical"]),
        "Any": JSON,
    }[hint]


def objects(kind: type[Any]) -> st.SearchStrategy[dict[str, Any]]:
    own = [field for field in dataclasses.fields(kind) if field.name not in {"step", "time", "extra"}]
    return st.fixed_dictionaries({}, optional={on_disk(field): fitting(field.type) | JSON for field in own})


PARTS = [
    part
    for module in {inspect.getmodule(kind) for kind in EVENTS.values()}
    for part in vars(module).values()
    if dataclasses.is_dataclass(part) and part.__module__ == module.__name__
]
LINES = st.sampled_from(sorted(EVENTS)).flatmap(
    lambda name: st.builds(
        lambda head, own, more: {**more, **own, **head, "event": name},
        st.fixed_dictionaries(
            {}, optional={"step": st.integers(0, 9) | JSON, "time": st.floats(0, 1e3) | NUMBER | JSON}
        ),
        objects(EVENTS[name]),
        st.dictionaries(st.text(max_size=3), JSON, max_size=1),
    )
)


STATISTICS = {"event": "epoch_statistics", "epoch": 1, "metrics": {"a": {"std": []}}}


def test_every_event_of_a_real_run_is_known_and_written_again_as_it_was() -> None:
    for file in INPUTS.glob("*/events.jsonl"):
        for line in file.read_bytes().splitlines():
            record = json.loads(line)
            event = decode_event(record)
            assert not isinstance(event, Unknown | Unreadable), event
            assert list(encode_event(event).items()) == list(record.items())


def test_a_recorded_event_comes_back_as_it_was(tmp_path: Path) -> None:
    events = [
        TrainBegin(step=0, time=1.0),
        Update(
            step=1, time=2.0, learning_rate=0.1, scheduled=None, grad_norm=math.inf, optimizer_step=1, model="critic"
        ),
        Engines(step=1, time=2.5, engines=(EngineUsage(tokens=3), EngineUsage(busy=0.5))),
        EpochStatistics(step=1, time=3.0, epoch=1, metrics={"loss": MetricStatistics(mean=0.5, trend="stable")}),
        Rescored(step=1, time=4.0, first=(0.5, 1.0), second=(0.5, -math.inf)),
        Unknown(name="mine", step=2, time=5.0, fields={"x": [1, {"y": None}]}),
    ]
    recorder = Recorder(tmp_path / "run")
    for event in events:
        recorder.event(event)
    recorder.finish("completed")
    run = read_run(tmp_path / "run")
    assert run.events == tuple(events)
    assert run.events_of(Update) == (events[1],)
    assert run.events_of(Batch) == ()
    assert pickle.loads(pickle.dumps(run)).events == run.events
    lines = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_bytes().splitlines()]
    assert lines[1] == {
        "event": "update",
        "step": 1,
        "time": 2.0,
        "model": "critic",
        "learning_rate": 0.1,
        "scheduled": None,
        "grad_norm": "inf",
        "optimizer_step": 1,
    }


def test_the_recorder_fills_in_the_time(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run")
    recorder.event(StepBegin(step=3))
    recorder.finish("completed")
    (event,) = read_run(tmp_path / "run").events
    assert event.step == 3
    assert event.time == pytest.approx(recorder.info["started"], abs=60)


def test_numbers_that_are_not_finite_come_back_as_numbers() -> None:
    update = decode_event({"event": "update", "step": 1, "grad_norm": "nan", "learning_rate": "inf"})
    assert isinstance(update, Update)
    assert math.isnan(update.grad_norm or 0.0)
    assert update.learning_rate == math.inf


def test_an_event_of_a_newer_version_is_kept_and_named(tmp_path: Path) -> None:
    record = {"event": "teleported", "step": 3, "time": 9.0, "to": "mars", "distance": "inf"}
    event = decode_event(record)
    assert event == Unknown(name="teleported", step=3, time=9.0, fields={"to": "mars", "distance": "inf"})
    assert encode_event(event) == record


def test_a_field_that_its_event_does_not_have_is_kept() -> None:
    record = {"event": "log", "step": 3, "time": 9.0, "new": 1}
    event = decode_event(record)
    assert event == Log(step=3, time=9.0, extra={"new": 1})
    assert encode_event(event) == record


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"event": "batch", "step": 1}, "event batch: digest: is missing"),
        ({"event": "batch", "step": 1, "digest": 7}, "event batch: digest: text is expected, not 7"),
        ({"event": "batch", "digest": "a"}, "event batch: step: is missing"),
        ({"event": "batch", "step": "1", "digest": "a"}, 'event batch: step: a whole number is expected, not "1"'),
        ({"event": "batch", "step": -1, "digest": "a"}, "event batch: step: a step from 0 on is expected, not -1"),
        ({"event": "log", "step": 1, "time": "now"}, 'event log: time: a number is expected, not "now"'),
        ({"event": "log", "step": True}, "event log: step: a whole number is expected, not true"),
        ({"event": "rescored", "step": 1, "first": 3}, "event rescored: first: a list is expected, not 3"),
        ({"event": "actors", "actors": [{}, {"id": 1}]}, "event actors: actors[1].id: text is expected, not 1"),
        ({"event": "evaluation", "metrics": [1]}, "event evaluation: metrics: an object is expected, not a list"),
        (STATISTICS, "event epoch_statistics: metrics.a.std: a number is expected, not a list"),
        ({"event": ["log"]}, "event without a name: event: text is expected, not a list"),
        ({}, "event without a name: event: text is expected, it is empty"),
        ({"event": "objective", "step": 1, "loss": 2**70}, f"event objective: loss: a number is expected, not {2**70}"),
    ],
)  # fmt: skip
def test_a_field_of_a_wrong_type_is_named(record: dict[str, Any], said: str) -> None:
    event = decode_event(record)
    assert isinstance(event, Unreadable)
    assert str(event) == said
    assert encode_event(event) == record


def test_a_run_counts_the_events_that_it_cannot_read(make_run, rows) -> None:
    run = make_run(rows, events=[("batch", 1, {"digest": 1}), ("batch", 2, {"digest": "a"}), ("new", 3, {})])
    assert [event.field for event in run.unreadable] == ["digest"]
    assert [event.step for event in run.events_of(Batch)] == [2]
    assert "cannot be read: digest: text is expected, not 1" in page(run, judge(run).checks)


@given(LINES | st.dictionaries(st.sampled_from(["event", "step", "time", "x"]), JSON))
@settings(max_examples=400)
def test_no_record_makes_decode_raise(record: dict[str, Any]) -> None:
    event = decode_event(record)
    again = decode_event(encode_event(event))
    assert repr(again) == repr(event)
    assert {key for key, value in record.items() if value is not None} <= set(encode_event(event))
    assert isinstance(event, Unknown | Unreadable) or type(event) is EVENTS[event.name]


@given(
    lines=st.lists(LINES, max_size=25),
    algorithm=st.sampled_from(["ppo", "grpo", "rloo", "dpo", "kto", "online-dpo", "reinforce_baseline", ""]),
    status=st.sampled_from(["completed", "crashed", "stopped", "timeout"]),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_no_events_make_a_verdict_raise(
    lines: list[dict[str, Any]], algorithm: str, status: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("garbage") / "run"
    config = {"beta": 0.04, "vf_coef": 0.1, "num_mini_batches": 1, "max_grad_norm": 1.0, "loss_type": "sigmoid"}
    recorder = Recorder(
        path, algorithm=algorithm, config={**config, "dataset_rows": 64, "learning_rate": 1e-3}, steps=9
    )
    for step in range(1, 10):
        row = {"loss": 0.1 * step, "kl": 0.01 * step, "reward": 0.5, "loss/policy_avg": 0.1, "loss/value_avg": 0.2}
        recorder.row(step, {**row, "rewards/chosen": 0.1 * step, "logps/chosen": -1.0 * step, "vllm_throughput": 5.0})
    for second in range(20):
        recorder.append("resources", {"rank": 0, "time": float(second), "memory_rss": 1e9 * (1 + second)})
    recorder.finish(status)
    with (path / "events.jsonl").open("w", encoding="utf-8", errors="replace") as file:
        file.writelines(json.dumps(line, allow_nan=False, default=str) + "\n" for line in map(_on_disk, lines))
    run = read_run(path)
    page(run, judge(run).checks)


def _on_disk(value: Any) -> Any:
    """Return a value as its JSON on disk would be read."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _on_disk(item) for key, item in value.items()}
    return [_on_disk(item) for item in value] if isinstance(value, list) else value


def test_looks_and_engines_have_no_shared_defaults() -> None:
    one, other = Actors(actors=()), Actors(actors=())
    assert one.tasks is not other.tasks
