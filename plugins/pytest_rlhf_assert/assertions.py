"""The assertion fixtures: the library's assertions, bound to a test's run and entered in its report."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Iterable
from typing import Concatenate, Generic, ParamSpec, TypeVar

import orjson
import pytest  # noqa: TID253 - this is a pytest plugin

from pytest_rlhf_assert.selection import HEALTH_TESTS
from rlhf_assert.checked import Check, Status, encode_check
from rlhf_assert.checks.registry import checks
from rlhf_assert.errors import UsageError
from rlhf_assert.failures import HealthFailure, NotJudged, Unjudged
from rlhf_assert.metrics import label
from rlhf_assert.numbers import number
from rlhf_assert.recording.files import AppendOnlyFile
from rlhf_assert.recording.run import Run
from rlhf_assert.report.diagnosis import diagnose_verdict
from rlhf_assert.training.request import Request
from rlhf_assert.verdict import Verdict

P = ParamSpec("P")
Outcome = TypeVar("Outcome")


class BoundAssertion(Generic[P, Outcome]):
    """An assertion of the library on one run: call it with the assertion's own arguments, without the run.

    What it judges is entered in the test's report and in `checks.jsonl`. What could not be judged skips the test with
    its reason; a failure carries the command that repeats it.
    """

    def __init__(
        self, request: pytest.FixtureRequest, run: Run, assertion: Callable[Concatenate[Run, P], Outcome]
    ) -> None:
        self._request, self._run = request, run
        self._assertion: Callable[Concatenate[Run, P], Outcome] = assertion
        signature = inspect.signature(assertion)
        self.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])
        self.__name__ = assertion.__name__
        self.__doc__ = assertion.__doc__

    def __repr__(self) -> str:
        return f"<{self.__name__}{self.__signature__} on {self._run!r}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Outcome:
        """Assert, as the library's function of this name does."""
        __tracebackhide__ = True
        again = replay_command(self._request)
        try:
            outcome = self._assertion(self._run, *args, **kwargs)
        except NotJudged as failure:
            failure.again = again
            enter(self._request.node, self._run, failure.checks, again)
            if is_strict(self._request.config) and expected(self._run, failure.checks):
                raise failure.as_kind(Unjudged) from None
            pytest.skip(str(failure))
        except HealthFailure as failure:
            failure.again = again
            enter(self._request.node, self._run, failure.checks, again)
            raise
        except UsageError as error:
            pytest.fail(str(error), pytrace=False)
        judged = checks_in(outcome)
        enter(self._request.node, self._run, judged, again)
        if is_strict(self._request.config) and (missing := expected(self._run, judged)):
            raise Unjudged(Verdict(self._run, missing), missing[0], diagnose_verdict, again)
        return outcome


def is_strict(config: pytest.Config) -> bool:
    """Whether a check that should judge and does not fails its test."""
    return bool(config.getoption("rlhf_strict") or config.getini("rlhf_strict"))


def expected(run: Run, outcomes: Iterable[Check]) -> tuple[Check, ...]:
    """Return the checks that did not judge, of those that can judge a training of the run's algorithm."""
    able = {spec.name for spec in checks() if spec.expected(run)}
    return tuple(one for one in outcomes if one.name in able and one.status not in (Status.PASS, Status.FAIL))


def checks_in(outcome: object) -> tuple[Check, ...]:
    """Return the checks that an assertion returned: one, or those of a verdict; none of anything else."""
    if isinstance(outcome, Check):
        return (outcome,)
    return outcome.checks if isinstance(outcome, Verdict) else ()


def enter(item: pytest.Item, run: Run, checks: Iterable[Check], again: str) -> None:
    """Enter checks in the test's properties, which JUnit shows, and in the run's `checks.jsonl`, for the summary."""
    properties = item.user_properties
    if ("rlhf.run", str(run.path)) not in properties:
        properties.append(("rlhf.run", str(run.path)))
        properties.append(("rlhf.scenario", run.scenario))
        properties.append(("rlhf.seed", run.seed))
        if run.fault:
            properties.append(("rlhf.fault", str(run.fault)))
        properties.append(("rlhf.status", run.status))
    file = AppendOnlyFile(run.path / "checks.jsonl")
    for check in checks:
        properties.append((f"rlhf.check.{check.name}", f"{check.status.value}: {check.headline}"))
        for name in check.metrics:
            if name in run and len(run[name]):
                series = run[name]
                properties.append((f"rlhf.metric.{label(name)}", f"{number(series.first)} -> {number(series.last)}"))
        file.append(orjson.dumps({"test": item.nodeid, "again": again, **encode_check(check)}) + b"\n")
    file.close()


def replay_command(request: pytest.FixtureRequest) -> str:
    """Return the command that repeats the test's training and check, bit for bit on the same machine."""
    wanted: Request = request.node.callspec.params["rlhf_run"]
    config = request.config
    parts = ["pytest"]
    if request.node.path.name == HEALTH_TESTS and request.node.path.parent.name == "rlhf_scenarios":
        name = request.node.originalname
        packaged = wanted.scenario.function.__module__.startswith("rlhf_scenarios.")
        where = wanted.scenario.name if packaged else f"{wanted.scenario.file}::{wanted.scenario.name}"
        parts += [f"--rlhf-scenario={where}", "-k", name]
    else:
        parts.append(request.node.nodeid.partition("[")[0])
        for word in config.getoption("rlhf_scenario") or ():
            parts.append(f"--rlhf-scenario={word}")
        parts += ["-k", wanted.scenario.name] if config.getoption("rlhf_scenario") else []
    parts.append(f"--rlhf-seed={wanted.seed}")
    if config.getoption("rlhf_steps"):
        parts.append(f"--rlhf-steps={config.getoption('rlhf_steps')}")
    for fault in config.getoption("rlhf_fault") or ():
        parts.append(f"--rlhf-fault={fault}")
    return shlex.join(parts)
