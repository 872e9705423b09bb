"""A check: one question about a run, and everything that the rest of the library needs to know of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Concatenate, Generic, ParamSpec

from rlhf_assert.checked import Check, Concern
from rlhf_assert.errors import UsageError
from rlhf_assert.failures import CheckFailed, HealthFailure
from rlhf_assert.recording.run import Run

P = ParamSpec("P")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


def _always(_: Run) -> bool:
    return True


def _never(_: Run) -> bool:
    return False


def of_algorithms(*names: str) -> Callable[[Run], bool]:
    """Return a function that says whether a run is of one of these algorithms."""
    return lambda run: run.algorithm in names


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSpec(Generic[P]):
    """One question about a run. Calling it with a run asks the question.

    Attributes:
        name: what reports, JUnit and options call it: lower case, digits, dashes, underscores; at most 40 characters.
        question: what it asks, as one sentence with a question mark.
        judge: takes a run, and options by keyword; returns the outcome, made by `passed`, `failed`, `skipped` or
            `insufficient`.
        failure: what an assertion raises when the check fails.
        order: where it stands in reports; the lower the earlier. Checks of others come last unless they say otherwise.
        needs: what must have been recorded, in a few words.
        owns: canonical metrics that it judges, so that the check of all other metrics leaves them out.
        owns_when: for which runs it owns them.
        applies: whether the question can be asked of a run at all; where it cannot, the check is left out of reports.
        concerns: what the check looks at: which causes can explain its failure.
        options: option of `judge` and `assert_run_healthy` -> the argument of this check that it sets.
        assertion: name of the public assertion that asks it; several checks may share one. Empty for a check that
            `assert_check` and `assert_run_healthy` ask.
        root_rank: of several failed checks with one cause and one onset, the one with the lowest rank is told first:
            the nearest to what one can change.
        at_the_end: whether it asks what the whole training came to, so that a part of a run is not judged by it.
        not_in_a_log: why a log that another program wrote cannot be judged by it; empty where it can.
        of_the_loop: whether it is about the training loop and what that runs on; a log tells little of it.
        expected: which runs it must be able to judge, were they recorded as our backends do; see `of_algorithms`. A
            strict session fails where it does not judge one of these.
        finds: faults (`rlhf_assert.training.faults`) that this check is the right one to find.
    """

    name: str
    question: str
    judge: Callable[Concatenate[Run, P], Check]
    failure: type[HealthFailure] = CheckFailed
    order: int = 1000
    needs: str = ""
    owns: tuple[str, ...] = ()
    owns_when: Callable[[Run], bool] = _always
    applies: Callable[[Run], bool] = _always
    concerns: frozenset[Concern] = frozenset()
    options: Mapping[str, str] = field(default_factory=dict)
    assertion: str = ""
    root_rank: int = 100
    at_the_end: bool = False
    not_in_a_log: str = ""
    of_the_loop: bool = False
    expected: Callable[[Run], bool] = _never
    finds: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"check {self.name!r}: a name has lower case letters, digits, dashes and underscores, at most 40"
            )

    def __call__(self, run: Run, *args: P.args, **kwargs: P.kwargs) -> Check:
        """Ask the question, and return the outcome under this check's name.

        Raises:
            TypeError: the judge returned something that is no outcome.
        """
        outcome: object = self.judge(run, *args, **kwargs)  # anybody's function: it may return anything
        if not isinstance(outcome, Check):
            known = "passed(...), failed(...), skipped(...) or insufficient(...)"
            raise TypeError(f"it returned {type(outcome).__name__}: return {known}")
        return replace(outcome, name=outcome.name or self.name, concerns=self.concerns)

    def owned(self, run: Run) -> frozenset[str]:
        """Return the canonical metrics of a run that this check judges."""
        return frozenset(self.owns if self.owns_when(run) else ())
