"""Rows as columns: detectors that take blocks of rows find what they find row by row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_assert.detect import Anomaly, Detector, default_detectors, discover
from rlhf_assert.detect.detector_registry import BUILT_IN
from rlhf_assert.detect.scan import Stream
from rlhf_assert.detect.settings import Settings
from rlhf_assert.detect.streaks import streaks
from rlhf_assert.recording.rows import Block, Column, ColumnRows, Row

LN2 = math.log(2.0)
ONLINE = {
    "loss": (0.0, 0.1),
    "grad_norm": (0.7, 0.15),
    "learning_rate": (1e-4, 1e-6),
    "kl_div": (0.1, 0.02),
    "approx_kl": (0.02, 0.004),
    "clip_ratio": (0.1, 0.02),
    "entropy": (2.0, 0.1),
    "reward": (1.0, 0.2),
    "reward_std": (0.3, 0.04),
    "zero_std_fraction": (0.3, 0.05),
    "truncated_fraction": (0.1, 0.02),
    "response_length": (50.0, 3.0),
    "value_loss": (0.5, 0.1),
    "explained_variance": (0.3, 0.1),
    "rollout_kl": (0.01, 0.002),
}
OFFLINE = {
    "loss": (LN2 - 0.3, 0.05),
    "grad_norm": (0.7, 0.15),
    "chosen_reward": (0.5, 0.1),
    "rejected_reward": (-0.5, 0.1),
    "reward_margin": (1.0, 0.0),
    "reward_accuracy": (0.7, 0.03),
    "entropy": (2.0, 0.1),
}
"""Metric -> level and spread in runs in which nothing is wrong."""

PLANTS = ("constant", "scale", "shift", "zero", "alternate", "nan", "inf", "null", "missing", "late")


@st.composite
def runs(draw: st.DrawFn) -> list[Row]:
    """Runs of up to 300 rows with up to four faults in their metrics or steps."""
    count = draw(st.integers(1, 300))
    levels = draw(st.sampled_from([ONLINE, ONLINE, OFFLINE]))
    names = sorted(draw(st.sets(st.sampled_from(sorted(levels)), min_size=2)) if draw(st.booleans()) else levels)
    noise = np.random.default_rng(draw(st.integers(0, 1000)))
    values: dict[str, list[float | None]] = {
        name: (levels[name][0] + levels[name][1] * noise.normal(size=count)).tolist() for name in names
    }
    if levels is OFFLINE and "loss" in values:
        values["loss"][0] = LN2
    absent: set[tuple[str, int]] = set()
    for _ in range(draw(st.integers(0, 4))):
        struck, plant = draw(st.sampled_from([*names, "all"])), draw(st.sampled_from(PLANTS))
        first = draw(st.integers(0, count - 1))
        places = range(first, min(count, first + draw(st.sampled_from([1, 3, 6, 12, 25, 60, 300]))))
        size = draw(st.sampled_from([-3.0, 0.01, 0.3, 3.0, 8.0, 30.0, 1e6]))
        for name in names if struck == "all" else [struck]:
            _plant(plant, name, places, size, values[name], absent)
    steps = _steps(draw, count)
    return [
        Row(steps[row], None, {name: values[name][row] for name in names if (name, row) not in absent})
        for row in range(count)
    ]


def _plant(
    plant: str, name: str, places: range, size: float, values: list[float | None], absent: set[tuple[str, int]]
) -> None:
    begin = values[places[0]]
    for row in range(places[0]) if plant == "late" else places:
        old = values[row] or 0.0
        values[row] = {
            "constant": begin,
            "scale": old * size,
            "shift": old + size,
            "zero": 0.0,
            "alternate": old if row % 2 else old * size,
            "nan": math.nan,
            "inf": math.inf,
            "null": None,
        }.get(plant, old)
        if plant in {"missing", "late"}:
            absent.add((name, row))


def _steps(draw: st.DrawFn, count: int) -> list[int]:
    kind = draw(st.sampled_from(["plain", "plain", "every 5", "late", "back", "repeated"]))
    back = draw(st.integers(0, count))
    return [
        {"plain": row + 1, "every 5": 5 * row, "late": row + 40, "repeated": row // 3 + 1}.get(
            kind, row + 1 if row < back else row + 1 - back // 2
        )
        for row in range(count)
    ]


def columns_of(rows: list[Row]) -> ColumnRows:
    """The same rows as a reader of logs holds them."""
    names = list(dict.fromkeys(name for row in rows for name in row.metrics))
    columns = {}
    for name in names:
        held = [place for place, row in enumerate(rows) if name in row.metrics]
        values = [rows[place].metrics[name] for place in held]
        columns[name] = Column(
            np.array(held, dtype=np.int32),
            np.array(values, dtype=np.float64),
            np.array([place for place in held if rows[place].metrics[name] is None], dtype=np.int32),
        )
    return ColumnRows(np.array([row.step for row in rows]), np.full(len(rows), np.nan), columns)


def found_in(rows: list[Row] | ColumnRows, detectors: list[Detector], block: int = 64) -> str:
    with patch("rlhf_assert.detect.scan.BLOCK", block), patch("rlhf_assert.recording.rows.SHORTEST", 1):
        stream = Stream(detectors)
        found = "\n".join(map(repr, discover(rows, stream)))
        assert not stream.failed
        return found


Make = Callable[[], list[Detector]]
ALGORITHMS = st.sampled_from(["", "ppo", "grpo", "dpo", "reward", "sft"])
BLOCKS = st.sampled_from([2, 7, 32, 100, 1024])


@given(rows=runs(), block=BLOCKS, algorithm=ALGORITHMS)
def test_blocks_show_what_rows_show(rows: list[Row], block: int, algorithm: str) -> None:
    def detectors() -> list[Detector]:
        return default_detectors(algorithm, {"beta": 0.1}, settings=Settings(detectors={"level-shift": True}))

    columns = columns_of(rows)
    assert found_in(columns, detectors(), block) == found_in(list(columns), detectors())


@pytest.mark.parametrize("only", BUILT_IN)
@settings(max_examples=15)
@given(rows=runs(), block=BLOCKS, algorithm=ALGORITHMS)
def test_each_detector_finds_the_same_in_blocks(only: str, rows: list[Row], block: int, algorithm: str) -> None:
    def detector() -> list[Detector]:
        chosen = Settings(detectors={name: name == only for name in BUILT_IN})
        return default_detectors(algorithm, {"beta": 0.1}, settings=chosen)

    columns = columns_of(rows)
    assert found_in(columns, detector(), block) == found_in(list(columns), detector())


@given(rows=runs(), block=st.sampled_from([2, 7, 32]))
def test_the_parts_of_columns_are_their_rows(rows: list[Row], block: int) -> None:
    columns, parts, begun = columns_of(rows), [], set()
    with patch("rlhf_assert.recording.rows.SHORTEST", 2):
        for part in columns.parts(block):
            if isinstance(part, Block):
                assert 2 <= len(part) <= block
                assert set(part.metrics) in begun
                assert all(np.isfinite(values).all() for values in part.metrics.values())
                parts += part.rows
            else:
                parts.append((part.step, part.metrics))
                begun_with = {name for name, value in part.metrics.items() if value is not None}
                begun.add(frozenset(begun_with))

    assert repr(parts) == repr([(row.step, dict(row.metrics)) for row in columns])


class Counting:
    """A detector that counts what comes row by row."""

    def __init__(self, detector: Any) -> None:
        self.name, self.rows, self._detector = detector.name, 0, detector

    @property
    def finished(self) -> bool:
        return getattr(self._detector, "finished", False)

    def absorb(self, block: Block) -> bool:
        return hasattr(self._detector, "absorb") and self._detector.absorb(block)

    def update(self, step: int, metrics: Mapping[str, float | None]) -> list[Anomaly]:
        self.rows += 1
        return list(self._detector.update(step, metrics))


@pytest.mark.parametrize("levels", [ONLINE, OFFLINE])
def test_calm_blocks_are_not_looked_at_row_by_row(levels: dict[str, tuple[float, float]]) -> None:
    noise = np.random.default_rng(0)
    drawn = {name: level + spread * noise.normal(size=5000).clip(-3, 3) for name, (level, spread) in levels.items()}
    rows = [Row(row + 1, None, {name: float(values[row]) for name, values in drawn.items()}) for row in range(5000)]
    detectors = [Counting(detector) for detector in default_detectors("grpo", {"beta": 0.1})]

    with patch("rlhf_assert.detect.scan.BLOCK", 250):
        list(discover(columns_of(rows), detectors))

    assert {detector.name: detector.rows for detector in detectors if detector.rows > 1000} == {}


def test_a_detector_without_blocks_gets_rows() -> None:
    class Plain:
        name = "plain"
        seen: list[tuple[int, Mapping[str, float | None]]] = []  # noqa: RUF012

        def update(self, step: int, metrics: Mapping[str, float | None]) -> list[Anomaly]:
            self.seen.append((step, metrics))
            return []

    rows = [Row(step, None, {"reward": float(step)}) for step in range(1, 200)]

    assert list(discover(columns_of(rows), [Plain()])) == []
    assert Plain.seen == [(row.step, row.metrics) for row in rows]


@given(holds=st.lists(st.booleans(), min_size=1), before=st.integers(0, 5))
def test_streaks_are_those_of_counting(holds: list[bool], before: int) -> None:
    count = longest = before
    for held in holds:
        count = count + 1 if held else 0
        longest = max(longest, count)

    assert streaks(np.array(holds), before) == (longest, count)
