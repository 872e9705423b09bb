"""Each hypothesis: the run that shows it, the run that excludes it, and the silence where the data says nothing."""

from __future__ import annotations

from functools import partial

import pytest

from rlhf_assert.causes.explaining import explain
from rlhf_assert.causes.updates import relative_update
from rlhf_assert.checked import Cause, Check, Status
from rlhf_assert.checks.completion import judge_completion
from rlhf_assert.checks.gradients import judge_gradients
from rlhf_assert.checks.kl import judge_kl
from rlhf_assert.checks.learning import judge_learning
from rlhf_assert.checks.losses import judge_value_loss
from rlhf_assert.checks.registry import find_check
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.facts.crash_trace import frames
from rlhf_assert.facts.saved_weights import typical_weight, weights_moved
from rlhf_assert.recording.crash import is_own

TRAINER = "/env/lib/python3.11/site-packages/trl/trainer/grpo_trainer.py"


def failing(name, *, kind="spoilt", onset=5, metric="kl_div"):
    sign = Anomaly(kind=kind, metric=metric, severity=Severity.critical, onset=onset, summary="spoilt")
    concerns = find_check(name).concerns
    return Check(name=name, status=Status.FAIL, headline="spoilt", anomalies=(sign,), concerns=concerns)


def explained(check, run):
    return explain(run, check(run))


def crash(make_run, rows, *trace, message="cannot parse", error="ValueError", **info):
    lines = "".join(f'  File "{file}", line {line}, in {function}\n    code\n' for file, line, function in trace)
    text = f"Traceback (most recent call last):\n{lines}{error}: {message}\n"
    said = {"type": error, "message": message, "traceback": text}
    return explained(judge_completion, make_run(rows, steps=40, status="crashed", error=said, **info))


def samples(rewards, function="mine", per_step=8):
    return [
        {"step": 1 + index // per_step, "prompt": "p", "length": 5, "reward": reward, "rewards": {function: reward}}
        for index, reward in enumerate(rewards)
    ]


def test_a_reward_function_that_raises_is_named_with_its_line(make_run, rows):
    trace = ((TRAINER, 1100, "_calculate_rewards"), ("/home/me/rewards.py", 12, "boom"))
    check = crash(make_run, rows, *trace)
    assert str(check.cause) == "reward function boom raised ValueError: cannot parse"
    assert check.remedy[0] == "mend boom at rewards.py:12"


def test_a_helper_of_the_reward_function_is_where_to_mend(make_run, rows):
    check = crash(
        make_run,
        rows,
        ("/env/site-packages/trl/experimental/utils.py", 775, "get_reward"),
        ("/home/me/rewards.py", 12, "boom"),
        ("/home/me/parse.py", 3, "parse"),
    )
    assert str(check.cause).startswith("reward function boom raised ValueError")
    assert check.remedy == ("mend parse at parse.py:3, called by boom at rewards.py:12",)


def test_a_recorded_reward_function_is_known_by_its_name(make_run, rows):
    trace = (("/env/site-packages/other/trainer.py", 1, "score"), ("/home/me/rewards.py", 12, "mine"))
    check = crash(make_run, rows, *trace, samples=samples([0.1, 0.2]))
    assert str(check.cause).startswith("reward function mine raised")


def test_other_code_of_the_user(make_run, rows):
    check = crash(make_run, rows, (TRAINER, 5, "train"), ("/home/me/data.py", 7, "collate"))
    assert str(check.cause) == "collate raised ValueError: cannot parse"
    assert check.remedy == ("look at data.py:7",)


def test_no_code_of_the_user_leaves_the_cause_open(make_run, rows):
    assert crash(make_run, rows, (TRAINER, 5, "train")).cause is None


def test_out_of_memory(make_run, rows):
    check = crash(make_run, rows, (TRAINER, 5, "train"), message="CUDA out of memory. Tried", error="OutOfMemoryError")
    assert str(check.cause) == "the machine ran out of memory"


def test_a_crash_of_nan_is_laid_to_the_nan_reward(make_run, rows):
    for row in rows[5:]:
        row["reward"] = None
    message = "probability tensor contains either `inf`, `nan` or element < 0"
    trace = (("/home/me/train.py", 9, "main"), (TRAINER, 5, "generate"))
    spoilt = crash(make_run, rows[:7], *trace, message=message, error="RuntimeError")
    sound = crash(make_run, rows[:5], *trace, message=message, error="RuntimeError")
    assert str(spoilt.cause) == "the reward was not finite at 2 of 7 steps, first at step 6"
    assert str(sound.cause) == "likely: the model's numbers went non-finite by step 6"


def test_only_the_last_exception_of_a_chain_counts():
    text = 'Traceback (most recent call last):\n  File "a.py", line 1, in one\nKeyError\n\nDuring handling...\n\n'
    text += 'Traceback (most recent call last):\n  File "b.py", line 2, in two\nValueError\n'
    assert [frame.where for frame in frames({"traceback": text})] == ["b.py:2"]


@pytest.mark.parametrize(
    ("file", "own"),
    [
        ("/home/me/rewards.py", True),
        (TRAINER, False),
        ("<string>", False),
        (pytest.__file__, False),
        (frames.__code__.co_filename, False),
    ],
)
def test_whose_code_a_file_is(file, own):
    assert is_own(file) is own


def test_nan_reward_by_function(make_run, rows):
    run = make_run(rows, samples=samples([0.1] * 16 + [float("nan")] * 4))
    check = explain(run, failing("policy_loss"))
    assert str(check.cause) == "reward function mine returned NaN or None for 4 of 20 completions, first at step 3"
    assert str(explain(run, failing("policy_loss", onset=2)).cause) != str(check.cause), (
        "what came before it, it did not cause"
    )


def test_a_function_that_scores_only_some_completions_is_sound(make_run, rows):
    records = samples([0.1, 0.4] * 10)
    for record in records[::2]:
        record["rewards"]["mine"] = None
    check = explain(make_run(rows, samples=records), failing("learning"))
    assert ("NaN reward", "every recorded reward is finite") in check.ruled_out


def test_constant_reward_by_function(make_run, rows):
    check = explain(make_run(rows, samples=samples([1.0] * 20)), failing("gradients", metric="grad_norm"))
    assert str(check.cause) == "constant reward: reward function mine returns 1.00 for every completion"
    check = explain(make_run(rows, samples=samples([1.0, 0.5] * 10)), failing("gradients", metric="grad_norm"))
    assert ("constant reward", "2 different rewards over 20 completions") in check.ruled_out


def test_a_reward_that_is_solved_is_not_constant(make_run, rows):
    """All rewards of 1.0 after some of 0.5 are a success."""
    check = explain(make_run(rows, samples=samples([0.5] * 8 + [1.0] * 40)), failing("gradients"))
    assert not str(check.cause).startswith("constant reward")


@pytest.mark.parametrize(
    ("rate", "cause"),
    [
        (1.0, "likely: learning_rate = 1.0, 20 times a typical weight (0.050) in one step"),
        (0.01, "likely: learning_rate = 0.01, 20 % of a typical weight (0.050) in one step"),
        (0.001, ""),
    ],
)
def test_learning_rate_is_judged_by_the_scale_of_the_weights(make_run, rows, tiny_weights, rate, cause):
    run = make_run(rows, config={"learning_rate": rate}, weights={0: tiny_weights})
    check = explain(run, failing("entropy", metric="entropy"))
    assert str(check.cause or "") == cause
    if not cause:
        assert ("learning rate too high", "0.001 is 2 % of the weights a step") in check.ruled_out
    else:
        assert check.remedy == (f"learning_rate {rate} → 0.001, 2 % of a weight a step, or less",)


def test_learning_rate_without_weights(make_run, rows):
    assert "moves a weight by about 1.0" in str(
        explain(make_run(rows, config={"learning_rate": 1.0}), failing("kl")).cause
    )
    assert explain(make_run(rows, config={"learning_rate": 0.01}), failing("kl")).cause is None


def test_the_rule_is_adams(make_run, rows, tiny_weights):
    run = make_run(rows, config={"learning_rate": 0.05, "optim": "sgd"}, weights={0: tiny_weights})
    assert relative_update(run) is None


def test_a_learning_rate_cannot_break_step_one(make_run, rows, tiny_weights):
    for row in rows:
        row["kl"] = 0.9
    run = make_run(rows, config={"learning_rate": 1.0, "beta": 0.04}, weights={0: tiny_weights})
    assert str(explained(judge_kl, run).cause).startswith("likely: the reference is not the policy it started from")


def test_reference_fingerprints(make_run, rows):
    def fingerprints(first, last):
        prints = [("reference_fingerprint", 0, {"fingerprint": first})]
        return [*prints, ("reference_fingerprint", 40, {"fingerprint": last})]

    moved = explain(make_run(rows, events=fingerprints("a", "b")), failing("kl"))
    still = explain(make_run(rows, events=fingerprints("a", "a")), failing("kl"))
    assert str(moved.cause).startswith("likely: the reference moved with the policy")
    assert ("reference moved", "weights hash equal at steps 0 and 40") in still.ruled_out
    meant = make_run(rows, events=fingerprints("a", "b"), config={"sync_ref_model": True})
    assert explain(meant, failing("kl")).cause is None


@pytest.mark.parametrize(
    ("beta", "cause"),
    [
        (0.0, "likely: beta = 0.0, nothing pulls the policy to the reference"),
        (-0.04, "likely: beta = -0.04, it pushes the policy away"),
        (0.04, ""),
    ],
)
def test_no_pull(make_run, rows, beta, cause):
    check = explain(make_run(rows, config={"beta": beta}), failing("kl", kind="kl-runaway"))
    assert str(check.cause or "") == cause
    assert (("no pull to the reference", "beta is 0.04") in check.ruled_out) is (beta > 0.0)


def test_ratio_of_step_one(make_run, rows):
    for row in rows:
        row["val/ratio"] = 1.0
    check = explain(make_run(rows, algorithm="ppo"), failing("kl"))
    assert ("weights out of sync", "ratio at step 1 is 1.0000") in check.ruled_out
    sign = Anomaly(kind="step-one-ratio", metric="ratio", severity=Severity.critical, onset=1, summary="off")
    rows[0]["val/ratio"] = 0.4
    concerns = find_check("metrics").concerns
    check = Check(name="metrics", status=Status.FAIL, headline="off", anomalies=(sign,), concerns=concerns)
    assert str(explain(make_run(rows, algorithm="ppo"), check).cause).endswith("ratio at step 1 is 0.4000")


@pytest.mark.parametrize(
    ("reward_too", "cause"), [(False, "the value head jumped"), (True, "the rewards' scale jumped")]
)
def test_a_jump_of_the_value_loss(make_run, rows, reward_too, cause):
    for step, row in enumerate(rows):
        row["loss/value_avg"] = 0.02 if step < 15 else 200.0
        row["reward"] *= 100.0 if reward_too and step >= 15 else 1.0
    check = explained(judge_value_loss, make_run(rows, algorithm="ppo"))
    assert check.status is Status.FAIL
    assert str(check.cause).startswith(f"likely: {cause}")
    assert "step 16" in str(check.cause)


def test_weights(make_run, rows, tiny_weights):
    run = make_run(
        rows, weights={0: tiny_weights, 40: {**tiny_weights, "norm.weight": tiny_weights["norm.weight"] * 2}}
    )
    assert typical_weight(run) == pytest.approx(0.05, rel=0.05)
    assert weights_moved(run) is True
    assert weights_moved(make_run(rows, weights={40: tiny_weights})) is None
    assert weights_moved(make_run(rows)) is None
    assert typical_weight(make_run(rows)) is None


def test_damaged_weights_are_unknown(make_run, rows, tiny_weights):
    run = make_run(rows, weights={0: tiny_weights, 40: tiny_weights})
    (run.checkpoints[0] / "model.safetensors").write_bytes(b"torn")
    assert weights_moved(run) is None


def test_what_the_detector_knows_is_a_possibility(make_run, rows):
    sign = Anomaly(
        kind="spoilt",
        metric="kl_div",
        severity=Severity.critical,
        onset=5,
        summary="spoilt",
        causes=("one", "two", "three"),
        remedy="mend it",
    )
    check = explain(make_run(rows), Check(name="kl", status=Status.FAIL, headline="spoilt", anomalies=(sign,)))
    assert (str(check.cause), check.remedy) == ("possibly one or two", ("mend it",))


def test_what_passed_or_is_explained_stays_as_it_is(make_run, rows):
    run = make_run(rows)
    passed = Check(name="kl", status=Status.PASS, headline="fine")
    explained = Check(name="kl", status=Status.FAIL, headline="bad", cause=Cause("known"))
    assert explain(run, passed) is passed
    assert explain(run, explained) is explained


@pytest.mark.parametrize(
    ("log", "config", "judge", "cause"),
    [
        ("grpo__lr_x1000", {"learning_rate": 1.0, "beta": 0.04}, judge_kl, "likely: learning_rate = 1.0"),
        ("grpo__ref_noise", {"beta": 0.04}, judge_kl, "likely: the reference is not the policy"),
        # The reward rises all the same, so that the KL is a warning; what causes it is known nevertheless.
        ("grpo__beta_neg", {"beta": -0.04}, partial(judge_kl, fail_on=Severity.warning), "likely: beta = -0.04"),
        ("grpo__frozen_lr0", {"learning_rate": 0.0}, judge_gradients, "learning_rate is 0"),
        ("grpo__const_reward", {}, judge_learning, "constant reward: the reward is 1.00 at every step"),
        ("grpo__nan_reward", {}, judge_learning, "the reward was not finite at 40 of 40 steps"),
    ],
)
def test_real_faults(fault_log, make_run, log, config, judge, cause):
    check = judge(make_run(fault_log(log), config=config, learns="reward"))
    assert check.status is Status.FAIL
    assert str(check.cause).startswith(cause)


def test_a_learning_rate_beside_the_schedule_explains_what_comes_after_it(make_run, rows):
    updates = [
        ("update", step, {"learning_rate": 1.0 if step == 8 else 1e-3, "scheduled": 1e-3}) for step in range(1, 41)
    ]
    run = make_run(rows, events=updates)
    assert str(explain(run, failing("kl", onset=9)).cause) == (
        "the optimizer stepped with learning rate 1.0 at step 8, the schedule says 0.001"
    )
    assert "stepped" not in str(explain(run, failing("kl", onset=7)).cause)
    assert "stepped" not in str(explain(make_run(rows, events=updates[:7]), failing("kl", onset=9)).cause)


def test_a_process_that_died_is_the_cause(make_run, rows):
    message = "the process of an engine (EngineCore) died without a word; the driver ended with exit status 1: oops"
    error = {"type": "WorkerDied", "message": message, "traceback": ""}
    check = explained(judge_completion, make_run(rows[:3], steps=40, status="crashed", error=error))
    assert check.headline == f"training ended at step 4: {message}"
    assert str(check.cause) == "the process of an engine (EngineCore) died, and the training with it"
    assert "out-of-memory" in check.remedy[0]


@pytest.mark.parametrize(
    ("sampled", "cause"),
    [
        (4.0, "likely: completions are sampled at another temperature"),
        (2.4, "likely: completions are sampled with stale"),
    ],
)
def test_the_sampler_differs_in_its_weights_or_its_temperature(make_run, sampled, cause):
    rows = [
        {"entropy": 2.5 - 0.01 * step, "rollout/entropy": sampled if step >= 10 else 2.5 - 0.01 * step}
        for step in range(1, 21)
    ]
    check = failing("rollout", kind="rollout-mismatch", onset=10, metric="rollout_kl")
    assert str(explain(make_run(rows), check).cause).startswith(cause)
    assert not str(explain(make_run([{"entropy": 2.0}] * 20), check).cause).startswith("likely")


def test_a_coefficient_that_is_not_used_pulls_nothing(make_run, rows):
    """PPO logs the KL and its penalty side by side: what is configured is not what is used."""
    penalised = [{**row, "objective/kl": row["kl"], "objective/non_score_reward": 0.0} for row in rows]
    run = make_run(penalised, algorithm="ppo", config={"kl_coef": 0.05})
    check = failing("kl", kind="kl-runaway", onset=20)
    assert str(explain(run, check).cause) == (
        "likely: kl_coef = 0.0, nothing pulls the policy to the reference, though 0.05 is configured"
    )
