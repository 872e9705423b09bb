"""Assertions on a run: each asks its checks, and returns what they came to, or raises the diagnosis.

A training that did not come to its end fails every one of them: by its own exception if the check itself fails, else by
`TrainingFailed`, with the crash as the cause. `allow_incomplete=True` judges what such a training left.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

from rlhf_assert.checked import Check, Status
from rlhf_assert.checks.completeness import judge_promised_metric
from rlhf_assert.checks.registry import checks, checks_of, find_check
from rlhf_assert.checks.spec import CheckSpec
from rlhf_assert.detect import Severity
from rlhf_assert.errors import UsageError, suggest
from rlhf_assert.failures import NotJudged, RunUnhealthy, TrainingFailed, Unjudged
from rlhf_assert.recording.run import Run
from rlhf_assert.report.diagnosis import diagnose_verdict
from rlhf_assert.verdict import Verdict, judge, judge_by


def assert_check(
    run: Run, /, name: str, *, fail_on: str = "critical", allow_incomplete: bool = False, **options: Any
) -> Check:
    """Assert that one check passes, ours or anybody's; `rlhf-assert checks` lists them.

    Args:
        run: the run.
        name: the check.
        fail_on: `warning` or `critical`: the severity from which an anomaly fails.
        allow_incomplete: judge what a training left that did not come to its end.
        options: the check's own options, by the names that `assert_run_healthy` takes.

    Raises:
        HealthFailure: it fails, or failed to judge; of the kind that the check names.
        NotJudged: it had no input, or too little.
        UsageError: no check has this name or option, or `fail_on` is no severity.
    """
    __tracebackhide__ = True
    return _settle_one(run, (find_check(name),), fail_on, allow_incomplete=allow_incomplete, **options)


def assert_training_completed(run: Run) -> Check:
    """Assert that the training came to its end.

    Raises:
        TrainingFailed: it crashed, hung, was killed or was stopped.
    """
    __tracebackhide__ = True
    return _settle_one(run, checks_of("assert_training_completed"), allow_incomplete=True)


def assert_metrics_logged(run: Run, *, allow_incomplete: bool = False) -> Check:
    """Assert that every promised metric was logged.

    Raises:
        MetricMissing: one was not, or the run logged nothing.
        NotJudged: nothing is promised.
    """
    __tracebackhide__ = True
    return _settle_one(run, checks_of("assert_metrics_logged"), allow_incomplete=allow_incomplete)


def assert_metric_logged(run: Run, *, metric: str, allow_incomplete: bool = False) -> Check:
    """Assert that one metric was logged.

    Raises:
        MetricMissing: it was not.
    """
    __tracebackhide__ = True

    def judge_one(run: Run) -> Check:
        return judge_promised_metric(run, metric)

    return _settle_one(
        run,
        [replace(spec, judge=judge_one) for spec in checks_of("assert_metrics_logged")],
        allow_incomplete=allow_incomplete,
    )


def assert_kl_anomaly_free(
    run: Run, *, limit: float | None = None, fail_on: str = "critical", allow_incomplete: bool = False
) -> Check:
    """Assert that the policy stays near its reference.

    Args:
        run: the run.
        limit: the highest sound KL divergence, in the unit of the run's own log; by default 1.00 nat per token.
        fail_on: `warning` or `critical`: the severity from which an anomaly fails.
        allow_incomplete: judge what a training left that did not come to its end.

    Raises:
        KLAnomaly: it does not.
        NotJudged: no KL was logged, or on too few rows.
        UsageError: `fail_on` is no severity.
    """
    __tracebackhide__ = True
    return _settle_one(
        run, checks_of("assert_kl_anomaly_free"), fail_on, kl_limit=limit, allow_incomplete=allow_incomplete
    )


def assert_losses_sound(run: Run, *, fail_on: str = "critical", allow_incomplete: bool = False) -> Verdict:
    """Assert that every loss behaves as in healthy runs; a check for each loss.

    Raises:
        LossAnomaly: one does not.
        NotJudged: no loss was logged, or on too few rows.
        UsageError: `fail_on` is no severity.
    """
    __tracebackhide__ = True
    return _settle(run, checks_of("assert_losses_sound"), fail_on, allow_incomplete=allow_incomplete)


def assert_loss_sound(run: Run, *, metric: str, fail_on: str = "critical", allow_incomplete: bool = False) -> Check:
    """Assert that one loss (`loss`, `policy_loss` or `value_loss`) behaves as in healthy runs.

    Raises:
        LossAnomaly: it does not.
        NotJudged: it was not logged, or on too few rows.
        UsageError: `fail_on` is no severity, or `metric` no loss.
    """
    __tracebackhide__ = True
    losses = {spec.name: spec for spec in checks_of("assert_losses_sound")}
    if metric not in losses:
        raise UsageError(f"metric={metric!r} is no loss{suggest(metric, losses)}; known: {', '.join(losses)}")
    return _settle_one(
        run, [replace(losses[metric], applies=lambda _: True)], fail_on, allow_incomplete=allow_incomplete
    )


def assert_entropy_sound(run: Run, *, fail_on: str = "critical", allow_incomplete: bool = False) -> Check:
    """Assert that the policy's entropy neither collapses nor explodes.

    Raises:
        EntropyAnomaly: it does.
        NotJudged: no entropy was logged, or on too few rows.
        UsageError: `fail_on` is no severity.
    """
    __tracebackhide__ = True
    return _settle_one(run, checks_of("assert_entropy_sound"), fail_on, allow_incomplete=allow_incomplete)


def assert_gradients_sound(run: Run, *, fail_on: str = "critical", allow_incomplete: bool = False) -> Check:
    """Assert that gradients are of a sound size and move the weights.

    Raises:
        GradientAnomaly: they are not, or do not.
        NotJudged: no gradient norm was logged, and no two states of the weights were saved.
        UsageError: `fail_on` is no severity.
    """
    __tracebackhide__ = True
    return _settle_one(run, checks_of("assert_gradients_sound"), fail_on, allow_incomplete=allow_incomplete)


def assert_loop_sound(run: Run, *, fail_on: str = "critical", allow_incomplete: bool = False) -> Verdict:
    """Assert that the training loop does what it says, by what was seen where the work is done.

    The optimizer applies the scheduled learning rate to all weights and remembers its moments; the coefficients of the
    objective are the configured ones; the reference stands still; what generates is what is trained; no batch repeats
    in its epoch; a resumed training goes on where it was.

    Raises:
        LoopUnsound: it does not.
        NotJudged: none of it was recorded.
        UsageError: `fail_on` is no severity.
    """
    __tracebackhide__ = True
    return _settle(run, checks_of("assert_loop_sound"), fail_on, allow_incomplete=allow_incomplete)


def assert_system_sound(run: Run, *, fail_on: str = "critical", allow_incomplete: bool = False) -> Verdict:
    """Assert that the processes of a distributed training work: its engines, which generate, and its actors.

    Raises:
        SystemUnsound: one died, stalled, stands idle, slows down, or does not follow the weights that are trained.
        NotJudged: the training has none, or none was recorded.
        UsageError: `fail_on` is no severity.
    """
    __tracebackhide__ = True
    return _settle(run, checks_of("assert_system_sound"), fail_on, allow_incomplete=allow_incomplete)


def assert_rewards_reliable(run: Run, *, allow: Sequence[str] = (), allow_incomplete: bool = False) -> Check:
    """Assert that the rewards can be trusted.

    Args:
        run: the run.
        allow: findings that are intended, for example `["length"]`.
        allow_incomplete: judge what a training left that did not come to its end.

    Raises:
        RewardUnreliable: they cannot.
        NotJudged: no rewards were recorded, or too few.
        UsageError: `allow` names no known finding.
    """
    __tracebackhide__ = True
    return _settle_one(run, checks_of("assert_rewards_reliable"), allow=tuple(allow), allow_incomplete=allow_incomplete)


def assert_checkpoints_healthy(run: Run, *, min_score: float = 0.8, allow_incomplete: bool = False) -> Check:
    """Assert that every checkpoint of the run is sound.

    Args:
        run: the run.
        min_score: the lowest sound score, 0 to 1.
        allow_incomplete: judge what a training left that did not come to its end.

    Raises:
        CheckpointUnhealthy: one is broken, or scores lower.
        NotJudged: no checkpoint was saved.
        UsageError: `min_score` lies outside of 0 to 1.
    """
    __tracebackhide__ = True
    return _settle_one(
        run, checks_of("assert_checkpoints_healthy"), min_score=min_score, allow_incomplete=allow_incomplete
    )


def assert_resources_bounded(run: Run, *, fail_on: str = "critical", allow_incomplete: bool = False) -> Check:
    """Assert that memory does not grow steadily, and that steps do not take ever longer.

    Raises:
        ResourceLeak: it does, or they do.
        NotJudged: no resource samples were recorded, or too few.
        UsageError: `fail_on` is no severity.
    """
    __tracebackhide__ = True
    return _settle_one(run, checks_of("assert_resources_bounded"), fail_on, allow_incomplete=allow_incomplete)


def assert_learns(run: Run, *, allow_incomplete: bool = False) -> Check:
    """Assert that the metric which the scenario promises to improve ends better than it began.

    Raises:
        NotLearning: it does not.
        NotJudged: nothing is promised, or there are too few steps to tell.
    """
    __tracebackhide__ = True
    return _settle_one(run, checks_of("assert_learns"), allow_incomplete=allow_incomplete)


def assert_other_metrics_sound(run: Run, *, fail_on: str = "critical", allow_incomplete: bool = False) -> Check:
    """Assert that no metric without an assertion of its own shows an anomaly.

    Raises:
        MetricAnomaly: one does.
        NotJudged: no further metric was logged.
        UsageError: `fail_on` is no severity.
    """
    __tracebackhide__ = True
    return _settle_one(run, checks_of("assert_other_metrics_sound"), fail_on, allow_incomplete=allow_incomplete)


def assert_run_healthy(
    run: Run,
    /,
    *,
    kl_limit: float | None = None,
    fail_on: str = "critical",
    min_score: float = 0.8,
    allow: Sequence[str] = (),
    required: Collection[str] | Literal["expected"] = (),
    **options: Any,
) -> Verdict:
    """Assert that every check passes; what could not be judged is in the verdict's `unjudged`.

    Args:
        run: the run.
        kl_limit: `limit` of `assert_kl_anomaly_free`.
        fail_on: `warning` or `critical`: the severity from which an anomaly fails.
        min_score: see `assert_checkpoints_healthy`.
        allow: see `assert_rewards_reliable`.
        required: the checks that must have judged, by name; `"expected"` stands for all that can judge a training of
            the run's algorithm.
        options: options of checks that others registered.

    Raises:
        RunUnhealthy: a check failed, or failed to judge; each cause is diagnosed once, at the check that showed it
            first.
        Unjudged: a required check did not judge.
        NotJudged: no check had anything to judge but that the training ended.
        UsageError: `fail_on` is no severity, `allow` names no known finding, `required` no check, or no check has an
            option of that name.
    """
    __tracebackhide__ = True
    level = severity(fail_on)
    verdict = judge(run, fail_on=level, kl_limit=kl_limit, min_score=min_score, allow=allow, **options)
    worst = verdict.failures or verdict.errors
    if worst:
        raise RunUnhealthy(verdict, worst[0], diagnose_verdict)
    unjudged = [check for check in verdict.unjudged if check.name in _must_judge(verdict, required)]
    if unjudged:
        raise Unjudged(Verdict(run, tuple(unjudged)), unjudged[0], diagnose_verdict)
    ending = {spec.name for spec in checks_of("assert_training_completed")}
    if all(check.status is not Status.PASS for check in verdict.checks if check.name not in ending):
        raise NotJudged(verdict, verdict.checks[0], diagnose_verdict)
    return verdict


def _must_judge(verdict: Verdict, required: Collection[str] | Literal["expected"]) -> set[str]:
    if required == "expected":
        return {spec.name for spec in checks() if spec.expected(verdict.run)}
    return {find_check(name).name for name in required}


def severity(name: str) -> Severity:
    """Return the severity of `fail_on`.

    Raises:
        UsageError: it is neither `warning` nor `critical`.
    """
    known = ("warning", "critical")
    if name not in known:
        raise UsageError(f"fail_on={name!r} is no severity{suggest(str(name), known)}; known: {', '.join(known)}")
    return Severity[name]


def _settle_one(
    run: Run, specs: Sequence[CheckSpec[...]], fail_on: str = "critical", *, allow_incomplete: bool, **options: Any
) -> Check:
    __tracebackhide__ = True
    return _settle(run, specs, fail_on, allow_incomplete=allow_incomplete, **options).checks[0]


def _settle(
    run: Run, specs: Iterable[CheckSpec[...]], fail_on: str = "critical", *, allow_incomplete: bool, **options: Any
) -> Verdict:
    """Ask some checks; return the verdict if every one that could judge passed, one could, and the training ended."""
    __tracebackhide__ = True
    asked = tuple(specs)
    own = judge_by(run, asked, fail_on=severity(fail_on), options=options)
    ending = () if allow_incomplete else _ending(run)
    verdict = Verdict(
        run, (*(check for check in ending if check.name not in {spec.name for spec in asked}), *own.checks)
    )
    if own.failures or own.errors:
        raise asked[0].failure(verdict, (own.failures or own.errors)[0], diagnose_verdict)
    if verdict.failures:
        raise TrainingFailed(verdict, verdict.failures[0], diagnose_verdict)
    if own.status is not Status.PASS:
        raise NotJudged(own, own.checks[0], diagnose_verdict)
    return own


def _ending(run: Run) -> tuple[Check, ...]:
    """Return what tells that a recorded training did not come to its end: nothing, if it did, or of a log."""
    if run.status == "completed" or "log" in run.info:
        return ()
    return judge_by(run, checks_of("assert_training_completed")).checks
