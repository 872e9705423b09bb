"""What the default detectors find, and how late: a committed table.

Recompute it after a change of a detector: RLHF_ASSERT_RECALIBRATE=1 pytest tests/calibration -m thorough
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

TABLE = Path(__file__).with_name("power.json")
SIZES = (2, 3, 5, 8)
RUNS = 200
Measure = Callable[[str, float, int], dict[str, float]]
Table = dict[str, dict[str, dict[str, float]]]


@pytest.fixture(scope="module")
def table() -> Table:
    return json.loads(TABLE.read_text())["share_of_runs"]


def test_the_table_holds_the_bars(table: Table) -> None:
    assert table["level"]["5"]["found"] >= 0.9
    assert table["level"]["5"]["median_delay"] <= 10
    assert table["spike"]["8"]["found"] >= 0.95
    assert table["drift"]["8"]["found"] >= 0.9
    assert table["slow-drift"]["8"]["found"] >= 0.9
    assert table["swing"]["8"]["found"] >= 0.9


def test_a_part_of_the_table_is_still_true(detection: Measure, table: Table) -> None:
    """The first 20 of the same seeded runs miss no more than all 200 of the table did."""
    for change, size in (("level", 5), ("spike", 8)):
        assert (1 - detection(change, size, 20)["found"]) * 20 <= (1 - table[change][str(size)]["found"]) * RUNS + 1e-9


@pytest.mark.thorough
def test_the_whole_table_is_true(detection: Measure, changes: tuple[str, ...]) -> None:
    document = {
        "detectors": "default_detectors('grpo', {'beta': 0.04}); the reward at row 60, in noise of 10 %",
        "runs": RUNS,
        "share_of_runs": {change: {str(size): detection(change, size, RUNS) for size in SIZES} for change in changes},
    }
    if os.environ.get("RLHF_ASSERT_RECALIBRATE"):
        TABLE.write_text(json.dumps(document, indent=1) + "\n")
    assert json.loads(TABLE.read_text()) == document
