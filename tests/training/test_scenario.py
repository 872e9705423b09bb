"""Scenarios: what the decorator accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlhf_assert.errors import UsageError
from rlhf_assert.training.scenario import NAME_BYTES, Scenario, scenario


@scenario(steps=7, tags=("one",))
def my_training(context: object) -> object:
    return context


def test_the_function_names_the_scenario() -> None:
    assert isinstance(my_training, Scenario)
    assert my_training.name == "my-training"
    assert (my_training.steps, my_training.backend, my_training.tags) == (7, "trl", ("one",))
    assert my_training.file == Path(__file__)
    assert my_training("context") == "context"


def test_an_unknown_argument_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r"no argument stesp \(did you mean steps\?\)"):
        scenario(stesp=3)


@pytest.mark.parametrize("steps", [0, -1, 2.5, True, "3", None, 10**30])
def test_a_training_takes_a_whole_number_of_steps(steps: Any) -> None:
    with pytest.raises(UsageError, match=r"^x: .*(at least 1 step|cannot be trained)$"):
        scenario(name="x", steps=steps)(lambda context: context)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../../x", r"'\.\./\.\./x' contains '/': use letters, digits, spaces and"),
        ("/abs", "contains '/'"),
        ("a\\b", "contains"),
        ("a\0b", r"'a\\x00b' contains '\\x00'"),
        ("a\nb", "contains"),
        ("a\x1b[31mb", "contains"),
        ("a::b", "contains ':'"),
        ("trl-*", "contains '\\*'"),
        ("..", "begin with a letter or a digit"),
        ("-x", "begin with a letter or a digit"),
        ("x ", "do not end with a space"),
        ("", "a scenario needs a name"),
        ("x" * 400, r"^scenario name 'x{40}'\.\.\. is 400 bytes long: use at most 80$"),
        ("ä" * 41, "is 82 bytes long"),
        ("all", "means something else after --rlhf-scenario="),
        ("list", "means something else"),
        ("mine.py", "means something else"),
        (3, "give a text"),
    ],
)
def test_a_name_is_one_that_a_folder_can_have(name: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        scenario(name=name)(lambda context: context)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", ["x", "größe", "my run", "grpo_v1.2+beta=0.04@h100", "x" * NAME_BYTES, "3d"])
def test_ordinary_names_are_accepted(name: str) -> None:
    assert scenario(name=name)(lambda context: context).name == name


def test_a_private_functions_name_is_stripped() -> None:
    @scenario
    def _mine(context: Any) -> None: ...

    assert _mine.name == "mine"


@pytest.mark.parametrize("field", ["tags", "promises", "requires"])
def test_one_text_in_place_of_several_is_refused_and_a_list_is_not(field: str) -> None:
    with pytest.raises(UsageError, match=rf"x: {field}='grpo' is one text: write {field}=\('grpo',\)"):
        scenario(name="x", **{field: "grpo"})(lambda context: context)
    assert getattr(scenario(name="x", **{field: ["grpo"]})(lambda context: context), field) == ("grpo",)


def test_a_missing_requirement_names_the_command_that_mends_it() -> None:
    impossible = scenario(name="x", requires=("pytest<1",), reason="it needs the old pytest")(lambda context: context)
    reason = impossible.unmet()
    assert reason is not None
    assert "x needs pytest<1 (it needs the old pytest)" in reason
    assert "pip install 'pytest<1'" in reason
    absent = scenario(name="x", requires=("no-such-package>=1",))(lambda context: context)
    assert "no-such-package not installed" in (absent.unmet() or "")
    assert my_training.unmet() is None
