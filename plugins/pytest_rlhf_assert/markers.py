"""The markers `rlhf_scenario` and `rlhf_fault`: which training a test asks for."""

from __future__ import annotations

from typing import Any

import pytest  # noqa: TID253 - this is a pytest plugin

from pytest_rlhf_assert.options import MOST_SEEDS, Options
from rlhf_assert.errors import UsageError, suggest
from rlhf_assert.training.faults import Fault, make_fault
from rlhf_assert.training.locator import locate_one
from rlhf_assert.training.request import Request, check_seed
from rlhf_assert.training.scenario import Scenario

MARKER_ARGUMENTS = ("steps", "seed")
FAULT_ARGUMENTS = ("onset", "magnitude")


def marked(test: pytest.Function, options: Options) -> tuple[Request, ...]:
    """Return the trainings of a test's closest marker; none if it has no marker.

    Raises:
        UsageError: the marker's arguments cannot be right.
    """
    marker = closest(test, "rlhf_scenario", MARKER_ARGUMENTS)
    if marker is None:
        return ()
    scenario, steps, seeds = marked_scenario(marker), marked_steps(marker), marked_seeds(marker)
    faults = options.faults or (marked_fault(test),)
    return tuple(
        Request.of(scenario, seed=seed, steps=steps if options.steps is None else options.steps, fault=fault)
        for seed in options.seeds or seeds
        for fault in faults
    )


def closest(test: pytest.Function, name: str, arguments: tuple[str, ...]) -> pytest.Mark | None:
    """Return a test's own marker of this name, else its class's, else its module's; None if there is none.

    Raises:
        UsageError: two such markers on the same test, class or module, or an argument that the marker does not have.
    """
    marks = list(test.iter_markers_with_node(name))
    if not marks:
        return None
    node, marker = marks[0]
    if len([mark for other, mark in marks if other is node]) > 1:
        raise UsageError(f"two @pytest.mark.{name} on {node.name}: a test has one training, write one test for each")
    for argument in marker.kwargs:
        if argument not in arguments:
            raise UsageError(f"@pytest.mark.{name} has no argument {argument}{suggest(argument, arguments)}")
    return marker


def marked_scenario(marker: pytest.Mark) -> Scenario:
    """Return the scenario of a marker, which gives it by a word or as a function.

    Raises:
        UsageError: no scenario, several, or something else.
    """
    if len(marker.args) != 1:
        raise UsageError("@pytest.mark.rlhf_scenario takes one scenario: a name, or a function with @scenario")
    given: Any = marker.args[0]
    if given == "all":
        raise UsageError("@pytest.mark.rlhf_scenario takes one scenario, not several")
    if isinstance(given, str):
        return locate_one(given)
    if not isinstance(given, Scenario):
        raise UsageError(
            f"@pytest.mark.rlhf_scenario({given!r}): not a scenario: decorate the function with @rlhf_assert.scenario"
        )
    return given


def marked_steps(marker: pytest.Mark) -> int | None:
    """Return the steps of a marker, or None if it gives none; `Request` checks the number.

    Raises:
        UsageError: not a whole number.
    """
    steps: Any = marker.kwargs.get("steps")
    if steps is not None and (not isinstance(steps, int) or isinstance(steps, bool)):
        raise UsageError(f"@pytest.mark.rlhf_scenario(steps={steps!r}): give a whole number of steps")
    return steps


def marked_seeds(marker: pytest.Mark) -> tuple[int, ...]:
    """Return the seeds of a marker, which gives one number or several; seed 0 if it gives none.

    Raises:
        UsageError: no seed, too many, or something that is not a seed.
    """
    given: Any = marker.kwargs.get("seed")
    seeds = (0 if given is None else given,) if not isinstance(given, list | tuple | range) else given
    if not 0 < len(seeds) <= MOST_SEEDS:
        raise UsageError(f"@pytest.mark.rlhf_scenario(seed=...): give 1 to {MOST_SEEDS:,} seeds, not {len(seeds):,}")
    for seed in seeds:
        try:
            check_seed(seed)
        except UsageError as error:
            raise UsageError(f"@pytest.mark.rlhf_scenario: {error}; several are a list, as in seed=[0, 1]") from None
    return tuple(dict.fromkeys(seeds))


def marked_fault(test: pytest.Function) -> Fault | None:
    """Return the fault of the test's closest `rlhf_fault` marker, or None.

    Raises:
        UsageError: the marker's arguments cannot be right.
    """
    marker = closest(test, "rlhf_fault", FAULT_ARGUMENTS)
    if marker is None:
        return None
    if len(marker.args) != 1 or not isinstance(marker.args[0], str):
        raise UsageError('@pytest.mark.rlhf_fault takes one fault by its name, for example "reward_nan"')
    return make_fault(marker.args[0], **marker.kwargs)
