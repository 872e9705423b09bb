"""Metrics that are no longer logged."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_assert.detect import Severity
from rlhf_assert.detect.detectors.vanished import Vanished

FULL: dict[str, float | None] = {"loss": 0.1, "reward": 0.5, "kl_div": 0.1, "grad_norm": 1.0, "ratio": 1.0}


def without(*names: str) -> dict[str, float | None]:
    return {name: value for name, value in FULL.items() if name not in names}


@pytest.mark.parametrize(("metric", "severity"), [("reward", Severity.warning), ("ratio", Severity.info)])
def test_a_metric_that_stops_is_told_once_with_the_step_it_was_first_missed(
    find: Any, metric: str, severity: Severity
) -> None:
    (found,) = find(Vanished(), [FULL] * 20 + [without(metric)] * 100)

    assert (found.kind, found.metric, found.severity, found.onset) == ("vanished", metric, severity, 21)


def test_a_null_is_no_absence(find: Any) -> None:
    assert find(Vanished(), [FULL] * 30 + [{**FULL, "reward": None}] * 100) == []


def test_metrics_of_some_rows_only_are_quiet(find: Any) -> None:
    fourth = [FULL if row % 4 == 0 else without("reward", "kl_div") for row in range(200)]
    validation = [{**FULL, "eval": 1.0} if row % 50 == 0 else FULL for row in range(400)]

    assert find(Vanished(), fourth) == []
    assert find(Vanished(), validation) == []


def test_a_metric_of_every_fourth_row_that_stops(find: Any) -> None:
    rows = [FULL if row % 4 == 0 else without("reward") for row in range(80)] + [without("reward")] * 30

    assert [(found.metric, found.onset) for found in find(Vanished(), rows)] == [("reward", 78)]


def test_two_phases_in_one_file_are_quiet(find: Any) -> None:
    tuning: dict[str, float | None] = {"loss": 2.0, "grad_norm": 1.0, "learning_rate": 1e-5, "reward_accuracy": 0.9}

    assert find(Vanished(), [tuning] * 50 + [FULL] * 100) == []
    assert find(Vanished(), [FULL] * 50 + [without("reward", "kl_div")] * 100) == [], "a third of them at once"
    assert find(Vanished(), [FULL] * 50 + [{**without("reward"), "score": 1.0}] * 100) == [], "a new name"


def test_a_start_that_logs_more_is_quiet(find: Any) -> None:
    assert find(Vanished(), [FULL] * 19 + [without("ratio")] * 100) == []


def test_a_metric_that_comes_back_in_time_is_quiet(find: Any) -> None:
    assert find(Vanished(), [FULL] * 30 + [without("reward")] * 19 + [FULL] * 100) == []
