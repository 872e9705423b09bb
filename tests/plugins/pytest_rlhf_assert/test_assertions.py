"""The assertion fixtures as a user meets them in a debugger or in `help()`."""

from __future__ import annotations

import inspect

import pytest

import rlhf_assert
from pytest_rlhf_assert import fixture_types
from pytest_rlhf_assert.assertions import BoundAssertion

FIXTURES = {
    "assert_kl_anomaly_free": fixture_types.KLAssertion,
    "assert_checkpoints_healthy": fixture_types.CheckpointsAssertion,
    "assert_rewards_reliable": fixture_types.RewardsAssertion,
    "assert_run_healthy": fixture_types.RunAssertion,
    "assert_check": fixture_types.NamedAssertion,
}


@pytest.mark.parametrize("name", FIXTURES)
def test_a_bound_assertion_shows_its_arguments(request, make_run, rows, name):
    run = make_run(rows)
    assertion = getattr(rlhf_assert, name)
    bound = BoundAssertion(request, run, assertion)
    shown = inspect.signature(bound)
    assert list(shown.parameters) == list(inspect.signature(assertion).parameters)[1:]
    assert repr(bound) == f"<{name}{shown} on {run!r}>"
    assert inspect.getdoc(bound) == inspect.getdoc(assertion)


@pytest.mark.parametrize(("name", "protocol"), FIXTURES.items())
def test_the_types_of_fixtures_say_what_the_assertions_take(name, protocol):
    """They are written down for type checkers, which cannot follow a fixture to the function that it binds."""
    stated = list(inspect.signature(protocol.__call__).parameters.values())[1:]
    real = list(inspect.signature(getattr(rlhf_assert, name)).parameters.values())[1:]
    assert [(one.name, one.default) for one in stated] == [(one.name, one.default) for one in real]
