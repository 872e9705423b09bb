"""How often the default detectors alarm on runs in which nothing is wrong: a committed table.

Recompute it after a change of a detector: RLHF_ASSERT_RECALIBRATE=1 pytest tests/calibration -m slow
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

TABLE = Path(__file__).with_name("false_alarms.json")
RUNS = {40: 400, 200: 200, 1000: 40}
Measure = Callable[[str, int, int], dict[str, float]]


@pytest.fixture(scope="module")
def table() -> dict[str, dict[str, dict[str, float]]]:
    return json.loads(TABLE.read_text())["share_of_runs_with_an_alarm"]


def test_the_table_holds_the_bars(table: dict[str, dict[str, dict[str, float]]]) -> None:
    """Nothing critical anywhere, and no warning on light-tailed noise; random walks are reported only.

    On tails as heavy as t3 and lognormal in all of a run's metrics at once, single values warn in a few short runs.
    """
    for shape in ("iid", "ar(.7)", "discrete", "trending"):
        for cell in table[shape].values():
            assert cell == {"warning": 0.0, "critical": 0.0}, shape
    for shape in ("t3", "lognormal"):
        assert {cell["critical"] for cell in table[shape].values()} == {0.0}, shape
        assert table[shape]["40"]["warning"] <= 0.03, shape
        assert table[shape]["200"]["warning"] <= 0.25, shape


@pytest.mark.parametrize("shape", ["iid", "ar(.7)", "t3", "lognormal", "discrete", "trending"])
def test_a_part_of_the_table_is_still_true(
    false_alarms: Measure, table: dict[str, dict[str, dict[str, float]]], shape: str
) -> None:
    """The first 40 of the same seeded runs: their alarms are among those of the table."""
    runs = 40
    found = false_alarms(shape, 40, runs)
    for severity, share in found.items():
        assert share * runs <= table[shape]["40"][severity] * RUNS[40] + 1e-9


@pytest.mark.slow
def test_the_whole_table_is_true(false_alarms: Measure, shapes: tuple[str, ...]) -> None:
    found = {shape: {str(steps): false_alarms(shape, steps, runs) for steps, runs in RUNS.items()} for shape in shapes}
    document = {
        "detectors": "default_detectors('grpo', {'beta': 0.04}), 12 metrics a row",
        "runs": {str(steps): runs for steps, runs in RUNS.items()},
        "share_of_runs_with_an_alarm": found,
    }
    if os.environ.get("RLHF_ASSERT_RECALIBRATE"):
        TABLE.write_text(json.dumps(document, indent=1) + "\n")
    assert json.loads(TABLE.read_text()) == document
