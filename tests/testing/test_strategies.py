"""The strategies draw what they say, over its whole range, and shrink to the simplest."""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, skew

from rlhf_assert import strategies
from rlhf_assert.checkpoints import inspect_checkpoint
from rlhf_assert.detect import Severity, default_detectors, discover
from rlhf_assert.rewards.reliability import assess_rewards
from rlhf_assert.testing.registration import TYPES, register
from rlhf_assert.testing.strategies import (
    anomalous,
    changes,
    curves,
    logs,
    sample,
    series,
    shift,
    smallest,
    spike,
    trainings,
)
from rlhf_assert.testing.synthetic import (
    Anomalous,
    Change,
    Corruption,
    Curve,
    Log,
    RewardBatch,
    SyntheticCheckpoint,
    column,
    log_of,
    plant,
)
from rlhf_assert.testing.synthetic.checkpoint import FOUND_AS
from rlhf_assert.testing.synthetic.curve import Noise
from rlhf_assert.testing.synthetic.healthy_training import ALGORITHMS
from rlhf_assert.testing.synthetic.log import cells


def values(**described: Any) -> np.ndarray[Any, Any]:
    return Curve(rows=20_000, seed=1, **described).series().values


# What is healthy.


@pytest.mark.parametrize("noise", ["normal", "heavy", "skewed", "discrete"])
@pytest.mark.parametrize("autocorrelation", [0.0, 0.8])
def test_noise_has_mean_0_and_the_spread_that_is_said(noise: Noise, autocorrelation: float) -> None:
    drawn = values(noise=noise, autocorrelation=autocorrelation, level=5.0, spread=2.0)

    assert drawn.mean() == pytest.approx(5.0, abs=0.15)
    assert drawn.std() == pytest.approx(2.0, rel=0.12)
    assert np.corrcoef(drawn[1:], drawn[:-1])[0, 1] == pytest.approx(autocorrelation, abs=0.03)


def test_noise_has_the_shape_that_is_said() -> None:
    assert kstest(values(), "norm").pvalue > 0.01
    assert kstest(values(noise="heavy") * math.sqrt(3.0), "t", (3,)).pvalue > 0.01
    assert kstest(values(noise="heavy"), "norm").pvalue < 1e-6
    assert skew(values(noise="skewed")) > 3.0
    assert len(set(values(noise="discrete"))) == 9


def test_trend_bounds_rounding_gaps_and_stride() -> None:
    risen = values(trend=6.0)
    assert risen[-2000:].mean() - risen[:2000].mean() == pytest.approx(0.9 * 6.0, abs=0.2)
    assert (np.ptp(values(low=-1.0, high=2.0))) == 3.0
    counts = values(level=4.0, spread=2.0, quantum=1.0, low=0.0)
    assert counts.min() == 0.0
    assert np.array_equal(counts, counts.round())
    assert len(values(missing=0.3)) == pytest.approx(0.7 * 20_000, rel=0.02)
    assert Curve(rows=3, every=10).series().steps.tolist() == [1, 11, 21]


@given(curve=curves())
def test_a_description_always_gives_the_same_values(curve: Curve) -> None:
    one, other = curve.series(), curve.series()

    assert np.array_equal(one.values, other.values)
    assert np.array_equal(one.steps, other.steps)
    assert np.isfinite(one.values).all()
    assert 1 <= len(one) <= curve.rows


def test_curves_are_drawn_over_the_whole_range() -> None:
    drawn = sample(curves(min_rows=10, max_rows=200), 200)

    assert len(drawn) == 200
    rows = np.array([curve.rows for curve in drawn])
    assert rows.min() <= 20
    assert rows.max() >= 190
    plain = Curve(rows=1)
    for name in ("trend", "noise", "autocorrelation", "low", "quantum", "missing", "every", "level", "spread"):
        assert sum(getattr(curve, name) != getattr(plain, name) for curve in drawn)
    assert sum(curve.seed == 0 for curve in drawn) < 30


@given(log=logs())
def test_trainings_keep_what_must_hold(log: Log) -> None:
    first = log[0].metrics
    assert first.get("kl_div", 0.0) == 0.0
    assert first.get("ratio", 1.0) == 1.0
    if "reward_margin" in first:
        assert first["loss"] == pytest.approx(math.log(2.0))
    for row in log:
        for metric in ("zero_std_fraction", "truncated_fraction", "reward_accuracy"):
            assert 0.0 <= (row.metrics.get(metric) or 0.0) <= 1.0
        for metric in ("kl_div", "grad_norm", "entropy", "value_loss", "reward_std"):
            assert (row.metrics.get(metric) or 0.0) >= 0.0
        if "reward_margin" in row.metrics:
            chosen, rejected, margin = (
                row.metrics[f"{name}"] for name in ("chosen_reward", "rejected_reward", "reward_margin")
            )
            assert chosen is not None
            assert rejected is not None
            assert margin == pytest.approx(chosen - rejected, abs=1e-9)


def test_the_metrics_of_a_training_move_together() -> None:
    def together(log: Log, one: str, other: str) -> float:
        return float(np.corrcoef(cells(log, one), cells(log, other))[0, 1])

    grpo, dpo, sft = (trainings(name, min_rows=100) for name in ("grpo", "dpo", "sft"))
    assert np.median([together(one.log(), "reward", "entropy") for one in sample(grpo, 30)]) < -0.5
    assert np.median([together(one.log(), "reward", "kl_div") for one in sample(grpo, 30)]) > 0.5
    assert np.median([together(one.log(), "loss", "reward_accuracy") for one in sample(dpo, 30)]) < -0.5
    assert np.median([together(one.log(), "loss", "entropy") for one in sample(sft, 30)]) > 0.8


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_training_is_healthy_within_the_budget(algorithm: Any) -> None:
    """One in 40 at a budget of .05 is what one expects; 8 or more have a chance of .001."""
    drawn = sample(trainings(algorithm, min_rows=20), 40)
    flagged = [
        training
        for training in drawn
        if any(
            found.severity >= Severity.warning
            for found in discover(training.log(), default_detectors(algorithm, {"beta": 0.04}))
        )
    ]
    assert len(flagged) < 8


# What is planted.


@given(one=anomalous(series(noisy=True), st.one_of(spike(), shift())))
def test_the_planted_size_is_there_and_nothing_else_is_touched(one: Anomalous) -> None:
    (planted,) = one.planted
    added = cells(one.log, "reward") - cells(one.clean, "reward")
    concerned = slice(planted.row, planted.row + planted.rows)

    assert added[concerned] == pytest.approx(planted.magnitude * planted.spread, rel=1e-6)
    assert not np.delete(added, np.arange(len(added))[concerned]).any()
    assert planted.onset == one.clean[planted.row].step
    assert planted.rows >= 1


@given(curve=curves(min_rows=50, max_rows=150, noisy=True, ornaments=()))
def test_the_spread_is_that_of_the_noise(curve: Curve) -> None:
    _, planted = plant(log_of(curve.series()), Change(kind="spike", magnitude=1.0, rows=1), 10)

    assert planted.spread == pytest.approx(curve.spread, rel=0.45)


CALM = Curve(rows=40, level=10.0, spread=1.0, seed=1)


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        (Change(kind="drift", magnitude=10.0), lambda new, old: np.allclose(np.diff(new - old, 2), 0.0)),
        (Change(kind="explosion", magnitude=1e6), lambda new, old: ((new - old)[1:] / (new - old)[:-1] > 1.05).all()),
        (
            Change(kind="collapse", magnitude=-8.0),
            lambda new, old: new.std() < 0.06 * old.std() and new.max() < old.min(),
        ),
        (
            Change(kind="oscillation", magnitude=9.0),
            lambda new, old: (np.sign(np.diff(new)) == [-1, 1] * 9 + [-1]).all(),
        ),
        (Change(kind="saturation", magnitude=5.0), lambda new, old: np.ptp(new) == 0.0 and new[0] > old.max()),
        (Change(kind="freeze"), lambda new, old: np.ptp(new) == 0.0),
        (Change(kind="mis-scaled", magnitude=100.0), lambda new, old: np.allclose(new, 100.0 * old)),
        (Change(kind="nan"), lambda new, old: np.isnan(new).all()),
        (Change(kind="infinity", magnitude=-1.0), lambda new, old: (new == -np.inf).all()),
        (Change(kind="null"), lambda new, old: np.isnan(new).all()),
        (Change(kind="missing"), lambda new, old: np.isnan(new).all()),
    ],
    ids=lambda one: one.kind if isinstance(one, Change) else "",
)
def test_what_each_kind_does(change: Change, holds: Any) -> None:
    clean = log_of(CALM.series())
    log, planted = plant(clean, change, 20)
    new, old = cells(log, "reward"), cells(clean, "reward")

    assert holds(new[20:], old[20:])
    assert np.array_equal(new[:20], old[:20])
    assert (planted.row, planted.onset, planted.rows) == (20, 21, 20)


def test_null_missing_and_steps() -> None:
    clean = log_of(CALM.series())

    assert plant(clean, Change(kind="null", rows=1), 5)[0][5].metrics == {"reward": None}
    assert plant(clean, Change(kind="missing", rows=1), 5)[0][5].metrics == {}
    twice = plant(clean, Change(kind="duplicated-steps", rows=2), 5)[0]
    assert [row.step for row in twice[5:9]] == [6, 6, 7, 7]
    again = plant(clean, Change(kind="backward-steps", rows=4), 10)[0]
    assert [row.step for row in again[8:13]] == [9, 10, 7, 8, 9]
    with pytest.raises(IndexError, match="row 40 of a log of 40 rows"):
        plant(clean, Change(kind="spike"), 40)


@given(one=anomalous(series(min_rows=30), changes(), after=10, room=5))
def test_onsets_are_where_they_may_be(one: Anomalous) -> None:
    (planted,) = one.planted

    assert 10 <= planted.row <= len(one.clean) - 6
    assert math.isfinite(planted.spread)
    assert planted.spread > 0.0


def test_onsets_are_uniform_and_every_kind_is_drawn() -> None:
    drawn = sample(anomalous(series(min_rows=100, max_rows=100, ornaments=()), changes()), 200)

    assert kstest([one.planted[0].row / 99 for one in drawn], "uniform").statistic < 0.12
    assert min(Counter(one.planted[0].kind for one in drawn).values()) >= 3
    assert len({one.planted[0].kind for one in drawn}) == 15


@given(
    one=anomalous(
        anomalous(logs("grpo", min_rows=20), spike(metric="loss")), shift(metric="reward"), shift(metric="kl_div")
    )
)
def test_anomalies_compose(one: Anomalous) -> None:
    first, second, third = one.planted

    assert (first.metric, second.metric, third.metric) == ("loss", "reward", "kl_div")
    assert second.row == third.row
    assert one.series.name == "loss"
    assert not np.array_equal(cells(one.log, "reward"), cells(one.clean, "reward"))


# What failing examples shrink to.


def test_a_series_shrinks_to_a_short_silent_one() -> None:
    shortest = smallest(series(), lambda one: len(one) >= 7)

    assert shortest is not None
    assert shortest.values.tolist() == [0.0] * 7
    assert shortest.steps.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert smallest(series(), lambda one: len(one) > 200) is None


@pytest.mark.parametrize(
    ("change", "size"),
    [
        (strategies.shift(), 3.0),
        (strategies.explosion(), 50.0),
        (strategies.nan_burst(), 0.0),
        (strategies.backward_steps(), 0.0),
    ],
    ids=["shift", "explosion", "nan", "backward"],
)
def test_an_anomaly_shrinks_to_the_weakest_at_the_earliest_place(change: Any, size: float) -> None:
    one = smallest(anomalous(series(min_rows=5), change, after=3), lambda one: True)

    assert one is not None
    (planted,) = one.planted
    assert (len(one.clean), planted.row, planted.magnitude) == (5, 3, size)
    assert not cells(one.clean, "reward").any()


def test_a_log_shrinks_to_the_row_that_matters() -> None:
    log = smallest(strategies.hostile_logs(), lambda log: any(None in row.metrics.values() for row in log))

    assert log is not None
    assert len(log) == 1
    assert list(log[0].metrics.values()) == [None]


def test_a_training_shrinks_to_a_short_usual_one() -> None:
    training = smallest(trainings("ppo", "grpo"), lambda one: one.rows >= 10)

    assert training is not None
    assert (training.algorithm, training.rows, training.noise, training.seed) == ("ppo", 10, 1.0, 1)


def test_a_condition_that_depends_on_chance_is_no_error() -> None:
    answers = iter([True] + [False] * 10_000)

    assert smallest(series(), lambda one: next(answers)) is not None


# Rewards and checkpoints.


@given(batch=strategies.reward_batches(min_steps=10))
@settings(max_examples=40)
def test_reward_batches_have_the_fault_that_is_said(batch: RewardBatch) -> None:
    found = assess_rewards(batch.samples())

    assert len(batch.samples()) == batch.steps * batch.groups * batch.size
    assert bool(found.non_finite) == (batch.fault == "nan")
    assert (found.constant is not None) == (batch.fault == "constant")
    assert found.saturated_throughout == (batch.fault in {"constant", "saturated"})
    assert found.length.follows == (batch.fault == "length")
    sign = {"negated": -1, "shuffled": 0, "constant": 0, "saturated": 0}.get(batch.fault, 1)
    if sign:
        assert found.advantage.value == pytest.approx(sign, abs=0.05)
    elif batch.fault == "shuffled":
        assert abs(found.advantage.value) < 0.7


@given(checkpoint=strategies.checkpoints())
@example(SyntheticCheckpoint(width=10, corruption=Corruption(kind="dead-rows", place=0.0)))
@settings(max_examples=60)
def test_checkpoints_have_the_corruption_that_is_said(checkpoint: SyntheticCheckpoint) -> None:
    with tempfile.TemporaryDirectory() as folder:
        health = inspect_checkpoint(checkpoint.save(Path(folder)))

    assert health.step == checkpoint.step
    if checkpoint.corruption is None:
        assert health.score == 1.0
        assert not health.issues
    else:
        assert checkpoint.corruption.found_as in {issue.kind for issue in health.issues}
        assert health.score < 0.8


def test_every_corruption_is_drawn_and_none_comes_first() -> None:
    drawn = sample(strategies.checkpoints(), 200)

    assert {one.corruption.kind for one in drawn if one.corruption} == set(FOUND_AS)
    simplest = smallest(strategies.checkpoints(), lambda one: True)
    assert simplest is not None
    assert simplest.corruption is None


# Runs, and types.


@given(run=strategies.runs())
@settings(max_examples=20)
def test_runs_are_runs(run: Any) -> None:
    assert run.steps == len(run.rows)
    assert len(run["learning_rate"]) == len(run.rows)
    assert np.array_equal(run["learning_rate"].values, column(run.rows, "learning_rate").values)
    assert len(run.samples) == 0
    assert run.checkpoints == ()


def test_types_are_registered() -> None:
    register()

    assert set(TYPES) == set(strategies.BY_TYPE)
    for kind in TYPES:
        assert type(sample(st.from_type(kind), 3)[-1]) is kind


@pytest.mark.parametrize("first", ["hypothesis", "rlhf_assert.testing.strategies"])
def test_the_entry_point_registers_whoever_is_imported_first(first: str) -> None:
    """The entry point runs in the middle of the import of hypothesis, which ours may have begun."""
    code = f"""
import importlib.metadata as metadata, sys
(entry,) = [metadata.EntryPoint("rlhf_assert", "rlhf_assert.testing.registration:register", "hypothesis")]
metadata.entry_points = lambda **asked: (entry,) if asked == {{"group": "hypothesis"}} else ()
import {first}
from hypothesis import strategies as st
from rlhf_assert.recording.series import Series
assert repr(st.from_type(Series)) and "rlhf_assert.testing.registration" in sys.modules
print(type(st.from_type(Series).wrapped_strategy).__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
