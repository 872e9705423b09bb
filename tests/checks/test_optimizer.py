from __future__ import annotations

import pytest

from rlhf_assert.checked import Status
from rlhf_assert.checks.optimizer import judge_optimizer


def updates(count=20, **changes):
    """Updates of a sound training with a linear schedule; `changes` maps a step to fields that differ."""
    for step in range(1, count + 1):
        rate = 1e-3 * (1.0 - step / (count + 1))
        fields = {
            "learning_rate": rate,
            "scheduled": rate,
            "grad_norm": 1.0,
            "without_gradient": 0,
            "tensors": 26,
            "stopped": 0,
            "optimizer_step": step,
        }
        yield "update", step, {**fields, **changes.get(f"at{step}", {})}


def judged(make_run, *events, **info):
    return judge_optimizer(make_run(events=events, **{"config": {"max_grad_norm": 1.0}, **info}))


def test_a_sound_optimizer_passes(make_run):
    assert judged(make_run, *updates()).status is Status.PASS


def test_nothing_recorded_is_not_healthy(make_run):
    assert judged(make_run).status is Status.SKIPPED
    assert judged(make_run, *updates(1)).status is Status.INSUFFICIENT


@pytest.mark.parametrize("rate", [0.0, 0.7])
def test_another_learning_rate_than_the_scheduled_one(make_run, rate):
    check = judged(make_run, *updates(at7={"learning_rate": rate}))
    assert check.status is Status.FAIL
    assert [(sign.kind, sign.onset) for sign in check.anomalies] == [("learning-rate-applied", 7)]
    assert f"learning rate {rate} at step 7" in check.headline


def test_a_gradient_beyond_the_clipping_limit(make_run):
    sick = list(updates(at7={"grad_norm": 1.2}))
    assert judged(make_run, *sick).anomalies[0].kind == "gradient-not-clipped"
    assert judged(make_run, *sick, config={"max_grad_norm": 0.0}).status is Status.PASS
    assert judged(make_run, *sick, algorithm="ppo").status is Status.PASS  # TRL's PPO clips nothing
    assert judged(make_run, *updates(at7={"grad_norm": 1.001})).status is Status.PASS  # rounding


def test_tensors_that_stop(make_run):
    still = {f"at{step}": {"stopped": 13, "without_gradient": 13} for step in range(7, 21)}
    check = judged(make_run, *updates(**still))
    assert (check.status, check.headline) == (
        Status.FAIL,
        "optimizer: 50 % of the trained tensors stopped moving at step 7",
    )


def test_one_update_or_one_tensor_at_rest_is_nothing(make_run):
    assert judged(make_run, *updates(at7={"stopped": 13})).status is Status.PASS
    one = {f"at{step}": {"stopped": 1} for step in range(7, 21)}
    assert judged(make_run, *updates(**one)).status is Status.PASS


def test_tensors_that_round_to_rest_one_by_one(make_run):
    ones = {f"at{step}": {"stopped": min(2 * (step - 7), 20)} for step in range(8, 21)}
    assert judged(make_run, *updates(**ones)).status is Status.PASS


def test_weights_that_something_else_writes(make_run):
    check = judged(make_run, *updates(at7={"written": 1}))
    assert (check.anomalies[0].kind, check.anomalies[0].onset) == ("weights-written", 7)


def test_weights_at_rest_because_the_learning_rate_ran_out(make_run):
    late = {f"at{step}": {"stopped": 26} for step in range(18, 21)}
    assert judged(make_run, *updates(**late)).status is Status.PASS


def test_moments_that_are_lost(make_run):
    lost = {f"at{step}": {"optimizer_step": step - 9} for step in range(10, 21)}
    check = judged(make_run, *updates(**lost))
    assert check.headline == "optimizer: it lost its moments at step 10: its count fell from 9 to 1"


def test_a_resume_without_moments(make_run):
    begun = ("train_begin", 50, {})
    assert judged(make_run, begun, *updates()).anomalies[0].kind == "optimizer-state-lost"
    goes_on = {f"at{step}": {"optimizer_step": step + 50} for step in range(1, 21)}
    assert judged(make_run, begun, *updates(**goes_on)).status is Status.PASS


def test_a_fresh_start_and_other_optimizers_are_sound(make_run):
    assert judged(make_run, ("train_begin", 0, {}), *updates()).status is Status.PASS
    without = {f"at{step}": {"optimizer_step": None, "scheduled": None} for step in range(1, 21)}
    assert judged(make_run, *updates(**without)).status is Status.PASS
