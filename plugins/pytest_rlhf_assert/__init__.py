"""The pytest plugin: options, marker and fixtures.

pytest imports this module in every session, so it imports nothing but pytest: what trains, judges and reports is
imported by the first hook or fixture that needs it. A session that uses none of it pays nothing; for the same reason
this module opts out of assertion rewriting: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import pytest  # noqa: TID253 - this is a pytest plugin

if TYPE_CHECKING:
    from pytest_rlhf_assert.assertions import BoundAssertion
    from pytest_rlhf_assert.fixture_types import (
        AnyAssertion,
        CheckpointsAssertion,
        KLAssertion,
        NamedAssertion,
        RewardsAssertion,
        RunAssertion,
    )
    from rlhf_assert.recording.run import Run

P = ParamSpec("P")
Outcome = TypeVar("Outcome")
MARKER = (
    "rlhf_scenario(scenario, *, steps=None, seed=None): the training that this test judges; a scenario's name, or a "
    "function decorated with @rlhf_assert.scenario"
)
FAULT_MARKER = (
    "rlhf_fault(name, *, onset=None, magnitude=None): break the training of this test on purpose, to see it caught"
)
SESSION_PLUGIN = "rlhf-assert-session"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options and ini values."""
    group = parser.getgroup("rlhf-assert", "train for real, and judge what was recorded (rlhf-assert)")
    group.addoption(
        "--rlhf-scenario",
        action="append",
        nargs="?",
        const="all",
        metavar="NAME|all|list|FILE.py[::NAME]",
        help="train a scenario, or all of a pattern such as 'openrlhf-*', and judge it; "
        "bare: all whose backend is installed; repeatable",
    )
    group.addoption("--rlhf-seed", metavar="SPEC", help="seeds: 0, 0-4 or 0,3,7 (default: 0)")
    group.addoption("--rlhf-steps", metavar="N", help="steps in place of each scenario's own")
    group.addoption(
        "--rlhf-fault",
        action="append",
        metavar="NAME[@ONSET][xMAGNITUDE]",
        help="break each training on purpose, to see it caught, for example reward_nan@10; repeatable",
    )
    group.addoption("--rlhf-out", metavar="DIR", help="keep run directories and reports in DIR")
    group.addoption(
        "--rlhf-strict", action="store_true", help="fail where a check that should judge this algorithm does not"
    )
    group.addoption(
        "--rlhf-lock",
        choices=("device", "none"),
        default="device",
        help="device: wait while another session trains on this device; none: train beside it",
    )
    group.addoption("--rlhf-in-process", action="store_true", help="train in this process, for a debugger")
    group.addoption(
        "--rlhf-ray", metavar="ADDRESS", help="train on this Ray cluster, many at a time: HOST:PORT or auto"
    )
    group.addoption("--rlhf-ray-python", metavar="PATH", help="interpreter on its nodes (default: this one's path)")
    group.addoption(
        "--rlhf-validate",
        nargs="?",
        const="quick",
        metavar="quick|full",
        help="train with and without faults, and fail if too few are found or too much health is flagged; bare: quick",
    )
    parser.addini("rlhf_out", "as --rlhf-out", default="")
    parser.addini("rlhf_strict", "as --rlhf-strict", type="bool", default=False)
    parser.addini("rlhf_ray_python", "as --rlhf-ray-python", default="")
    parser.addini("rlhf_openrlhf_python", "interpreter that has OpenRLHF (default: .venv-openrlhf's)", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and without a path the packaged health tests as what runs."""
    config.addinivalue_line("markers", MARKER)
    config.addinivalue_line("markers", FAULT_MARKER)
    if python := config.getini("rlhf_openrlhf_python"):
        # The variable is what child processes and the command line read; where it is set by hand, it wins.
        os.environ.setdefault("RLHF_OPENRLHF_PYTHON", str(config.rootpath / python))
    if config.getoption("rlhf_scenario"):
        from pytest_rlhf_assert import selection

        selection.configure(config)
    if config.getoption("rlhf_validate"):
        from pytest_rlhf_assert import validation

        validation.configure(config)


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Answer `--rlhf-scenario=list`."""
    if "list" not in (config.getoption("rlhf_scenario") or ()):
        return None
    from pytest_rlhf_assert import selection

    return selection.print_list()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that uses `rlhf_run` its scenarios and seeds."""
    if "rlhf_run" in metafunc.fixturenames:
        from pytest_rlhf_assert import selection

        selection.parametrize(metafunc)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Where a test uses a run, register what trains and reports, and start importing the backends."""
    used = [item for item in session.items if "rlhf_run" in getattr(item, "fixturenames", ())]
    if used and not session.config.option.collectonly:
        from pytest_rlhf_assert import training

        training.begin(session.config, used)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say what trains, with its versions."""
    if not config.getoption("rlhf_scenario"):
        return None
    from pytest_rlhf_assert import selection

    return selection.header(config)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give every xdist worker the folder of this session's runs."""
    from pytest_rlhf_assert.session_name import session_name

    node.workerinput["rlhf_session"] = session_name(node.config)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Any:
    """Make the verdict the message that summaries, JUnit and annotations repeat."""
    report = yield
    known = sys.modules.get("rlhf_assert.failures")  # which is not imported where nothing of ours is used
    if known is not None and call.excinfo is not None and isinstance(call.excinfo.value, known.HealthFailure):
        from pytest_rlhf_assert import reporting

        reporting.shorten(report, call.excinfo.value)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the health section, where a test judged a run (here or on one of xdist's workers)."""
    if _judged(terminalreporter):
        from pytest_rlhf_assert import reporting

        reporting.print_summary(terminalreporter)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """End the child processes; a session that was asked to judge and judged nothing is not green."""
    config = session.config
    used = config.pluginmanager.has_plugin(SESSION_PLUGIN)
    if used:
        from pytest_rlhf_assert import training

        training.end(config)
    if (
        (used or config.getoption("rlhf_scenario"))
        and not hasattr(config, "workerinput")
        and not config.option.collectonly
    ):
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        if exitstatus == pytest.ExitCode.OK and reporter is not None and not reporter.getreports("passed"):
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.fixture(scope="session")
def rlhf_run(request: pytest.FixtureRequest) -> Run:
    """The recorded run of the test's scenario; trained once per session, seed and number of steps."""
    from pytest_rlhf_assert import training

    return training.recorded_run(request)


@pytest.fixture
def assert_kl_anomaly_free(rlhf_run: Run, request: pytest.FixtureRequest) -> KLAssertion:
    """Assert that the policy stays near its reference: `assert_kl_anomaly_free(limit=None, fail_on="critical")`."""
    from rlhf_assert import assert_kl_anomaly_free as assertion

    return _bound(request, rlhf_run, assertion)


@pytest.fixture
def assert_checkpoints_healthy(rlhf_run: Run, request: pytest.FixtureRequest) -> CheckpointsAssertion:
    """Assert that every checkpoint is sound: `assert_checkpoints_healthy(min_score=0.8)`."""
    from rlhf_assert import assert_checkpoints_healthy as assertion

    return _bound(request, rlhf_run, assertion)


@pytest.fixture
def assert_rewards_reliable(rlhf_run: Run, request: pytest.FixtureRequest) -> RewardsAssertion:
    """Assert that the rewards can be trusted: `assert_rewards_reliable(allow=["length"])` accepts a finding."""
    from rlhf_assert import assert_rewards_reliable as assertion

    return _bound(request, rlhf_run, assertion)


@pytest.fixture
def assert_run_healthy(rlhf_run: Run, request: pytest.FixtureRequest) -> RunAssertion:
    """Assert that every check passes: `assert_run_healthy(kl_limit=None, min_score=0.8, allow=())`."""
    from rlhf_assert import assert_run_healthy as assertion

    return _bound(request, rlhf_run, assertion)


@pytest.fixture
def assert_check(rlhf_run: Run, request: pytest.FixtureRequest) -> NamedAssertion:
    """Assert that one check passes, ours or your own: `assert_check("kl", fail_on="critical")`."""
    from rlhf_assert import assert_check as assertion

    return _bound(request, rlhf_run, assertion)


@pytest.fixture
def rlhf_assert_check(rlhf_run: Run, request: pytest.FixtureRequest) -> AnyAssertion:
    """Call any assertion of `rlhf_assert` on the run: `rlhf_assert_check(assert_losses_sound, ...)`."""
    from pytest_rlhf_assert import assertions

    def check(assertion: Callable[..., Any], **options: Any) -> Any:
        __tracebackhide__ = True
        return assertions.BoundAssertion(request, rlhf_run, assertion)(**options)

    return check


def _bound(
    request: pytest.FixtureRequest, run: Run, assertion: Callable[Concatenate[Run, P], Outcome]
) -> BoundAssertion[P, Outcome]:
    from pytest_rlhf_assert.assertions import BoundAssertion

    return BoundAssertion(request, run, assertion)


def _judged(reporter: pytest.TerminalReporter) -> bool:
    return any(
        name == "rlhf.run"
        for reports in reporter.stats.values()
        for report in reports
        for name, _ in getattr(report, "user_properties", ())
    )
