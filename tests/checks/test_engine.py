from __future__ import annotations

from itertools import repeat

import numpy as np
import pytest

from rlhf_assert import assert_system_sound
from rlhf_assert.checked import Status
from rlhf_assert.checks.engine import judge_engine
from rlhf_assert.detect import Severity
from rlhf_assert.failures import NotJudged, SystemUnsound

SOUND = {"moved": 5.9, "off": 0.0}
BUSY = {"tokens": 500, "requests": 64, "preemptions": 0, "unfinished": 0}
STUCK = {"tokens": 0, "requests": 0, "preemptions": 0, "unfinished": 3}


def canary(*engines):
    return [("weight_sync_canary", 0, {"weight": "norm.weight", "engines": list(engines)})]


def states(*steps):
    return [("engines", step, {"engines": list(engines)}) for step, engines in enumerate(steps, start=1)]


def pace(tokens, gaps):
    return [
        {"vllm_throughput": one, "engine/inter_token_latency": other} for one, other in zip(tokens, gaps, strict=True)
    ]


def test_engines_that_follow_and_work(make_run):
    run = make_run(pace([1000.0] * 20, [0.02] * 20), events=[*canary(SOUND, SOUND), *states(*[[BUSY, BUSY]] * 20)])
    check = judge_engine(run, fail_on=Severity.warning)
    assert (check.status, check.note) == (Status.PASS, "2 engines followed a changed weight (5.90 nats)")
    assert not check.anomalies


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ({"moved": 0.0, "off": 0.0}, "engine 1 did not follow a changed weight"),
        ({"moved": 5.9, "off": 5.9}, "engine 1 did not follow a weight that was put back"),
        ({"moved": float("nan"), "off": 0.0}, "engine 1 did not follow a changed weight"),
        ({"moved": 5.9, "off": float("nan")}, "engine 1 did not follow a weight that was put back"),
    ],
)
def test_a_weight_sync_that_does_not_arrive(make_run, engine, said):
    engine = {name: str(value) if value != value else value for name, value in engine.items()}
    check = judge_engine(make_run(events=canary(SOUND, engine)))
    assert check.status is Status.FAIL
    assert check.headline.startswith(said)
    assert check.anomalies[0].onset == 1


def test_rounding_is_no_stale_weight(make_run):
    assert judge_engine(make_run(events=canary({"moved": 0.5, "off": 0.02}))).status is Status.PASS


def test_an_engine_that_stalls_with_requests_in_it(make_run):
    check = judge_engine(make_run(events=states(*[[BUSY, BUSY]] * 5, *[[BUSY, STUCK]] * 3)))
    assert (check.status, check.anomalies[0].onset) == (Status.FAIL, 6)
    assert "engine 1 has unfinished requests and generated nothing in 3 steps" in check.headline


def test_an_engine_that_never_gets_a_request(make_run):
    idle = {**BUSY, "tokens": 0, "requests": 0}
    check = judge_engine(make_run(events=states(*[[BUSY, idle]] * 6)))
    assert "engine 1 generated nothing in 6 steps in which others did" in check.headline


def test_a_step_without_generation_is_no_stall(make_run):
    """As where completions of several steps are generated at once, or where each has its last request still running."""
    nothing = {**BUSY, "tokens": 0, "requests": 0}
    steps = [[BUSY], [nothing], [nothing], [nothing]] * 3
    assert judge_engine(make_run(events=states(*steps))).status is Status.PASS
    assert judge_engine(make_run(events=states(*[[{**BUSY, "unfinished": 4}]] * 8))).status is Status.PASS


def test_throughput_that_decays(make_run):
    tokens = np.geomspace(1000.0, 100.0, 24)
    run = make_run(pace(tokens, 20.0 / tokens), events=states(*[[BUSY]] * 24))
    check = judge_engine(run)
    assert (check.status, check.anomalies[0].kind) == (Status.FAIL, "throughput-decay")
    assert check.headline.startswith("vllm_throughput falls from step")
    half = make_run(pace(np.geomspace(1000.0, 300.0, 24), np.geomspace(0.02, 0.06, 24)), events=states(*[[BUSY]] * 24))
    assert judge_engine(half).status is Status.PASS
    assert judge_engine(half, fail_on=Severity.warning).status is Status.FAIL


@pytest.mark.parametrize(
    ("tokens", "gaps"),
    [
        (np.geomspace(1000.0, 100.0, 24), repeat(0.02, 24)),  # completions get fewer or shorter
        (repeat(1000.0, 24), np.geomspace(0.02, 0.2, 24)),  # more requests at a time
        ([1000.0] * 12 + [200.0] * 6 + [1000.0] * 6, [0.02] * 12 + [0.1] * 6 + [0.02] * 6),  # a busy moment
    ],
)
def test_what_is_no_decay(make_run, tokens, gaps):
    run = make_run(pace(tokens, gaps), events=states(*[[BUSY]] * 24))
    check = judge_engine(run, fail_on=Severity.warning)
    assert check.status is Status.PASS


def test_a_noisy_engine_is_no_decay(make_run):
    for seed in range(20):
        noise = np.exp(np.random.default_rng(seed).normal(0.0, 0.5, 24))
        run = make_run(pace(1000.0 / noise, 0.02 * noise), events=states(*[[BUSY]] * 24))
        assert judge_engine(run).status is Status.PASS


def test_a_kv_cache_that_is_too_small(make_run):
    rows = [{"engine/kv_cache_usage": 0.99}] * 8
    few, many = {**BUSY, "preemptions": 1}, {**BUSY, "preemptions": 20}
    for engine, status in ((BUSY, Status.PASS), (few, Status.PASS), (many, Status.FAIL)):
        run = make_run(rows, events=states(*[[engine]] * 8))
        assert judge_engine(run).status is status
        assert judge_engine(run).anomalies[0].kind == "kv-cache-pressure"
        assert judge_engine(run, fail_on=Severity.warning).status is Status.FAIL
    assert "160 requests preempted" in judge_engine(run).headline
    assert not judge_engine(make_run([{"engine/kv_cache_usage": 0.6}] * 8, events=states(*[[BUSY]] * 8))).anomalies


def test_a_paused_engine_preempts_with_room_to_spare(make_run):
    """As OpenRLHF's partial rollout does whenever weights are synced."""
    many = {**BUSY, "preemptions": 20}
    run = make_run([{"engine/kv_cache_usage": 0.002}] * 8, events=states(*[[many]] * 8))
    assert not judge_engine(run).anomalies


def test_nothing_to_judge_is_said(make_run, rows):
    assert judge_engine(make_run(rows)).status is Status.SKIPPED
    assert judge_engine(make_run(events=states([BUSY]))).status is Status.INSUFFICIENT
    skipped = [("weight_sync_canary", 0, {"skipped": "tensor parallelism"})]
    check = judge_engine(make_run(events=[*skipped, *states(*[[BUSY]] * 6)]))
    assert check.headline == "no weight sync canary: tensor parallelism"


def test_the_assertion(make_run, rows):
    with pytest.raises(SystemUnsound, match="engine 0 did not follow a changed weight"):
        assert_system_sound(make_run(events=canary({"moved": 0.0, "off": 0.0})))
    with pytest.raises(NotJudged, match="no engine of its own"):
        assert_system_sound(make_run(rows))
