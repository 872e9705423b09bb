from __future__ import annotations

from typing import Any

from rlhf_assert.detect import Severity
from rlhf_assert.detect.detectors.frozen import Frozen


def test_a_sound_run_is_quiet(find: Any, sound: Any) -> None:
    assert find(Frozen(), sound) == []


def test_a_metric_that_stands_still_is_found_unless_it_is_0(find: Any) -> None:
    (found,) = find(Frozen(), [{"loss": 1.0}, *[{"loss": 2.0, "entropy": 0.0}] * 50])
    assert (found.metric, found.severity, found.onset) == ("loss", Severity.warning, 2)
    assert find(Frozen(), [{"loss": 0.0, "truncated_fraction": 1.0}] * 50) == []
    assert find(Frozen(), [*[{"loss": 1.0}] * 19, {"loss": 1.1}] * 5) == []
