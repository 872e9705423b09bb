"""`pytest --rlhf-validate`: the faults, the healthy controls and the floor of a validation as tests."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path

import pytest  # noqa: TID253 - this is a pytest plugin

from pytest_rlhf_assert.selection import detection
from rlhf_assert.detect import Severity
from rlhf_assert.errors import RlhfAssertError, UsageError
from rlhf_assert.training.request import Request
from rlhf_assert.validation.contenders import installed_contenders
from rlhf_assert.validation.plan import PROFILES, chosen_faults, chosen_profile, chosen_scenarios, plan
from rlhf_assert.validation.results import Results, conclude, text_report, write
from rlhf_assert.validation.score import OURS, Judged
from rlhf_assert.validation.scorecard import Floor
from rlhf_assert.validation.trainings import Trainings, describe_machine

TESTS = Path(__file__).with_name("test_validation.py")
PLUGIN = "rlhf-assert-validation"
SEVERITY = Severity.critical


class ValidationSession:
    """The validation of one pytest session; it trains what the selected tests ask for.

    Attributes:
        plan: every training of the profile.
        floor_is_tested: whether the floor's own tests are selected; else each miss fails by itself.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.profile: str = config.getoption("rlhf_validate")
        if self.profile not in PROFILES:
            raise UsageError(f"--rlhf-validate={self.profile}: give it as {' or '.join(PROFILES)}")
        if config.getoption("numprocesses", None) or hasattr(config, "workerinput"):
            raise UsageError("--rlhf-validate trains with a worker on each core by itself: leave out -n")
        self.plan = plan(chosen_profile(self.profile), chosen_scenarios(()), chosen_faults(()))
        self.floor_is_tested = False
        self._out = Path(out) if (out := config.getoption("rlhf_out") or config.getini("rlhf_out")) else None
        self._trainings: Trainings | None = None
        self._results: Results | None = None
        self._begun = 0.0

    def begin(self, items: list[pytest.Item], temporary: Path) -> None:
        """Start the trainings of the selected tests."""
        params = [getattr(item, "callspec", None) for item in items]
        wanted = {spec.params.get("rlhf_training") for spec in params if spec is not None}
        self.floor_is_tested = any(item.name == "test_the_floor_is_reached" for item in items)
        self._begun = time.monotonic()
        self._trainings = Trainings(
            [training for training in self.plan if training in wanted],
            (self._out or temporary) / "validation" / "runs",
            contenders=installed_contenders(),
            settings=detection(self._config),
            keep=self._out is not None,
        )
        self._trainings.__enter__()

    def judged(self, training: Request) -> Judged:
        """Wait for a training, and return what was told about it; a fault that does not apply skips the test."""
        assert self._trainings is not None
        try:
            return self._trainings.results[training].result()
        except UsageError as error:
            if training.fault is None:
                raise
            pytest.skip(str(error))

    def results(self) -> Results:
        """Return what all selected trainings came to."""
        assert self._trainings is not None
        if self._results is None:
            judged, inapplicable = [], {}
            for training, result in self._trainings.results.items():
                try:
                    judged.append(result.result())
                except UsageError as error:
                    inapplicable[training] = str(error)
            if not judged:
                pytest.fail("no training was selected: the floor has nothing to judge", pytrace=False)
            about = {
                "profile": self.profile,
                "severity": SEVERITY.name,
                "date": time.strftime("%Y-%m-%d"),
                "command": shlex.join(["pytest", *sys.argv[1:]]),
                "machine": describe_machine(self._trainings.results),
                "seconds": round(time.monotonic() - self._begun, 1),
            }
            self._results = conclude(judged, inapplicable, severity=SEVERITY, floor=Floor(), about=about)
            if self._out is not None:
                write(self._results, self._out / "validation")
        return self._results

    def end(self) -> None:
        """End the trainings and their processes."""
        if self._trainings is not None:
            self._trainings.__exit__()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the tables."""
        if self._results is not None:
            terminalreporter.section("rlhf validation")
            for line in text_report(self._results).splitlines():
                terminalreporter.line(line)


def configure(config: pytest.Config) -> None:
    """Plan the validation, and without a path make its tests what runs.

    Raises:
        pytest.UsageError: an unknown profile, or nothing that can be trained here.
    """
    try:
        config.pluginmanager.register(ValidationSession(config), PLUGIN)
    except RlhfAssertError as error:
        raise pytest.UsageError(str(error)) from error
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args = [str(TESTS)]


def current(config: pytest.Config) -> ValidationSession | None:
    """Return the validation of this session, or None if none was asked for."""
    session = config.pluginmanager.get_plugin(PLUGIN)
    return session if isinstance(session, ValidationSession) else None


__all__ = ["OURS", "SEVERITY", "ValidationSession", "configure", "current"]
