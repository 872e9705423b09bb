"""The locator: which words find which scenarios, through every door."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from rlhf_assert.cli import main
from rlhf_assert.errors import UsageError
from rlhf_assert.training import locator
from rlhf_assert.training.locator import (
    by_name,
    locate,
    locate_all,
    locate_one,
    packaged_scenarios,
    scenarios_in_file,
    word_for,
)
from rlhf_assert.training.scenario import Scenario, scenario
from rlhf_assert.validation.plan import chosen_scenarios

FILE = """
from rlhf_assert import scenario

@scenario(backend="trl", steps=3)
def my_reward(ctx): ...

@scenario(backend="trl", name="my_other", steps=4)
def second(ctx): ...

third = scenario(backend="trl", name="calm", steps=5)(lambda ctx: ctx)
"""


@scenario(steps=7)
def my_training(context: object) -> object:
    return context


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return write(tmp_path / "mine.py", FILE)


def write(path: Path, text: str) -> Path:
    path.write_text(text if text is FILE else "from rlhf_assert import scenario\n" + text)
    return path


def names(scenarios: list[Scenario]) -> list[str]:
    return [each.name for each in scenarios]


@pytest.mark.parametrize("word", ["trl-grpo", "trl_grpo"])
def test_dash_and_underscore_are_the_same_in_a_name(word: str) -> None:
    assert names(locate(word)) == ["trl-grpo"]


@pytest.mark.parametrize(
    ("word", "name"),
    [
        *(("my-reward", "my-reward"), ("my_reward", "my-reward"), ("my-other", "my_other"), ("my_other", "my_other")),
        *(("second", "my_other"), ("calm", "calm"), ("third", "calm")),
    ],
)
def test_one_of_a_file_is_found_by_its_name_or_its_functions(mine: Path, word: str, name: str) -> None:
    assert locate_one(f"{mine}::{word}").name == name


def test_a_name_goes_before_the_name_of_a_function(tmp_path: Path) -> None:
    file = write(
        tmp_path / "both.py",
        "@scenario(name='one', steps=1)\ndef two(ctx): ...\n@scenario(name='two', steps=2)\ndef three(ctx): ...\n",
    )
    assert locate_one(f"{file}::two").steps == 2
    assert locate_one(f"{file}::one").steps == 1


def test_a_file_and_a_pattern_stand_for_several(mine: Path) -> None:
    assert names(locate(str(mine))) == ["my-reward", "my_other", "calm"]
    assert names(locate(f"{mine}::my-*")) == ["my-reward", "my_other"]
    assert set(names(locate("trl-*po"))) == {"trl-dpo", "trl-online-dpo", "trl-grpo", "trl-ppo"}
    assert names(locate("trl_gr*")) == ["trl-grpo"]


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    (tmp_path / "a::b [1]").mkdir()
    assert locate_one(f"{write(tmp_path / 'a::b [1]' / 'mine.py', FILE)}::my_reward").name == "my-reward"


def test_all_is_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Backend:
        def __init__(self, reason: str | None) -> None:
            self.reason = reason

        def missing(self) -> str | None:
            return self.reason

    monkeypatch.setattr(locator, "backends", lambda: {"trl": Backend(None), "openrlhf": Backend("not here")})
    assert {each.backend for each in locate("all")} == {"trl"}
    monkeypatch.setattr(locator, "backends", lambda: {"trl": Backend("no trl"), "openrlhf": Backend("no openrlhf")})
    with pytest.raises(UsageError, match="no backend is installed: no trl; no openrlhf"):
        locate("all")


def test_each_is_located_once_and_in_order(mine: Path) -> None:
    assert names(locate_all(["trl-sft", "trl_grpo", str(mine), "trl-sft", f"{mine}::second"])) == [
        *("trl-sft", "trl-grpo", "my-reward", "my_other", "calm")
    ]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("trl-gropo", r"^unknown scenario trl-gropo \(did you mean trl-grpo\?\); known: .*trl-sft"),
        ("tlr-*", r"^unknown scenario tlr-\*.*; known: "),
        ("{mine}::secnd", r"^unknown scenario secnd in .*mine\.py; known: my-reward, my_other, calm$"),
        ("{mine}::my-rewrd", r"in .*mine\.py \(did you mean my-reward\?\); known: my-reward, my_other, calm$"),
        ("{mine}::", r"^unknown scenario '' in .*; known: my-reward"),
        ("", "^unknown scenario ''; known: "),
        ("a\0b", r"^unknown scenario 'a\\x00b'; known: "),
        ("\x1b[31mred", r"^unknown scenario '\\x1b\[31mred'; known: "),
        ("../../x", r"^unknown scenario \.\./\.\./x; known: "),
        ("x" * 100_000, r"^unknown scenario x{100}\.\.\.; known: "),
        ("no\0file.py", "no such file"),
        ("nowhere.py::x", r"^nowhere\.py: no such file$"),
    ],
)
def test_an_unknown_word_is_one_line_that_lists_the_known_ones(mine: Path, word: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        locate(word.replace("{mine}", str(mine)))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


@given(st.text(max_size=300))
def test_no_word_is_more_than_a_usage_error(word: str) -> None:
    try:
        said = " ".join(names(locate(word, if_path="write {}")))
    except UsageError as error:
        said = str(error)
    assert said.isprintable()


def test_a_path_given_by_mistake_gets_the_callers_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match=r"unknown scenario folder \(folder is a path: write =folder\); known: "):
        locate("folder", if_path="write ={}")


def test_several_where_one_is_needed(mine: Path) -> None:
    with pytest.raises(UsageError, match="stands for several scenarios, and one is needed: my-reward, my_other, calm"):
        locate_one(str(mine))


def test_the_word_for_a_scenario_finds_it_again(mine: Path) -> None:
    for each in (*packaged_scenarios().values(), *locate(str(mine))):
        assert locate_one(word_for(each)) is each
    assert word_for(packaged_scenarios()["trl-sft"]) == "trl-sft", "wherever another machine has it"
    other = scenario(name="trl-sft")(lambda context: context)
    assert word_for(other) == f"{__file__}::trl-sft", "a user's scenario of a packaged name is not the packaged one"


def test_a_file_gives_its_own_scenarios_by_name(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.py", "@scenario\ndef a_b(ctx): ...\n@scenario(name='c', steps=3)\ndef d(ctx): ...\n")
    known = scenarios_in_file(file)
    assert sorted(known) == ["a-b", "c"]
    assert scenarios_in_file(file)["c"] is known["c"], "a file is imported once"


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
        ("@scenario\ndef f(c): ...\n@scenario(name='f')\ndef g(c): ...\n", "two scenarios are called f"),
        ("@scenario(name='a_b')\ndef f(c): ...\n@scenario\ndef a_b(c): ...\n", "two scenarios are called a-b"),
        ("@scenario(steps=0)\ndef f(c): ...\n", "at least 1 step"),
        ("@scenario(name='../../x')\ndef f(c): ...\n", r"cannot be imported: UsageError: .* contains '/'.*, line 2"),
    ],
)
def test_a_file_that_defines_nothing_sound_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path / "broken.py", text)
    with pytest.raises(UsageError, match=message) as caught:
        scenarios_in_file(file)
    assert str(caught.value).isprintable()
    assert str(file) in str(caught.value)


def test_one_name_twice_is_refused_and_the_same_scenario_twice_is_not() -> None:
    other = scenario(name="my_training")(lambda context: context)
    with pytest.raises(UsageError, match="two scenarios are called my_training"):
        by_name([my_training, other])
    assert by_name([my_training, my_training]) == {"my-training": my_training}


def test_the_command_line_finds_by_the_same_words(mine: Path) -> None:
    result = CliRunner().invoke(main, ["scenarios", "trl_grpo", f"{mine}::second"])
    assert [line.split()[0] for line in result.output.splitlines()] == ["scenario", "trl-grpo", "my_other", "exit"]


def test_a_validation_finds_by_the_same_words(mine: Path) -> None:
    assert names(list(chosen_scenarios(["trl_grpo", f"{mine}::second"]))) == ["trl-grpo", "my_other"]
    assert names(list(chosen_scenarios(["trl-grp*"]))) == ["trl-grpo"]
    assert {each.backend for each in chosen_scenarios(["all"])} >= {"trl"}


@pytest.mark.parametrize("word", ["trl-gropo", "{mine}::secnd"])
def test_every_door_says_the_same_about_an_unknown_word(mine: Path, pytester: pytest.Pytester, word: str) -> None:
    word = word.replace("{mine}", str(mine))
    with pytest.raises(UsageError) as caught:
        locate(word)
    said = str(caught.value)
    result = CliRunner().invoke(main, ["scenarios", word])
    assert (result.exit_code, said in result.output) == (2, True)
    result = CliRunner().invoke(main, ["validate", "--scenario", word])
    assert (result.exit_code, said in result.output) == (2, True)
    option = pytester.runpytest_subprocess(f"--rlhf-scenario={word}")
    assert (option.ret, said in option.stderr.str()) == (pytest.ExitCode.USAGE_ERROR, True)
    pytester.makepyfile(f"import pytest\n\n@pytest.mark.rlhf_scenario({word!r})\ndef test_it(rlhf_run): ...\n")
    marker = pytester.runpytest_subprocess()
    assert said in marker.stdout.str()
