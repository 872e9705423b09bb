"""The verdict on a run: every check, and one cause counted once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from rlhf_assert.causes import explain
from rlhf_assert.causes.hypothesis import onset
from rlhf_assert.check import Check, Status
from rlhf_assert.checks.checkpoints import judge_checkpoints
from rlhf_assert.checks.completeness import judge_promised_metrics
from rlhf_assert.checks.completion import judge_completion
from rlhf_assert.checks.entropy import judge_entropy
from rlhf_assert.checks.gradients import judge_gradients
from rlhf_assert.checks.kl import judge_kl
from rlhf_assert.checks.learning import judge_learning
from rlhf_assert.checks.loop import judge_loop
from rlhf_assert.checks.losses import judge_losses
from rlhf_assert.checks.other_metrics import judge_other_metrics
from rlhf_assert.checks.resources import judge_resources
from rlhf_assert.checks.rewards import judge_rewards
from rlhf_assert.checks.system import judge_system
from rlhf_assert.detect import Severity
from rlhf_assert.recording.run import Run

_POSSIBLY = "possibly "


@dataclass(frozen=True, slots=True)
class Chain:
    """Failed checks of one cause.

    Attributes:
        root: the check that showed it first.
        consequences: the others, by onset.
    """

    root: Check
    consequences: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Every check on one run.

    Attributes:
        run: the run.
        checks: the checks, in the order in which they are reported.
    """

    run: Run
    checks: tuple[Check, ...]

    def __repr__(self) -> str:
        failed = ", ".join(check.name for check in self.failures)
        return f"<Verdict {self.run.scenario}: {self.status.value}{f', failed: {failed}' if failed else ''}>"

    @property
    def status(self) -> Status:
        """FAIL if any check failed, PASS if none did and at least one judged; otherwise nothing was judged."""
        statuses = {check.status for check in self.checks}
        return next((s for s in (Status.FAIL, Status.PASS, Status.INSUFFICIENT) if s in statuses), Status.SKIPPED)

    @property
    def failures(self) -> tuple[Check, ...]:
        """The failed checks, cause by cause, by onset; what has no onset and no known cause comes last."""
        return tuple(check for chain in self.chains for check in (chain.root, *chain.consequences))

    @property
    def unjudged(self) -> tuple[Check, ...]:
        """The checks that did not judge, each with its reason as the headline."""
        return tuple(check for check in self.checks if check.status in {Status.SKIPPED, Status.INSUFFICIENT})

    @property
    def first_sign(self) -> Check | None:
        """The failed check that showed its cause first, of the earliest cause; None if nothing failed."""
        return self.chains[0].root if self.chains else None

    @property
    def chains(self) -> tuple[Chain, ...]:
        """The failed checks by cause, each cause once; a check without a known cause stands alone."""
        by_cause: dict[str, list[Check]] = {}
        for check in self.checks:
            if check.status is Status.FAIL:
                known = check.cause and not check.cause.startswith(_POSSIBLY)
                by_cause.setdefault(check.cause if known else f"{check.name}:", []).append(check)
        chains = sorted(by_cause.values(), key=_earliest)
        return tuple(_chain(_earliest(checks), checks) for checks in chains)


def judge(
    run: Run,
    *,
    fail_on: Severity = Severity.critical,
    kl_limit: float | None = None,
    min_score: float = 0.8,
    allow: Sequence[str] = (),
) -> Verdict:
    """Run every check on a run.

    Args:
        run: the run.
        fail_on: the severity from which an anomaly fails its check.
        kl_limit: see `judge_kl`.
        min_score: the lowest sound checkpoint score, 0 to 1; see `judge_checkpoints`.
        allow: findings about the reward that are intended; see `judge_rewards`.
    """
    checks = (
        judge_completion(run),
        judge_promised_metrics(run),
        judge_kl(run, limit=kl_limit, fail_on=fail_on),
        *judge_losses(run, fail_on=fail_on),
        judge_entropy(run, fail_on=fail_on),
        judge_gradients(run, fail_on=fail_on),
        *judge_loop(run, fail_on=fail_on),
        *judge_system(run, fail_on=fail_on),
        judge_rewards(run, allow=tuple(allow)),
        judge_learning(run),
        judge_checkpoints(run, min_score=min_score),
        judge_resources(run, fail_on=fail_on),
        judge_other_metrics(run, fail_on=fail_on),
    )
    return Verdict(run, tuple(explain(run, check) for check in checks))


_TELLING = ("completion", "rewards", "kl", "value_loss", "metrics", "gradients", "checkpoints", "loss", "policy_loss")
"""Which of several checks with one onset is the root: the nearest to what one can change."""


def _earliest(checks: Sequence[Check]) -> float:
    """Return the earliest onset of some failed checks; infinity if none has one."""
    return min((float(begun) for check in checks if (begun := onset(check)) is not None), default=inf)


def _chain(begun: float, checks: Sequence[Check]) -> Chain:
    """Order the checks of one cause; one without an onset of its own was there from the beginning."""

    def order(check: Check) -> tuple[float, int]:
        own = onset(check)
        rank = _TELLING.index(check.name) if check.name in _TELLING else len(_TELLING)
        return begun if own is None else own, rank

    first, *others = sorted(checks, key=order)
    return Chain(first, tuple(others))
