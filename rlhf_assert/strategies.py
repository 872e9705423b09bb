"""The hypothesis strategies, under the name that tests import: see `rlhf_assert.testing.strategies`."""

from __future__ import annotations

from rlhf_assert.testing.strategies import *  # noqa: F403 - the same names
from rlhf_assert.testing.strategies import __all__  # noqa: F401 - re-exported
