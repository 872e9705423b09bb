"""Watching a run: trends, epochs, anomalies, and memory that stays bounded."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_assert.detect import Severity
from rlhf_assert.detect.monitor import Monitor
from rlhf_assert.detect.scan import MAX_METRICS

numbers = st.none() | st.floats()


def test_a_trend_is_seen_announced_once_and_ends() -> None:
    monitor = Monitor()
    changes = []
    for step in range(60):
        monitor.update(step, {"up": float(step), "down": -float(step), "flat": 1.0})
        changes += [(step, name, trend) for name, trend in monitor.changed.items()]
    assert monitor.trends == {"up": "increasing", "down": "decreasing", "flat": "stable"}
    assert changes == [(23, "up", "increasing"), (23, "down", "decreasing")]  # told at every fourth row

    for step in range(60, 100):
        monitor.update(step, {"up": 60.0, "down": -60.0, "flat": 1.0})

    assert set(monitor.trends.values()) == {"stable"}


def test_noise_has_a_trend_as_rarely_as_the_sign_test_promises() -> None:
    noise = random.Random(0)
    entered, rows = 0, 0
    for _ in range(200):
        monitor = Monitor([])
        for step in range(25):
            monitor.update(
                step, {"a": noise.gauss(0, 1), "b": noise.lognormvariate(0, 2), "c": noise.choice([0.0, 1.0])}
            )
        rows += 3
        entered += sum(trend != "stable" for trend in monitor.trends.values())
    assert entered / rows < 0.03  # 0.63 % a row; the window ends on the fourth or fifth row that can show one


def test_a_slow_trend_in_noise_is_found() -> None:
    noise = random.Random(0)
    monitor = Monitor([])
    seen = set()
    for step in range(200):
        monitor.update(step, {"reward": 0.2 * step + noise.gauss(0, 1)})
        seen.add(monitor.trends["reward"])
    assert seen == {"stable", "increasing"}


def test_epoch_statistics_are_those_of_the_finite_values() -> None:
    noise = random.Random(1)
    monitor = Monitor([])
    values: list[float] = []
    for step in range(150):  # more than two batches of the running sums
        value = noise.gauss(1e6, 1.0)
        missing = step % 7 == 0
        monitor.update(step, {"loss": math.nan if missing else value, "other": None if step < 140 else float(step)})
        values += [] if missing else [value]

    epoch = monitor.end_epoch()

    loss = epoch["loss"]
    assert (loss.min, loss.max, loss.trend) == (min(values), max(values), "stable")
    assert loss.mean == pytest.approx(statistics.fmean(values), rel=1e-12)
    assert loss.std == pytest.approx(statistics.pstdev(values), rel=1e-6)
    assert (epoch["other"].mean, epoch["other"].trend) == (144.5, "increasing")


def test_an_epoch_begins_anew() -> None:
    monitor = Monitor([])
    for step in range(100):
        monitor.update(step, {"loss": float(step)})
    assert monitor.end_epoch()["loss"].trend == "increasing"
    assert monitor.end_epoch() == {}

    for step in range(20):
        monitor.update(step, {"loss": -float(step), "nothing": None})

    epoch = monitor.end_epoch()
    assert set(epoch) == {"loss"}
    assert (epoch["loss"].min, epoch["loss"].max, epoch["loss"].trend) == (-19.0, 0.0, "decreasing")


def test_the_default_detectors_watch() -> None:
    (anomaly,) = Monitor().update(1, {"loss": math.nan})
    assert (anomaly.kind, anomaly.severity) == ("non-finite", Severity.critical)


def test_names_without_end_are_left_out_and_that_is_said_once() -> None:
    monitor = Monitor()
    found = []
    for step in range(MAX_METRICS + 50):
        found += monitor.update(step, {"loss": 0.5 + step, f"sample_{step}": 1.0})

    told = [anomaly for anomaly in found if anomaly.metric != "loss"]
    assert [(anomaly.kind, anomaly.severity, anomaly.onset) for anomaly in told] == [
        ("too-many-metrics", Severity.info, MAX_METRICS - 1)
    ]
    assert len(monitor.trends) == MAX_METRICS
    assert len(monitor.end_epoch()) == MAX_METRICS
    assert monitor.trends["loss"] == "increasing"


@given(st.lists(st.dictionaries(st.sampled_from(["loss", "kl_div", "reward", "x"]), numbers), max_size=80))
def test_any_floats_are_survived(rows: list[dict[str, float | None]]) -> None:
    monitor = Monitor()
    for step, row in enumerate(rows, start=1):
        monitor.update(step, row)
        assert set(monitor.trends.values()) <= {"increasing", "decreasing", "stable"}
    for found in monitor.end_epoch().values():
        assert found.min <= found.max


def test_the_callers_row_is_not_kept() -> None:
    monitor = Monitor([])
    row: dict[str, float | None] = {"loss": 1.0}
    monitor.update(1, row)
    row["loss"] = 99.0
    assert monitor.end_epoch()["loss"].max == 1.0
