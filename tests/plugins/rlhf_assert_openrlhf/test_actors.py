"""What is told of Ray's actors: how long they worked, what they run, why they died; and what it adds to a step."""

from __future__ import annotations

import http.server
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlhf_assert import Recorder, read_run
from rlhf_assert.recording.events import Actors
from rlhf_assert.recording.live_recording import LiveRecording
from rlhf_assert_openrlhf.feed import Feed
from rlhf_assert_openrlhf.inside import recording
from rlhf_assert_openrlhf.inside.actors import Task, cause_of, describe, occupation, read_page

PAGE = """# TYPE ray_node_cpu_utilization gauge
ray_node_cpu_utilization{NodeAddress="10.0.0.1",SessionName="s"} 35.5
ray_node_mem_used{NodeAddress="10.0.0.1"} 8.0e+09
ray_object_store_used_memory{NodeAddress="10.0.0.1"} 1024.0
ray_tasks{State="FINISHED"} 3.0
"""


def row(**fields: Any) -> dict[str, Any]:
    actor = {"ActorID": "a", "ActorClassName": "RolloutRayActor", "State": "ALIVE", "NumRestarts": 0, "Pid": 7}
    return {**actor, "Address": {"IPAddress": "10.0.0.1"}, "EndTime": 0, "DeathCause": "", **fields}


def test_tasks_that_an_actor_runs_at_a_time_count_once() -> None:
    tasks = [
        Task("a", "generate", 8.0, 12.0),  # began before the window
        Task("a", "generate", 11.0, 13.0),
        Task("a", "generate", 15.0, None),  # runs
        Task("a", "update", 16.0, None),
        Task("b", "forward", 1.0, 9.0),  # ended before the window
        Task("b", "forward", 30.0, 31.0),  # begins after it
    ]
    busy, running = occupation(tasks, 10.0, 20.0)
    assert busy == {"a": 8.0}
    assert running == {"a": ("update", 16.0)}


def test_a_death_is_told_with_its_reason() -> None:
    reasons = {1: SimpleNamespace(name="WORKER_DIED")}
    context = SimpleNamespace(
        DESCRIPTOR=SimpleNamespace(enum_types_by_name={"Reason": SimpleNamespace(values_by_number=reasons)}),
        reason=1,
        error_message="It is dead. Worker exit type: X Worker exit detail: Worker was\nkilled. Some common causes are",
    )
    death = SimpleNamespace(WhichOneof=lambda _: "actor_died_error_context", actor_died_error_context=context)
    told = describe(row(State="DEAD", EndTime=2500, DeathCause=death))
    assert (told["reason"], told["message"], told["ended"]) == ("WORKER_DIED", "Worker was killed.", 2.5)
    assert "reason" not in describe(row())
    assert cause_of("") == {"reason": "UNKNOWN", "message": ""}


def test_a_nodes_page_is_read_and_a_missing_one_says_nothing() -> None:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(PAGE.encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert read_page("127.0.0.1", server.server_port) == {"cpu": 0.355, "memory": 8.0e9, "object_store": 1024.0}
    finally:
        server.shutdown()
        server.server_close()
    assert read_page("127.0.0.1", server.server_port) == {}


def test_a_look_adds_to_the_next_step_and_to_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLHF_ASSERT_FEED", str(tmp_path / "feed.jsonl"))
    live = LiveRecording(Recorder(tmp_path / "run"))
    feed = Feed(tmp_path / "feed.jsonl", live)

    def look(*utilizations: float) -> None:
        told = [{**describe(row(ActorID=str(index))), "utilization": u} for index, u in enumerate(utilizations)]
        director = {**describe(row(ActorID="d", ActorClassName="PPOTrainer")), "utilization": 1.0}
        nodes = [{"node": "10.0.0.1", "alive": True, "cpu": 0.5}]
        recording.tell_event("actors", "last", actors=[*told, director], window=2.0, nodes=nodes)

    look(0.9)  # before the first step: models are loaded
    recording.record_metrics(1, {"reward": 0.1})
    look(0.2, 0.4)
    recording.record_metrics(2, {"reward": 0.1})
    recording.record_metrics(3, {"reward": 0.1})
    feed.take()
    live.finish()
    run = read_run(tmp_path / "run")
    assert run["ray_actor_utilization"].steps.tolist() == [2]
    assert run["ray_actor_utilization"].values.tolist() == pytest.approx([0.3])
    assert run.original["actors/RolloutRayActor/utilization"].values.tolist() == pytest.approx([0.3])
    assert run.original["actors/alive"].values.tolist() == [3.0]
    assert run.original["actors/node_cpu"].values.tolist() == [0.5]
    assert [event.step for event in run.events_of(Actors)] == [0, 1]
