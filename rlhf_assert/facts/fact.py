"""A fact about a run is computed once, however many checks and causes ask for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

from rlhf_assert.recording.run import Run

T = TypeVar("T")


def fact(compute: Callable[[Run], T]) -> Callable[[Run], T]:
    """Return the function, remembering its answer for as long as the run lives."""
    known: WeakKeyDictionary[Run, T] = WeakKeyDictionary()

    @wraps(compute)
    def ask(run: Run) -> T:
        if run not in known:
            known[run] = compute(run)
        return known[run]

    return ask
