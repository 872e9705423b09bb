"""Which checks there are: ours, a module each in this folder, and those that others register.

Ours are found by importing every module of `rlhf_assert.checks`; those of installed packages by the entry point group
`rlhf_assert.checks`; and those of a conftest.py or a scenario file when the decorator `check` runs in it.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Concatenate, ParamSpec

from rlhf_assert import checks as package
from rlhf_assert.checked import Check
from rlhf_assert.checks.spec import CheckSpec
from rlhf_assert.errors import UsageError, suggest
from rlhf_assert.recording.run import Run

ENTRY_POINT_GROUP = "rlhf_assert.checks"
P = ParamSpec("P")

_known: dict[str, CheckSpec[...]] = {}


def check(*, name: str, question: str, **fields: Any) -> Callable[[Callable[Concatenate[Run, P], Check]], CheckSpec[P]]:
    """Turn a function that judges a run into a check, and register it.

    Args:
        name: see `CheckSpec`, as for every other field.
        question: what it asks.
        fields: further fields of `CheckSpec`.

    Raises:
        UsageError: a name that another check has or that cannot be one, or a field that a check does not have.
    """
    for field in fields:
        if field not in CheckSpec.__dataclass_fields__:
            raise UsageError(f"@check has no argument {field}{suggest(field, CheckSpec.__dataclass_fields__)}")

    def decorate(judge: Callable[Concatenate[Run, P], Check]) -> CheckSpec[P]:
        return register(CheckSpec(name=name, question=question, judge=judge, **fields))

    return decorate


def register(spec: CheckSpec[P]) -> CheckSpec[P]:
    """Add a check, for as long as this process lives; the same one again replaces itself.

    Raises:
        UsageError: another check has its name.
    """
    other = _known.get(spec.name)
    if other is not None and _origin(other) != _origin(spec):
        raise UsageError(
            f"two checks are called {spec.name}: {_origin(other)} and {_origin(spec)}: rename one with name=..."
        )
    _known[spec.name] = spec
    return spec


def checks() -> tuple[CheckSpec[...], ...]:
    """Return every check, in the order in which reports list them."""
    _load()
    return tuple(sorted(_known.values(), key=lambda spec: (spec.order, spec.name)))


def find_check(name: str) -> CheckSpec[...]:
    """Return a check by its name.

    Raises:
        UsageError: there is none; the message suggests the nearest.
    """
    by_name = {spec.name: spec for spec in checks()}
    if name not in by_name:
        raise UsageError(f"unknown check {name}{suggest(name, by_name)}; known: {', '.join(by_name)}")
    return by_name[name]


def checks_of(assertion: str) -> tuple[CheckSpec[...], ...]:
    """Return the checks that an assertion asks, by its name."""
    return tuple(spec for spec in checks() if spec.assertion == assertion)


def found_by(fault: str) -> tuple[str, ...]:
    """Return the names of the checks that are the right ones to find a fault, each alone enough."""
    return tuple(spec.name for spec in checks() if fault in spec.finds)


@contextmanager
def only_while() -> Iterator[None]:
    """Forget, at the end of the block, every check that was registered in it: for tests of checks."""
    _load()
    before = dict(_known)
    try:
        yield
    finally:
        _known.clear()
        _known.update(before)


@cache
def _load() -> None:
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    for entry in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name):
        _load_entry(entry)


def _load_entry(entry: EntryPoint) -> None:
    """Register the check of an entry point, or all of a module; one that cannot be loaded fails to judge, by name."""
    try:
        loaded = entry.load()
        if isinstance(loaded, CheckSpec):
            register(loaded)
        elif not inspect.ismodule(loaded):
            raise UsageError(f"{entry.value} is no check: decorate a function with @rlhf_assert.check(...)")  # noqa: TRY301
    except Exception as error:  # noqa: BLE001 - one broken package must not cost the others their verdict
        register(_unloadable(entry, f"{type(error).__name__}: {error}"))


def _unloadable(entry: EntryPoint, reason: str) -> CheckSpec[[]]:
    def judge(_: Run) -> Check:
        raise ImportError(f"{entry.value} cannot be loaded: {reason}")

    name = "".join(letter if letter.isalnum() or letter in "_-" else "-" for letter in entry.name.lower())[:40]
    return CheckSpec(name=name, question=f"What does {entry.value} ask?", judge=judge)


def _origin(spec: CheckSpec[...]) -> str:
    judge = inspect.unwrap(spec.judge)
    code = getattr(judge, "__code__", None)
    return f"{code.co_filename}:{code.co_qualname}" if code else repr(judge)
