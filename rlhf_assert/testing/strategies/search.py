"""Draws outside of a test: the simplest example of something, and samples."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, Phase, find, given, seed, settings
from hypothesis.errors import Flaky, HypothesisWarning, NoSuchExample
from hypothesis.strategies import SearchStrategy

Value = TypeVar("Value")

_QUIET = settings(deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))


def smallest(
    strategy: SearchStrategy[Value], condition: Callable[[Value], bool], *, examples: int = 100
) -> Value | None:
    """Return the simplest example that meets a condition, or None if no drawn one does; the same at every call.

    Args:
        strategy: what to draw from.
        condition: if it does not always give the same answer, the last example that met it is returned.
        examples: how many are drawn before giving up.
    """
    met: list[Value] = []

    def remembered(value: Value) -> bool:
        holds = condition(value)
        if holds:
            met[:] = [value]
        return holds

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HypothesisWarning)  # it writes the example out, and finds it long
            return find(strategy, remembered, settings=settings(_QUIET, max_examples=examples))
    except NoSuchExample:
        return None
    except Flaky:
        return met[0]


def sample(strategy: SearchStrategy[Value], count: int) -> list[Value]:
    """Return `count` independent draws; the same at every call.

    What hypothesis draws within one test is made to be diverse: the simplest value first, then mutants of what was
    drawn before. So each of these is the second value of a test of its own.
    """
    return [_second(strategy, number) for number in range(count)]


def _second(strategy: SearchStrategy[Value], number: int) -> Value:
    drawn: list[Value] = []

    @seed(number)
    @settings(_QUIET, derandomize=False, max_examples=2, phases=(Phase.generate,))
    @given(strategy)
    def keep(value: Value) -> None:
        drawn.append(value)

    keep()
    return drawn[-1]
