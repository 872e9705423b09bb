from __future__ import annotations

import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlhf_assert.checked import Cause, Check, Status
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.report.diagnosis import axis_line, diagnose
from rlhf_assert.report.layout import columns
from rlhf_assert.report.sparkline import Axis
from rlhf_assert.verdict import judge


def anomaly(metric="kl_div", onset=15, severity=Severity.critical, summary="grew"):
    return Anomaly(kind="x", metric=metric, severity=severity, onset=onset, summary=summary)


RUNAWAY = Check(
    name="kl",
    status=Status.FAIL,
    headline="kl runaway from step 15: 8.23 at step 40, limit 1.00",
    metrics=("kl_div", "entropy"),
    anomalies=(anomaly(), anomaly(onset=31), anomaly("entropy", 33, Severity.warning)),
    evidence=("26 steps of growth from step 15, x1.26 a step, doubling every 3.0", "above the limit since step 31"),
    cause=Cause("beta = 0.0, nothing pulls the policy to the reference"),
    ruled_out=(
        ("reference moved", "weights hash equal at steps 0 and 40"),
        ("weights out of sync", "ratio at step 1 is 1.0000"),
    ),
    remedy=("beta = 0.04 in GRPOConfig, and run again", "still there: learning_rate 1e-3 → 1e-5, as in trl-grpo"),
    samples=('step 40  reward 0.94  131 tok  "the cat the cat"',),
    override="assert_kl_anomaly_free(limit=9)",
)


@pytest.fixture
def runaway_run(make_run):
    return make_run({"kl": 0.021 * 1.26 ** max(0, step - 14), "entropy": 2.34 - 0.047 * step} for step in range(1, 41))


def test_the_whole_diagnosis(runaway_run):
    again = "pytest tests/test_rl.py -k my-grpo --rlhf-seed=0"
    assert diagnose(RUNAWAY, runaway_run, again=again).splitlines() == [
        "kl runaway from step 15: 8.23 at step 40, limit 1.00",
        "",
        "  kl       ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▂▂▂▃▃▃▄▄▄▅▅▅▅▆▆▆▇▇▇████   0.021 → 8.55   nats, log scale",
        "  entropy  █████▇▇▇▇▇▆▆▆▆▆▅▅▅▅▅▄▄▄▄▄▃▃▃▃▃▂▂▂▂▂▁▁▁▁▁   2.29 → 0.46    nats, warning",
        "           1             ^15             ^31     40",
        "",
        "  evidence    26 steps of growth from step 15, x1.26 a step, doubling every 3.0",
        "              above the limit since step 31",
        '  samples     step 40  reward 0.94  131 tok  "the cat the cat"',
        "  cause       likely: beta = 0.0, nothing pulls the policy to the reference",
        "  ruled out   reference moved      weights hash equal at steps 0 and 40",
        "              weights out of sync  ratio at step 1 is 1.0000",
        "  remedy      1. beta = 0.04 in GRPOConfig, and run again",
        "              2. still there: learning_rate 1e-3 → 1e-5, as in trl-grpo",
        "  intended?   assert_kl_anomaly_free(limit=9)",
        "  again       pytest tests/test_rl.py -k my-grpo --rlhf-seed=0",
    ]


def test_ascii_says_the_same(runaway_run):
    text = diagnose(RUNAWAY, runaway_run, ascii=True)
    assert text.isascii()
    assert "  kl       _________________...---:::====+++***####   0.021 -> 8.55   nats, log scale" in text


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (Status.SKIPPED, "kl: not judged: beta = 0: GRPO logs no kl"),
        (Status.INSUFFICIENT, "kl: too little to judge: beta = 0: GRPO logs no kl"),
    ],
)
def test_what_was_not_judged_says_why(runaway_run, status, expected):
    check = Check(name="kl", status=status, headline="beta = 0: GRPO logs no kl", metrics=("kl_div",))
    assert diagnose(check, runaway_run) == expected


def test_a_crash_shows_the_end_of_the_traceback(make_run):
    trace = "Traceback (most recent call last):\n" + "".join(
        f'  File "library.py", line {line}, in call\n    call()\n    ^^^^^^\n' for line in range(40)
    )
    trace += '  File "my_reward.py", line 7, in reward\n    return 1 / 0\n           ~~^~~\n'
    trace += "ZeroDivisionError: division by zero\n"
    error = {"type": "ZeroDivisionError", "message": "division by zero", "traceback": trace}
    run = make_run([{"kl": 0.0}], status="crashed", error=error)
    check = Check(name="completion", status=Status.FAIL, headline="training crashed at step 2: ZeroDivisionError")
    lines = diagnose(check, run).splitlines()
    assert lines[0] == "training crashed at step 2: ZeroDivisionError"
    assert lines[-3:] == [
        '                File "my_reward.py", line 7, in reward',
        "                  return 1 / 0",
        "              ZeroDivisionError: division by zero",
    ]
    assert len(lines) == 10
    healthy = dataclasses.replace(check, status=Status.PASS)
    assert "Traceback" not in diagnose(healthy, run)
    assert "ZeroDivisionError" not in diagnose(healthy, run).partition("\n")[2]


def test_a_metric_that_was_not_recorded_says_so(runaway_run):
    check = dataclasses.replace(RUNAWAY, metrics=("kl_div", "reward"))
    assert "  reward  not recorded" in diagnose(check, runaway_run).splitlines()


def test_without_evidence_the_anomalies_speak(runaway_run):
    check = dataclasses.replace(RUNAWAY, evidence=(), anomalies=(anomaly(summary="above 1.00 since step 15"),))
    assert "  evidence    kl above 1.00 since step 15" in diagnose(check, runaway_run).splitlines()


def test_a_long_command_stays_one_that_can_be_pasted(runaway_run):
    again = "pytest " + " ".join(f"--option-{number}=value" for number in range(8)) + " /a/path" + "/folder" * 20
    lines = diagnose(RUNAWAY, runaway_run, again=again).splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("  again"))
    assert len(lines) - start > 2
    assert all(line.endswith(" \\") for line in lines[start:-1])
    assert " ".join(line[14:].removesuffix(" \\") for line in lines[start:]) == again


@pytest.mark.parametrize(
    ("onsets", "expected"),
    [
        ([], "1                 20"),
        ([5], "1   ^5            20"),
        ([1], "^1                20"),
        ([5, 6, 12], "1   ^5     ^12    20"),
        ([20], "1                  ^20"),
        ([19], "1                 ^19 20"),
        ([0, 99], "1                 20"),
    ],
)
def test_the_axis(onsets, expected):
    assert axis_line(Axis(1, 20, 20), onsets) == expected


def test_too_narrow_is_said(runaway_run):
    with pytest.raises(ValueError, match="at least 60"):
        diagnose(RUNAWAY, runaway_run, width=40)


TEXTS = st.text(max_size=200)
METRICS = st.sampled_from(["kl_div", "entropy", "advantage_reward_ratio", "ray_actor_utilization", "gone", "x" * 90])
ANOMALIES = st.builds(
    Anomaly,
    kind=TEXTS,
    metric=METRICS,
    severity=st.sampled_from(Severity),
    onset=st.integers(-10, 10**12),
    summary=TEXTS,
)
CHECKS = st.builds(
    Check,
    name=TEXTS,
    status=st.sampled_from(Status),
    headline=TEXTS,
    metrics=st.lists(METRICS, unique=True, max_size=4).map(tuple),
    anomalies=st.lists(ANOMALIES, max_size=4).map(tuple),
    evidence=st.lists(TEXTS, max_size=3).map(tuple),
    cause=TEXTS.map(Cause),
    ruled_out=st.lists(st.tuples(TEXTS, TEXTS), max_size=3).map(tuple),
    remedy=st.lists(TEXTS, max_size=3).map(tuple),
    samples=st.lists(TEXTS, max_size=3).map(tuple),
    note=TEXTS,
    override=TEXTS,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(check=CHECKS, width=st.integers(60, 120), plain=st.booleans())
def test_no_check_breaks_the_width(runaway_run, check, width, plain):
    for line in diagnose(check, runaway_run, width=width, ascii=plain).split("\n"):
        assert columns(line) <= width
        assert line.isprintable()
        assert line.isascii() or not plain


@pytest.mark.parametrize("name", ["grpo__lr_x1000", "grpo__nan_reward", "grpo__len_hack", "grpo__baseline"])
def test_real_runs_are_told_within_the_width(make_run, fault_log, name):
    run = make_run(fault_log(name), steps=40)
    for check in judge(run).checks:
        lines = diagnose(check, run, again="pytest --rlhf-scenario=x").splitlines()
        assert max(columns(line) for line in lines) <= 92
        if check.status is Status.FAIL:
            assert any(line.startswith(("  evidence", "  cause")) for line in lines)
            assert lines[-1] == "  again       pytest --rlhf-scenario=x"
