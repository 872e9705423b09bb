"""Finds scenarios: one function, by the same words everywhere.

pytest's `--rlhf-scenario` and marker, `rlhf-assert scenarios`, `rlhf-assert validate`, the process that trains and the
node of a cluster all call `locate`. Its words are

- `all`: every packaged scenario whose backend is installed;
- a name, such as `trl-grpo`; dash and underscore are the same, so `trl_grpo` finds it too;
- a pattern, such as `openrlhf-*`;
- `FILE.py`: every scenario that a file defines;
- `FILE.py::NAME`: one of them, by its name or by the name of its function; a pattern works here too.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from importlib.metadata import entry_points
from itertools import chain
from pathlib import Path
from types import ModuleType

from rlhf_assert.errors import MissingDependency, UsageError, suggest
from rlhf_assert.training.backend import backends, find_backend
from rlhf_assert.training.python_file import load_module
from rlhf_assert.training.scenario import Scenario

ENTRY_POINT_GROUP = "rlhf_assert.scenarios"
SHOWN = 100
"""How many characters of an unknown word a message repeats."""


def locate(word: str, *, if_path: str = "") -> list[Scenario]:
    """Return the scenarios that a word stands for.

    Args:
        word: `all`, a name, a pattern, `FILE.py` or `FILE.py::NAME`.
        if_path: what a user who gave a path by mistake should do instead, in the caller's terms; `{}` stands for the
            word.

    Raises:
        UsageError: the word stands for no scenario, or its file cannot be imported.
    """
    path, in_file, name = word.partition(".py::")
    if in_file or word.endswith(".py"):
        file = Path(path + ".py" if in_file else word)
        known = scenarios_in_file(file)
        if not in_file:
            return list(known.values())
        functions = {same_name(attribute): each for attribute, each in _defined(load_module(file)).items()}
        return _named(name, known, functions, where=f" in {file}")
    packaged = packaged_scenarios()
    if word == "all":
        return _installed(packaged.values())
    hint = f" ({_shown(word)} is a path: {if_path.format(_shown(word))})" if if_path and _exists(word) else ""
    return _named(word, packaged, {}, hint=hint)


def locate_all(words: Iterable[str], *, if_path: str = "") -> list[Scenario]:
    """Return the scenarios that several words stand for, each once, in order.

    Raises:
        UsageError: see `locate`; or two different scenarios share a name.
    """
    return list(by_name(chain.from_iterable(locate(word, if_path=if_path) for word in words)).values())


def locate_one(word: str) -> Scenario:
    """Return the scenario that a word stands for.

    Raises:
        UsageError: see `locate`; or the word stands for several scenarios.
    """
    scenarios = locate(word)
    if len(scenarios) != 1:
        names = ", ".join(scenario.name for scenario in scenarios) or "none"
        raise UsageError(f"{_shown(word)} stands for several scenarios, and one is needed: {names}")
    return scenarios[0]


def word_for(scenario: Scenario) -> str:
    """Return the word by which another process, here or on another machine, finds a scenario."""
    packaged = packaged_scenarios().get(scenario.name)
    if packaged is not None and packaged.function is scenario.function:
        return scenario.name
    return f"{scenario.file.resolve()}::{scenario.name}"


def packaged_scenarios() -> dict[str, Scenario]:
    """Return the scenarios of every installed scenario pack (entry point group `rlhf_assert.scenarios`) by name.

    A pack is a package whose modules define scenarios at module level; importing them imports no framework.

    Raises:
        UsageError: two packs define scenarios of one name.
    """
    scenarios: list[Scenario] = []
    for entry_point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name):
        package = importlib.import_module(entry_point.value)
        for module in pkgutil.iter_modules(package.__path__):
            if not module.name.startswith("test_"):
                scenarios += scenarios_of(importlib.import_module(f"{package.__name__}.{module.name}"))
    return by_name(scenarios)


def scenarios_in_file(path: Path) -> dict[str, Scenario]:
    """Return the scenarios that a user's Python file defines, by name.

    Raises:
        UsageError: the file is missing, cannot be imported, defines no scenario, or two of one name.
    """
    scenarios = by_name(scenarios_of(load_module(path)))
    if not scenarios:
        raise UsageError(f"{path}: defines no scenario: decorate a function with @rlhf_assert.scenario")
    return scenarios


def scenarios_of(module: ModuleType) -> list[Scenario]:
    """Return the scenarios that a module defines itself, without those that it imports."""
    return list(_defined(module).values())


def by_name(scenarios: Iterable[Scenario]) -> dict[str, Scenario]:
    """Index scenarios by name.

    Raises:
        UsageError: two different scenarios share a name.
    """
    index: dict[str, Scenario] = {}
    for scenario in scenarios:
        other = index.setdefault(same_name(scenario.name), scenario)
        if other.function is not scenario.function:
            raise UsageError(
                f"two scenarios are called {scenario.name}: {other.file} and {scenario.file}: rename one with "
                "@scenario(name=...)"
            )
    return {scenario.name: scenario for scenario in index.values()}


def same_name(name: str) -> str:
    """Return the form in which names are compared: `my_reward` and `my-reward` are the same name."""
    return name.replace("_", "-")


def unavailable(scenario: Scenario) -> str | None:
    """Return why this environment cannot train a scenario, or None if it can."""
    try:
        ensure_available(scenario)
    except (MissingDependency, UsageError) as error:
        return str(error)
    return None


def ensure_available(scenario: Scenario) -> None:
    """Check that this environment can train a scenario; imports nothing heavy.

    Raises:
        MissingDependency: a package is missing, or has another version than the scenario requires.
        UsageError: no installed package provides the scenario's backend.
    """
    reason = find_backend(scenario.backend).missing() or scenario.unmet()
    if reason:
        raise MissingDependency(reason)


def _installed(packaged: Iterable[Scenario]) -> list[Scenario]:
    reasons = {name: backend.missing() for name, backend in backends().items()}
    if reasons and all(reasons.values()):
        raise UsageError("no backend is installed: " + "; ".join(filter(None, reasons.values())))
    return [scenario for scenario in packaged if not reasons.get(scenario.backend, "unknown")]


def _named(
    name: str, known: Mapping[str, Scenario], functions: Mapping[str, Scenario], *, where: str = "", hint: str = ""
) -> list[Scenario]:
    """Return the scenarios of a name, of a function's name, or of a pattern, in this order."""
    wanted = same_name(name)
    names = {same_name(each): scenario for each, scenario in known.items()}
    if one := names.get(wanted) or functions.get(wanted):
        return [one]
    if several := [scenario for each, scenario in names.items() if fnmatchcase(each, wanted)]:
        return several
    hint = hint or suggest(name[:SHOWN], known)
    raise UsageError(f"unknown scenario {_shown(name)}{where}{hint}; known: {', '.join(known) or 'none'}")


def _defined(module: ModuleType) -> dict[str, Scenario]:
    """Return the scenarios that a module defines itself, by the variables that hold them."""
    return {
        variable: value
        for variable, value in vars(module).items()
        if isinstance(value, Scenario) and value.function.__module__ == module.__name__
    }


def _shown(word: str) -> str:
    """Return a word of the user's as a message repeats it: in one line, and not all of it if it is long."""
    text = word if len(word) <= SHOWN else word[:SHOWN] + "..."
    return text if text.isprintable() and text else repr(text)


def _exists(word: str) -> bool:
    return os.path.exists(word)  # noqa: PTH110 - Path.exists raises for a NUL and for a path that is too long
