"""Every fault in a real training: before its onset nothing changes, from there on the right check finds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from rlhf_assert.causes.hypothesis import onset
from rlhf_assert.checked import Check
from rlhf_assert.checks.registry import found_by
from rlhf_assert.errors import UsageError
from rlhf_assert.recording.run import Run
from rlhf_assert.training.fault_kinds import FAULTS
from rlhf_assert.training.faults import Fault, make_fault
from rlhf_assert.training.local_runner import LocalRunner
from rlhf_assert.training.locator import packaged_scenarios
from rlhf_assert.training.request import Request
from rlhf_assert.training.scenario import Scenario
from rlhf_assert.verdict import judge
from rlhf_assert_trl.backend import TRLBackend

pytestmark = pytest.mark.training

STEPS, ONSET = 14, 8
TIMINGS = {"time", "step_time", "eps"}
SCENARIOS = dict.fromkeys((kind for kind in FAULTS if kind in TRLBackend.faults), "trl-grpo") | {
    "value_head_scaled": "trl-ppo",
    "value_coefficient_wrong": "trl-ppo",
    "kl_coefficient_wrong": "trl-rloo",
    "advantages_shuffled": "trl-rloo",
    "reward_delayed": "trl-online-dpo",
    "temperature_mismatch": "trl-online-dpo",
    "reference_zeroed": "trl-dpo",
    "parameters_frozen": "trl-kto",
    "gradient_clipping_off": "trl-dpo",
    "optimizer_state_lost": "trl-sft",
    "checkpoint_truncated": "trl-reward",
    "gradient_nan": "trl-sft",
    "data_repeated": "trl-dpo",
}
"""Where each fault is tried here; `rlhf-assert validate` tries it in every scenario that it applies to."""

ALSO = [
    ("advantages_negated", "trl-ppo"),
    ("gradient_noise", "trl-ppo"),
    ("kl_coefficient_wrong", "trl-kto"),
    ("kl_coefficient_negated", "trl-dpo"),
]
"""Where another identity shows the same fault."""

STRONGER = {"memory_leak": 40.0, "slow_step": 2.5}


def records(file: Path, before: int) -> list[Any]:
    """Return the records of the steps before one, without timings."""
    lines = [orjson.loads(line) for line in file.read_bytes().splitlines()] if file.exists() else []
    return [_untimed(line) for line in lines if line["step"] < before]


def _untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _untimed(item) for key, item in value.items() if key not in TIMINGS}
    return value


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Run]]:
    """Return a function that trains a scenario with a fault, each pair once."""
    folder = tmp_path_factory.mktemp("faults")
    done: dict[tuple[str, Fault | None], Run] = {}
    with LocalRunner() as runner:

        def run(name: str, fault: Fault | None, *, anew: bool = False) -> Run:
            scenario: Scenario = packaged_scenarios()[name]
            if reason := scenario.unmet():
                pytest.skip(reason)
            if anew or (name, fault) not in done:
                path = folder / f"{name}-{fault}{'-anew' * anew}"
                done[name, fault] = runner.run(Request.of(scenario, steps=STEPS, fault=fault), path)
            return done[name, fault]

        yield run


def fault_of(kind: str) -> Fault:
    onset = STEPS - 3 if kind == "slow_step" else min(FAULTS[kind].onset, ONSET)  # it takes three slow steps
    return make_fault(kind, onset, STRONGER.get(kind))


def failures(run: Run) -> dict[str, Check]:
    return {check.name: check for check in judge(run).failures}


@pytest.mark.parametrize("name", sorted(set(SCENARIOS.values())))
def test_a_healthy_control_passes(train: Callable[..., Run], name: str) -> None:
    run = train(name, None)
    assert run.status == "completed"
    assert run.fault is None
    assert failures(run) == {}


@pytest.mark.parametrize("kind", SCENARIOS)
def test_before_its_onset_a_fault_changes_nothing(train: Callable[..., Run], kind: str) -> None:
    fault = fault_of(kind)
    healthy, broken = train(SCENARIOS[kind], None), train(SCENARIOS[kind], fault)
    assert broken.fault == fault
    if course(broken, fault.onset) != course(healthy, fault.onset):
        # One gradient norm in some hundred trainings differs in its last bit, with or without a fault: a reduction
        # whose order the memory's layout decides. What a fault does, it does again.
        broken = train(SCENARIOS[kind], fault, anew=True)
    assert course(broken, fault.onset) == course(healthy, fault.onset)


def course(run: Run, before: int) -> list[Any]:
    """Return the rows and samples of the steps before one."""
    return [records(run.path / name, before) for name in ("metrics.jsonl", "samples.jsonl")]


@pytest.mark.parametrize(("kind", "scenario"), [*SCENARIOS.items(), *ALSO])
def test_a_fault_is_found_by_the_right_check(train: Callable[..., Run], kind: str, scenario: str) -> None:
    fault = fault_of(kind)
    failed = failures(train(scenario, fault))
    right = {name: check for name, check in failed.items() if name in found_by(kind)}
    assert right, f"failed: {list(failed)}"
    told = [begun for check in failed.values() if (begun := onset(check)) is not None]
    assert min(told, default=fault.onset) >= fault.onset  # nothing is said to be wrong before it is
    if FAULTS[kind].abrupt and kind != "checkpoint_truncated":
        assert min(told) <= fault.onset + 3


@pytest.mark.parametrize(
    ("scenario", "kind", "said"),
    [
        ("trl-grpo", "value_head_scaled", "it breaks ppo, this is grpo"),
        ("trl-sft", "reward_nan", "this is sft"),
        ("trl-sft", "reference_noised", "this is sft"),
        ("trl-grpo", "engine_killed", "the backend trl cannot inject it; openrlhf can"),
    ],
)
def test_a_fault_that_does_not_apply_says_why(train: Callable[..., Run], scenario: str, kind: str, said: str) -> None:
    run = train(scenario, fault_of(kind))
    assert run.error is not None
    assert run.error["type"] == "UsageError"
    assert said in run.error["message"]
    assert not len(run.rows)


def test_the_backend_injects_what_it_says() -> None:
    from rlhf_assert_trl.faults import INSTALLERS

    assert set(INSTALLERS) == TRLBackend.faults


def test_an_onset_beyond_the_end_is_refused(tmp_path: Path) -> None:
    scenario, fault = packaged_scenarios()["trl-grpo"], make_fault("reward_nan", STEPS + 1)
    with pytest.raises(UsageError, match="has 14 steps"):
        LocalRunner().run(Request.of(scenario, steps=STEPS, fault=fault), tmp_path / "run")
