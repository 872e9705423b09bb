from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from rlhf_assert.errors import UsageError
from rlhf_assert.training.backend import find_backend
from rlhf_assert.training.fault_kinds import FAULTS
from rlhf_assert.training.faults import make_fault
from rlhf_assert.training.locator import packaged_scenarios
from rlhf_assert.training.scenario import Scenario
from rlhf_assert.training.train import injectable
from rlhf_assert.validation.plan import (
    PROFILES,
    chosen_faults,
    chosen_profile,
    chosen_scenarios,
    plan,
)


def breakable() -> tuple[Scenario, ...]:
    """Return the packaged scenarios whose backend injects faults."""
    return tuple(scenario for scenario in packaged_scenarios().values() if scenario.backend == "trl")


def test_the_quick_profile_has_every_fault_and_25_healthy_trainings() -> None:
    found = plan(PROFILES["quick"], breakable(), chosen_faults(()))
    faults = Counter(training.fault.kind for training in found if training.fault)
    assert set(faults) == injectable(find_backend("trl"))
    assert set(faults.values()) <= {1, 2}
    assert sum(training.fault is None for training in found) >= 25
    assert {training.scenario.name for training in found if training.fault} == {
        scenario.name for scenario in breakable()
    }


def test_the_full_profile_has_every_fault_in_every_scenario_that_it_applies_to() -> None:
    scenarios = breakable()
    found = plan(chosen_profile("full", 3), scenarios, chosen_faults(()))
    pairs = {(training.fault.kind, training.scenario.name) for training in found if training.fault}
    assert pairs == {
        (name, scenario.name)
        for name, kind in FAULTS.items()
        for scenario in scenarios
        if kind.algorithms & set(scenario.tags) and name in injectable(find_backend("trl"))
    }
    assert sum(training.fault is not None for training in found) == 3 * len(pairs)


def test_a_plan_repeats_and_its_keys_are_unique() -> None:
    scenarios = breakable()
    one, two = (plan(PROFILES["quick"], scenarios, chosen_faults(())) for _ in range(2))
    keys = [training.key for training in one]
    assert keys == [training.key for training in two]
    assert len(set(keys)) == len(keys)


def test_a_fault_goes_where_its_algorithm_is(make_scenario: Callable[..., Scenario]) -> None:
    ppo, sft = make_scenario("mine-ppo", 20, "ppo"), make_scenario("mine-sft", 20, "sft")
    found = plan(PROFILES["quick"], (ppo, sft), (make_fault("value_head_scaled"),))
    assert [training.scenario for training in found if training.fault] == [ppo]


def test_a_scenario_without_an_algorithm_is_tried_with_every_fault(make_scenario: Callable[..., Scenario]) -> None:
    found = plan(PROFILES["quick"], (make_scenario("mine", 40),), chosen_faults(()))
    assert {training.fault.kind for training in found if training.fault} == injectable(find_backend("trl"))


def test_without_a_name_only_what_trains_in_seconds_is_planned() -> None:
    assert {scenario.backend for scenario in chosen_scenarios(())} <= {"trl"}


def test_a_fault_that_would_come_after_the_end_is_not_planned(make_scenario: Callable[..., Scenario]) -> None:
    with pytest.raises(UsageError, match="no fault applies to short before its last step"):
        plan(PROFILES["quick"], (make_scenario("short", 8, "grpo"),), (make_fault("reward_nan", 10),))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: chosen_faults(["reward_nam"]), "did you mean reward_nan"),
        (lambda: chosen_scenarios(["trl-grop"]), "did you mean trl-grpo"),
        (lambda: chosen_scenarios(["nowhere.py"]), "no such file"),
        (lambda: chosen_profile("quick", 0), "seeds=0"),
    ],
)
def test_what_cannot_be_is_a_usage_error(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


def test_scenarios_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from rlhf_assert import scenario\n\n\n"
        "@scenario(requires=('trl<0.1',))\ndef old(ctx): ...\n\n\n@scenario\ndef mine(ctx): ...\n"
    )
    assert [scenario.name for scenario in chosen_scenarios([f"{file}::mine"])] == ["mine"]
    with pytest.raises(UsageError, match=r"old cannot be trained here: old needs trl<0\.1"):
        chosen_scenarios([str(file)])
