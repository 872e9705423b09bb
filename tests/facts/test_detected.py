"""What is found in a run, by the run's own settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rlhf_assert.checked import Status
from rlhf_assert.checks.kl import judge_kl
from rlhf_assert.detect import discover
from rlhf_assert.detect.budget import Rates
from rlhf_assert.detect.default import default_detectors
from rlhf_assert.detect.settings import Settings
from rlhf_assert.facts.detected import anomalies_in, expected_false_alarms
from rlhf_assert.recording.run import Run

MakeRun = Callable[..., Run]
TIGHT = Settings(warning=0.2, critical=0.1, checks={"kl-runaway": 0.05})


def test_a_run_is_judged_by_the_settings_that_it_keeps(make_run: MakeRun, rows: list[dict[str, Any]]) -> None:
    kept = make_run(rows, detection=TIGHT.table())
    live = [
        found
        for found in discover(kept.rows, default_detectors("grpo", {"beta": 0.04}, settings=TIGHT))
        if found.kind == "kl-runaway"
    ]

    assert "kl-runaway" not in [found.kind for found in anomalies_in(make_run(rows))]
    assert [found for found in anomalies_in(kept) if found.kind == "kl-runaway"] == live[-1:]
    assert live[-1].evidence["limit"] == 0.05


@pytest.mark.parametrize(
    ("given", "note"),
    [(3.0, "limit 3.00"), (True, "limit 1.00"), (False, "no limit: kl-runaway is off in the run's settings")],
)
def test_the_check_of_the_kl_names_the_limit_that_was_set(
    make_run: MakeRun, rows: list[dict[str, Any]], given: float | bool, note: str
) -> None:
    check = judge_kl(make_run(rows, detection=Settings(checks={"kl-runaway": given}).table()))
    assert (check.status, check.note) == (Status.PASS, note)


def test_only_a_run_that_draws_on_the_budget_may_alarm_by_it(make_run: MakeRun, rows: list[dict[str, Any]]) -> None:
    without = [{"entropy": row["entropy"], "kl": row["kl"]} for row in rows]

    assert expected_false_alarms(make_run(rows)) == Rates(0.05, 0.005)
    assert expected_false_alarms(make_run(rows, detection=TIGHT.table())) == Rates(0.2, 0.1)
    assert expected_false_alarms(make_run(without)) == Rates()
    off = Settings(checks=dict.fromkeys(("reward-collapse", "reward-below-start", "loss-rise"), False))
    assert expected_false_alarms(make_run(rows, detection=off.table())) == Rates()
