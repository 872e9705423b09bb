"""The checkpoint check: broken files, replaced weights and weights that never moved fail it; a sound run does not."""

from __future__ import annotations

import numpy as np
import pytest

from rlhf_assert.causes.explaining import explain
from rlhf_assert.checked import Status
from rlhf_assert.checks import saved_checkpoints
from rlhf_assert.errors import UsageError


def judge_checkpoints(run, **options):
    return explain(run, saved_checkpoints.judge_checkpoints(run, **options))


def moved(weights, by, seed=1):
    noise = np.random.default_rng(seed)
    return {
        name: (tensor + by * np.sqrt((tensor**2).mean()) * noise.normal(0, 1, tensor.shape)).astype(np.float32)
        for name, tensor in weights.items()
    }


def judge_fault(run, **options):
    check = judge_checkpoints(run, **options)
    assert check.status is Status.FAIL, check
    assert check.remedy
    assert "\n" not in check.headline
    assert all(len(line) <= 80 for line in check.evidence)
    return check


def test_a_sound_run_passes(make_run, rows, tiny_weights):
    run = make_run(rows, weights={0: tiny_weights, 20: moved(tiny_weights, 0.05), 40: moved(tiny_weights, 0.1)})
    check = judge_checkpoints(run)
    assert check.status is Status.PASS
    assert check.note.startswith("2 files, score 1.00; most drift 10 %, ")


def test_without_the_start_drift_is_to_the_first_checkpoint(make_run, rows, tiny_weights):
    run = make_run(rows, weights={20: tiny_weights, 40: moved(tiny_weights, 0.1)})
    assert "most drift 10 %" in judge_checkpoints(run).note


def test_one_checkpoint_alone_has_no_drift(make_run, rows, tiny_weights):
    check = judge_checkpoints(make_run(rows, weights={40: tiny_weights}))
    assert check.status is Status.PASS
    assert check.note == "1 file, score 1.00"


def test_no_checkpoint_is_skipped(make_run, rows, tiny_weights):
    assert judge_checkpoints(make_run(rows)).status is Status.SKIPPED
    assert judge_checkpoints(make_run(rows, weights={0: tiny_weights})).status is Status.SKIPPED


def test_nan_in_a_tensor_fails(make_run, rows, tiny_weights):
    broken = moved(tiny_weights, 0.1)
    broken["b.weight"][3, 4] = np.nan
    check = judge_fault(make_run(rows, weights={0: tiny_weights, 20: moved(tiny_weights, 0.05), 40: broken}))
    assert check.headline == "checkpoint-40: b.weight: 1 NaN of 4096 elements: score 0.00, limit 0.80"
    assert "checkpoint-20 before it scores 1.00" in check.evidence


@pytest.mark.parametrize("keep", [0, 5, 200, -4])
def test_a_truncated_file_fails(make_run, rows, tiny_weights, keep):
    run = make_run(rows, weights={0: tiny_weights, 40: moved(tiny_weights, 0.1)})
    file = run.checkpoints[-1] / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    check = judge_fault(run)
    assert check.headline.startswith("checkpoint-40: model.safetensors: ")
    assert str(check.cause) == "the file was damaged when it was saved, or after"


def test_a_checkpoint_without_weights_fails(make_run, rows, tiny_weights):
    run = make_run(rows, weights={40: tiny_weights})
    (run.checkpoints[-1] / "model.safetensors").unlink()
    assert "holds no model.safetensors" in judge_fault(run).headline


def test_weights_that_never_moved_fail(make_run, rows, tiny_weights):
    check = judge_fault(make_run(rows, weights={0: tiny_weights, 40: tiny_weights}))
    assert "weights equal initial, though grad_norm reached" in check.headline
    assert check.cause


def test_a_learning_rate_of_zero_is_the_cause(make_run, rows, tiny_weights):
    for row in rows:
        row["learning_rate"] = 0.0
    assert "learning_rate is 0" in str(judge_fault(make_run(rows, weights={0: tiny_weights, 40: tiny_weights})).cause)


def test_weights_that_had_no_gradient_need_not_move(make_run, rows, tiny_weights):
    for row in rows:
        row["grad_norm"] = 0.0
    assert judge_checkpoints(make_run(rows, weights={0: tiny_weights, 40: tiny_weights})).status is Status.PASS


def test_replaced_weights_fail(make_run, rows, tiny_weights):
    run = make_run(rows, weights={0: tiny_weights, 40: moved(tiny_weights, 5.0)})
    check = judge_fault(run)
    assert "weights were replaced, not trained: drift 480 %, limit 100 %" in check.headline
    assert check.cause
    assert judge_checkpoints(run, max_drift=10.0).status is Status.PASS


def test_the_lowest_score_is_the_users(make_run, rows, tiny_weights):
    dead = {**tiny_weights, "b.weight": tiny_weights["b.weight"].copy()}
    dead["b.weight"][:10] = 0.0
    run = make_run(rows, weights={40: dead})
    assert judge_checkpoints(run, min_score=0.8).status is Status.PASS
    assert "10 of 64 rows are zero" in judge_fault(run, min_score=0.9).headline


@pytest.mark.parametrize("options", [{"min_score": 1.5}, {"min_score": -0.1}, {"max_drift": 0.0}])
def test_impossible_limits_are_errors(make_run, rows, options):
    with pytest.raises(UsageError):
        judge_checkpoints(make_run(rows), **options)
