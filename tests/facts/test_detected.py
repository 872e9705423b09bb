"""What is found in a run, by the run's own settings."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from rlhf_assert.checked import Status
from rlhf_assert.checks.kl import judge_kl
from rlhf_assert.cli import main
from rlhf_assert.detect import Anomaly, Severity, discover
from rlhf_assert.detect.anomaly import anomaly_found
from rlhf_assert.detect.budget import Rates
from rlhf_assert.detect.default import default_detectors
from rlhf_assert.detect.settings import Settings
from rlhf_assert.facts.detected import anomalies_in, expected_false_alarms, failed_detectors
from rlhf_assert.recording.events import encode_event
from rlhf_assert.recording.run import Run
from rlhf_assert.verdict import judge

MakeRun = Callable[..., Run]
TIGHT = Settings(warning=0.2, critical=0.1, detectors={"kl-runaway": 0.05})


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
    check = judge_kl(make_run(rows, detection=Settings(detectors={"kl-runaway": given}).table()))
    assert (check.status, check.note) == (Status.PASS, note)


def test_only_a_run_that_draws_on_the_budget_may_alarm_by_it(make_run: MakeRun, rows: list[dict[str, Any]]) -> None:
    without = [{"entropy": row["entropy"], "kl": row["kl"]} for row in rows]

    assert expected_false_alarms(make_run(rows)) == Rates(0.05, 0.005)
    assert expected_false_alarms(make_run(rows, detection=TIGHT.table())) == Rates(0.2, 0.1)
    assert expected_false_alarms(make_run(without)) == Rates()
    off = Settings(detectors=dict.fromkeys(("reward-collapse", "reward-below-start", "loss-rise"), False))
    assert expected_false_alarms(make_run(rows, detection=off.table())) == Rates()


Event = tuple[str, int, dict[str, Any]]


def recorded(detector: str | None, metric: str = "reward", **changes: Any) -> Event:
    """An `anomaly` event as a training records it."""
    anomaly = Anomaly(
        kind="too-good",
        metric=metric,
        severity=Severity.critical,
        onset=12,
        summary="too good to be true from step 12",
        remedy="read the completions",
        detector=detector or "",
    )
    return "anomaly", 12, {**encode_event(anomaly_found(12, anomaly)), **changes}


@pytest.mark.parametrize("metric", ["reward", "entropy", "kl_div", "of-my-own", ""])
def test_what_was_found_live_is_in_the_verdict(make_run: MakeRun, rows: list[dict[str, Any]], metric: str) -> None:
    run = make_run(rows, events=[recorded("mine", metric)])

    assert [(found.kind, found.detector) for found in anomalies_in(run)] == [("too-good", "mine")]
    verdict = judge(run)
    assert verdict.status is Status.FAIL
    assert [found.kind for check in verdict.failures for found in check.anomalies] == ["too-good"]

    result = CliRunner().invoke(main, ["check", "--format=json", str(run.path)])
    (finding,) = json.loads(result.stdout)["runs"][0]["findings"]
    assert finding == {
        "kind": "too-good",
        "metric": metric,
        "severity": "critical",
        "onset": 12,
        "evidence": {},
        "remedy": "read the completions",
    }
    assert result.exit_code == 1


@pytest.mark.parametrize(
    "event",
    [
        recorded(None),  # of a version that did not record the detector's name
        recorded("kl-runaway"),  # the scan asks it again
        recorded("mine", severity="grave"),
        recorded("mine", onset="soon"),
    ],
)
def test_what_the_scan_decides_or_nobody_can_read_is_not_added(
    make_run: MakeRun, rows: list[dict[str, Any]], event: Event
) -> None:
    assert anomalies_in(make_run(rows, events=[event])) == ()


def test_what_a_detector_found_live_that_is_now_off_is_not_added(make_run: MakeRun, rows: list[dict[str, Any]]) -> None:
    off = {"detectors": {"mine": False}, "added-detectors": ["mine"]}
    assert anomalies_in(make_run(rows, detection=off, events=[recorded("mine")])) == ()


def test_a_detector_that_failed_live_is_named_in_the_verdict(make_run: MakeRun, rows: list[dict[str, Any]]) -> None:
    run = make_run(rows, events=[("monitor_failed", 3, {"detector": "mine", "error": "ValueError: no"})])

    assert failed_detectors(run) == {"mine": "ValueError: no"}
    verdict = judge(run)
    assert verdict.failures == ()
    (told,) = verdict.errors
    assert (told.name, told.headline) == ("detectors", "failed to judge: mine (ValueError: no)")
    entry = json.loads(CliRunner().invoke(main, ["check", "--format=json", str(run.path)]).stdout)["runs"][0]
    assert {"check": "detectors", "reason": told.headline} in entry["skipped"]
