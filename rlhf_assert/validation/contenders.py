"""Detectors of others, to be compared with ours on the same runs.

A contender is a callable without arguments (a class will do) that returns a fresh `Detector`, or several.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from rlhf_assert.detect import Detector
from rlhf_assert.errors import UsageError, suggest
from rlhf_assert.training.python_file import import_failure, load_module

ENTRY_POINT_GROUP = "rlhf_assert.detectors"
Factory = Callable[[], Detector | Iterable[Detector]]


def installed_contenders() -> dict[str, Factory]:
    """Return the detectors that installed packages offer (entry point group `rlhf_assert.detectors`) by name."""
    return {entry.name: entry.load() for entry in entry_points(group=ENTRY_POINT_GROUP)}


def find_contenders(words: Sequence[str]) -> dict[str, Factory]:
    """Return the detectors of `MODULE:NAME` and `FILE.py[::NAME]` words by name.

    Raises:
        UsageError: a file or module that cannot be imported, a name that it does not define, no detector in it, or two
            of one name.
    """
    found: dict[str, Factory] = {}
    for word in words:
        for name, factory in _find(word).items():
            if name in found:
                raise UsageError(f"--detector {word}: two detectors are called {name}")
            fresh(factory, name)
            found[name] = factory
    return found


def fresh(factory: Factory, name: str) -> list[Detector]:
    """Return new detectors of a contender.

    Raises:
        UsageError: it cannot be called without arguments, or what it returns is no detector.
    """
    try:
        made = factory()
    except Exception as error:
        raise UsageError(f"detector {name}: cannot be made: {type(error).__name__}: {error}") from error
    several: list[Any] = [made] if _is_detector(made) or not isinstance(made, Iterable) else list(made)
    if not several or not all(map(_is_detector, several)):
        raise UsageError(f"detector {name}: it returned {made!r}: a detector has a name and update(step, metrics)")
    return several


def _find(word: str) -> Mapping[str, Factory]:
    path, by_file, name = word.partition("::")
    if path.endswith(".py"):
        if not Path(path).is_file():
            raise UsageError(f"--detector {word}: {path}: no such file")
        module = load_module(Path(path))
    else:
        path, by_file, name = word.partition(":")
        if not name:
            raise UsageError(f"--detector {word}: give it as MODULE:NAME or FILE.py[::NAME]")
        try:
            module = importlib.import_module(path)
        except Exception as error:
            raise UsageError(f"--detector {word}: cannot be imported: {import_failure(error, Path(path))}") from error
    if not by_file:
        defined = _defined(module)
        if not defined:
            raise UsageError(f"--detector {word}: defines no class with name and update(step, metrics)")
        return defined
    if not callable(getattr(module, name, None)):
        raise UsageError(f"--detector {word}: {path} defines no {name}{suggest(name, _defined(module))}")
    return {name: getattr(module, name)}


def _defined(module: ModuleType) -> dict[str, Factory]:
    """Return the detector classes that a module defines itself."""
    return {
        name: cast("Factory", value)
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and callable(getattr(value, "update", None))
    }


def _is_detector(value: object) -> bool:
    return isinstance(getattr(value, "name", None), str) and callable(getattr(value, "update", None))
