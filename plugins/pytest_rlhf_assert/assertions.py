"""The assertion fixtures: the library's assertions, bound to a test's run and entered in its report."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Iterable
from typing import Any

import orjson
import pytest  # noqa: TID253 - this is a pytest plugin

from pytest_rlhf_assert.selection import HEALTH_TESTS, Request
from rlhf_assert.asserts import HealthFailure, NotJudged
from rlhf_assert.check import Check, encode_check
from rlhf_assert.errors import UsageError
from rlhf_assert.metrics import label
from rlhf_assert.numbers import number
from rlhf_assert.recording.recorder import AppendOnlyFile
from rlhf_assert.recording.run import Run


def bind(request: pytest.FixtureRequest, run: Run, assertion: Callable[..., Any]) -> Callable[..., Any]:
    """Return the assertion bound to a run: what it judges is entered in the test's report and in `checks.jsonl`.

    What could not be judged skips the test with its reason; a failure carries the command that repeats it.
    """

    @functools.wraps(assertion)
    def bound(**options: Any) -> Any:
        __tracebackhide__ = True
        again = replay_command(request)
        try:
            outcome = assertion(run, again=again, **options)
        except NotJudged as failure:
            enter(request.node, run, failure.checks, again)
            pytest.skip(str(failure))
        except HealthFailure as failure:
            enter(request.node, run, failure.checks, again)
            raise
        except UsageError as error:
            pytest.fail(str(error), pytrace=False)
        enter(request.node, run, [outcome] if isinstance(outcome, Check) else outcome.checks, again)
        return outcome

    return bound


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
