"""What `rlhf_assert` and `rlhf_assert.testing` export: each name loads, and none needs hypothesis by accident."""

from __future__ import annotations

import subprocess
import sys

import pytest

import rlhf_assert
import rlhf_assert.testing

WITHOUT_HYPOTHESIS = """
import sys
sys.modules["hypothesis"] = None
from rlhf_assert import *
assert judge and Detector and Backend and Cause and scan and Monitor
assert "hypothesis" not in {name for name, module in sys.modules.items() if module}
"""


@pytest.mark.parametrize("package", [rlhf_assert, rlhf_assert.testing])
def test_every_public_name_loads(package):
    assert set(package.__all__) <= set(dir(package))
    for name in dir(package):
        assert getattr(package, name) is not None, name


def test_the_names_that_others_build_on_are_public():
    assert {"Backend", "Cause", "Check", "CheckSpec", "Detector", "LiveRecording", "Monitor"} <= set(
        rlhf_assert.__all__
    )
    assert {"check", "detector", "judge", "scan", "scenario", "read_run"} <= set(rlhf_assert.__all__)


def test_a_star_import_works_without_hypothesis():
    subprocess.run([sys.executable, "-c", WITHOUT_HYPOTHESIS], check=True)


def test_the_strategies_keep_their_path():
    from rlhf_assert import strategies
    from rlhf_assert.testing import strategies as home

    assert strategies.spike is home.spike
    assert set(strategies.__all__) == set(home.__all__)
