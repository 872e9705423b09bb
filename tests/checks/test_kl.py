from __future__ import annotations

import numpy as np
import pytest

from rlhf_assert.causes.explaining import explain
from rlhf_assert.checked import Status
from rlhf_assert.checks import kl
from rlhf_assert.detect import Severity


def judge_kl(run, **options):
    return explain(run, kl.judge_kl(run, **options))


def runaway(rows):
    """KL that grows by a quarter a step from step 15 on, with the entropy falling to a quarter."""
    for step, row in enumerate(rows, start=1):
        growth = 1.26 ** max(0, step - 14)
        row["kl"] = 0.0 if step == 1 else 0.021 * growth
        row["entropy"] = 2.34 / min(growth, 10.0) ** 0.6
        row["reward"] = 0.2
    return rows


def test_healthy_run_passes_with_its_limit(make_run, rows):
    check = judge_kl(make_run(rows))
    assert (check.status, check.note) == (Status.PASS, "limit 1.00")


@pytest.mark.parametrize("seed", range(5))
def test_a_spike_that_recovers_passes(make_run, rows, seed):
    rows[10 + seed]["kl"] = 2.6
    assert judge_kl(make_run(rows)).status is Status.PASS


def test_runaway_reads_as_designed(make_run, rows):
    run = make_run(runaway(rows), config={"beta": 0.0, "learning_rate": 1e-3})
    check = judge_kl(run)
    assert check.status is Status.FAIL
    onset = check.anomalies[0].onset
    assert 12 <= onset <= 24
    assert check.headline == f"kl runaway from step {onset}: {rows[-1]['kl']:.2f} at step 40, limit 1.00"
    assert check.metrics == ("kl_div", "entropy")
    assert check.evidence[0].startswith(f"growth from step {onset}: x1.2")
    above = sum(row["kl"] > 1.0 for row in rows)
    assert check.evidence[-1] == f"above the limit since step {41 - above}, {above} of 40 rows"
    assert str(check.cause) == "likely: beta = 0.0, nothing pulls the policy to the reference"
    assert check.remedy == ("beta = 0.04, and run again", "still there: learning_rate 0.001 → 0.0001")


def test_a_limit_that_is_given_binds_without_corroboration(make_run, rows):
    assert judge_kl(make_run(rows), limit=0.1).headline.startswith("kl above its limit of 0.10 from step")
    assert judge_kl(make_run(rows), limit=0.5).status is Status.PASS


def test_a_limit_that_is_given_forgives_two_rows_but_not_the_last(make_run, rows):
    rows[10]["kl"] = rows[11]["kl"] = 0.9
    assert judge_kl(make_run(rows), limit=0.5).status is Status.PASS
    rows[-1]["kl"] = 0.9
    assert judge_kl(make_run(rows), limit=0.5).status is Status.FAIL


def test_warnings_stay_with_a_pass_and_fail_on_request(make_run, rows):
    for row in rows[20:]:  # above the limit with everything else in order
        row["kl"] = 1.5
    run = make_run(rows)
    check = judge_kl(run)
    assert check.status is Status.PASS
    assert [found.severity for found in check.anomalies if found.kind == "kl-runaway"] == [Severity.warning]
    assert judge_kl(run, fail_on=Severity.warning).status is Status.FAIL


def test_noised_reference(make_run, rows):
    for row in rows:
        row["kl"] += 0.95
    check = judge_kl(make_run(rows))
    assert check.headline == "kl 0.95 at step 1, where the policy still is the reference: must be 0"
    assert str(check.cause).startswith("likely: the reference is not the policy it started from: kl is 0.95 at step 1")


def test_nan_fails(make_run, rows):
    rows[9]["kl"] = float("nan")
    assert judge_kl(make_run(rows)).headline == "kl not finite at step 10: nan"


def test_sequence_sums_are_held_to_a_sequence(make_run, rows):
    for row in rows:
        row["objective/kl"] = 20.0 * row.pop("kl")
        del row["completions/mean_length"]
    check = judge_kl(make_run(rows, algorithm="ppo", config={"response_length": 24}))
    assert (check.status, check.note) == (Status.PASS, "limit 24.00")


@pytest.mark.parametrize(
    ("algorithm", "config", "reason"),
    [
        ("grpo", {"beta": 0.0}, "beta = 0: grpo logs no kl"),
        ("sft", {}, "sft has no reference to diverge from"),
        ("ppo", {}, "the run logged no kl_div"),
    ],
)
def test_no_kl_is_not_judged(make_run, rows, algorithm, config, reason):
    for row in rows:
        del row["kl"]
    check = judge_kl(make_run(rows, algorithm=algorithm, config=config))
    assert (check.status, check.headline) == (Status.SKIPPED, reason)


def test_too_few_rows_are_not_judged_but_step_one_is(make_run, rows):
    assert judge_kl(make_run(rows[:3])).status is Status.INSUFFICIENT
    rows[0]["kl"] = 0.9
    assert judge_kl(make_run(rows[:3])).status is Status.FAIL


def test_no_false_alarm_on_seeds(make_run, rows):
    noise = np.random.default_rng(1)
    for _ in range(20):
        for row in rows[1:]:
            row["kl"] = abs(float(noise.normal(0.1, 0.05)))
        assert judge_kl(make_run(rows)).status is Status.PASS
