"""What every scenario must pass: ordinary tests, a check each. `pytest --rlhf-scenario` runs them; copy what you need.

`rlhf_run` is the recorded run. A fixture such as `assert_kl_anomaly_free` is the library's assertion of that name, on
this run; `rlhf_assert_check` calls any other one. What a run has no data for is skipped with the reason. A check that
you register yourself (`@rlhf_assert.check`) is asked by `test_further_check`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest  # noqa: TID253 - these are pytest tests

from rlhf_assert import (
    Run,
    assert_entropy_sound,
    assert_gradients_sound,
    assert_learns,
    assert_loop_sound,
    assert_losses_sound,
    assert_metric_logged,
    assert_metrics_logged,
    assert_other_metrics_sound,
    assert_resources_bounded,
    assert_system_sound,
    assert_training_completed,
)
from rlhf_assert.checks.registry import checks

if TYPE_CHECKING:
    from pytest_rlhf_assert.fixture_types import (
        AnyAssertion,
        CheckpointsAssertion,
        KLAssertion,
        NamedAssertion,
        RewardsAssertion,
    )

FURTHER = [spec.name for spec in checks() if not spec.assertion]
"""The checks that have no assertion of their own: those that others registered."""


def test_training_completes(rlhf_assert_check: AnyAssertion) -> None:
    """It came to its end: no exception, no hang, no kill."""
    rlhf_assert_check(assert_training_completed)


def test_promised_metrics_are_logged(rlhf_run: Run, rlhf_assert_check: AnyAssertion, subtests: pytest.Subtests) -> None:
    """Every metric that this trainer must log is there."""
    if not rlhf_run.promised:
        rlhf_assert_check(assert_metrics_logged)
    for metric in rlhf_run.promised:
        with subtests.test(metric):
            rlhf_assert_check(assert_metric_logged, metric=metric)


def test_kl_is_anomaly_free(assert_kl_anomaly_free: KLAssertion) -> None:
    """The policy starts on its reference, and stays near it."""
    assert_kl_anomaly_free()


def test_losses_are_sound(rlhf_assert_check: AnyAssertion) -> None:
    """Every loss is finite, keeps its size, and keeps the identities of the first step."""
    rlhf_assert_check(assert_losses_sound)


def test_entropy_is_sound(rlhf_assert_check: AnyAssertion) -> None:
    """The policy's entropy neither collapses nor explodes."""
    rlhf_assert_check(assert_entropy_sound)


def test_gradients_are_sound(rlhf_assert_check: AnyAssertion) -> None:
    """Gradients are finite, of a sound size, and move the weights."""
    rlhf_assert_check(assert_gradients_sound)


def test_the_loop_does_what_it_says(rlhf_assert_check: AnyAssertion) -> None:
    """Updates follow the schedule, the reference stands still, what generates is what is trained, no batch repeats."""
    rlhf_assert_check(assert_loop_sound)


def test_engines_and_actors_are_sound(rlhf_assert_check: AnyAssertion) -> None:
    """Every process of a distributed training lives, works, and follows the weights that are trained."""
    rlhf_assert_check(assert_system_sound)


def test_rewards_are_reliable(assert_rewards_reliable: RewardsAssertion) -> None:
    """Every reward is finite, rewards tell completions apart, and they do not just follow length."""
    assert_rewards_reliable()


def test_training_learns(rlhf_assert_check: AnyAssertion) -> None:
    """What the scenario promises to improve ends better than it began."""
    rlhf_assert_check(assert_learns)


def test_checkpoints_are_healthy(assert_checkpoints_healthy: CheckpointsAssertion) -> None:
    """Every checkpoint can be read, is finite, and has moved as far as a training moves weights."""
    assert_checkpoints_healthy()


def test_resources_are_bounded(rlhf_assert_check: AnyAssertion) -> None:
    """Memory does not grow steadily, and steps do not take ever longer."""
    rlhf_assert_check(assert_resources_bounded)


def test_other_metrics_are_sound(rlhf_assert_check: AnyAssertion) -> None:
    """Every metric without a test of its own behaves as in healthy runs."""
    rlhf_assert_check(assert_other_metrics_sound)


if FURTHER:

    @pytest.mark.parametrize("name", FURTHER)
    def test_further_check(assert_check: NamedAssertion, name: str) -> None:
        """A check that somebody registered passes."""
        assert_check(name)
