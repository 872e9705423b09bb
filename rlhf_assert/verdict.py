"""The verdict on a run: every check is asked, what failed is explained, and one cause is counted once."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from rlhf_assert.causes.explaining import explain
from rlhf_assert.causes.hypothesis import onset
from rlhf_assert.checked import Check, Status
from rlhf_assert.checks.registry import checks
from rlhf_assert.checks.spec import CheckSpec
from rlhf_assert.detect.anomaly import Severity
from rlhf_assert.errors import UnreadableRun, UsageError, suggest
from rlhf_assert.log_verdict import adapt_to_log
from rlhf_assert.recording.run import Run


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
        replay: the command that repeats the run; empty where none is known.
    """

    run: Run
    checks: tuple[Check, ...]
    replay: str = ""

    def __repr__(self) -> str:
        failed = ", ".join(check.name for check in self.failures)
        return f"<Verdict {self.run.scenario}: {self.status.value}{f', failed: {failed}' if failed else ''}>"

    @property
    def status(self) -> Status:
        """The gravest status: FAIL, ERROR, then PASS if at least one check judged; otherwise nothing was judged."""
        statuses = {check.status for check in self.checks}
        order = (Status.FAIL, Status.ERROR, Status.PASS, Status.INSUFFICIENT)
        return next((status for status in order if status in statuses), Status.SKIPPED)

    @property
    def judged(self) -> int:
        """How many checks judged something."""
        return sum(check.status in (Status.PASS, Status.FAIL) for check in self.checks)

    @property
    def failures(self) -> tuple[Check, ...]:
        """The failed checks, cause by cause, by onset; what has no onset and no known cause comes last."""
        return tuple(check for chain in self.chains for check in (chain.root, *chain.consequences))

    @property
    def errors(self) -> tuple[Check, ...]:
        """The checks that failed to judge: they raised."""
        return tuple(check for check in self.checks if check.status is Status.ERROR)

    @property
    def unjudged(self) -> tuple[Check, ...]:
        """The checks that did not judge, each with its reason as the headline."""
        return tuple(check for check in self.checks if check.status not in (Status.PASS, Status.FAIL))

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
                known = check.cause is not None and check.cause.certainty != "possible"
                by_cause.setdefault(str(check.cause) if known else f"{check.name}:", []).append(check)
        ranks = {spec.name: spec.root_rank for spec in checks()} if by_cause else {}
        chains = sorted(by_cause.values(), key=_earliest)
        return tuple(_chain(_earliest(failed), failed, ranks) for failed in chains)


def judge(
    run: Run,
    *,
    fail_on: Severity = Severity.critical,
    kl_limit: float | None = None,
    min_score: float = 0.8,
    allow: Sequence[str] = (),
    **options: Any,
) -> Verdict:
    """Ask every check about a run, and explain what failed.

    Args:
        run: the run; of a log that another program wrote, what no log can hold is not judged.
        fail_on: the severity from which an anomaly fails its check.
        kl_limit: the highest sound KL divergence; see `rlhf_assert.checks.kl`.
        min_score: the lowest sound checkpoint score, 0 to 1; see `rlhf_assert.checks.saved_checkpoints`.
        allow: findings about the reward that are intended; see `rlhf_assert.checks.reward_reliability`.
        options: options of checks that others registered, by the names that they give them.

    Raises:
        UsageError: an option that no check has, or a value that cannot be right.
    """
    given = {"kl_limit": kl_limit, "min_score": min_score, "allow": tuple(allow), **options}
    verdict = judge_by(run, checks(), fail_on=fail_on, options=given)
    return Verdict(run, adapt_to_log(run, verdict.checks)) if "log" in run.info else verdict


def judge_by(
    run: Run,
    specs: Iterable[CheckSpec[...]],
    *,
    fail_on: Severity = Severity.critical,
    options: Mapping[str, Any] | None = None,
) -> Verdict:
    """Ask some checks about a run, and explain what failed.

    Args:
        run: the run.
        specs: the checks; one that does not apply to the run is left out.
        fail_on: the severity from which an anomaly fails its check.
        options: by the names of `CheckSpec.options`.

    Raises:
        UsageError: an option that no check has, or a value that cannot be right.
    """
    given = options or {}
    known = {name for spec in checks() for name in spec.options}
    for name in given:
        if name not in known:
            raise UsageError(f"no check has an option {name}{suggest(name, known)}; known: {', '.join(sorted(known))}")
    outcomes = [ask(spec, run, fail_on=fail_on, options=given) for spec in specs if _applies(spec, run)]
    return Verdict(run, tuple(explain(run, outcome) for outcome in outcomes))


def ask(spec: CheckSpec[...], run: Run, *, fail_on: Severity, options: Mapping[str, Any]) -> Check:
    """Ask one check; what it raises is its outcome, and costs no other check its own.

    Raises:
        UsageError: an option that cannot be right.
        UnreadableRun: a run whose settings this version does not know.
    """
    arguments = {own: options[name] for name, own in spec.options.items() if name in options}
    if "fail_on" in inspect.signature(spec.judge).parameters:
        arguments["fail_on"] = fail_on
    try:
        return spec(run, **arguments)
    except (UsageError, UnreadableRun):
        raise
    except Exception as error:  # noqa: BLE001 - whatever a check raises, the others must be heard
        return _failed_to_judge(spec, error)


def _applies(spec: CheckSpec[...], run: Run) -> bool:
    try:
        return spec.applies(run)
    except Exception:  # noqa: BLE001 - asked all the same, it says what is wrong
        return True


def _failed_to_judge(spec: CheckSpec[...], error: Exception) -> Check:
    first = (str(error).splitlines() or [""])[0]
    said = ": ".join(text for text in (type(error).__name__, first) if text)
    return Check(name=spec.name, status=Status.ERROR, headline=f"failed to judge: {said}", concerns=spec.concerns)


def _earliest(failed: Sequence[Check]) -> float:
    """Return the earliest onset of some failed checks; infinity if none has one."""
    return min((float(begun) for check in failed if (begun := onset(check)) is not None), default=inf)


def _chain(begun: float, failed: Sequence[Check], ranks: Mapping[str, int]) -> Chain:
    """Order the checks of one cause; one without an onset of its own was there from the beginning."""

    def order(check: Check) -> tuple[float, int]:
        own = onset(check)
        return begun if own is None else own, ranks.get(check.name, 100)

    first, *others = sorted(failed, key=order)
    return Chain(first, tuple(others))
