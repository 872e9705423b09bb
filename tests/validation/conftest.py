"""Signs, trainings and scores of a validation, made by hand; and runs, by the fixtures of tests/conftest.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rlhf_assert.detect import Severity
from rlhf_assert.training.faults import make_fault
from rlhf_assert.training.request import Request
from rlhf_assert.training.scenario import Scenario, scenario
from rlhf_assert.validation.signs import Sign


def _scenario(name: str, steps: int, *tags: str) -> Scenario:
    def build(ctx: Any) -> None:
        raise AssertionError("a scenario of these tests is never trained")

    return scenario(name=name, backend="trl", steps=steps, tags=tags)(build)


@pytest.fixture
def make_scenario() -> Callable[..., Scenario]:
    return _scenario


@pytest.fixture
def make_training() -> Callable[..., Request]:
    """Return a function that makes a training of `trl-grpo`; with a fault, if one is named."""

    def make(kind: str = "", onset: int | None = None, seed: int = 0) -> Request:
        fault = make_fault(kind, onset) if kind else None
        return Request.of(_scenario("trl-grpo", 30, "grpo"), seed=seed, fault=fault)

    return make


@pytest.fixture
def make_sign() -> Callable[..., Sign]:
    """Return a function that makes a critical sign, told at its onset unless said otherwise."""

    def make(source: str = "spike", onset: int = 10, told: int | None = None, **changes: Any) -> Sign:
        fields: dict[str, Any] = {
            "source": source,
            "check": "kl",
            "kind": "spike",
            "metric": "kl_div",
            "severity": Severity.critical,
            "onset": onset,
            "told": onset if told is None else told,
        }
        return Sign(**{**fields, **changes})

    return make
