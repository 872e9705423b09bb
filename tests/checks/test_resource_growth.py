from __future__ import annotations

import numpy as np

from rlhf_assert.checked import Status
from rlhf_assert.checks.resource_growth import judge_resources
from rlhf_assert.detect import Severity

MIB = 2**20


def samples(rss, *, gpu="no GPU: NVML lists no device", rank=0):
    return [
        {"time": 100.0 + 0.5 * at, "rank": rank, "memory_rss": int(value * MIB), "gpu": gpu}
        for at, value in enumerate(rss)
    ]


def noisy(size, level=480.0, seed=0):
    return level + np.random.default_rng(seed).normal(0.0, 3.0, size)


def test_steady_memory_passes_and_says_that_there_is_no_gpu(make_run, rows):
    check = judge_resources(make_run(rows, resources=samples(noisy(30))))
    assert (check.status, check.note) == (Status.PASS, "no GPU")


def test_a_leak_fails(make_run, rows):
    check = judge_resources(make_run(rows, resources=samples(noisy(30) + 20.0 * np.arange(30))))
    assert check.status is Status.FAIL
    assert check.headline.startswith("memory_rss grows steadily: ")


def test_a_slow_leak_warns(make_run, rows):
    run = make_run(rows, resources=samples(noisy(60) + 2.5 * np.arange(60)))
    assert judge_resources(run).status is Status.PASS
    assert judge_resources(run).anomalies[0].severity is Severity.warning
    assert judge_resources(run, fail_on=Severity.warning).status is Status.FAIL


def test_a_warm_up_and_a_step_up_are_no_leak(make_run, rows):
    warm_up = np.concatenate([np.linspace(100.0, 480.0, 10), noisy(30)])
    assert judge_resources(make_run(rows, resources=samples(warm_up))).status is Status.PASS
    step_up = np.concatenate([noisy(25), noisy(15, 900.0)])
    assert judge_resources(make_run(rows, resources=samples(step_up))).status is Status.PASS


def test_a_leak_of_one_rank_is_named(make_run, rows):
    both = samples(noisy(30)) + samples(noisy(30) + 20.0 * np.arange(30), rank=1)
    check = judge_resources(make_run(rows, resources=both))
    assert check.headline.startswith("memory_rss grows steadily of rank 1")


def test_a_leak_on_the_gpu(make_run, rows):
    usage = samples(noisy(30), gpu=[{"device": 0}])
    for at, sample in enumerate(usage):
        sample["gpu_memory"] = (1000 + 50 * at) * MIB
    check = judge_resources(make_run(rows, resources=usage))
    assert check.headline.startswith("gpu_memory grows steadily")


def test_not_judged(make_run, rows):
    assert judge_resources(make_run(rows)).status is Status.SKIPPED
    check = judge_resources(make_run(rows, resources=samples(noisy(5))))
    assert (check.status, check.headline) == (
        Status.INSUFFICIENT,
        "5 memory samples, a judgement takes 12; no GPU",
    )


def test_no_false_alarm_on_seeds(make_run, rows):
    for seed in range(50):
        walk = 480.0 + np.cumsum(np.random.default_rng(seed).normal(0.0, 1.0, 40))
        assert judge_resources(make_run(rows, resources=samples(walk))).status is Status.PASS
