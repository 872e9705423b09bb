"""Imports a Python file of the user's, and tells in one line why that failed."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from rlhf_assert.errors import UsageError


def load_module(path: Path) -> ModuleType:
    """Import a Python file, or return its module if it is imported already.

    Raises:
        UsageError: there is no such file, or it cannot be imported; the message names the line.
    """
    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for a NUL and for a path that is too long
        raise UsageError(f"{path}: no such file" if str(path).isprintable() else f"{str(path)!r}: no such file")
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
        if not isinstance(error, Exception | SystemExit):
            raise
        raise UsageError(f"{path}: cannot be imported: {import_failure(error, path)}") from error
    finally:
        sys.path.remove(str(path.parent))
    return module


def import_failure(error: BaseException, path: Path) -> str:
    """Return `TypeName: message, line N`; the line is the deepest one of `path` in the error's traceback."""
    line = getattr(error, "lineno", None)
    trace = error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename) == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}" + (f", line {line}" if line else "")
