"""What a validation trains: faults in the scenarios that they apply to, and healthy controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from rlhf_assert.errors import UsageError, suggest
from rlhf_assert.training.backend import find_backend
from rlhf_assert.training.fault_kinds import FAULTS
from rlhf_assert.training.faults import Fault, make_fault, parse_fault
from rlhf_assert.training.scenario import Scenario, packaged_scenarios, scenarios_in_file
from rlhf_assert.training.train import injectable

BACKEND = "trl"
"""Whose scenarios are validated where none is named: they train in seconds."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training of a validation: a fault in a scenario, or a healthy control."""

    scenario: Scenario
    seed: int
    fault: Fault | None = None

    @property
    def key(self) -> str:
        """A name that is unique in a validation and good as a folder."""
        return f"{self.scenario.name}-seed{self.seed}-steps{self.scenario.steps}-{self.fault or 'healthy'}"


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


def plan(profile: Profile, scenarios: Sequence[Scenario], faults: Sequence[Fault]) -> tuple[Training, ...]:
    """Return every training of a validation: with faults, healthy, and one long healthy one of each scenario.

    Faults are tried in scenarios of the algorithms that they apply to; a scenario whose tags name no algorithm is tried
    with every fault, and the backend says which do not apply. Where a profile takes some of a fault's scenarios only,
    the faults take turns, so that each scenario has its share.

    Raises:
        UsageError: there would be no training with a fault, or none without.
    """
    found = []
    for number, fault in enumerate(faults):
        fitting = [scenario for scenario in scenarios if applies(fault, scenario) and fault.onset < scenario.steps]
        some = profile.scenarios_per_fault or len(fitting)
        chosen = [fitting[(number * some + turn) % len(fitting)] for turn in range(min(some, len(fitting)))]
        found += [
            Training(scenario=scenario, seed=seed, fault=fault)
            for scenario, seed in product(chosen, range(profile.seeds))
        ]
    if not found:
        names = ", ".join(scenario.name for scenario in scenarios)
        raise UsageError(f"nothing to validate: no fault applies to {names or 'no scenario'} before its last step")
    controls = [
        Training(scenario=scenario, seed=seed) for scenario, seed in product(scenarios, range(profile.control_seeds))
    ]
    return (*found, *controls, *(_long(scenario, profile.control_seeds) for scenario in scenarios))


def _long(scenario: Scenario, seed: int) -> Training:
    steps = max(LONG_STEPS, scenario.steps)
    longer = replace(scenario, steps=steps, time_limit=scenario.time_limit * steps / scenario.steps)
    return Training(scenario=longer, seed=seed)


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
    """Return the scenarios of `NAME` and `FILE.py[::NAME]` words; for none, all of `BACKEND` that can be trained here.

    Raises:
        UsageError: an unknown name, a file without scenarios, or a scenario that cannot be trained here.
    """
    packaged = packaged_scenarios()
    if not words:
        own = (scenario for scenario in packaged.values() if scenario.backend == BACKEND)
        return tuple(scenario for scenario in own if _unmet(scenario) is None)
    found: list[Scenario] = []
    for word in words:
        file, _, name = word.partition("::")
        known = scenarios_in_file(Path(file)) if file.endswith(".py") else packaged
        name = name if file.endswith(".py") else word
        if name and name not in known:
            raise UsageError(f"unknown scenario {name}{suggest(name, known)}; known: {', '.join(known)}")
        found += [known[name]] if name else known.values()
    for scenario in found:
        if reason := _unmet(scenario):
            raise UsageError(f"{scenario.name} cannot be trained here: {reason}")
    return tuple(dict.fromkeys(found))


def _unmet(scenario: Scenario) -> str | None:
    backend = find_backend(scenario.backend)
    if not injectable(backend):
        return f"the backend {backend.name} injects no faults"
    return backend.missing() or scenario.unmet()
