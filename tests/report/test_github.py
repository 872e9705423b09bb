from __future__ import annotations

from rlhf_assert.checked import Cause, Check, Status
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.report.github import annotation, annotations, step_summary
from rlhf_assert.verdict import Verdict

DROPPED = Anomaly(kind="x", metric="entropy", severity=Severity.warning, onset=22, summary="fell 41 % from step 22")
CHECKS = (
    Check(name="kl", status=Status.FAIL, headline="kl runaway from step 15", cause=Cause("beta = 0 | weak", "certain")),
    Check(name="entropy", status=Status.PASS, headline="entropy 2 → 1", anomalies=(DROPPED,)),
    Check(name="loss", status=Status.PASS, headline="loss 2 → 1"),
    Check(name="resume", status=Status.SKIPPED, headline="no resume asked for"),
)


def test_an_annotation_escapes_what_github_reads():
    assert annotation("error", "50 %\nmore", title="a:b,c", file="x.py", line=3) == (
        "::error file=x.py,line=3,title=a%3Ab%2Cc::50 %25%0Amore"
    )
    assert annotation("warning", "m") == "::warning::m"


def test_failures_are_errors_and_warnings_warnings(make_run):
    run = make_run([{"kl": 0.0}], scenario="my-grpo", file="tests/test_rl.py")
    assert annotations([Verdict(run, CHECKS)]) == [
        "::error file=tests/test_rl.py,title=my-grpo%3A kl::kl runaway from step 15",
        "::warning file=tests/test_rl.py,title=my-grpo%3A entropy::entropy fell 41 %25 from step 22",
    ]
    assert annotations([Verdict(run, CHECKS[2:])]) == []


def test_the_step_summary(make_run):
    run = make_run([{"kl": 0.0}], scenario="my_grpo")
    lines = step_summary([Verdict(run, CHECKS, "pytest -k my_grpo")]).splitlines()
    assert lines[4].startswith("| FAIL | my\\_grpo | 0 | 1 | ")
    assert lines[4].endswith(" | kl | entropy | resume | entropy 22 |")
    assert "- kl runaway from step 15. Cause: beta = 0 \\| weak." in lines
    assert lines[-3:] == ["```", "pytest -k my_grpo", "```"]
