"""What is kept of an exception: the deepest frame of the user's own code is where to look."""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path

from rlhf_assert.recording.crash import describe_crash, is_own
from rlhf_assert.recording.recorder import Recorder


def called(text: str) -> object:
    return json.loads(text)  # the standard library raises, the user called


def crash_of(text: str) -> dict[str, str]:
    try:
        called(text)
    except ValueError as error:
        return describe_crash(error)
    raise AssertionError


def test_the_deepest_frame_of_the_users_own_code_is_named() -> None:
    crash = crash_of("{")
    assert crash["type"] == "JSONDecodeError"
    assert crash["frame"] == f"{__file__}:{called.__code__.co_firstlineno + 1} in called"
    assert crash["traceback"].startswith("Traceback (most recent call last)")


def test_an_exception_that_was_never_raised_has_no_frame() -> None:
    assert describe_crash(ValueError("x")) == {"type": "ValueError", "message": "x", "traceback": "ValueError: x\n"}


def test_installed_code_pythons_and_ours_are_not_the_users() -> None:
    assert is_own(__file__)
    assert is_own("/home/me/project/rewards.py")
    for file in (
        "<frozen runpy>",
        "numpy/random/_generator.pyx",
        "/x/site-packages/trl/trainer.py",
        Recorder.__init__.__code__.co_filename,
    ):
        assert not is_own(file)
    assert not is_own(str(Path(sysconfig.get_paths()["stdlib"]) / "json" / "decoder.py"))
