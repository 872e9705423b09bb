from __future__ import annotations

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
