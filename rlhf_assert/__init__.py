"""rlhf-assert: real, short RLHF trainings in pytest, recorded and judged.

Public names load on first use, so that importing the package costs nothing (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlhf_assert.check import Check as Check
    from rlhf_assert.check import Status as Status
    from rlhf_assert.detect.anomaly import Anomaly as Anomaly
    from rlhf_assert.detect.anomaly import Severity as Severity
    from rlhf_assert.record import Recorder as Recorder
    from rlhf_assert.run import Run as Run
    from rlhf_assert.run import read_run as read_run
    from rlhf_assert.scenarios import Scenario as Scenario
    from rlhf_assert.scenarios import scenario as scenario
    from rlhf_assert.series import Series as Series

__version__ = "0.1.0"

_HOMES = {
    "Anomaly": "detect.anomaly",
    "Check": "check",
    "Recorder": "record",
    "Run": "run",
    "Scenario": "scenarios",
    "Series": "series",
    "Severity": "detect.anomaly",
    "Status": "check",
    "read_run": "run",
    "scenario": "scenarios",
}

__all__ = [*_HOMES, "__version__"]  # noqa: PLE0604 - the names are strings


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
