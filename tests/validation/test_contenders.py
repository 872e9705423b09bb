from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rlhf_assert.errors import UsageError
from rlhf_assert.validation.contenders import find_contenders, fresh

DETECTORS = '''
from rlhf_assert.detect import Anomaly, Severity


class Mine:
    """Finds every row."""

    name = "mine"

    def update(self, step, metrics):
        yield Anomaly(kind="row", metric="loss", severity=Severity.critical, onset=step, summary="a row")


class NoDetector:
    """A helper."""


def several():
    return [Mine(), Mine()]


def nothing():
    return 3


def broken():
    raise ValueError("not today")
'''


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my_detectors.py"
    path.write_text(DETECTORS)
    return path


def test_detectors_of_a_file_and_of_a_module(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(find_contenders([str(file)])) == ["Mine"]
    (spec,) = find_contenders([f"{file}::several"]).values()
    both = fresh(spec)
    assert (both.name, len(list(both.update(1, {})))) == ("several", 2)
    monkeypatch.syspath_prepend(str(file.parent))
    try:
        assert list(find_contenders(["my_detectors:Mine"])) == ["Mine"]
    finally:
        sys.modules.pop("my_detectors", None)


def test_each_run_gets_a_fresh_detector(file: Path) -> None:
    spec = find_contenders([f"{file}::Mine"])["Mine"]
    assert fresh(spec) is not fresh(spec)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("{}::Mien", "did you mean Mine"),
        ("{}::nothing", "it returned 3: a detector has a name and update"),
        ("{}::broken", "cannot be made: ValueError: not today"),
        ("nowhere.py", "no such file"),
        ("json", "give it as MODULE:NAME"),
        ("no_such_module_anywhere:X", "cannot be imported: ModuleNotFoundError"),
    ],
)
def test_what_is_no_detector_is_a_usage_error(file: Path, word: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_contenders([word.format(file)])


def test_two_of_one_name(file: Path) -> None:
    with pytest.raises(UsageError, match="two detectors are called Mine"):
        find_contenders([str(file), f"{file}::Mine"])
