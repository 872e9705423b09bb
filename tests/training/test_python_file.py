"""How a Python file of the user's is imported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rlhf_assert.errors import UsageError
from rlhf_assert.training.python_file import load_module


def test_an_imported_file_is_found_in_sys_modules() -> None:
    assert load_module(Path(__file__)) is sys.modules[__name__]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def broken(:\n", r"cannot be imported: SyntaxError: .*, line 2"),
        ("raise ValueError('no data')\n", r"cannot be imported: ValueError: no data, line 2"),
        ("import sys\nsys.exit(3)\n", r"cannot be imported: SystemExit: 3, line 3"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "broken.py"
    file.write_text("import os\n" + text)
    with pytest.raises(UsageError, match=message) as caught:
        load_module(file)
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize("path", ["absent.py", ".", "a\0b.py", "x" * 5000 + ".py", "a/" * 3000 + "b.py", "a\nb.py"])
def test_no_file(path: str) -> None:
    with pytest.raises(UsageError, match="no such file") as caught:
        load_module(Path(path))
    assert str(caught.value).isprintable()
