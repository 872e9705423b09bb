"""Entropy, losses and the metrics that no check of their own judges."""

from __future__ import annotations

import pytest

from rlhf_assert.checked import Status
from rlhf_assert.checks.entropy import judge_entropy
from rlhf_assert.checks.other_metrics import judge_other_metrics
from rlhf_assert.checks.registry import checks, checks_of
from rlhf_assert.detect import Severity
from rlhf_assert.metrics import METRICS
from rlhf_assert.verdict import judge_by


def judge_losses(run, **options):
    return judge_by(run, checks_of("assert_losses_sound"), **options).checks


def test_entropy_of_a_healthy_run_passes(make_run, rows):
    assert judge_entropy(make_run(rows)).status is Status.PASS


def test_entropy_collapse_fails(make_run, rows):
    for row in rows[10:]:
        row["entropy"], row["reward"], row["reward_std"], row["frac_reward_zero_std"] = 1e-4, 0.1, 0.0, 1.0
    check = judge_entropy(make_run(rows))
    assert check.status is Status.FAIL
    assert check.headline.startswith("entropy ")
    assert "step 11" in check.headline


def test_no_entropy_is_not_judged(make_run, rows):
    for row in rows:
        del row["entropy"]
    assert judge_entropy(make_run(rows)).headline == "grpo logs no entropy"
    assert judge_entropy(make_run(rows)).status is Status.SKIPPED


def test_losses_are_judged_one_by_one(make_run, rows):
    for row in rows:
        row["loss/policy_avg"], row["loss/value_avg"] = row["loss"], 0.02
    rows[4]["loss/policy_avg"] = float("inf")
    checks = {check.name: check.status for check in judge_losses(make_run(rows))}
    assert checks == {"loss": Status.PASS, "policy_loss": Status.FAIL, "value_loss": Status.PASS}


def test_no_loss_is_one_skipped_check(make_run):
    (check,) = judge_losses(make_run([{"reward": 0.1}] * 9))
    assert check.status is Status.SKIPPED


@pytest.mark.parametrize(
    ("first", "rises", "gravest"),
    [(0.03, False, None), (210.0, False, Severity.warning), (210.0, True, Severity.info)],
)
def test_value_loss_is_measured_against_the_rewards(make_run, rows, first, rises, gravest):
    for step, row in enumerate(rows):
        row["loss/value_avg"] = max(0.02, first * 0.5**step)
        row["reward"] = row["reward"] if rises else 0.3
    run = make_run(rows, algorithm="ppo")
    (check,) = [check for check in judge_losses(run) if check.name == "value_loss"]
    assert check.status is Status.PASS
    signs = [sign for sign in check.anomalies if sign.kind == "value-scale"]
    assert [sign.severity for sign in signs] == ([] if gravest is None else [gravest])
    if gravest is Severity.warning:
        assert signs[0].summary.startswith("210 at step 1")
        (failed,) = [one for one in judge_losses(run, fail_on=Severity.warning) if one.name == "value_loss"]
        assert str(failed.cause).startswith("likely: the value head starts out of scale: value_loss 210 at step 1")


def test_other_metrics_pass(make_run, rows):
    assert judge_other_metrics(make_run(rows)).status is Status.PASS


def test_other_metrics_fail_with_what_no_other_check_owns(make_run, rows):
    for row in rows:
        row["advantage"] = 0.1
    rows[11]["advantage"] = None
    check = judge_other_metrics(make_run(rows))
    assert (check.status, check.headline) == (Status.FAIL, "advantage not finite at step 12: null")


def test_rewards_are_left_to_their_own_check_where_it_can_judge_them(make_run, rows):
    rows[11]["reward"] = None
    assert judge_other_metrics(make_run(rows)).status is Status.PASS
    for row in rows:
        del row["reward_std"], row["frac_reward_zero_std"]
    assert judge_other_metrics(make_run(rows)).headline == "reward not finite at step 12: null"


def test_owned_metrics_exist():
    assert METRICS.keys() >= {metric for spec in checks() for metric in spec.owns}
