from __future__ import annotations

import copy
import pickle
import traceback

import pytest

import rlhf_assert
from rlhf_assert import asserts, failures
from rlhf_assert.checked import Check, Status
from rlhf_assert.errors import UsageError
from rlhf_assert.failures import HealthFailure, NotJudged
from rlhf_assert.verdict import Verdict

ASSERTIONS = [name for name in vars(asserts) if name.startswith("assert_")]
UNRECORDED = {
    "assert_system_sound",
    *("assert_rewards_reliable", "assert_checkpoints_healthy", "assert_resources_bounded", "assert_loop_sound"),
}
OPTIONS = {
    "assert_metric_logged": {"metric": "reward"},
    "assert_loss_sound": {"metric": "loss"},
    "assert_check": {"name": "kl"},
}


@pytest.fixture
def far_reference(make_run, rows):
    for row in rows:
        row["kl"] += 0.95
    return make_run(rows)


def test_returns_the_check(make_run, rows):
    check = rlhf_assert.assert_kl_anomaly_free(make_run(rows))
    assert isinstance(check, Check)
    assert check.status is Status.PASS


def test_raises_the_diagnosis_with_the_headline_first(far_reference):
    with pytest.raises(rlhf_assert.KLAnomaly) as caught:
        rlhf_assert.assert_kl_anomaly_free(far_reference)
    caught.value.again = "pytest tests/x.py"
    lines = str(caught.value).splitlines()
    assert lines[0] == caught.value.check.headline
    assert lines[0] == "kl 0.95 at step 1, where the policy still is the reference: must be 0"
    assert "pytest tests/x.py" in lines[-1]
    assert caught.value.run is far_reference
    assert caught.value.checks == (caught.value.check,)


def test_pytest_prints_the_bare_name(far_reference):
    with pytest.raises(HealthFailure) as caught:
        rlhf_assert.assert_kl_anomaly_free(far_reference)
    (line, *_) = traceback.format_exception_only(caught.value)
    assert line.startswith("KLAnomaly: kl 0.95 at step 1")


def test_every_failure_is_printed_by_its_bare_name():
    kinds = [value for value in vars(failures).values() if isinstance(value, type) and issubclass(value, HealthFailure)]
    assert len(kinds) >= 12
    assert {kind.__module__ for kind in kinds} == {"builtins"}


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda failure: pickle.loads(pickle.dumps(failure))])
def test_a_failure_can_be_copied_and_pickled(far_reference, clone):
    with pytest.raises(rlhf_assert.KLAnomaly) as caught:
        rlhf_assert.assert_kl_anomaly_free(far_reference)
    caught.value.again = "pytest again"
    twin = clone(caught.value)
    assert type(twin) is rlhf_assert.KLAnomaly
    assert str(twin) == str(caught.value)
    assert twin.check == caught.value.check


@pytest.mark.parametrize("name", ASSERTIONS)
def test_nothing_recorded_never_passes(make_run, name):
    run = make_run([], status="crashed", error={"type": "E", "message": "", "traceback": ""})
    with pytest.raises(HealthFailure):
        getattr(asserts, name)(run, **OPTIONS.get(name, {}))


@pytest.mark.parametrize("name", ASSERTIONS)
def test_every_assertion_is_public(make_run, rows, name):
    assert getattr(rlhf_assert, name) is getattr(asserts, name)
    run = make_run(rows, steps=40, promised=["reward"], learns="reward")
    try:
        outcome = getattr(asserts, name)(run, **OPTIONS.get(name, {}))
    except NotJudged as reason:
        outcome = reason
    if name in UNRECORDED:
        assert isinstance(outcome, NotJudged)
        assert all(check.headline in str(outcome) for check in outcome.checks)
    else:
        assert isinstance(outcome, Check | Verdict)


def test_not_judged_names_the_reason(make_run, rows):
    for row in rows:
        del row["kl"]
    with pytest.raises(NotJudged, match="beta = 0: grpo logs no kl"):
        rlhf_assert.assert_kl_anomaly_free(make_run(rows, config={"beta": 0.0}))
    with pytest.raises(NotJudged, match="3 rows of kl"):
        rlhf_assert.assert_kl_anomaly_free(make_run([{"kl": 0.0}] * 3))


def test_several_losses_are_one_assertion(make_run, rows):
    for row in rows:
        row["loss/policy_avg"] = row["loss/value_avg"] = 0.01
    verdict = rlhf_assert.assert_losses_sound(make_run(rows))
    assert [check.name for check in verdict.checks] == ["loss", "policy_loss", "value_loss"]
    rows[8]["loss"] = rows[6]["loss/value_avg"] = float("nan")
    with pytest.raises(rlhf_assert.LossAnomaly) as caught:
        rlhf_assert.assert_losses_sound(make_run(rows))
    assert caught.value.check.name == "value_loss"
    assert str(caught.value).startswith("value_loss not finite at step 7: nan")
    assert "\n\nloss not finite at step 9: nan" in str(caught.value)


def test_a_run_is_told_cause_by_cause(make_run, rows):
    for row in rows[9:]:
        row["loss"] = row["reward"] = None
    with pytest.raises(rlhf_assert.RunUnhealthy) as caught:
        rlhf_assert.assert_run_healthy(make_run(rows, learns="reward"))
    caught.value.again = "pytest again"
    text = str(caught.value)
    assert text.count("the reward was not finite at 31 of 40 steps, first at step 10") == 1
    assert "follows     loss: loss not finite at step 10: null" in text
    assert text.count("pytest again") == 1


def test_a_run_with_nothing_but_its_end_is_not_judged(make_run):
    with pytest.raises(NotJudged, match="nothing could be judged"):
        rlhf_assert.assert_run_healthy(make_run([{"foo": 1.0}] * 10))


def test_a_failing_run_beats_what_could_not_be_judged(make_run):
    with pytest.raises(rlhf_assert.RunUnhealthy):
        rlhf_assert.assert_run_healthy(make_run([]))


def test_an_unknown_severity_is_a_usage_error(make_run, rows):
    with pytest.raises(UsageError, match=r"fail_on='critcal' is no severity \(did you mean critical\?\)"):
        rlhf_assert.assert_entropy_sound(make_run(rows), fail_on="critcal")


def test_fail_on_warning(make_run, rows):
    for row in rows[20:]:
        row["kl"] = 1.5
    run = make_run(rows)
    rlhf_assert.assert_kl_anomaly_free(run)
    with pytest.raises(rlhf_assert.KLAnomaly):
        rlhf_assert.assert_kl_anomaly_free(run, fail_on="warning")


CRASH = {"type": "ValueError", "message": "no reward for this one\nsecond line", "traceback": ""}
NARROW = [name for name in ASSERTIONS if name not in {"assert_run_healthy", "assert_training_completed"}]


@pytest.mark.parametrize("name", NARROW)
def test_a_crashed_training_fails_every_narrow_assertion(make_run, rows, name):
    run = make_run(rows, steps=60, status="crashed", error=CRASH, promised=["reward"], learns="reward")
    with pytest.raises(rlhf_assert.TrainingFailed) as caught:
        getattr(asserts, name)(run, **OPTIONS.get(name, {}))
    first, *rest = str(caught.value).splitlines()
    assert first == "training crashed at step 41: ValueError: no reward for this one"
    assert not any("no reward for this one" in line for line in rest), "it is told once"


@pytest.mark.parametrize("status", ["running", "stopped", "timeout", "crashed"])
def test_no_training_that_did_not_end_passes_a_narrow_assertion(make_run, rows, status):
    with pytest.raises(rlhf_assert.TrainingFailed):
        rlhf_assert.assert_kl_anomaly_free(make_run(rows, steps=60, status=status))


def test_what_a_killed_training_left_can_be_judged_on_request(make_run, rows):
    run = make_run(rows, steps=60, status="crashed", error=CRASH)
    assert rlhf_assert.assert_kl_anomaly_free(run, allow_incomplete=True).status is Status.PASS


def test_a_check_that_fails_itself_raises_its_own_exception_on_a_crashed_training(make_run, rows):
    for row in rows:
        row["kl"] += 0.95
    with pytest.raises(rlhf_assert.KLAnomaly) as caught:
        rlhf_assert.assert_kl_anomaly_free(make_run(rows, steps=60, status="crashed", error=CRASH))
    assert "training crashed at step 41" in str(caught.value), "the crash is told beside it"


def test_a_missing_metric_of_a_crashed_training_tells_the_crash(make_run, rows):
    run = make_run(rows, status="crashed", error=CRASH)
    with pytest.raises(KeyError, match=r"reward_margin was not .*: the training crashed after 40 steps: ValueError:"):
        run["reward_margin"]
    with pytest.raises(KeyError, match=r"rewrd was not recorded in .* \(did you mean reward\?\)"):
        make_run(rows)["rewrd"]


def test_a_required_check_that_did_not_judge_fails(make_run, rows):
    run = make_run(rows)
    assert rlhf_assert.assert_run_healthy(run)
    assert rlhf_assert.assert_run_healthy(run, required=["kl", "loss"])
    with pytest.raises(rlhf_assert.Unjudged, match="the run recorded no update of its optimizer"):
        rlhf_assert.assert_run_healthy(run, required=["kl", "optimizer"])
    with pytest.raises(rlhf_assert.Unjudged) as caught:
        rlhf_assert.assert_run_healthy(run, required="expected")
    assert "optimizer" in {check.name for check in caught.value.checks}
    assert "actors" not in {check.name for check in caught.value.checks}, "GRPO with TRL has none"
    with pytest.raises(UsageError, match=r"unknown check optimiser \(did you mean optimizer\?\)"):
        rlhf_assert.assert_run_healthy(run, required=["optimiser"])
