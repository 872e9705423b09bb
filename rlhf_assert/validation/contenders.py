"""Detectors of others, to be compared with ours on the same runs."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

from rlhf_assert.detect import Detector, DetectorContext, DetectorSpec
from rlhf_assert.detect.detector_registry import added_detectors, decorated_in
from rlhf_assert.detect.foreign import spec_of
from rlhf_assert.errors import UsageError, suggest
from rlhf_assert.training.python_file import import_failure, load_module


def installed_contenders() -> dict[str, DetectorSpec]:
    """Return the detectors by name that installed packages and imported modules have added."""
    return added_detectors()


def find_contenders(words: Sequence[str]) -> dict[str, DetectorSpec]:
    """Return the detectors of `MODULE:NAME` and `FILE.py[::NAME]` words by name.

    A file without a name stands for the detectors that it decorates with `@rlhf_assert.detector`. If there are none,
    it stands for every class that it defines and that has an `update`.

    Raises:
        UsageError: a file or module that cannot be imported, a name that it does not define, no detector in it, or two
            of one name.
    """
    contenders: dict[str, DetectorSpec] = {}
    for word in words:
        for name, spec in _find(word).items():
            if name in contenders:
                raise UsageError(f"--detector {word}: two detectors are called {name}")
            fresh(spec)
            contenders[name] = spec
    return contenders


def fresh(spec: DetectorSpec, context: DetectorContext | None = None) -> Detector:
    """Return a new detector of a contender.

    Raises:
        UsageError: it cannot be made, or what it returns is no detector.
    """
    try:
        return spec.make(context or DetectorContext())
    except UsageError as error:
        raise UsageError(f"detector {spec.name}: {error}") from error
    except Exception as error:
        raise UsageError(f"detector {spec.name}: cannot be made: {type(error).__name__}: {error}") from error


def _find(word: str) -> Mapping[str, DetectorSpec]:
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
    decorated, defined = decorated_in(module.__name__), _defined(module)
    if not by_file:
        if not (decorated or defined):
            raise UsageError(f"--detector {word}: defines no class with name and update(step, metrics)")
        return decorated or defined
    offered = getattr(module, name, None)
    if name in decorated:
        return {name: decorated[name]}
    if not callable(offered) and not isinstance(offered, DetectorSpec):
        raise UsageError(f"--detector {word}: {path} defines no {name}{suggest(name, {**defined, **decorated})}")
    return {name: spec_of(name, offered)}


def _defined(module: ModuleType) -> dict[str, DetectorSpec]:
    """Return the detector classes that a module defines itself."""
    return {
        name: spec_of(name, value)
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and callable(getattr(value, "update", None))
    }
