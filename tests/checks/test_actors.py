from __future__ import annotations

import orjson
import pytest

from rlhf_assert import judge
from rlhf_assert.causes.explaining import explain
from rlhf_assert.checked import Status
from rlhf_assert.checks import actors as check
from rlhf_assert.detect import Severity
from rlhf_assert.recording.run import read_run

ENGINE = {"id": "e", "class": "Engine", "state": "ALIVE", "restarts": 0, "pid": 7, "worker": True, "utilization": 0.6}
OTHER = {**ENGINE, "id": "f", "pid": 8}
DEAD = {**ENGINE, "state": "DEAD", "reason": "WORKER_DIED", "message": "connection error code 2", "ended": 50.0}


def judge_actors(run, **options):
    return explain(run, check.judge_actors(run, **options))


def run_of(make_run, looks, *, status="completed", steps=20, error=None, lost=()):
    """A run of a step a second from second 10 on, with looks at (second, actors)."""
    run = make_run([{"step_time": 1.0}] * steps, status=status, error=error)
    lines = [{"event": "train_begin", "step": 0, "time": 10.0}]
    lines += [{"event": "log", "step": step, "time": 10.0 + step} for step in range(1, steps + 1)]
    for second, actors in looks:
        step = min(max(int(second) - 10, 0), steps)
        lines.append({"event": "actors", "step": step, "time": second, "window": 4.0, "actors": list(actors)})
    lines += [{"event": "process_lost", "step": steps, "time": second, **fields} for second, fields in lost]
    (run.path / "events.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    return read_run(run.path)


def test_actors_that_live_and_work(make_run):
    looks = [(second, [ENGINE, OTHER]) for second in (14, 18, 22, 26, 30)]
    check = judge_actors(run_of(make_run, looks), fail_on=Severity.warning)
    assert (check.status, check.headline) == (Status.PASS, "2 actors alive at the last look, none restarted")


def test_an_actor_that_died_is_named_and_is_the_cause_of_the_crash(make_run):
    error = {"type": "RlhfAssertError", "message": "exit status 1: ActorDiedError", "traceback": ""}
    looks = [(14, [ENGINE, OTHER]), (31, [DEAD, {**OTHER, "state": "DEAD", "reason": "OWNER_DIED"}])]
    run = run_of(make_run, looks, status="crashed", error=error)
    check = judge_actors(run)
    assert (check.status, check.headline) == (Status.FAIL, "Engine (process 7) died: connection error code 2")
    assert len(check.anomalies) == 1
    chain = judge(run).chains[0]
    assert str(chain.root.cause) == "Engine (process 7) died: connection error code 2"
    assert {chain.root.name, *(one.name for one in chain.consequences)} >= {"completion", "actors"}


def test_the_first_to_die_is_the_cause(make_run):
    late = {**DEAD, "id": "f", "class": "Policy", "ended": 60.0}
    run = run_of(make_run, [(31, [late, DEAD])], status="crashed", error={"type": "E", "message": "", "traceback": ""})
    assert judge_actors(run).headline.startswith("Engine")
    core = [(31, {"what": "engine core", "reason": "EngineDeadError"})]
    run = run_of(
        make_run, [(14, [ENGINE])], status="crashed", error={"type": "E", "message": "", "traceback": ""}, lost=core
    )
    assert str(judge_actors(run).cause) == "engine core died: EngineDeadError"


@pytest.mark.parametrize("reason", ["OUT_OF_SCOPE", "REF_DELETED", "RAY_KILL", "OWNER_DIED"])
def test_an_actor_that_its_owner_ended_is_no_death(make_run, reason):
    looks = [(14, [ENGINE]), (31, [{**DEAD, "reason": reason}])]
    assert judge_actors(run_of(make_run, looks)).status is Status.PASS


def test_an_actor_that_was_restarted(make_run):
    check = judge_actors(run_of(make_run, [(14, [ENGINE]), (18, [{**ENGINE, "restarts": 1}])]))
    assert (check.status, check.anomalies[0].onset) == (Status.FAIL, 8)
    assert check.headline == "Engine (process 7) was restarted 1 time: its state is lost"


def test_a_node_that_was_lost(make_run):
    run = run_of(make_run, [(14, [ENGINE])])
    lines = (run.path / "events.jsonl").read_bytes().splitlines()
    lines[-1] = orjson.dumps({**orjson.loads(lines[-1]), "nodes": [{"node": "10.0.0.2", "alive": False}]})
    (run.path / "events.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    assert judge_actors(read_run(run.path)).headline == "node 10.0.0.2 was lost"


def test_a_training_that_stands_still_names_the_task_that_others_wait_for(make_run):
    director = {**OTHER, "class": "Director", "worker": False, "task": "fit", "seconds": 300.0}
    stuck = {**ENGINE, "task": "generate", "seconds": 120.0}
    looks = [(14, [director, ENGINE]), (150, [director, stuck])]
    check = judge_actors(run_of(make_run, looks, status="timeout"))
    assert check.status is Status.FAIL
    assert check.headline.endswith("Engine (process 7) runs generate since 120 s")
    assert judge_actors(run_of(make_run, looks)).status is Status.PASS  # it came to its end: it only saved
    assert judge_actors(run_of(make_run, looks[:1], status="timeout")).status is Status.PASS


def test_actors_that_never_came_up(make_run):
    pending = {**ENGINE, "state": "PENDING_CREATION", "task": "__init__", "seconds": 400.0}
    run = run_of(make_run, [(2, [pending]), (402, [pending])], status="timeout", steps=0)
    assert judge_actors(run).headline == "no step ended for 400 s: Engine (process 7) runs __init__ since 400 s"
    run = run_of(make_run, [(2, [pending])], status="crashed", steps=0)
    assert judge_actors(run).status is Status.INSUFFICIENT


@pytest.mark.parametrize(("share", "critical"), [(0.15, False), (0.01, True)])
def test_actors_of_one_class_that_work_unevenly(make_run, share, critical):
    looks = [(second, [ENGINE, {**OTHER, "utilization": share}]) for second in (14, 18, 22, 26)]
    run = run_of(make_run, looks)
    assert judge_actors(run).status is (Status.FAIL if critical else Status.PASS)
    check = judge_actors(run, fail_on=Severity.warning)
    assert (check.status, check.anomalies[0].kind) == (Status.FAIL, "actors-uneven")
    assert check.headline.startswith("Engine: one of 2 worked")


@pytest.mark.parametrize(
    "looks",
    [
        [(second, [ENGINE, {**OTHER, "utilization": 0.3}]) for second in (14, 18, 22, 26)],
        [(second, [ENGINE, {**OTHER, "class": "Reward", "utilization": 0.0}]) for second in (14, 18, 22, 26)],
        [(second, [ENGINE, {**OTHER, "utilization": 0.0}]) for second in (2, 6, 10, 12)],  # before the first step
        [(second, [ENGINE, {**OTHER, "utilization": 0.0}]) for second in (14, 18)],
        [(s, [{**ENGINE, "utilization": 0.05}, {**OTHER, "utilization": 0.0}]) for s in (14, 18, 22, 26)],
        [(s, [{**ENGINE, "worker": False}, {**OTHER, "worker": False, "utilization": 0.0}]) for s in (14, 18, 22, 26)],
    ],
)
def test_what_is_no_imbalance(make_run, looks):
    assert judge_actors(run_of(make_run, looks), fail_on=Severity.warning).status is Status.PASS


def test_the_actors_of_an_interrupted_process_are_not_compared_with_those_after_it(make_run):
    idle = {**ENGINE, "utilization": 0.02}
    looks = [*((second, [idle]) for second in (14, 18, 22)), *((second, [OTHER]) for second in (34, 38, 42))]
    run = run_of(make_run, looks)
    assert judge_actors(run).status is Status.FAIL
    with (run.path / "events.jsonl").open("ab") as file:
        file.write(orjson.dumps({"event": "resume", "step": 12, "time": 30.0}) + b"\n")
    assert judge_actors(read_run(run.path), fail_on=Severity.warning).status is Status.PASS


def test_no_actors(make_run, rows):
    assert judge_actors(make_run(rows)).status is Status.SKIPPED
