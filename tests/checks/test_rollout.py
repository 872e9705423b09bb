from __future__ import annotations

import numpy as np
import pytest

from rlhf_assert.checked import Status
from rlhf_assert.checks.rollout import judge_rollout


def rows_with(values):
    return [{"rollout_kl": value} for value in values]


def samples(shares, size=16):
    """Samples of one step for each share of truncated completions."""
    for step, part in enumerate(shares, start=1):
        cut = round(part * size)
        for index in range(size):
            yield {"step": step, "prompt": "p", "length": 5, "truncated": float(index < cut), "reward": 0.1}


@pytest.mark.parametrize(("level", "vllm"), [(3e-7, False), (0.01, False), (0.004, True), (0.03, True)])
def test_sound_engines_differ_by_rounding(make_run, level, vllm):
    noise = np.random.default_rng(0)
    values = level * noise.uniform(0.5, 2.0, 40)
    assert judge_rollout(make_run(rows_with(values), config={"use_vllm": vllm})).status is Status.PASS


@pytest.mark.parametrize("vllm", [True, False])
def test_dropout_in_one_engine(make_run, vllm):
    check = judge_rollout(make_run(rows_with([0.05] * 10), config={"use_vllm": vllm}))
    assert check.status is (Status.PASS if vllm else Status.FAIL)


@pytest.mark.parametrize(("config", "status"), [({}, Status.FAIL), ({"use_vllm": True}, Status.PASS)])
def test_ppo_generates_itself_unless_it_says_that_an_engine_does(make_run, config, status):
    assert judge_rollout(make_run(rows_with([0.05] * 10), algorithm="ppo", config=config)).status is status


@pytest.mark.parametrize(("after", "limit"), [(0.02, "0.010"), (0.4, "0.010")])
def test_stale_weights_from_a_step_on(make_run, after, limit):
    check = judge_rollout(make_run(rows_with([3e-7] * 9 + [after] * 10)))
    assert (check.status, check.anomalies[0].onset) == (Status.FAIL, 10)
    assert f"limit {limit}" in check.headline


def test_stale_weights_in_a_mean_log_ratio(make_run):
    """As OpenRLHF logged it: a sync that was skipped for four steps of 1e-3, from the fifth on."""
    stale = [-0.0002, 0.0003, 0.0003, 0.0002, 0.059, 0.0998, 0.0991, 0.0507, 0.0467]
    run = make_run(rows_with(stale), config={"use_vllm": True, "rollout_kl_estimator": "k1"})
    assert judge_rollout(run).anomalies[0].onset == 5
    assert judge_rollout(make_run(rows_with(stale), config={"use_vllm": True})).status is Status.PASS
    sound = [0.001, -0.0002, 0.0031, 0.0045, -0.0002, 0.03, 0.002]  # one step alone is no mismatch
    run = make_run(rows_with(sound), config={"use_vllm": True, "rollout_kl_estimator": "k1"})
    assert judge_rollout(run).status is Status.PASS


def test_a_mismatch_from_the_start(make_run):
    assert judge_rollout(make_run(rows_with([0.3] * 10))).anomalies[0].onset == 1


def test_a_single_row_is_no_mismatch(make_run):
    assert judge_rollout(make_run(rows_with([3e-7] * 9 + [0.4] + [3e-7] * 9))).status is Status.PASS


@pytest.mark.parametrize("share", [0.7, 1.0])
def test_completions_that_no_longer_end(make_run, share):
    run = make_run(rows_with([1e-6] * 12), samples=samples([0.1] * 7 + [share] * 5))
    check = judge_rollout(run)
    assert (check.status, check.anomalies[0].kind, check.anomalies[0].onset) == (Status.FAIL, "endings-lost", 8)


def test_completions_that_are_padded_to_the_limit_do_not_end_whatever_is_said(make_run):
    long = [{**sample, "length": 24 if sample["step"] > 7 else 5, "truncated": 0.0} for sample in samples([0.0] * 12)]
    check = judge_rollout(make_run(rows_with([1e-6] * 12), samples=long, config={"max_completion_length": 24}))
    assert check.anomalies[0].onset == 8


@pytest.mark.parametrize(
    "shares",
    [
        [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0, 1.0],  # learns to ramble: another check's business
        [1.0] * 12,  # cut off from the start, as by a model that was never taught to end
        [0.1] * 7 + [1.0] + [0.1] * 4,  # one step
        [0.1] * 7 + [0.7, 0.7] + [0.1] * 3,  # one update too large, and back
    ],
)
def test_cut_off_completions_that_are_no_break(make_run, shares):
    assert judge_rollout(make_run(rows_with([1e-6] * 12), samples=samples(shares))).status is Status.PASS


def test_nothing_recorded(make_run, rows):
    assert judge_rollout(make_run(rows)).status is Status.SKIPPED
    assert judge_rollout(make_run(rows_with([1e-6] * 2))).status is Status.INSUFFICIENT
