"""Runs code around the import of a module, when and if that module is imported."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any


@dataclass(frozen=True, slots=True)
class Hook:
    """What runs around the import of a module.

    Attributes:
        module: the module's full name.
        surround: entered before the module's code runs, left after it.
    """

    module: str
    surround: Callable[[], AbstractContextManager[None]]


def around(module: str) -> Callable[[Callable[[], Iterator[None]]], Hook]:
    """Make a generator function a `Hook`: what stands before its `yield` runs before the import of `module`."""
    return lambda function: Hook(module, contextmanager(function))


def after(module: str) -> Callable[[Callable[[Any], None]], Hook]:
    """Make a function that takes the imported module a `Hook` that runs after its import."""

    def decorate(function: Callable[[Any], None]) -> Hook:
        def surround() -> Iterator[None]:
            yield
            function(sys.modules[module])

        return Hook(module, contextmanager(surround))

    return decorate


def install(*hooks: Hook) -> None:
    """Wait for the imports that the hooks concern; several hooks of one module are entered in order.

    Raises:
        ImportError: a module is imported already, so its hook would never run.
    """
    late = sorted({hook.module for hook in hooks} & set(sys.modules))
    if late:
        raise ImportError(f"rlhf-assert came too late: {', '.join(late)} is imported already")
    sys.meta_path.insert(0, _Finder(hooks))


def expect_parameters(function: Callable[..., Any], *names: str) -> None:
    """Check that a function that is about to be replaced is the one that the replacement was written for.

    Raises:
        ImportError: its parameters are others; the message names it and the versions that are known to work.
    """
    parameters = tuple(inspect.signature(function).parameters)
    if parameters != names:
        raise ImportError(
            f"rlhf-assert cannot adapt {function.__module__}.{function.__qualname__}: "
            f"it takes ({', '.join(parameters)}), and not ({', '.join(names)}) as in openrlhf 0.11.2 and vllm 0.29.0: "
            "install those versions"
        )


class _Finder(importlib.abc.MetaPathFinder):
    """Finds nothing itself: lets the other finders find, and puts a loader of ours around theirs."""

    def __init__(self, hooks: Sequence[Hook]) -> None:
        self._waiting: dict[str, list[Hook]] = {}
        for hook in hooks:
            self._waiting.setdefault(hook.module, []).append(hook)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._waiting:
            return None
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(fullname, path, target)) is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader, self._waiting[fullname])
                return spec
        return None


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: Any, hooks: Sequence[Hook]) -> None:
        self._loader = loader
        self._hooks = hooks

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader  # what asks the module for its source must not meet this loader
        with ExitStack() as stack:
            for hook in self._hooks:
                stack.enter_context(hook.surround())
            self._loader.exec_module(module)
