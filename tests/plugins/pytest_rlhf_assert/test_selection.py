"""What the options and the marker select, and what they refuse."""

from __future__ import annotations

import sys

import pytest

SCENARIOS = """
from rlhf_assert import scenario

@scenario(steps=5)
def first(ctx): ...

@scenario(steps=6)
def second(ctx): ...

@scenario
def the_third(ctx): ...
"""


def collected(pytester: pytest.Pytester, *arguments: str) -> list[str]:
    result = pytester.runpytest_subprocess("--collect-only", "-q", *arguments)
    assert result.ret == 0, result.stdout.str() + result.stderr.str()
    return [line for line in result.outlines if "::" in line]


def test_without_a_path_the_packaged_health_tests_run(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_users_own="def test_never_collected(): ...")
    items = collected(pytester, "--rlhf-scenario=trl-grpo")
    assert any(item.endswith("test_health.py::test_kl_is_anomaly_free[trl-grpo]") for item in items)
    assert not any("never_collected" in item for item in items)


def test_bare_means_every_scenario(pytester: pytest.Pytester) -> None:
    items = collected(pytester, "--rlhf-scenario")
    names = {item.partition("[")[2].rstrip("]") for item in items}
    assert names == {f"trl-{name}" for name in ("ppo", "grpo", "rloo", "online-dpo", "dpo", "kto", "reward", "sft")}


def test_with_a_path_the_users_tests_get_the_scenario(pytester: pytest.Pytester) -> None:
    path = pytester.makepyfile("def test_mine(rlhf_run): ...")
    items = collected(pytester, "--rlhf-scenario=trl-grpo", "--rlhf-scenario=trl-dpo", "--rlhf-seed=0-1,7", str(path))
    ids = [item.partition("[")[2].rstrip("]") for item in items]
    assert sorted(ids) == sorted(f"trl-{name}-seed{seed}" for name in ("grpo", "dpo") for seed in (0, 1, 7))


def test_a_file_of_scenarios_and_one_of_them(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(mine=SCENARIOS)
    every = {item.partition("[")[2] for item in collected(pytester, "--rlhf-scenario=mine.py")}
    assert every == {"first]", "second]", "the-third]"}
    one = {item.partition("[")[2] for item in collected(pytester, "--rlhf-scenario=mine.py::the_third")}
    assert one == {"the-third]"}


def test_the_marker_takes_a_name_or_a_function_and_the_command_line_its_seeds(pytester: pytest.Pytester) -> None:
    path = pytester.makepyfile(
        SCENARIOS
        + """
import pytest

@pytest.mark.rlhf_scenario("trl_sft", steps=3, seed=4)
def test_named(rlhf_run): ...

@pytest.mark.rlhf_scenario(second)
def test_function(rlhf_run): ...
"""
    )
    assert [item.partition("::")[2] for item in collected(pytester, str(path))] == [
        "test_named[trl-sft]",
        "test_function[second]",
    ]
    assert len(collected(pytester, "--rlhf-seed=0-2", str(path))) == 6


def test_a_marker_may_give_several_seeds(pytester: pytest.Pytester) -> None:
    path = pytester.makepyfile("""
        import pytest

        @pytest.mark.rlhf_scenario("trl-grpo", seed=[0, 3, 0])
        def test_mine(rlhf_run): ...
    """)
    ids = [item.partition("[")[2].rstrip("]") for item in collected(pytester, str(path))]
    assert ids == ["trl-grpo-seed0", "trl-grpo-seed3"]
    assert len(collected(pytester, "--rlhf-seed=5", str(path))) == 1


@pytest.mark.parametrize("name", ["rlhf_scenario", "rlhf_fault"])
def test_two_markers_on_one_test_are_an_error(pytester: pytest.Pytester, name: str) -> None:
    second = {"rlhf_scenario": "'trl-sft'", "rlhf_fault": "'reward_inf'"}[name]
    pytester.makepyfile(f"""
        import pytest

        @pytest.mark.{name}({second})
        @pytest.mark.rlhf_fault("reward_nan")
        @pytest.mark.rlhf_scenario("trl-grpo")
        def test_mine(rlhf_run): ...
    """)
    result = pytester.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(
        [f"*two @pytest.mark.{name} on test_mine: a test has one training, write one test for*"]
    )
    assert "Traceback" not in result.stdout.str()


def test_a_tests_own_marker_wins_over_its_classs(pytester: pytest.Pytester) -> None:
    path = pytester.makepyfile("""
        import pytest

        @pytest.mark.rlhf_scenario("trl-grpo")
        class TestMine:
            def test_one(self, rlhf_run): ...

            @pytest.mark.rlhf_scenario("trl-sft")
            def test_two(self, rlhf_run): ...
    """)
    ids = [item.partition("[")[2].rstrip("]") for item in collected(pytester, str(path))]
    assert ids == ["trl-grpo", "trl-sft"]


def test_a_pattern_stands_for_the_packaged_scenarios_of_such_names(pytester: pytest.Pytester) -> None:
    selected = collected(pytester, "--rlhf-scenario=trl-*po", "--rlhf-scenario=trl-ppo")
    names = [item.partition("[")[2].rstrip("]") for item in selected]
    assert set(names) == {"trl-dpo", "trl-online-dpo", "trl-grpo", "trl-ppo"}
    assert len(names) == len(set(selected))


def test_list_names_every_scenario(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--rlhf-scenario=list")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["scenario *learns *available", "trl-grpo * trl * reward * yes"])
    result.stdout.fnmatch_lines(["openrlhf-reinforce *openrlhf * reward * no: *"])
    assert len(result.outlines) >= 10
    listed = pytester.run(sys.executable, "-m", "rlhf_assert.cli", "scenarios")
    assert listed.outlines[:-1] == result.outlines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rlhf-scenario=trl-gropo"], "*unknown scenario trl-gropo (did you mean trl-grpo?); known: *trl-dpo*"),
        (["--rlhf-scenario=tlr-*"], "*unknown scenario tlr-*known: *trl-dpo*"),
        (["--rlhf-scenario=absent.py"], "*absent.py: no such file*"),
        (["--rlhf-scenario=mine.py::thrid"], "*unknown scenario thrid in mine.py*known: first, second, the-third*"),
        (["--rlhf-scenario", "folder"], "*folder (folder is a path: give the option its value after '='*"),
        (["--rlhf-scenario", "--rlhf-seed=x"], "*--rlhf-seed=x: give seeds as 0, 0-4 or 0,3,7*"),
        (["--rlhf-scenario", "--rlhf-seed=0-99999999"], "*--rlhf-seed=0-99999999: more than 10,000 seeds*"),
        (["--rlhf-scenario=hostile.py"], "*hostile.py: cannot be imported: UsageError: *'../../x' contains '/'*"),
        (["--rlhf-scenario", "--rlhf-steps=0"], "*steps=0, but a training takes at least 1 step*"),
    ],
)
def test_a_wrong_option_is_a_usage_error_in_one_line(
    pytester: pytest.Pytester, arguments: list[str], message: str
) -> None:
    pytester.makepyfile(mine=SCENARIOS, hostile=SCENARIOS.replace("steps=5", "name='../../x'"))
    pytester.mkdir("folder")
    result = pytester.runpytest_subprocess(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert "Traceback" not in result.stderr.str()


@pytest.mark.parametrize("selected", [["--rlhf-scenario=trl-sft"], ["test_mine.py"]])
def test_an_unknown_key_of_the_project_is_a_usage_error_before_any_training(
    pytester: pytest.Pytester, selected: list[str]
) -> None:
    pytester.makepyprojecttoml("[tool.pytest]\n[tool.rlhf-assert]\nchecks = { kl-runawy = 2.0 }\n")
    pytester.makepyfile(
        test_mine="import pytest\n\n@pytest.mark.rlhf_scenario('trl-sft')\ndef test_it(rlhf_run): ...\n",
        test_other="def test_other(): ...",
    )
    result = pytester.runpytest_subprocess(*selected)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*pyproject.toml, [[]tool.rlhf-assert]: detectors: unknown detector 'kl-runawy' (did you mean kl-runaway?)*"]
    )
    assert "Traceback" not in result.stderr.str()
    assert pytester.runpytest_subprocess("test_other.py").ret == 0  # nobody asked for a training


def test_two_files_with_one_name_are_refused(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(mine=SCENARIOS, yours=SCENARIOS)
    result = pytester.runpytest_subprocess("--rlhf-scenario=mine.py", "--rlhf-scenario=yours.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*two scenarios are called first: *mine.py and *yours.py*"])


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("'trl-grpo', stesp=3", "*rlhf_scenario has no argument stesp (did you mean steps?)*"),
        ("'trl-grop'", "*unknown scenario trl-grop (did you mean trl-grpo?)*"),
        ("3", "*not a scenario: decorate the function with @rlhf_assert.scenario*"),
        ("", "*takes one scenario*"),
        ("'trl-grpo', steps=0", "*at least 1 step*"),
        ("'all'", "*takes one scenario, not several*"),
        (
            "'trl-grpo', seed=True",
            "*seed=True: a seed is a whole number from 0*several are a list, as in seed=[[]0, 1]*",
        ),
    ],
)
def test_a_wrong_marker_is_a_collection_error_in_one_line(pytester: pytest.Pytester, marker: str, message: str) -> None:
    pytester.makepyfile(f"import pytest\n\n@pytest.mark.rlhf_scenario({marker})\ndef test_it(rlhf_run): ...\n")
    result = pytester.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([message])
    assert "Traceback" not in result.stdout.str()


def test_a_run_without_a_scenario_says_what_to_do(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(rlhf_run): ...")
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*rlhf_run needs to know what to train: mark the test*"])


def test_one_name_for_two_scenarios_of_a_session_is_refused(pytester: pytest.Pytester) -> None:
    for name in ("test_one", "test_two"):
        pytester.makepyfile(
            **{name: "import pytest\n" + SCENARIOS + "\n@pytest.mark.rlhf_scenario(first)\ndef test_it(rlhf_run): ..."}
        )
    result = pytester.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*two scenarios are called first*"])


def test_the_marker_is_registered(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--markers", "--strict-markers")
    result.stdout.fnmatch_lines(["@pytest.mark.rlhf_scenario(scenario, *"])


def test_each_fault_is_a_training_of_its_own(pytester: pytest.Pytester) -> None:
    path = pytester.makepyfile("def test_mine(rlhf_run): ...")
    faults = ("--rlhf-fault=reward_nan@5x2", "--rlhf-fault=weights_nan")
    ids = [item.partition("[")[2] for item in collected(pytester, "--rlhf-scenario=trl-grpo", *faults, str(path))]
    assert ids == ["trl-grpo-reward_nan]", "trl-grpo-weights_nan]"]


def test_a_marked_fault_and_the_command_line_wins(pytester: pytest.Pytester) -> None:
    path = pytester.makepyfile("""
        import pytest

        @pytest.mark.rlhf_scenario("trl-grpo")
        @pytest.mark.rlhf_fault("reward_nan", onset=5, magnitude=2)
        def test_mine(rlhf_run): ...
    """)
    assert [item.partition("[")[2] for item in collected(pytester, str(path))] == ["trl-grpo-reward_nan]"]
    other = collected(pytester, "--rlhf-fault=weights_nan", str(path))
    assert [item.partition("[")[2] for item in other] == ["trl-grpo-weights_nan]"]


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ('"reward_nna"', "did you mean reward_nan?"),
        ('"reward_nan", onst=3', "no argument onst (did you mean onset?)"),
        ('"reward_nan", onset=0', "1 or later"),
        ('"reward_nan", onset=99', "trl-grpo has 30 steps"),
        ("", "takes one fault by its name"),
    ],
)
def test_a_fault_marker_that_cannot_be(pytester: pytest.Pytester, mark: str, said: str) -> None:
    path = pytester.makepyfile(f"""
        import pytest

        @pytest.mark.rlhf_scenario("trl-grpo")
        @pytest.mark.rlhf_fault({mark})
        def test_mine(rlhf_run): ...
    """)
    result = pytester.runpytest_subprocess("--collect-only", str(path))
    assert result.ret != 0
    assert said in result.stdout.str()


def test_an_unknown_fault_on_the_command_line(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--rlhf-scenario=trl-grpo", "--rlhf-fault=reward_nna")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "did you mean reward_nan?" in result.stderr.str()
