from __future__ import annotations

from rlhf_assert.checked import Status
from rlhf_assert.checks.completion import judge_completion

USER_TRACEBACK = """Traceback (most recent call last):
  File "/env/lib/python3.11/site-packages/trl/trainer/grpo_trainer.py", line 1100, in _calculate_rewards
    output = reward_func(prompts=prompts)
  File "/home/me/project/rewards.py", line 12, in boom
    raise ValueError("cannot parse the answer")
ValueError: cannot parse the answer
"""


def test_completed_passes(make_run, rows):
    check = judge_completion(make_run(rows, steps=40))
    assert (check.status, check.note) == (Status.PASS, "40 steps")


def test_crash_names_step_type_and_message(make_run, rows):
    error = {"type": "ValueError", "message": "cannot parse the answer\nmore", "traceback": USER_TRACEBACK}
    check = judge_completion(make_run(rows[:7], steps=40, status="crashed", error=error))
    assert check.status is Status.FAIL
    assert check.headline == "training crashed at step 8: ValueError: cannot parse the answer"
    assert check.evidence == ("7 of 40 steps logged",)
    assert check.anomalies[0].onset == 8


def test_crash_before_the_first_row(make_run):
    error = {"type": "RuntimeError", "message": "", "traceback": ""}
    check = judge_completion(make_run([], steps=40, status="crashed", error=error))
    assert check.headline == "training crashed at step 1: RuntimeError"


def test_timeout(make_run, rows):
    error = {"type": "Timeout", "message": "no end after 3 s, the scenario's time_limit", "traceback": "stacks"}
    check = judge_completion(make_run(rows[:3], steps=40, status="timeout", error=error))
    assert check.status is Status.FAIL
    assert check.headline == "training hung at step 4: no end after 3 s, the scenario's time_limit"


def test_killed_by_a_signal_hints_at_memory(make_run, rows):
    message = "the training process ended: killed by SIGKILL (signal 9)"
    error = {"type": "ProcessDied", "message": message, "traceback": ""}
    check = judge_completion(make_run(rows[:3], steps=40, status="crashed", error=error))
    assert check.headline == f"training died at step 4: {message}"
    assert "out-of-memory" in check.remedy[0]


def test_stopped_names_the_critical_anomaly(make_run, rows):
    found = {"kind": "kl-runaway", "metric": "kl_div", "severity": "critical", "onset": 3, "summary": "runaway"}
    events = [("anomaly", 5, found), ("anomaly", 6, {**found, "severity": "warning", "summary": "later, a warning"})]
    check = judge_completion(make_run(rows[:6], steps=40, status="stopped", events=events))
    assert check.headline == "training stopped at step 6 by the monitor: kl runaway"


def test_a_run_that_has_not_ended_fails(make_run, rows):
    run = make_run(rows[:6], steps=40, status="running", pid=1, host="another machine")
    assert judge_completion(run).status is Status.FAIL
