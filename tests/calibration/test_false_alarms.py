"""How often the default detectors alarm on runs in which nothing is wrong: a committed table.

Recompute it after a change of a detector: RLHF_ASSERT_RECALIBRATE=1 pytest tests/calibration -m thorough
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

TABLE = Path(__file__).with_name("false_alarms.json")
RUNS = {40: 400, 200: 200, 1000: 200}
BUDGET = {"warning": 0.05, "critical": 0.005}
GATED = ("iid", "ar(.7)", "t3", "lognormal", "discrete", "trending")
Measure = Callable[..., dict[str, float]]
Table = dict[str, dict[str, dict[str, float]]]


@pytest.fixture(scope="module")
def table() -> dict[str, Table]:
    return json.loads(TABLE.read_text())


def excess(share: float, runs: int, budget: float) -> bool:
    """Return whether a share is above 1.5 times the budget by more than one run (few runs tell no more)."""
    return share * runs > max(1.5 * budget * runs, 1.0) + 1e-9


@pytest.mark.parametrize("part", ["by_noise", "by_reward"])
def test_every_cell_is_within_the_budget(table: dict[str, Table], part: str) -> None:
    """Random walks are reported only: nothing tells one from a real loss of level."""
    runs = RUNS if part == "by_noise" else dict.fromkeys(RUNS, table["runs_by_reward"])
    for shape, cells in table[part].items():
        if shape == "random-walk":
            continue
        for steps, cell in cells.items():
            for severity, share in cell.items():
                assert not excess(share, runs[int(steps.split()[-1])], BUDGET[severity]), (shape, steps, cell)


@pytest.mark.parametrize("shape", GATED)
def test_a_part_of_the_table_is_still_true(false_alarms: Measure, table: dict[str, Table], shape: str) -> None:
    """The first 40 of the same seeded runs: their alarms are among those of the table."""
    runs = 40
    found = false_alarms(shape, 40, runs)
    for severity, share in found.items():
        assert share * runs <= table["by_noise"][shape]["40"][severity] * RUNS[40] + 1e-9


@pytest.mark.thorough
def test_the_whole_table_is_true(
    false_alarms: Measure, shapes: tuple[str, ...], kinds_of_reward: tuple[str, ...]
) -> None:
    by_reward = 40
    document = {
        "detectors": "default_detectors('grpo', {'beta': 0.04}), 14 metrics a row, budget .05 and .005",
        "runs": {str(steps): runs for steps, runs in RUNS.items()},
        "runs_by_reward": by_reward,
        "by_noise": {
            shape: {str(steps): false_alarms(shape, steps, runs) for steps, runs in RUNS.items()} for shape in shapes
        },
        "by_reward": {
            kind: {
                f"{shape} {steps}": false_alarms(shape, steps, by_reward, kind)
                for shape in GATED
                for steps in (40, 200)
            }
            for kind in kinds_of_reward
        },
    }
    if os.environ.get("RLHF_ASSERT_RECALIBRATE"):
        TABLE.write_text(json.dumps(document, indent=1) + "\n")
    assert json.loads(TABLE.read_text()) == document
