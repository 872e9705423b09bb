"""Scenarios: what the decorator accepts, and how files of them are read."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rlhf_assert.errors import UsageError
from rlhf_assert.training.scenario import Scenario, by_name, check_steps, load_module, scenario, scenarios_in_file


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


@pytest.mark.parametrize("steps", [0, -1, 2.5])
def test_a_training_takes_at_least_one_step(steps: int) -> None:
    with pytest.raises(UsageError, match="at least 1 step"):
        check_steps(my_training, steps)
    assert check_steps(my_training, 1).steps == 1


def test_a_missing_requirement_names_the_command_that_mends_it() -> None:
    impossible = scenario(name="x", requires=("pytest<1",), reason="it needs the old pytest")(lambda context: context)
    reason = impossible.unmet()
    assert reason is not None
    assert "x needs pytest<1 (it needs the old pytest)" in reason
    assert "pip install 'pytest<1'" in reason
    absent = scenario(name="x", requires=("no-such-package>=1",))(lambda context: context)
    assert "no-such-package not installed" in (absent.unmet() or "")
    assert my_training.unmet() is None


def write(path: Path, text: str) -> Path:
    path.write_text("from rlhf_assert import scenario\n" + text)
    return path


def test_a_file_gives_its_own_scenarios_by_name(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.py", "@scenario\ndef a_b(ctx): ...\n@scenario(name='c', steps=3)\ndef d(ctx): ...\n")
    found = scenarios_in_file(file)
    assert sorted(found) == ["a-b", "c"]
    assert scenarios_in_file(file)["c"] is found["c"], "a file is imported once"


def test_a_file_can_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_scenarios.py").write_text("STEPS = 4\n")
    file = write(
        tmp_path / "user.py", "from neighbour_of_scenarios import STEPS\n@scenario(steps=STEPS)\ndef e(ctx): ...\n"
    )
    assert scenarios_in_file(file)["e"].steps == 4
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "defines no scenario"),
        ("def broken(:\n", r"cannot be imported: SyntaxError: .*, line 2"),
        ("\nraise ValueError('no data')\n", r"cannot be imported: ValueError: no data, line 3"),
        ("@scenario\ndef f(c): ...\n@scenario(name='f')\ndef g(c): ...\n", "two scenarios are called f"),
        ("@scenario(steps=0)\ndef f(c): ...\n", "at least 1 step"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path / "broken.py", text)
    with pytest.raises(UsageError, match=message) as caught:
        scenarios_in_file(file)
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        scenarios_in_file(tmp_path / "absent.py")


def test_one_name_twice_is_refused_and_the_same_scenario_twice_is_not() -> None:
    other = scenario(name="my-training")(lambda context: context)
    with pytest.raises(UsageError, match="two scenarios are called my-training"):
        by_name([my_training, other])
    assert by_name([my_training, my_training, check_steps(my_training, 3)]) == {"my-training": my_training}


def test_an_imported_file_is_found_in_sys_modules() -> None:
    assert load_module(Path(__file__)) is sys.modules[__name__]
