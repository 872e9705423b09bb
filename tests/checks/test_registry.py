"""One registry: what a check needs to exist, who may add one, and what happens when one raises."""

from __future__ import annotations

import ast
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import rlhf_assert
from rlhf_assert.checked import Status
from rlhf_assert.checks import registry
from rlhf_assert.checks.registry import check, checks, find_check, only_while
from rlhf_assert.checks.stating import failed, passed
from rlhf_assert.errors import UsageError
from rlhf_assert.verdict import judge

ROOT = Path(__file__).parents[2]
CODE = ("rlhf_assert", "plugins", "scenarios")
ALSO_METRICS = {"loss", "policy_loss", "value_loss", "entropy", "kl"}
"""Names of checks that are names of metrics, or keys of trainers, as well."""

OTHER_MEANINGS = {
    "actors": "a field of an event of Ray",
    "checkpoints": "the folder of a run",
    "completion": "a column of a dataset",
    "data": "a group of OpenRLHF's flags, a key of logs, a filter of tarfile",
    "detectors": "a table of the settings, a command line option",
    "metrics": "a field of rows and events, and of what `check` answers",
    "objective": "a field of an event, a prefix of TRL's keys",
    "optimizer": "an attribute of a trainer, a row of `rlhf-assert checkpoint`",
    "reference": "a field, a row of `rlhf-assert checkpoint`, what a trainer needs for a fault",
    "resources": "a file of the run directory, a field of Ray",
    "resume": "an event, a tag of a scenario",
    "rewards": "a field of samples, a command, a key of TRL",
    "rollout": "a group of OpenRLHF's flags",
}
"""Names of checks that are words for something else in the code, and for what. Any other name is written nowhere."""


@pytest.fixture(autouse=True)
def forgotten():
    """Forget the checks that a test registers."""
    with only_while():
        yield


def quick(name="mine", **fields):
    return check(name=name, question="Is it so?", **fields)


def test_every_check_says_what_it_asks():
    for spec in checks():
        assert spec.question.endswith("?"), spec.name
        assert spec.needs, spec.name
        assert spec.assertion, f"{spec.name}: ours have an assertion of their own"
        assert hasattr(rlhf_assert, spec.assertion)
        assert spec.judge.__doc__, spec.name


def test_no_metric_is_owned_twice():
    owned = [metric for spec in checks() for metric in spec.owns]
    assert len(owned) == len(set(owned))


def test_reports_have_one_order():
    orders = [spec.order for spec in checks()]
    assert orders == sorted(set(orders))


def written(names):
    """Return every place outside of the checks where code holds one of the names as a text of its own."""
    for file in (path for folder in CODE for path in (ROOT / folder).rglob("*.py")):
        relative = file.relative_to(ROOT).as_posix()
        if not relative.startswith("rlhf_assert/checks/"):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant))
            yield from ((f"{relative}:{node.lineno}", node.value) for node in constants if node.value in names)


def test_a_check_is_named_in_its_own_module_alone():
    names = {spec.name for spec in checks()} - ALSO_METRICS
    assert [place for place in written(names) if place[1] not in OTHER_MEANINGS] == []


def test_no_code_looks_at_the_name_of_a_check():
    """Not even where a name has other meanings: `check.name == "rewards"` would be one more place to touch."""
    places = []
    for file in (path for folder in CODE for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            sides = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
            named = any(isinstance(side, ast.Attribute) and ast.unparse(side) == "check.name" for side in sides)
            if named and any(isinstance(part, ast.Constant) for side in sides for part in ast.walk(side)):
                places.append(f"{file.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}")
    assert places == []


def test_a_registered_check_is_in_the_verdict_and_has_an_assertion(make_run, rows):
    @quick(owns=("response_length",))
    def judge_mine(run):
        return failed("mine is bad") if run.seed else passed("mine is fine", ["reward"])

    verdict = judge(make_run(rows))
    assert verdict.checks[-1].name == "mine"
    assert verdict.checks[-1].status is Status.PASS
    assert rlhf_assert.assert_check(make_run(rows), "mine").headline == "mine is fine"
    with pytest.raises(rlhf_assert.CheckFailed, match="mine is bad") as caught:
        rlhf_assert.assert_check(make_run(rows, seed=1), "mine")
    assert caught.value.check.name == "mine"
    with pytest.raises(rlhf_assert.RunUnhealthy, match="mine is bad"):
        rlhf_assert.assert_run_healthy(make_run(rows, seed=1))


def test_a_check_takes_options(make_run, rows):
    @quick(options={"my_limit": "limit"})
    def judge_mine(run, *, limit=1.0):
        return passed(f"limit {limit}")

    run = make_run(rows)
    assert judge(run).checks[-1].headline == "limit 1.0"
    assert judge(run, my_limit=3.0).checks[-1].headline == "limit 3.0"
    assert rlhf_assert.assert_run_healthy(run, my_limit=2.0).checks[-1].headline == "limit 2.0"
    with pytest.raises(UsageError, match=r"no check has an option my_limitt \(did you mean my_limit\?\)"):
        judge(run, my_limitt=3.0)


@pytest.mark.parametrize("broken", [lambda run: 1 / 0, lambda run: None, lambda run: run["nothing"], lambda run: {}])
def test_a_check_that_raises_failed_to_judge_and_costs_the_others_nothing(make_run, rows, broken):
    before = judge(make_run(rows)).checks
    quick()(broken)
    verdict = judge(make_run(rows))
    assert [(one.name, one.status) for one in verdict.checks[:-1]] == [(one.name, one.status) for one in before]
    mine = verdict.checks[-1]
    assert (mine.name, mine.status) == ("mine", Status.ERROR)
    assert mine.headline.startswith("failed to judge: ")
    assert mine in verdict.unjudged
    with pytest.raises(rlhf_assert.RunUnhealthy, match="mine: failed to judge"):
        rlhf_assert.assert_run_healthy(make_run(rows))
    with pytest.raises(rlhf_assert.HealthFailure, match="mine: failed to judge"):
        rlhf_assert.assert_check(make_run(rows), "mine")


def test_a_check_that_does_not_apply_is_left_out(make_run, rows):
    quick(applies=lambda run: run.seed == 1)(lambda run: passed("fine"))
    assert judge(make_run(rows)).checks[-1].name != "mine"
    assert judge(make_run(rows, seed=1)).checks[-1].name == "mine"


def test_two_checks_of_one_name_are_refused():
    quick()(lambda run: passed("one"))
    with pytest.raises(UsageError, match="two checks are called mine"):

        @quick()
        def judge_another(run):
            return passed("two")

    with pytest.raises(UsageError, match="two checks are called kl"):
        quick("kl")(lambda run: passed("kl"))


@pytest.mark.parametrize("name", ["", "Mine", "a b", "../x", "a" * 41, "ä"])
def test_a_name_that_cannot_be_one_is_refused(name):
    with pytest.raises(UsageError, match="a name has lower case letters"):
        quick(name)(lambda run: passed("fine"))


def test_an_unknown_argument_is_refused_with_a_suggestion():
    with pytest.raises(UsageError, match=r"@check has no argument ordr \(did you mean order\?\)"):
        quick(ordr=3)


def test_an_unknown_check_is_a_usage_error(make_run, rows):
    with pytest.raises(UsageError, match=r"unknown check entrpy \(did you mean entropy\?\); known: completion"):
        rlhf_assert.assert_check(make_run(rows), "entrpy")


def test_a_package_whose_check_cannot_be_loaded_is_named(make_run, rows):
    registry._load_entry(EntryPoint("their-check", "no_such_package.checks", registry.ENTRY_POINT_GROUP))
    theirs = judge(make_run(rows)).checks[-1]
    assert (theirs.name, theirs.status) == ("their-check", Status.ERROR)
    assert "no_such_package.checks cannot be loaded: ModuleNotFoundError" in theirs.headline


def test_the_same_function_may_be_registered_again():
    spec = find_check("kl")
    assert registry.register(spec) is spec
