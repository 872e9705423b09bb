from __future__ import annotations

import numpy as np
import pytest

from rlhf_assert.causes.explaining import explain
from rlhf_assert.checked import Status
from rlhf_assert.checks import gradients


def judge_gradients(run, **options):
    return explain(run, gradients.judge_gradients(run, **options))


def moved(weights):
    return {**weights, "a.weight": weights["a.weight"] + np.float32(1e-3)}


def test_healthy_run_passes(make_run, rows, tiny_weights):
    run = make_run(rows, weights={0: tiny_weights, 40: moved(tiny_weights)})
    assert judge_gradients(run).status is Status.PASS


def test_weights_that_never_move_fail_whatever_the_curves_say(make_run, rows, tiny_weights):
    check = judge_gradients(make_run(rows, weights={0: tiny_weights, 20: tiny_weights, 40: tiny_weights}))
    assert (check.status, check.headline) == (Status.FAIL, "no weight moved in 40 steps")
    assert str(check.cause) == "likely: the optimizer does not reach the weights: not a single one moved"


def test_learning_rate_of_zero(make_run, rows, tiny_weights):
    for row in rows:
        row["learning_rate"] = 0.0
    config = {"learning_rate": 0.0}
    check = judge_gradients(make_run(rows, config=config, weights={0: tiny_weights, 40: tiny_weights}))
    assert check.status is Status.FAIL
    assert str(check.cause) == "learning_rate is 0: no weight can move"
    assert check.remedy == ("learning_rate = 0.001",)


def test_learning_rate_of_zero_from_the_log_alone(make_run, rows):
    for row in rows:
        row["learning_rate"] = row["kl"] = 0.0
    check = judge_gradients(make_run(rows))
    assert check.status is Status.FAIL
    assert str(check.cause) == "learning_rate is 0: no weight can move"


def test_weights_that_moved_clear_a_kl_of_zero(make_run, rows, tiny_weights):
    for row in rows:
        row["kl"] = 0.0
    log_alone = judge_gradients(make_run(rows))
    with_weights = judge_gradients(make_run(rows, weights={0: tiny_weights, 40: moved(tiny_weights)}))
    assert (log_alone.status, with_weights.status) == (Status.FAIL, Status.PASS)


def test_nan_gradient_fails(make_run, rows):
    rows[6]["grad_norm"] = float("nan")
    check = judge_gradients(make_run(rows))
    assert check.headline == "grad_norm not finite at step 7: nan"


def test_no_gradient_norm(make_run, rows, tiny_weights):
    for row in rows:
        del row["grad_norm"]
    assert judge_gradients(make_run(rows)).status is Status.SKIPPED
    run = make_run(rows, weights={0: tiny_weights, 40: moved(tiny_weights)})
    assert judge_gradients(run).status is Status.PASS


def test_other_tensor_names_are_not_compared(make_run, rows, tiny_weights):
    renamed = {f"model.{name}": tensor for name, tensor in tiny_weights.items()}
    assert judge_gradients(make_run(rows, weights={0: tiny_weights, 40: renamed})).status is Status.PASS


def test_too_few_rows(make_run, rows):
    assert judge_gradients(make_run(rows[:4])).status is Status.INSUFFICIENT


def test_a_gradient_that_jumps_and_stays(make_run, rows):
    for row in rows[9:]:
        row["grad_norm"] *= 50.0
    check = judge_gradients(make_run(rows))
    assert check.status is Status.FAIL
    assert [sign.onset for sign in check.anomalies if sign.kind == "gradient-jump"] == [10]


@pytest.mark.parametrize(("factor", "onsets"), [(50.0, [10]), (5.0, [])])
def test_a_jump_at_the_optimizer_where_no_norm_is_logged(make_run, rows, factor, onsets):
    norms = [row.pop("grad_norm") * (factor if step >= 10 else 1.0) for step, row in enumerate(rows, start=1)]
    events = [("update", step, {"grad_norm": norm}) for step, norm in enumerate(norms, start=1)]
    check = judge_gradients(make_run(rows, events=events))
    assert [sign.onset for sign in check.anomalies if sign.kind == "gradient-jump"] == onsets
    assert (check.status is Status.FAIL) is bool(onsets)


def test_a_gradient_that_grows_through_what_lies_between_is_no_jump(make_run, rows):
    for step, row in enumerate(rows):
        row["grad_norm"] = 0.01 * 1.3 ** min(step, 25)  # 700 fold, as a reward model's when it takes hold
    assert judge_gradients(make_run(rows)).status is Status.PASS


def test_a_spike_of_two_rows_is_no_jump(make_run, rows):
    for row in rows[9:11]:
        row["grad_norm"] *= 50.0
    assert "gradient-jump" not in {sign.kind for sign in judge_gradients(make_run(rows)).anomalies}
