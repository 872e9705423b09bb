"""How good the detectors are: `pytest --rlhf-validate` runs these tests, one for each real training.

A fault that is not found, and a healthy training that is flagged, counts against the floor, whose test fails if too
many do; it is an expected failure by itself, unless the floor's test was deselected.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest  # noqa: TID253 - these are pytest tests

from pytest_rlhf_assert.validation import OURS, SEVERITY, ValidationSession, current
from rlhf_assert.training.faults import describe_fault
from rlhf_assert.training.request import Request
from rlhf_assert.validation.log_score import idle_detectors
from rlhf_assert.validation.score import score_control, score_fault
from rlhf_assert.validation.tables import told


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give the tests their trainings."""
    validation = current(metafunc.config)
    if validation is None or "rlhf_training" not in metafunc.fixturenames:
        return
    faulty = metafunc.definition.originalname == "test_a_fault_is_found"
    trainings = [training for training in validation.plan if bool(training.fault) is faulty]
    metafunc.parametrize("rlhf_training", trainings, ids=[_name(training) for training in trainings])


@pytest.fixture(scope="session")
def validation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValidationSession]:
    """Train what the selected tests ask for, several at a time."""
    session = current(request.config)
    if session is None:
        pytest.skip("these tests train for minutes: pytest --rlhf-validate runs them")
    session.begin(request.session.items, tmp_path_factory.getbasetemp())
    yield session
    session.end()


def test_a_fault_is_found(validation: ValidationSession, rlhf_training: Request) -> None:
    """A check or detector tells it, at its onset or later, and dates it right."""
    assert rlhf_training.fault
    score = score_fault(rlhf_training, validation.judged(rlhf_training).signs[OURS], SEVERITY)
    if score.by is None:
        said = f"dated before it: {told(score.misdated)}" if score.misdated else "nothing was told"
        _count_against(validation, f"not found: {describe_fault(rlhf_training.fault)}; {said}")


def test_health_is_not_flagged(validation: ValidationSession, rlhf_training: Request) -> None:
    """Nothing critical is told about a healthy training."""
    score = score_control(rlhf_training, validation.judged(rlhf_training).signs[OURS], SEVERITY)
    if score.findings:
        _count_against(validation, f"flagged: {told(score.findings)}")


def test_the_floor_is_reached(validation: ValidationSession) -> None:
    """Enough faults are found, soon enough, and few enough healthy trainings are flagged."""
    below = validation.results().below
    if below:
        pytest.fail("; ".join(below), pytrace=False)


def test_every_detector_earns_its_place(validation: ValidationSession) -> None:
    """Without it, a fault planted in the log of a healthy training is found later, or not at all."""
    logs = validation.results().logs
    if not logs:
        pytest.skip("the long healthy trainings were not selected: there is no log to plant faults in")
    idle = idle_detectors(logs)
    if idle:
        pytest.fail(f"nothing is lost without {', '.join(idle)}", pytrace=False)


def _count_against(validation: ValidationSession, reason: str) -> None:
    if validation.floor_is_tested:
        pytest.xfail(reason)
    pytest.fail(reason, pytrace=False)


def _name(training: Request) -> str:
    fault = f"{training.fault.kind}-" if training.fault else ""
    return f"{fault}{training.scenario.name}-seed{training.seed}"
