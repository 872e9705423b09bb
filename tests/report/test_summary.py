from __future__ import annotations

import dataclasses

import pytest

from rlhf_assert.checked import Cause, Check, Status
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.detect.budget import Rates
from rlhf_assert.report.layout import columns
from rlhf_assert.report.reported_causes import reported_causes
from rlhf_assert.report.summary import health_section
from rlhf_assert.report.wording import findings_of, mark, verdict_word
from rlhf_assert.verdict import Verdict

KL = Check(name="kl", status=Status.PASS, headline="kl 0.001 → 0.021", metrics=("kl_div",), note="limit 1.00")
RESUME = Check(name="resume", status=Status.SKIPPED, headline="the scenario asks for no resume")
ENDED = Check(name="completion", status=Status.PASS, headline="completed 20 steps", note="20 steps")


def anomaly(metric, onset, severity=Severity.critical, summary="grew", kind="x"):
    return Anomaly(kind=kind, metric=metric, severity=severity, onset=onset, summary=summary)


def failure(name, metric, onset, cause="", headline="", more=(), certainty="likely"):
    return Check(
        name=name,
        status=Status.FAIL,
        headline=headline or f"{name} runaway from step {onset}",
        metrics=(metric,),
        anomalies=(anomaly(metric, onset), *more),
        cause=Cause(cause, certainty) if cause else None,
    )


WARNED = Check(
    name="entropy",
    status=Status.PASS,
    headline="entropy 2.3 → 1.4",
    metrics=("entropy",),
    anomalies=(anomaly("entropy", 22, Severity.warning, "fell 41 % from step 22"),),
)


@pytest.fixture
def run_of(make_run):
    """A run of 20 steps whose kl rises linearly, with its times and seed set."""

    def make(scenario="trl-grpo", seed=0, **info):
        rows = [{"kl": 0.001 * step, "entropy": 2.0, "reward": 0.1 * step} for step in range(1, 21)]
        run = make_run(rows, scenario=scenario, seed=seed, learns="reward", **info)
        known = {"started": 100.0, "finished": 105.4, "monitor_seconds": 0.0486}
        return dataclasses.replace(run, info={**run.info, **known})

    return make


def test_one_run_is_a_block(run_of):
    assert health_section([Verdict(run_of(), (ENDED, KL, RESUME))]) == [
        "trl-grpo      PASS  20 steps, 5.4 s, seed 0, monitor 0.9 %",
        "  completion  PASS  20 steps",
        "  kl          PASS  ▁▁▁▂▂▃▃▃▄▄▅▅▆▆▆▇▇███   0.001 → 0.020   limit 1.00",
        "  resume      SKIP  the scenario asks for no resume",
    ]


def test_a_failed_block_says_what_and_how_to_repeat_it(run_of):
    lines = health_section([Verdict(run_of(), (failure("kl", "kl_div", 15), WARNED), "pytest -k x")])
    assert lines == [
        "trl-grpo   FAIL  20 steps, 5.4 s, seed 0, monitor 0.9 %",
        "  kl       CRIT  ▁▁▁▂▂▃▃▃▄▄▅▅▆▆▆▇▇███   0.001 → 0.020   runaway from step 15",
        "  entropy  WARN  ▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅   2.00 → 2.00     fell 41 % from step 22",
        "  again    pytest -k x",
    ]


def test_a_run_that_did_not_end_says_so(make_run):
    run = make_run([{"kl": 0.0}], status="timeout", steps=40)
    assert "timeout after 1 step of 40" in health_section([Verdict(run, (KL,))])[0]


def test_several_seeds_are_a_table(run_of):
    sound = [Verdict(run_of("trl-ppo", seed), (ENDED, KL, RESUME)) for seed in range(2)]
    warned = Verdict(run_of("trl-ppo", 2), (ENDED, KL, WARNED, RESUME))
    sick = [
        Verdict(
            run_of("my-grpo", seed),
            (ENDED, failure("kl", "kl_div", 15 - seed, "beta = 0.0"), RESUME),
            f"pytest --rlhf-seed={seed}",
        )
        for seed in range(2)
    ]
    assert health_section([*sound, warned, *sick]) == [
        "scenario        kl    entropy  seeds  steps    time  learns                             first sign",
        "trl-ppo   WARN  pass  warn       3/3     20  16.2 s  reward  ▁▁▂▃▃▄▅▅▆▇██  0.10 → 2.00  entropy 22",
        "my-grpo   FAIL  CRIT             0/2     20  10.8 s  reward  ▁▁▂▃▃▄▅▅▆▇██  0.10 → 2.00  kl 14",
        "",
        "CRIT  my-grpo  kl       runaway from step 14; all 2 seeds; likely: beta = 0.0",
        "warn  trl-ppo  entropy  fell 41 % from step 22; seed 2 only",
        "",
        "again       pytest --rlhf-seed=0",
        "",
        "passed      completion",
        "not judged  resume: the scenario asks for no resume (all)",
    ]


def test_one_cause_is_counted_once_and_ordered_by_onset(run_of):
    checks = (
        failure("kl", "kl_div", 15, "the reward follows length", "kl runaway from step 15"),
        failure("rewards", "reward", 9, "the reward follows length", "reward follows length"),
        failure("loss", "loss", 2, "a bad batch", certainty="possible"),
        failure("metrics", "ratio", 3, "a bad batch", "", (anomaly("response_length", 5, summary="rose"),), "possible"),
    )
    found = reported_causes([Verdict(run_of(), checks)])
    assert [(one.check, one.onset) for one in found] == [("loss", 2), ("metrics", 3), ("rewards", 9)]
    assert found[1].consequences == (("length", "rose"),)
    assert found[2].consequences == (("kl", "runaway from step 15; the same cause, counted once"),)
    assert found[2].text == "follows length; likely: the reward follows length"


def test_the_number_of_false_alarms_is_told_only_where_it_is_known(run_of):
    verdict = Verdict(run_of(), (ENDED, KL, RESUME))
    assert not any(line.startswith("alarms") for line in health_section([verdict]))
    told = health_section([verdict, verdict], expected_false_alarms=[Rates(0.05, 0.005), Rates()])
    assert told[-1] == (
        "alarms      2 runs, 4 checks; at most 0.05 false warnings, 0.005 criticals expected at this budget"
    )
    told = health_section([verdict], expected_false_alarms=[Rates()])
    assert told[-1] == "alarms      1 run, 2 checks; no check drew on the false-alarm budget"


def test_nothing_judged_is_no_pass():
    assert verdict_word([RESUME]) == "NONE"
    assert verdict_word([]) == "NONE"
    assert mark(RESUME) == "skip"
    assert health_section([]) == []


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("runs", [1, 5])
def test_lines_fit_the_terminal(run_of, width, plain, runs):
    words = "a long headline of many words " * 5
    checks = (ENDED, failure("kl", "kl_div", 3, words, words), WARNED, dataclasses.replace(RESUME, headline=words))
    verdicts = [Verdict(run_of(f"scenario-{number}"), checks) for number in range(runs)]
    lines = health_section(verdicts, width=width, ascii=plain)
    assert max(columns(line) for line in lines) <= width
    assert not plain or "".join(lines).isascii()


def test_findings_of_checks_are_the_contract():
    checks = (failure("kl", "kl_div", 15), failure("metrics", "kl_div", 15), WARNED, RESUME)
    found = findings_of(checks)
    assert [(one["metric"], one["severity"], one["onset"]) for one in found] == [
        ("kl_div", "critical", 15),
        ("entropy", "warning", 22),
    ]
    assert set(found[0]) == {"kind", "metric", "severity", "onset", "evidence", "remedy"}


def test_a_failure_without_a_critical_anomaly_is_a_critical_finding():
    check = Check(name="learning", status=Status.FAIL, headline="no gain", metrics=("reward",), remedy=("more steps",))
    (found,) = findings_of([check])
    assert (found["kind"], found["severity"], found["onset"]) == ("learning", "critical", None)
    assert found["remedy"] == "more steps"
