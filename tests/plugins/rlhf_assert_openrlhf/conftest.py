from __future__ import annotations

from pathlib import Path

import pytest

from rlhf_assert.errors import MissingDependency
from rlhf_assert_openrlhf.environment import Environment, find_environment


@pytest.fixture(scope="session")
def installed() -> Environment:
    """The installed OpenRLHF; skips with the mending command where there is none."""
    try:
        return find_environment()
    except MissingDependency as error:
        pytest.skip(str(error))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A training of OpenRLHF takes both cores: it runs alone."""
    for item in items:
        if Path(__file__).parent in item.path.parents and item.get_closest_marker("training"):
            item.add_marker(pytest.mark.alone)
