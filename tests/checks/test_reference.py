from __future__ import annotations

from rlhf_assert.checked import Status
from rlhf_assert.checks.reference import judge_reference

STOOD = [("reference_fingerprint", 0, {"fingerprint": "a"}), ("reference_fingerprint", 40, {"fingerprint": "a"})]


def test_a_reference_that_stood_still(make_run, rows):
    assert judge_reference(make_run(rows, events=STOOD)).status is Status.PASS


def test_a_reference_that_moved(make_run, rows):
    moved = [("reference_moved", step, {}) for step in (10, 11, 12)]
    check = judge_reference(make_run(rows, events=[*STOOD, *moved]))
    assert (check.status, check.headline) == (Status.FAIL, "reference moved at step 10, in 3 steps")
    assert check.anomalies[0].onset == 10


def test_a_reference_that_is_synced_on_purpose(make_run, rows):
    run = make_run(rows, events=[*STOOD, ("reference_moved", 10, {})], config={"sync_ref_model": True})
    assert judge_reference(run).status is Status.SKIPPED


def test_an_average_of_the_weights_that_something_else_moved(make_run, rows):
    moved = [("average_moved", step, {"reason": "changed between two updates of the policy"}) for step in (5, 6)]
    check = judge_reference(make_run(rows, events=[*STOOD, *moved]))
    assert (check.status, check.anomalies[0].onset) == (Status.FAIL, 5)
    assert check.headline == "average of the weights changed between two updates of the policy, at step 5"


def test_no_reference(make_run, rows):
    assert judge_reference(make_run(rows)).status is Status.SKIPPED


def dpo(make_run, first, **info):
    rows = [{"rewards/chosen": first if step == 0 else 0.01 * step} for step in range(10)]
    return judge_reference(make_run(rows, events=STOOD, **{"algorithm": "dpo", "config": {"beta": 0.1}, **info}))


def test_implicit_rewards_of_step_one(make_run):
    assert dpo(make_run, 0.0).status is Status.PASS
    assert dpo(make_run, 5e-4).status is Status.PASS  # half precision
    check = dpo(make_run, -0.05)
    assert (check.status, check.anomalies[0].kind) == (Status.FAIL, "step-one-reward")
    assert dpo(make_run, -0.05, algorithm="reward").status is Status.PASS  # no reference in its rewards
