"""A scenario: a short training with a name, given by the function that builds its trainer."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, overload

from packaging.requirements import Requirement

from rlhf_assert.errors import UsageError, suggest

NAME_BYTES = 80
"""How long a scenario's name may be: it is part of file names, which have room for 255 bytes."""
MOST_STEPS = 1_000_000_000
RESERVED = ("all", "list")
"""Words that mean something else where a scenario is asked for."""

_UNSUITABLE = re.compile(r"[^\w .+=@-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A short training, by the function that builds its trainer.

    Attributes:
        name: unique name. The decorator takes it from the function: `my_grpo` becomes `my-grpo`.
        function: builds the trainer and returns it, ready to train. The child process calls it with the backend's
            context.
        backend: name of the backend that trains it.
        steps: optimizer steps (PPO: updates), unless the command line or a marker says otherwise.
        tags: free words to find it by.
        learns: canonical metric that must end better than it began; None promises no learning.
        promises: canonical metrics that must be logged, beside those that the backend knows its trainer to log.
        requires: requirement strings that the environment must meet, for example `trl<1.13`.
        reason: why `requires` is there, shown when the scenario is skipped.
        time_limit: seconds after which the training counts as hung.
        cpus: processors that it takes of a cluster's node; None leaves that to the backend.
        gpus: GPUs that it takes of a cluster's node; None leaves that to the backend.

    Raises:
        UsageError: a name that cannot be a folder's, fewer than 1 step, or one text where several are expected.
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

    def __post_init__(self) -> None:
        check_name(self.name)
        check_steps(self.name, self.steps)
        for field in ("tags", "promises", "requires"):
            given: Any = getattr(self, field)
            if isinstance(given, str):
                raise UsageError(f"{self.name}: {field}={given!r} is one text: write {field}=({given!r},)")
            object.__setattr__(self, field, tuple(given))

    def __call__(self, context: Any) -> Any:
        """Build the trainer."""
        return self.function(context)

    @property
    def file(self) -> Path:
        """The file that defines the scenario."""
        return Path(inspect.getfile(inspect.unwrap(self.function)))

    def unmet(self) -> str | None:
        """Return which requirement the environment does not meet, with the command that mends it, or None."""
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
        UsageError: a field that a scenario does not have, or a value that it cannot have; see `Scenario`.
    """
    known = set(Scenario.__dataclass_fields__) - {"function"}
    for field in fields:
        if field not in known:
            raise UsageError(f"@scenario has no argument {field}{suggest(field, known)}")

    def decorate(function: Callable[[Any], Any]) -> Scenario:
        own = function.__name__.strip("_").replace("_", "-")
        return Scenario(name=own if name is None else name, function=function, backend=backend, **fields)

    return decorate if function is None else decorate(function)


def check_name(name: str) -> None:
    """Check that a scenario can have this name: folders, tests and options carry it.

    Raises:
        UsageError: it cannot; the message says which names can be.
    """
    if not isinstance(name, str):
        raise UsageError(f'scenario name {name!r}: give a text, for example @scenario(name="my-grpo")')
    shown = f"scenario name {name[:40]!r}" + ("..." if len(name) > 40 else "")
    if not name:
        raise UsageError('a scenario needs a name, for example @scenario(name="my-grpo")')
    if unsuitable := _UNSUITABLE.search(name):
        raise UsageError(f"{shown} contains {unsuitable[0]!r}: use letters, digits, spaces and . _ + = @ -")
    if not name[0].isalnum() or name.endswith(" "):
        raise UsageError(f"{shown}: begin with a letter or a digit, and do not end with a space")
    if (length := len(name.encode())) > NAME_BYTES:
        raise UsageError(f"{shown} is {length} bytes long: use at most {NAME_BYTES}")
    if name in RESERVED or name.endswith(".py"):
        raise UsageError(f"{shown} means something else after --rlhf-scenario=: choose another name")


def check_steps(name: str, steps: int) -> None:
    """Check a number of steps; `name` is the scenario's.

    Raises:
        UsageError: not a whole number from 1 on, or more than anybody can train.
    """
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise UsageError(f"{name}: steps={steps!r}, but a training takes at least 1 step")
    if steps > MOST_STEPS:
        raise UsageError(f"{name}: more than {MOST_STEPS:,} steps cannot be trained")
