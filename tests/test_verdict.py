from __future__ import annotations

import numpy as np
import pytest

from rlhf_assert.checked import Cause, Check, Status
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.verdict import Verdict, judge

LOOP = {"optimizer", "objective", "reference", "rollout", "data", "resume", "actors", "engine"}


def check(name, status=Status.FAIL, *, onset=None, cause=None):
    signs = () if onset is None else (sign(onset),)
    return Check(name=name, status=status, headline=f"{name} is bad", anomalies=signs, cause=cause)


def sign(onset):
    return Anomaly(kind="spoilt", metric="kl_div", severity=Severity.critical, onset=onset, summary="spoilt")


def names(verdict):
    return [(chain.root.name, [other.name for other in chain.consequences]) for chain in verdict.chains]


def test_a_healthy_run_passes_every_check(make_run, rows, tiny_weights):
    moved = {**tiny_weights, "a.weight": tiny_weights["a.weight"] + np.float32(1e-3)}
    run = make_run(rows, steps=40, learns="reward", promised=["reward"], weights={0: tiny_weights, 40: moved})
    verdict = judge(run)
    assert verdict.status is Status.PASS, verdict.failures
    assert verdict.first_sign is None
    assert {one.name for one in verdict.unjudged} <= {"rewards", "resources", *LOOP}
    assert all(one.headline for one in verdict.unjudged)


@pytest.mark.parametrize(
    ("statuses", "together"),
    [
        ((Status.PASS, Status.SKIPPED), Status.PASS),
        ((Status.PASS, Status.FAIL), Status.FAIL),
        ((Status.INSUFFICIENT, Status.SKIPPED), Status.INSUFFICIENT),
        ((Status.SKIPPED,), Status.SKIPPED),
        ((), Status.SKIPPED),
    ],
)
def test_status(make_run, statuses, together):
    checks = tuple(check(f"c{index}", status) for index, status in enumerate(statuses))
    assert Verdict(make_run(), checks).status is together


def test_one_cause_is_counted_once_by_onset(make_run):
    verdict = Verdict(
        make_run(),
        (
            check("entropy", onset=9, cause=Cause("lr")),
            check("resources", onset=3, cause=Cause("leak")),
            check("kl", onset=5, cause=Cause("lr")),
            check("loss", Status.PASS, onset=1, cause=Cause("lr")),
        ),
    )
    assert names(verdict) == [("resources", []), ("kl", ["entropy"])]
    assert verdict.first_sign is verdict.checks[1]
    assert [one.name for one in verdict.failures] == ["resources", "kl", "entropy"]


def test_possibilities_and_unknown_causes_are_no_common_cause(make_run):
    checks = [check(name, onset=4, cause=Cause("one or two", "possible")) for name in ("kl", "entropy")]
    checks += [check(name, onset=6) for name in ("loss", "learning")]
    assert names(Verdict(make_run(), tuple(checks))) == [("kl", []), ("entropy", []), ("loss", []), ("learning", [])]


def test_the_reward_itself_comes_before_what_it_spoils(make_run):
    checks = (check("gradients", onset=1, cause=Cause("constant")), check("rewards", cause=Cause("constant")))
    assert names(Verdict(make_run(), checks)) == [("rewards", ["gradients"])]


def test_a_constant_reward_is_one_cause(make_run, rows, tiny_weights):
    for row in rows:
        row.update(reward=1.0, reward_std=0.0, frac_reward_zero_std=1.0, loss=0.0, grad_norm=0.0, kl=0.0)
    samples = [{"step": 1 + at // 8, "prompt": "p", "reward": 1.0, "rewards": {"mine": 1.0}} for at in range(320)]
    run = make_run(rows, learns="reward", samples=samples, weights={0: tiny_weights, 40: tiny_weights})
    verdict = judge(run)
    assert len(verdict.chains) == 1
    assert verdict.first_sign.name == "rewards"
    assert "reward function mine returns 1.00" in str(verdict.first_sign.cause)
    assert {"gradients", "learning"} <= {one.name for one in verdict.chains[0].consequences}


def test_limits_reach_their_checks(make_run, rows):
    run = make_run(rows)
    assert "kl" not in {one.name for one in judge(run).failures}
    assert "kl" in {one.name for one in judge(run, kl_limit=0.05).failures}


@pytest.mark.parametrize(
    ("log", "failed"),
    [
        ("grpo__baseline", set()),
        ("grpo__beta_0", set()),
        ("grpo__reward_x1000", set()),
        ("grpo__lr_x1000", {"kl", "entropy"}),
        ("grpo__ref_noise", {"kl"}),
        ("grpo__frozen_zero_grads", {"gradients"}),
        ("grpo__nan_reward", {"rewards"}),
        ("grpo__const_reward", {"rewards"}),
    ],
)
def test_real_logs(fault_log, make_run, log, failed):
    config = {"learning_rate": 1e-3, "beta": 0.0 if log.endswith("beta_0") else 0.04}
    assert {one.name for one in judge(make_run(fault_log(log), config=config)).failures} == failed


@pytest.mark.parametrize(
    ("log", "failed"),
    [
        ("ppo__baseline", set()),
        ("ppo__value_head_x100_at10", {"value_loss"}),
        ("ppo__ref_noise", {"kl"}),
        ("ppo__frozen_lr0", {"gradients"}),
    ],
)
def test_real_ppo_logs(fault_log, make_run, log, failed):
    config = {"response_length": 24, "num_ppo_epochs": 4, "num_mini_batches": 1}
    run = make_run(fault_log(log), algorithm="ppo", config=config)
    assert {one.name for one in judge(run).failures} == failed
