"""Hypothesis profiles: quick by default, more examples and no chance in CI."""

from __future__ import annotations

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("rlhf_scenario"):
        return  # the packaged health tests run alone, also where hypothesis is not installed
    from hypothesis import settings

    settings.register_profile("default", deadline=None, max_examples=50)
    settings.register_profile("ci", deadline=None, max_examples=100, derandomize=True, print_blob=True)
    settings.load_profile("ci" if os.environ.get("CI") else "default")
