"""What is broken, missing or unjudged is never green: in sessions of a user's own."""

from __future__ import annotations

import subprocess
import sys

import pytest

PLAIN = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:xdist")
FILE = """
import pytest
from rlhf_assert import scenario
from tests_of_a_user import grpo, vowels


def raises_late(completions, trainer_state=None, **_):
    if trainer_state.global_step >= 6:
        raise ValueError("no reward for this one")
    return vowels(completions)


@scenario(steps=10)
def crashes(ctx):
    return grpo(ctx, raises_late)


@scenario(steps=10)
def without_reference(ctx):
    return grpo(ctx, vowels, beta=0.0)


@pytest.mark.rlhf_scenario(crashes)
def test_crash_kl(assert_kl_anomaly_free):
    assert_kl_anomaly_free()


@pytest.mark.rlhf_scenario(crashes)
def test_crash_metric(rlhf_run):
    assert rlhf_run["reward_margin"].last > 0


@pytest.mark.rlhf_scenario(without_reference)
def test_no_kl(assert_kl_anomaly_free):
    assert_kl_anomaly_free()


@pytest.mark.rlhf_scenario("trl-sft", steps=6)
def test_few(assert_run_healthy):
    assert_run_healthy(required=["kl"])


def test_of_the_user():
    class Wrong(Exception):
        check = "mine"

    raise Wrong("a plain failure")
"""


@pytest.fixture
def mine(pytester: pytest.Pytester, users_file) -> None:
    """A file with a crash, and with checks that have nothing to judge."""
    pytester.makepyfile(tests_of_a_user=users_file.read_text())
    pytester.makepyfile(test_trust=FILE)
    users_file.unlink()


@pytest.mark.training
def test_a_crash_and_a_missing_check_are_never_green(pytester: pytest.Pytester, mine: None) -> None:
    result = pytester.runpytest_subprocess(*PLAIN, "test_trust.py", "-k", "crash or few")
    result.assert_outcomes(failed=3)
    text = result.stdout.str()
    assert "TrainingFailed: training crashed at step 7: ValueError: no reward for this one" in text
    assert "NotRecorded: reward_margin was not recorded" in text
    assert "Unjudged: sft has no reference to diverge from" in text


@pytest.mark.training
def test_a_session_that_judged_nothing_is_not_green(pytester: pytest.Pytester, mine: None) -> None:
    result = pytester.runpytest_subprocess(*PLAIN, "test_trust.py", "-k", "no_kl")
    result.assert_outcomes(skipped=1)
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.mark.training
def test_a_strict_session_fails_where_a_check_should_judge(pytester: pytest.Pytester) -> None:
    words = ("--rlhf-scenario=trl-grpo", "--rlhf-steps=4", "-k", "kl_is or rewards")
    lenient = pytester.runpytest_subprocess(*PLAIN, *words)
    lenient.assert_outcomes(skipped=1, passed=1)
    strict = pytester.runpytest_subprocess(*PLAIN, *words, "--rlhf-strict")
    strict.assert_outcomes(failed=1, passed=1)
    strict.stdout.fnmatch_lines(["*Unjudged: 4 rows of kl, a judgement takes 5*"])


def test_a_failure_of_somebody_else_is_left_alone(pytester: pytest.Pytester, mine: None) -> None:
    result = pytester.runpytest_subprocess(*PLAIN, "test_trust.py", "-k", "of_the_user")
    result.assert_outcomes(failed=1)
    assert "INTERNALERROR" not in result.stdout.str()


def test_the_controller_of_xdist_imports_nothing_for_us(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_theirs(): pass")
    code = """
import sys, pytest

class Look:
    def pytest_unconfigure(self):
        print("loaded:", sorted(name for name in ("numpy", "psutil", "rlhf_assert", "orjson") if name in sys.modules))

sys.exit(pytest.main(["-n", "2", "-p", "no:hypothesispytest", "-q"], plugins=[Look()]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=pytester.path, capture_output=True, text=True, check=False)
    assert "loaded: []" in done.stdout, done.stdout + done.stderr
