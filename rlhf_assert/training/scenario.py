"""A scenario: a named function that builds a trainer, and how scenarios are found."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from types import ModuleType
from typing import Any, overload

from packaging.requirements import Requirement

from rlhf_assert.errors import UsageError, suggest

ENTRY_POINT_GROUP = "rlhf_assert.scenarios"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A short training, by the function that builds its trainer.

    Attributes:
        name: unique name; the function's name with dashes, if the decorator gives none.
        function: called in the child process with the backend's context; returns a trainer that is ready to train.
        backend: name of the backend that trains it.
        steps: optimizer steps (PPO: updates), unless the command line or a marker says otherwise.
        tags: free words to find it by.
        learns: canonical metric that must end better than it began; None promises no learning.
        promises: canonical metrics that must be logged, beside those that the backend knows its trainer to log.
        requires: requirement strings that the environment must meet, for example `trl<1.13`.
        reason: why `requires` is there, shown when the scenario is skipped.
        time_limit: seconds after which the training counts as hung.
        cpus: processors that it takes of a cluster's node; None stands for what its backend says.
        gpus: the same of GPUs.
    """

    name: str
    function: Callable[[Any], Any]
    backend: str
    steps: int = 30
    tags: tuple[str, ...] = ()
    learns: str | None = None
    promises: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    reason: str = ""
    time_limit: float = 300.0
    cpus: float | None = None
    gpus: float | None = None

    def __call__(self, context: Any) -> Any:
        """Build the trainer."""
        return self.function(context)

    @property
    def file(self) -> Path:
        """The file that defines the scenario."""
        return Path(inspect.getfile(inspect.unwrap(self.function)))

    def unmet(self) -> str | None:
        """Return why the environment cannot run this scenario, with the command that mends it, or None."""
        for text in self.requires:
            requirement = Requirement(text)
            try:
                installed = version(requirement.name)
            except PackageNotFoundError:
                installed = "not installed"
            if installed == "not installed" or installed not in requirement.specifier:
                reason = f" ({self.reason})" if self.reason else ""
                return f"{self.name} needs {text}{reason}, here is {requirement.name} {installed}: pip install '{text}'"
        return None


@overload
def scenario(function: Callable[[Any], Any]) -> Scenario: ...
@overload
def scenario(
    *, name: str | None = None, backend: str = "trl", **fields: Any
) -> Callable[[Callable[[Any], Any]], Scenario]: ...
def scenario(
    function: Callable[[Any], Any] | None = None, *, name: str | None = None, backend: str = "trl", **fields: Any
) -> Any:
    """Turn a function that builds a trainer into a `Scenario`.

    Raises:
        UsageError: `steps` below 1, or a field that a scenario does not have.
    """
    known = set(Scenario.__dataclass_fields__) - {"function"}
    for field in fields:
        if field not in known:
            raise UsageError(f"@scenario has no argument {field}{suggest(field, known)}")

    def decorate(function: Callable[[Any], Any]) -> Scenario:
        return check_steps(
            Scenario(
                name=name or function.__name__.replace("_", "-"),
                function=function,
                backend=backend,
                **fields,
            )
        )

    return decorate if function is None else decorate(function)


def check_steps(candidate: Scenario, steps: int | None = None) -> Scenario:
    """Return the scenario with `steps` in place of its own, if given.

    Raises:
        UsageError: fewer than 1 step.
    """
    changed = candidate if steps is None else replace(candidate, steps=steps)
    if not isinstance(changed.steps, int) or changed.steps < 1:
        raise UsageError(f"{candidate.name}: steps={changed.steps}, but a training takes at least 1 step")
    return changed


def packaged_scenarios() -> dict[str, Scenario]:
    """Return the scenarios of every installed scenario pack (entry point group `rlhf_assert.scenarios`) by name.

    A pack is a package whose modules define scenarios at module level; importing them imports no framework.

    Raises:
        UsageError: two packs define scenarios of one name.
    """
    found: list[Scenario] = []
    for entry_point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name):
        package = importlib.import_module(entry_point.value)
        for module in pkgutil.iter_modules(package.__path__):
            if not module.name.startswith("test_"):
                found += scenarios_of(importlib.import_module(f"{package.__name__}.{module.name}"))
    return by_name(found)


def scenarios_in_file(path: Path) -> dict[str, Scenario]:
    """Return the scenarios that a user's Python file defines, by name.

    Raises:
        UsageError: no such file, a file that cannot be imported, that defines none, or two of one name.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    found = by_name(scenarios_of(load_module(path)))
    if not found:
        raise UsageError(f"{path}: defines no scenario: decorate a function with @rlhf_assert.scenario")
    return found


def load_module(path: Path) -> ModuleType:
    """Import a Python file, or return the module if it is imported already.

    Raises:
        UsageError: the file cannot be imported; the message names the line.
    """
    path = path.resolve()
    for module in list(sys.modules.values()):
        if (origin := getattr(module, "__file__", None)) and Path(origin) == path:
            return module
    name = f"rlhf_assert_user_{path.stem}_{abs(hash(path)):x}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception):
            raise
        raise UsageError(f"{path}: cannot be imported: {locate(error, path)}") from error
    finally:
        sys.path.remove(str(path.parent))
    return module


def locate(error: BaseException, path: Path) -> str:
    """Return `TypeName: message, line N` for the deepest line of `path` in the error's traceback."""
    line = getattr(error, "lineno", None)
    trace = error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename) == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}" + (f", line {line}" if line else "")


def scenarios_of(module: ModuleType) -> list[Scenario]:
    """Return the scenarios that a module defines itself, not those that it imports."""
    own = [value for value in vars(module).values() if isinstance(value, Scenario)]
    return [found for found in own if found.function.__module__ == module.__name__]


def by_name(found: Iterable[Scenario]) -> dict[str, Scenario]:
    """Index scenarios by name.

    Raises:
        UsageError: two different ones share a name.
    """
    index: dict[str, Scenario] = {}
    for candidate in found:
        other = index.setdefault(candidate.name, candidate)
        if other.function is not candidate.function:
            raise UsageError(
                f"two scenarios are called {candidate.name}: {other.file} and {candidate.file}: rename one with "
                "@scenario(name=...)"
            )
    return index
