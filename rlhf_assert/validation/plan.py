"""What a validation trains: faults in the scenarios that they apply to, and healthy controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from rlhf_assert.errors import UsageError
from rlhf_assert.training.backend import find_backend
from rlhf_assert.training.fault_kinds import FAULTS
from rlhf_assert.training.faults import Fault, make_fault, parse_fault
from rlhf_assert.training.locator import locate_all, packaged_scenarios, unavailable
from rlhf_assert.training.request import Request
from rlhf_assert.training.scenario import Scenario
from rlhf_assert.training.train import injectable

BACKEND = "trl"
"""Scenarios of this backend are validated where none is named: they train in seconds."""

LONG_STEPS = 160
"""Steps of the healthy training of each scenario in whose log faults are planted: shapes take a hundred rows."""

ALGORITHMS = frozenset().union(*(kind.algorithms for kind in FAULTS.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How much is trained.

    Attributes:
        seeds: seeds of each fault in each of its scenarios.
        control_seeds: healthy runs of each scenario.
        scenarios_per_fault: in how many of its scenarios a fault is tried; None means in all.
    """

    seeds: int
    control_seeds: int
    scenarios_per_fault: int | None


PROFILES: Mapping[str, Profile] = {
    "quick": Profile(seeds=1, control_seeds=4, scenarios_per_fault=2),
    "full": Profile(seeds=10, control_seeds=10, scenarios_per_fault=None),
}


def chosen_profile(name: str, seeds: int | None = None) -> Profile:
    """Return a profile with the number of seeds in place of its own.

    Raises:
        UsageError: fewer than 1 seed.
    """
    profile = PROFILES[name]
    if seeds is None:
        return profile
    if seeds < 1:
        raise UsageError(f"seeds={seeds}: a fault is trained with at least 1 seed")
    # A rate of false alarms of some per cent takes many runs to see, so health is not saved on.
    return replace(profile, seeds=seeds, control_seeds=max(seeds, profile.control_seeds))


def plan(profile: Profile, scenarios: Sequence[Scenario], faults: Sequence[Fault]) -> tuple[Request, ...]:
    """Return every training of a validation: with faults, healthy, and one long healthy one of each scenario.

    A fault is tried in the scenarios of the algorithms that it applies to. A scenario whose tags name no algorithm is
    tried with every fault, and the backend says which do not apply. Where a profile takes only some of a fault's
    scenarios, the faults take turns, so that each scenario has its share.

    Raises:
        UsageError: no fault applies to any of the scenarios.
    """
    broken = []
    for number, fault in enumerate(faults):
        fitting = [scenario for scenario in scenarios if applies(fault, scenario) and fault.onset < scenario.steps]
        some = profile.scenarios_per_fault or len(fitting)
        chosen = [fitting[(number * some + turn) % len(fitting)] for turn in range(min(some, len(fitting)))]
        broken += [
            Request.of(scenario, seed=seed, fault=fault) for scenario, seed in product(chosen, range(profile.seeds))
        ]
    if not broken:
        names = ", ".join(scenario.name for scenario in scenarios)
        raise UsageError(f"nothing to validate: no fault applies to {names or 'no scenario'} before its last step")
    controls = [Request.of(scenario, seed=seed) for scenario, seed in product(scenarios, range(profile.control_seeds))]
    return (*broken, *controls, *(_long(scenario, profile.control_seeds) for scenario in scenarios))


def _long(scenario: Scenario, seed: int) -> Request:
    steps = max(LONG_STEPS, scenario.steps)
    patient = replace(scenario, time_limit=scenario.time_limit * steps / scenario.steps)
    return Request.of(patient, seed=seed, steps=steps)


def applies(fault: Fault, scenario: Scenario) -> bool:
    """Return whether a fault can be tried in a scenario, by its backend and the algorithm that its tags name."""
    if fault.kind not in injectable(find_backend(scenario.backend)):
        return False
    algorithms = ALGORITHMS.intersection(scenario.tags)
    return not algorithms or bool(algorithms & FAULTS[fault.kind].algorithms)


def chosen_faults(words: Sequence[str]) -> tuple[Fault, ...]:
    """Return the faults of `NAME[@ONSET][xMAGNITUDE]` words; every fault for none.

    Raises:
        UsageError: an unknown or impossible fault.
    """
    return tuple(map(parse_fault, words)) or tuple(map(make_fault, FAULTS))


def chosen_scenarios(words: Sequence[str]) -> tuple[Scenario, ...]:
    """Return the scenarios that words stand for (see `locator`); for none, all of `BACKEND` that can be trained here.

    Raises:
        UsageError: a word that stands for no scenario, or a scenario that cannot be trained here.
    """
    if not words:
        own = (scenario for scenario in packaged_scenarios().values() if scenario.backend == BACKEND)
        return tuple(scenario for scenario in own if _unfit(scenario) is None)
    chosen = locate_all(words)
    if list(words) == ["all"]:
        return tuple(scenario for scenario in chosen if _unfit(scenario) is None)
    for scenario in chosen:
        if reason := _unfit(scenario):
            raise UsageError(f"{scenario.name} cannot be trained here: {reason}")
    return tuple(chosen)


def _unfit(scenario: Scenario) -> str | None:
    backend = find_backend(scenario.backend)
    if not injectable(backend):
        return f"the backend {backend.name} injects no faults"
    return unavailable(scenario)
