"""Assertions on a run: each runs its check, returns it if it passes, and raises the diagnosis if it does not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rlhf_assert.causes import explain
from rlhf_assert.check import Check, Status
from rlhf_assert.checks.checkpoints import judge_checkpoints
from rlhf_assert.checks.completeness import judge_promised_metric, judge_promised_metrics
from rlhf_assert.checks.completion import judge_completion
from rlhf_assert.checks.entropy import judge_entropy
from rlhf_assert.checks.gradients import judge_gradients
from rlhf_assert.checks.kl import judge_kl
from rlhf_assert.checks.learning import judge_learning
from rlhf_assert.checks.loop import judge_loop
from rlhf_assert.checks.losses import judge_loss, judge_losses
from rlhf_assert.checks.other_metrics import judge_other_metrics
from rlhf_assert.checks.resources import judge_resources
from rlhf_assert.checks.rewards import judge_rewards
from rlhf_assert.checks.system import judge_system
from rlhf_assert.detect import Severity
from rlhf_assert.errors import UsageError, suggest
from rlhf_assert.recording.run import Run
from rlhf_assert.verdict import Chain, Verdict, judge


class HealthFailure(AssertionError):
    """A check that failed. `str(failure)` is the diagnosis, its first line the verdict.

    Attributes:
        check: the failed check; of several, the one with the first sign.
        checks: every check that was made.
        run: the run that was judged.
    """

    # pytest prints a builtin exception by its bare name, and any other with its module: "KLAnomaly: kl runaway ..."
    # is the line that summaries repeat. Nothing is put into builtins.
    __module__ = "builtins"

    def __init__(self, message: str, check: Check, checks: Sequence[Check], run: Run) -> None:
        super().__init__(message)
        self.check = check
        self.checks = tuple(checks)
        self.run = run


class NotJudged(HealthFailure):
    """A check without input, or with too little: nothing was found, and nothing was judged either."""

    __module__ = "builtins"


class KLAnomaly(HealthFailure):
    """The policy left its reference, or the reference is not the one it should be."""

    __module__ = "builtins"


class LossAnomaly(HealthFailure):
    """A loss that no sound training has."""

    __module__ = "builtins"


class EntropyAnomaly(HealthFailure):
    """The policy's entropy collapsed or exploded."""

    __module__ = "builtins"


class GradientAnomaly(HealthFailure):
    """Gradients that explode, or do not reach the weights."""

    __module__ = "builtins"


class RewardUnreliable(HealthFailure):
    """The rewards do not measure what they should."""

    __module__ = "builtins"


class CheckpointUnhealthy(HealthFailure):
    """A checkpoint that is broken, or scores too low."""

    __module__ = "builtins"


class LoopUnsound(HealthFailure):
    """The training loop does not do what it says: an update, a coefficient, the reference, a sampler, or the data."""

    __module__ = "builtins"


class SystemUnsound(HealthFailure):
    """An engine or an actor died, stalled, stands idle, or does not follow the weights that are trained."""

    __module__ = "builtins"


class ResourceLeak(HealthFailure):
    """Memory grows steadily."""

    __module__ = "builtins"


class MetricMissing(HealthFailure):
    """A metric that the trainer must log was not logged."""

    __module__ = "builtins"


class MetricAnomaly(HealthFailure):
    """A metric without an assertion of its own does what it does in no sound training."""

    __module__ = "builtins"


class TrainingFailed(HealthFailure):
    """The training did not come to its end."""

    __module__ = "builtins"


class NotLearning(HealthFailure):
    """The training did not improve what it was to improve."""

    __module__ = "builtins"


class RunUnhealthy(HealthFailure):
    """At least one check of a run failed."""

    __module__ = "builtins"


def assert_training_completed(run: Run, *, again: str = "") -> Check:
    """Assert that the training came to its end.

    Args:
        run: the run.
        again: the command that repeats the run; the diagnosis ends with it.

    Raises:
        TrainingFailed: it crashed, hung, was killed or was stopped.
    """
    __tracebackhide__ = True
    return _settle_one(run, judge_completion(run), TrainingFailed, again)


def assert_metrics_logged(run: Run, *, again: str = "") -> Check:
    """Assert that every promised metric was logged.

    Raises:
        MetricMissing: one was not, or the run logged nothing.
        NotJudged: nothing is promised.
    """
    __tracebackhide__ = True
    return _settle_one(run, judge_promised_metrics(run), MetricMissing, again)


def assert_metric_logged(run: Run, *, metric: str, again: str = "") -> Check:
    """Assert that one metric was logged.

    Raises:
        MetricMissing: it was not.
    """
    __tracebackhide__ = True
    return _settle_one(run, judge_promised_metric(run, metric), MetricMissing, again)


def assert_kl_anomaly_free(
    run: Run, *, limit: float | None = None, fail_on: str = "critical", again: str = ""
) -> Check:
    """Assert that the policy stays near its reference.

    Args:
        run: the run.
        limit: the highest sound KL divergence, in the unit of the run's own log; by default 1.00 nat per token.
        fail_on: `warning` or `critical`: the severity from which an anomaly fails.
        again: the command that repeats the run; the diagnosis ends with it.

    Raises:
        KLAnomaly: it does not.
        NotJudged: no KL was logged, or on too few rows.
        UsageError: `fail_on` is no severity.
    """
    __tracebackhide__ = True
    return _settle_one(run, judge_kl(run, limit=limit, fail_on=severity(fail_on)), KLAnomaly, again)


def assert_losses_sound(run: Run, *, fail_on: str = "critical", again: str = "") -> Verdict:
    """Assert that no loss does what none does in a sound training; a check for each loss.

    Raises:
        LossAnomaly: one does.
        NotJudged: no loss was logged, or on too few rows.
        UsageError: `fail_on` is no severity.
    """
    __tracebackhide__ = True
    return _settle(run, judge_losses(run, fail_on=severity(fail_on)), LossAnomaly, again)


def assert_loss_sound(run: Run, *, metric: str, fail_on: str = "critical", again: str = "") -> Check:
    """Assert that one loss (`loss`, `policy_loss` or `value_loss`) does nothing that none does in a sound training.

    Raises:
        LossAnomaly: it does.
        NotJudged: it was not logged, or on too few rows.
        UsageError: `fail_on` is no severity.
    """
    __tracebackhide__ = True
    return _settle_one(run, judge_loss(run, metric, fail_on=severity(fail_on)), LossAnomaly, again)


def assert_entropy_sound(run: Run, *, fail_on: str = "critical", again: str = "") -> Check:
    """Assert that the policy's entropy neither collapses nor explodes.

    Raises:
        EntropyAnomaly: it does.
        NotJudged: no entropy was logged, or on too few rows.
        UsageError: `fail_on` is no severity.
    """
    __tracebackhide__ = True
    return _settle_one(run, judge_entropy(run, fail_on=severity(fail_on)), EntropyAnomaly, again)


def assert_gradients_sound(run: Run, *, fail_on: str = "critical", again: str = "") -> Check:
    """Assert that gradients are sound in size and move the weights.

    Raises:
        GradientAnomaly: they are not, or do not.
        NotJudged: no gradient norm was logged, and no two states of the weights were saved.
        UsageError: `fail_on` is no severity.
    """
    __tracebackhide__ = True
    return _settle_one(run, judge_gradients(run, fail_on=severity(fail_on)), GradientAnomaly, again)


def assert_loop_sound(run: Run, *, fail_on: str = "critical", again: str = "") -> Verdict:
    """Assert that the training loop does what it says, by what was seen where the work is done.

    The optimizer applies the scheduled learning rate to all weights and remembers its moments; the coefficients of the
    objective are the configured ones; the reference stands still; what generates is what is trained; no batch repeats
    in its epoch.

    Raises:
        LoopUnsound: it does not.
        NotJudged: none of it was recorded.
        UsageError: `fail_on` is no severity.
    """
    __tracebackhide__ = True
    return _settle(run, judge_loop(run, fail_on=severity(fail_on)), LoopUnsound, again)


def assert_system_sound(run: Run, *, fail_on: str = "critical", again: str = "") -> Verdict:
    """Assert that the processes of a distributed training work: its engines, which generate, and its actors.

    Raises:
        SystemUnsound: one died, stalled, stands idle, slows down, or does not follow the weights that are trained.
        NotJudged: the training has none, or none was recorded.
        UsageError: `fail_on` is no severity.
    """
    __tracebackhide__ = True
    return _settle(run, judge_system(run, fail_on=severity(fail_on)), SystemUnsound, again)


def assert_rewards_reliable(run: Run, *, allow: Sequence[str] = (), again: str = "") -> Check:
    """Assert that the rewards can be trusted.

    Args:
        run: the run.
        allow: findings that are intended, for example `["length"]`.
        again: the command that repeats the run; the diagnosis ends with it.

    Raises:
        RewardUnreliable: they cannot.
        NotJudged: no rewards were recorded, or too few.
        UsageError: `allow` names no known finding.
    """
    __tracebackhide__ = True
    return _settle_one(run, judge_rewards(run, allow=tuple(allow)), RewardUnreliable, again)


def assert_checkpoints_healthy(run: Run, *, min_score: float = 0.8, again: str = "") -> Check:
    """Assert that every checkpoint of the run is sound.

    Args:
        run: the run.
        min_score: the lowest sound score, 0 to 1.
        again: the command that repeats the run; the diagnosis ends with it.

    Raises:
        CheckpointUnhealthy: one is broken, or scores lower.
        NotJudged: no checkpoint was saved.
    """
    __tracebackhide__ = True
    return _settle_one(run, judge_checkpoints(run, min_score=min_score), CheckpointUnhealthy, again)


def assert_resources_bounded(run: Run, *, fail_on: str = "critical", again: str = "") -> Check:
    """Assert that memory does not grow steadily.

    Raises:
        ResourceLeak: it does.
        NotJudged: no resource samples were recorded, or too few.
        UsageError: `fail_on` is no severity.
    """
    __tracebackhide__ = True
    return _settle_one(run, judge_resources(run, fail_on=severity(fail_on)), ResourceLeak, again)


def assert_learns(run: Run, *, again: str = "") -> Check:
    """Assert that the metric which the scenario promises to improve ends better than it began.

    Raises:
        NotLearning: it does not.
        NotJudged: nothing is promised, or there are too few steps to tell.
    """
    __tracebackhide__ = True
    return _settle_one(run, judge_learning(run), NotLearning, again)


def assert_other_metrics_sound(run: Run, *, fail_on: str = "critical", again: str = "") -> Check:
    """Assert that no metric without an assertion of its own shows an anomaly.

    Raises:
        MetricAnomaly: one does.
        NotJudged: no further metric was logged.
        UsageError: `fail_on` is no severity.
    """
    __tracebackhide__ = True
    return _settle_one(run, judge_other_metrics(run, fail_on=severity(fail_on)), MetricAnomaly, again)


def assert_run_healthy(
    run: Run,
    *,
    kl_limit: float | None = None,
    fail_on: str = "critical",
    min_score: float = 0.8,
    allow: Sequence[str] = (),
    again: str = "",
) -> Verdict:
    """Assert that every check passes; what could not be judged is in the verdict's `unjudged`.

    Args:
        run: the run.
        kl_limit: `limit` of `assert_kl_anomaly_free`.
        fail_on: `warning` or `critical`: the severity from which an anomaly fails.
        min_score: see `assert_checkpoints_healthy`.
        allow: see `assert_rewards_reliable`.
        again: the command that repeats the run; the diagnosis ends with it.

    Raises:
        RunUnhealthy: a check failed; each cause is diagnosed once, at the check that showed it first.
        NotJudged: no check had anything to judge but that the training ended.
        UsageError: `fail_on` is no severity, or `allow` names no known finding.
    """
    __tracebackhide__ = True
    verdict = judge(run, fail_on=severity(fail_on), kl_limit=kl_limit, min_score=min_score, allow=allow)
    chains = verdict.chains
    if chains:
        text = "\n\n".join(_tell(chain, run, again if chain is chains[-1] else "") for chain in chains)
        raise RunUnhealthy(text, chains[0].root, verdict.checks, run)
    if all(check.status is not Status.PASS for check in verdict.checks if check.name != "completion"):
        reasons = "; ".join(f"{check.name}: {check.headline}" for check in verdict.unjudged)
        raise NotJudged(f"nothing could be judged: {reasons}", verdict.checks[0], verdict.checks, run)
    return verdict


def severity(name: str) -> Severity:
    """Return the severity of `fail_on`.

    Raises:
        UsageError: it is neither `warning` nor `critical`.
    """
    known = ("warning", "critical")
    if name not in known:
        raise UsageError(f"fail_on={name!r} is no severity{suggest(str(name), known)}; known: {', '.join(known)}")
    return Severity[name]


def _settle_one(run: Run, check: Check, failure: type[HealthFailure], again: str) -> Check:
    __tracebackhide__ = True
    return _settle(run, (check,), failure, again).checks[0]


def _settle(run: Run, checks: Iterable[Check], failure: type[HealthFailure], again: str) -> Verdict:
    """Return the verdict if every check that could judge passed, and one could."""
    __tracebackhide__ = True
    verdict = Verdict(run, tuple(explain(run, check) for check in checks))
    if verdict.status is Status.FAIL:
        failures = verdict.failures
        tellings = [_diagnosis(check, run, again if check is failures[-1] else "") for check in failures]
        raise failure("\n\n".join(tellings), failures[0], verdict.checks, run)
    if verdict.status is not Status.PASS:
        reasons = "; ".join(check.headline for check in verdict.checks)
        raise NotJudged(reasons, verdict.checks[0], verdict.checks, run)
    return verdict


def _tell(chain: Chain, run: Run, again: str) -> str:
    """Return the diagnosis of a chain's root, and its consequences below it."""
    from rlhf_assert.report.diagnosis import WIDTH  # noqa: PLC0415 - only a failure needs the report
    from rlhf_assert.report.layout import hang  # noqa: PLC0415

    follows = [f"{check.name}: {check.headline}" for check in chain.consequences]
    lines = hang("follows", follows, indent="  ", label_width=12, width=WIDTH)
    return "\n".join([_diagnosis(chain.root, run, again), *lines])


def _diagnosis(check: Check, run: Run, again: str) -> str:
    from rlhf_assert.report.diagnosis import diagnose  # noqa: PLC0415 - only a failure needs the report

    return diagnose(check, run, again=again)
