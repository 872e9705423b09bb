"""Trains packaged scenarios in this process."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlhf_assert import Recorder, Run, Scenario, read_run
from rlhf_assert.recording.live_recording import LiveRecording
from rlhf_assert.training.locator import scenarios_of


@pytest.fixture(scope="session")
def trl_backend() -> Any:
    """The TRL backend with everything imported."""
    from rlhf_assert_trl.backend import BACKEND

    BACKEND.warm_up()
    return BACKEND


@pytest.fixture
def train(trl_backend: Any, tmp_path: Path) -> Callable[..., Run]:
    """Train the scenario of a module of `rlhf_scenarios` and return its run; skip where this TRL cannot."""

    def run(module: str, seed: int, steps: int | None = None, folder: str = "run") -> Run:
        found: Scenario = scenarios_of(importlib.import_module(f"rlhf_scenarios.{module}"))[0]
        if (reason := found.unmet()) is not None:
            pytest.skip(reason)
        live = LiveRecording(Recorder(tmp_path / folder, scenario=found.name, seed=seed))
        trl_backend.train(found, live, seed=seed, steps=steps or found.steps)
        live.finish()
        return read_run(live.path)

    return run
