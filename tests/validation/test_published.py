"""The validation in docs/detectors.md is of today's faults and scenarios."""

from __future__ import annotations

from pathlib import Path

from rlhf_assert.training.backend import find_backend
from rlhf_assert.training.locator import packaged_scenarios
from rlhf_assert.training.train import injectable
from rlhf_assert.validation.plan import BACKEND
from rlhf_assert.validation.publish import BEGIN, END

PAGE = Path(__file__).resolve().parents[2] / "docs" / "detectors.md"
COMMAND = (
    "rlhf-assert validate --out DIR and python -m rlhf_assert.validation.publish DIR/validation.md docs/detectors.md"
)


def rows(title: str) -> list[list[str]]:
    """Return the cells of one table of the published report."""
    report = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    lines = report.partition(f"### {title}\n")[2].partition("\n### ")[0].splitlines()
    table = [line for line in lines if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_it_has_every_fault_and_only_scenarios_that_there_are() -> None:
    found = rows("By fault")
    assert {row[0] for row in found} == injectable(find_backend(BACKEND)), COMMAND
    named = {f"trl-{name}" for row in found for name in row[2].split(", ")}
    assert named <= set(packaged_scenarios()), COMMAND


def test_its_numbers_add_up() -> None:
    (faults, healthy) = rows("Confusion matrix")
    each = [row[3].partition(" ")[0].split("/") for row in rows("By fault")]
    assert sum(int(found) for found, _ in each) == int(faults[1])
    assert sum(int(total) for _, total in each) == int(faults[1]) + int(faults[2])
    assert int(healthy[1]) + int(healthy[2]) >= 25
