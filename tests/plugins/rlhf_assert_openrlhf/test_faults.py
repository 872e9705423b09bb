"""Faults in real OpenRLHF trainings: each fails the right check with the right cause, and health passes.

`make test` runs two of them; `make openrlhf-test` all, and ten healthy ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from rlhf_assert.causes.hypothesis import onset
from rlhf_assert.checked import Check, Status
from rlhf_assert.recording.run import Run
from rlhf_assert.training.faults import Fault, parse_fault
from rlhf_assert.training.local_runner import LocalRunner
from rlhf_assert.training.locator import packaged_scenarios
from rlhf_assert.training.request import Request
from rlhf_assert.training.scenario import Scenario
from rlhf_assert.verdict import Verdict, judge
from rlhf_assert_openrlhf.environment import Environment

pytestmark = pytest.mark.training


@dataclass(frozen=True)
class Case:
    """A fault, and what must be said of it.

    Attributes:
        fault: its text form.
        check: the check that must fail.
        headline, cause: what that check's own must contain.
        steps: of the training.
        scenario: name.
        flags: in place of the scenario's own.
    """

    fault: str
    check: str
    headline: str
    cause: str
    steps: int = 9
    scenario: str = "openrlhf-reinforce"
    flags: tuple[tuple[str, Any], ...] = ()


CASES = [
    Case(
        "reward_nan@5",
        "rewards",
        "not finite: NaN (or None)",
        "returned NaN or None for 5 of 576",
        scenario="openrlhf-reinforce",
    ),
    Case("learning_rate_spike@5x1000", "optimizer", "stepped with learning rate", "stepped with learning rate"),
]
THOROUGH = [
    Case("temperature_mismatch@5x2", "rollout", "from step 5 on", "sampled at another temperature"),
    Case("reward_constant@5", "rewards", "constant from step 5 on: 0.50", "to every completion from step 5", steps=12),
    Case("reward_length@1x0.1", "rewards", "reward follows length", "rewards[0] animal_share", steps=24),
    Case("kl_coefficient_wrong@1x0", "objective", "has beta 0", "beta was changed", flags=(("actor.adam.lr", 2e-2),)),
    Case("rollout_weights_stale@7x20", "rollout", "from step", "sampled with stale weights", steps=10),
    Case("reference_noised@5x0.05", "reference", "moved at step 5", "reference"),
    Case("engine_killed@4", "completion", "engine (EngineCore) died", "engine"),
    Case("actor_killed@4", "completion", "PolicyModelActor) died", "PolicyModelActor"),
    Case("checkpoint_truncated@5", "checkpoints", "but its tensors take", "the file was damaged", steps=9),
    Case(
        "critic_learning_rate_spike@5x1000",
        "optimizer",
        "(of the critic)",
        "the critic's optimizer stepped",
        scenario="openrlhf-ppo",
    ),
]


def scenario_of(case: Case) -> Scenario:
    """Return the case's scenario, its flags changed; skips where there is none yet."""
    found = packaged_scenarios().get(case.scenario)
    if found is None:
        pytest.skip(f"there is no scenario {case.scenario}")

    def changed(ctx: Any) -> Any:
        training = found(ctx)
        return replace(training, flags={**training.flags, **dict(case.flags)})

    return replace(found, function=changed, learns=None) if case.flags else found


@pytest.fixture(scope="module")
def train(installed: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Run]]:
    folder = tmp_path_factory.mktemp("faults")
    with LocalRunner(in_process=True) as runner:

        def run(scenario: Scenario, seed: int, steps: int, fault: Fault | None) -> Run:
            return runner.run(
                Request.of(scenario, seed=seed, steps=steps, fault=fault), folder / f"{scenario.name}-{seed}-{fault}"
            )

        yield run


def failures(verdict: Verdict) -> dict[str, Check]:
    return {check.name: check for check in verdict.failures}


@pytest.mark.parametrize(
    "case",
    [*CASES, *(pytest.param(case, marks=pytest.mark.thorough) for case in THOROUGH)],
    ids=lambda case: case.fault,
)
def test_a_fault_fails_with_its_cause(train: Callable[..., Run], case: Case) -> None:
    fault = parse_fault(case.fault)
    run = train(scenario_of(case), 0, case.steps, fault)
    assert run.fault == fault
    failed = failures(judge(run))
    assert case.check in failed, list(failed)
    check = failed[case.check]
    assert case.headline in check.headline
    assert case.cause in str(check.cause)
    told = [begun for name, check in failed.items() if name != "actors" and (begun := onset(check)) is not None]
    assert min(told, default=fault.onset) >= fault.onset  # nothing is said to be wrong before it is


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(10))
def test_health_passes(train: Callable[..., Run], seed: int) -> None:
    scenario = packaged_scenarios()["openrlhf-reinforce"]
    run = train(scenario, seed, scenario.steps, None)
    assert run.status == "completed"
    verdict = judge(run)
    assert verdict.status is Status.PASS, failures(verdict)
