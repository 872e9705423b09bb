"""Runners of other packages are found by their entry point."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from rlhf_assert.errors import MissingDependency
from rlhf_assert.training import runner


def installed(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    group = runner.ENTRY_POINT_GROUP
    entries = [EntryPoint(name, value, group) for name, value in values.items()]

    def entry_points(**given: Any) -> list[EntryPoint]:
        assert given == {"group": group}
        return entries

    monkeypatch.setattr(runner, "entry_points", entry_points)


def test_a_runner_is_found_by_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, ray="rlhf_assert_ray.cluster:ClusterRunner")
    from rlhf_assert_ray.cluster import ClusterRunner

    assert runner.find_remote_runner("ray") is ClusterRunner


def test_an_unknown_kind_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, slurm="x:y")
    with pytest.raises(MissingDependency, match="no installed package trains on ray; installed: slurm"):
        runner.find_remote_runner("ray")
