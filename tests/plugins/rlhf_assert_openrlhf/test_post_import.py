"""Code around an import that may come: each case in a fresh interpreter, with modules made for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlhf_assert_openrlhf.inside.post_import import expect_parameters


def run(tmp_path: Path, code: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "target.py").write_text("print('target runs')\nvalue = 1\n")
    (tmp_path / "importer.py").write_text("from target import value\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    hooks = "from rlhf_assert_openrlhf.inside.post_import import after, around, install\n"
    return subprocess.run(
        [sys.executable, "-c", hooks + code], env=environment, capture_output=True, text=True, check=False
    )


def test_code_runs_around_the_import_and_a_replacement_reaches_every_importer(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
import sys
@around("target")
def surround():
    print("before", "target" in sys.modules and hasattr(sys.modules["target"], "value"))
    yield
    print("after", sys.modules["target"].value)
@after("target")
def replace(module):
    module.value = 2
install(surround, replace)
print("waiting")
import importer, inspect
print(importer.value, inspect.getsource(sys.modules["target"]).strip().splitlines()[-1])
""",
    )
    assert done.stdout.splitlines() == ["waiting", "before False", "target runs", "after 2", "2 value = 1"], done.stderr


def test_a_module_that_is_not_imported_costs_nothing(tmp_path: Path) -> None:
    code = "@after('target')\ndef never(module): print('ran')\ninstall(never)\nimport json, importlib.util\n"
    done = run(tmp_path, code + "print(importlib.util.find_spec('no_such_module'))")
    assert done.stdout == "None\n", done.stderr


def test_a_hook_that_comes_too_late_is_an_error(tmp_path: Path) -> None:
    done = run(tmp_path, "import target\n@after('target')\ndef late(module): ...\ninstall(late)")
    assert done.returncode == 1
    assert "ImportError: rlhf-assert came too late: target is imported already" in done.stderr


def test_a_failing_hook_stops_the_import_with_its_line(tmp_path: Path) -> None:
    code = "@after('target')\ndef moved(module): raise ImportError('moved')\ninstall(moved)\nimport target"
    done = run(tmp_path, code)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ImportError: moved"


def test_a_target_with_other_parameters_is_refused() -> None:
    def update_weight(self: object, name: str, dtype: object) -> None: ...

    expect_parameters(update_weight, "self", "name", "dtype")
    with pytest.raises(ImportError, match=r"update_weight: it takes \(self, name, dtype\), and not \(self, name\)"):
        expect_parameters(update_weight, "self", "name")
