from __future__ import annotations

import numpy as np
import pytest

from rlhf_assert.checked import Status
from rlhf_assert.checks.learning import judge_learning, measure_gain


def test_a_rising_reward_passes(make_run, rows):
    check = judge_learning(make_run(rows, learns="reward"))
    assert check.status is Status.PASS
    assert check.note.startswith("reward 0.2")


def test_a_falling_loss_passes(make_run):
    noise = np.random.default_rng(0)
    rows = [{"loss": 0.7 - 0.01 * step + float(noise.normal(0.0, 0.02))} for step in range(40)]
    assert judge_learning(make_run(rows, learns="loss")).status is Status.PASS
    assert judge_learning(make_run(rows[::-1], learns="loss")).headline.startswith("loss got worse")


def test_a_reward_that_stays_fails(make_run, rows):
    noise = np.random.default_rng(3)
    for row in rows:
        row["reward"] = float(noise.normal(0.2, 0.04))
    assert judge_learning(make_run(rows, learns="reward")).status is Status.FAIL


def test_weights_that_never_move_fail(make_run, rows, tiny_weights):
    check = judge_learning(make_run(rows, learns="reward", weights={0: tiny_weights, 40: tiny_weights}))
    assert (check.status, check.headline) == (Status.FAIL, "no weight moved in 40 steps: nothing was learnt")


def test_a_constant_metric_fails(make_run):
    assert judge_learning(make_run([{"reward": 1.0}] * 20, learns="reward")).status is Status.FAIL


def test_not_judged(make_run, rows):
    assert judge_learning(make_run(rows)).status is Status.SKIPPED
    assert judge_learning(make_run(rows[:9], learns="reward")).status is Status.INSUFFICIENT


@pytest.mark.parametrize("promised", ["rewrd", "reward_margin"])
def test_a_promise_about_what_was_never_logged_is_not_kept(make_run, rows, promised):
    check = judge_learning(make_run(rows, learns=promised))
    assert check.status is Status.FAIL
    assert check.headline == f"the run logged no {promised} (did you mean reward?), which it was to improve"


def test_values_that_are_not_finite_are_no_learning(make_run, rows):
    for row in rows[3:]:
        row["reward"] = None
    assert judge_learning(make_run(rows, learns="reward")).status is Status.FAIL


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_no_gain_rarely_passes(correlation):
    """A pass is a lower end above 0: 2.5 % of runs without any gain if the interval is right, seeded, at most 7 %."""
    noise = np.random.default_rng(7)
    passes = 0
    for _ in range(400):
        values = noise.normal(size=40)
        for index in range(1, 40):
            values[index] += correlation * values[index - 1]
        passes += measure_gain(values).low > 0.0
    assert passes <= 28
