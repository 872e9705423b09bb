"""The structure of the code: no circle of files, no two modules of one name, no module past 400 lines."""

from __future__ import annotations

from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
SAME_NAME = {"strategies"}
"""`rlhf_assert.strategies` is the import path of `rlhf_assert.testing.strategies` that users know."""


def test_no_circle_of_files() -> None:
    graph = grimp.build_graph("rlhf_assert", exclude_type_checking_imports=True, cache_dir=None)
    order = TopologicalSorter({module: graph.find_modules_directly_imported_by(module) for module in graph.modules})
    try:
        order.prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])), pytrace=False)


def test_no_two_modules_of_the_library_have_one_name() -> None:
    files = [path for path in (ROOT / "rlhf_assert").rglob("*.py") if path.stem not in {"__init__", "__main__"}]
    folders = {path.parent for path in files}
    names = Counter([path.stem for path in files] + [folder.name for folder in folders])
    assert {name for name, count in names.items() if count > 1} <= SAME_NAME


@pytest.mark.parametrize("folder", ["rlhf_assert", "plugins", "scenarios"])
def test_no_module_passes_400_lines(folder: str) -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / folder).rglob("*.py")}
    assert {path.name: length for path, length in lengths.items() if length > 400} == {}
