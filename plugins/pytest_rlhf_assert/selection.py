"""Which scenarios a session trains: from the command line, from markers, and how that reaches the tests."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import filter as filter_names
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest  # noqa: TID253 - this is a pytest plugin

from rlhf_assert import __version__
from rlhf_assert.detect.settings import Settings, read_settings
from rlhf_assert.errors import UsageError, suggest
from rlhf_assert.training.backend import backends
from rlhf_assert.training.faults import Fault, make_fault, parse_fault
from rlhf_assert.training.scenario import Scenario, check_steps, packaged_scenarios, scenarios_in_file

MARKER_ARGUMENTS = ("steps", "seed")
FAULT_ARGUMENTS = ("onset", "magnitude")
HEALTH_TESTS = "test_health.py"
LIST_WIDTH = 100


@dataclass(frozen=True, slots=True)
class Request:
    """One training that tests ask for."""

    scenario: Scenario
    seed: int
    fault: Fault | None = None

    @property
    def key(self) -> str:
        """A name that is unique in the session and good as a folder."""
        broken = f"-{self.fault}" if self.fault else ""
        return f"{self.scenario.name}-seed{self.seed}-steps{self.scenario.steps}{broken}"


SELECTED = pytest.StashKey[tuple[Request, ...]]()


def configure(config: pytest.Config) -> None:
    """Resolve the command line; without a path, make the packaged health tests what runs.

    Raises:
        pytest.UsageError: a scenario, seed, number of steps or setting that cannot be.
    """
    detection(config)
    try:
        config.stash[SELECTED] = tuple(
            Request(check_fault(check_steps(scenario, steps_option(config)), fault), seed, fault)
            for scenario in resolve(config.getoption("rlhf_scenario"))
            for seed in seeds_option(config) or (0,)
            for fault in faults_option(config) or (None,)
        )
    except UsageError as error:
        raise pytest.UsageError(str(error)) from error
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        import rlhf_scenarios

        folder = Path(rlhf_scenarios.__file__).parent
        # Named by its folder the module has a readable node id also outside of the root folder; by itself it is
        # collected whatever `python_files` says.
        by_folder = any(fnmatch(HEALTH_TESTS, pattern) for pattern in config.getini("python_files"))
        config.args = [str(folder if by_folder else folder / HEALTH_TESTS)]


def detection(config: pytest.Config) -> Settings:
    """Return what the pyproject.toml of the root folder sets about detection.

    Raises:
        pytest.UsageError: an unknown key, or a value that cannot be right.
    """
    try:
        return read_settings(config.rootpath / "pyproject.toml")
    except UsageError as error:
        raise pytest.UsageError(str(error)) from error


def resolve(words: Iterable[str]) -> list[Scenario]:
    """Return the scenarios that the words of `--rlhf-scenario` stand for, each once, in order.

    Raises:
        UsageError: an unknown name, a file without scenarios, or two scenarios of one name.
    """
    found: dict[str, Scenario] = {}
    for word in words:
        for scenario in scenarios_for(word):
            other = found.setdefault(scenario.name, scenario)
            if other.function is not scenario.function:
                raise UsageError(f"two scenarios are called {scenario.name}: {other.file} and {scenario.file}")
    return list(found.values())


def scenarios_for(word: str) -> list[Scenario]:
    """Return the scenarios of one word: `all`, a name, a pattern such as `openrlhf-*`, or `FILE.py[::NAME]`.

    Raises:
        UsageError: there is none.
    """
    file, _, name = word.partition("::")
    if file.endswith(".py"):
        defined = scenarios_in_file(Path(file))
        return [pick(defined, name, file)] if name else list(defined.values())
    packaged = packaged_scenarios()
    if word == "all":
        reasons = {name: backend.missing() for name, backend in backends().items()}
        if reasons and all(reasons.values()):
            raise UsageError("no backend is installed: " + "; ".join(filter(None, reasons.values())))
        return [scenario for scenario in packaged.values() if not reasons.get(scenario.backend, "unknown")]
    return [packaged[name] for name in filter_names(packaged, word)] or [pick(packaged, word, "")]


def pick(known: dict[str, Scenario], name: str, file: str) -> Scenario:
    """Return the scenario of that name.

    Raises:
        UsageError: there is none; the message lists the known ones.
    """
    if name not in known:
        where = f" in {file}" if file else ""
        hint = suggest(name, known)
        if Path(name).exists():
            hint = f" ({name} is a path: give the option its value after '=', as in --rlhf-scenario=all {name})"
        raise UsageError(f"unknown scenario {name}{where}{hint}; known: {', '.join(known) or 'none'}")
    return known[name]


def steps_option(config: pytest.Config) -> int | None:
    """Return `--rlhf-steps` as a number.

    Raises:
        UsageError: it is none.
    """
    text = config.getoption("rlhf_steps")
    if text is None:
        return None
    if not re.fullmatch(r"-?\d+", text):
        raise UsageError(f"--rlhf-steps={text}: not a number of steps")
    return int(text)


def seeds_option(config: pytest.Config) -> tuple[int, ...]:
    """Return the seeds of `--rlhf-seed`, empty if it was not given.

    Raises:
        UsageError: not of the form 0, 0-4 or 0,3,7.
    """
    text = config.getoption("rlhf_seed")
    if text is None:
        return ()
    seeds: dict[int, None] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise UsageError(f"--rlhf-seed={text}: give seeds as 0, 0-4 or 0,3,7")
        seeds.update(dict.fromkeys(range(int(match[1]), int(match[2] or match[1]) + 1)))
    return tuple(seeds)


def faults_option(config: pytest.Config) -> tuple[Fault, ...]:
    """Return the faults of `--rlhf-fault`, empty if it was not given.

    Raises:
        UsageError: an unknown fault, or one that cannot be.
    """
    return tuple(dict.fromkeys(map(parse_fault, config.getoption("rlhf_fault") or ())))


def check_fault(scenario: Scenario, fault: Fault | None) -> Scenario:
    """Return the scenario, if the fault begins before it ends.

    Raises:
        UsageError: it does not.
    """
    if fault is not None and fault.onset > scenario.steps:
        raise UsageError(f"fault {fault}: begins at step {fault.onset}, but {scenario.name} has {scenario.steps} steps")
    return scenario


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Give a test that uses `rlhf_run` the training of its marker, or those of the command line.

    Raises:
        pytest.Collector.CollectError: the marker's arguments cannot be.
    """
    try:
        requests = marked(metafunc) or metafunc.config.stash.get(SELECTED, ())
    except UsageError as error:
        raise pytest.Collector.CollectError(f"{metafunc.definition.nodeid}: {error}") from None
    if not requests:
        return
    several = len({request.seed for request in requests}) > 1
    ids = [
        request.scenario.name
        + (f"-seed{request.seed}" if several else "")
        + (f"-{request.fault.kind}" if request.fault else "")
        for request in requests
    ]
    metafunc.parametrize("rlhf_run", requests, ids=ids, indirect=True, scope="session")


def marked(metafunc: pytest.Metafunc) -> tuple[Request, ...]:
    """Return the trainings of the test's closest marker; seeds and steps of the command line win over its own.

    Raises:
        UsageError: the marker's arguments cannot be.
    """
    marker = metafunc.definition.get_closest_marker("rlhf_scenario")
    if marker is None:
        return ()
    for name in marker.kwargs:
        if name not in MARKER_ARGUMENTS:
            raise UsageError(f"@pytest.mark.rlhf_scenario has no argument {name}{suggest(name, MARKER_ARGUMENTS)}")
    if len(marker.args) != 1:
        raise UsageError("@pytest.mark.rlhf_scenario takes one scenario: a name, or a function with @scenario")
    given: Any = marker.args[0]
    if isinstance(given, str):
        given = scenarios_for(given)
        if len(given) != 1:
            raise UsageError("@pytest.mark.rlhf_scenario takes one scenario, not several")
        given = given[0]
    if not isinstance(given, Scenario):
        raise UsageError(
            f"@pytest.mark.rlhf_scenario({given!r}): not a scenario: decorate the function with @rlhf_assert.scenario"
        )
    steps = steps_option(metafunc.config)
    scenario = check_steps(given, marker.kwargs.get("steps") if steps is None else steps)
    return tuple(
        Request(check_fault(scenario, fault), seed, fault)
        for seed in seeds_option(metafunc.config) or (marker.kwargs.get("seed", 0),)
        for fault in faults_option(metafunc.config) or (marked_fault(metafunc),)
    )


def marked_fault(metafunc: pytest.Metafunc) -> Fault | None:
    """Return the fault of the test's closest `rlhf_fault` marker, or None.

    Raises:
        UsageError: the marker's arguments cannot be.
    """
    marker = metafunc.definition.get_closest_marker("rlhf_fault")
    if marker is None:
        return None
    for name in marker.kwargs:
        if name not in FAULT_ARGUMENTS:
            raise UsageError(f"@pytest.mark.rlhf_fault has no argument {name}{suggest(name, FAULT_ARGUMENTS)}")
    if len(marker.args) != 1 or not isinstance(marker.args[0], str):
        raise UsageError('@pytest.mark.rlhf_fault takes one fault by its name, for example "reward_nan"')
    return make_fault(marker.args[0], **marker.kwargs)


def header(config: pytest.Config) -> str:
    """Return the line that says what trains, on what."""
    requests = config.stash[SELECTED]
    names = {request.scenario.name: request.scenario for request in requests}
    seeds = list(dict.fromkeys(request.seed for request in requests))
    versions = {
        package: number
        for name, backend in backends().items()
        if name in {scenario.backend for scenario in names.values()} and not backend.missing()
        for package, number in backend.versions().items()
        if package in (name, "torch")
    }
    faults = [str(fault) for fault in dict.fromkeys(request.fault for request in requests) if fault]
    gpu = "GPU" if Path("/dev/nvidiactl").exists() else "no GPU"
    return (
        f"rlhf-assert {__version__}: "
        + "".join(f"{package} {number}, " for package, number in versions.items())
        + f"{os.cpu_count()} cores, {gpu}; {len(names)} scenario{'s' * (len(names) != 1)}, "
        + f"seed{'s' * (len(seeds) != 1)} {', '.join(map(str, seeds))}"
        + (f"; broken on purpose: {', '.join(faults)}" if faults else "")
    )


def print_list() -> int:
    """Print the packaged scenarios, as `rlhf-assert scenarios` does, and return the exit status."""
    from rlhf_assert.report.layout import speaks_unicode
    from rlhf_assert.report.scenario_list import entries, listing

    lines = listing(
        entries(packaged_scenarios().values()), width=LIST_WIDTH, ascii=not speaks_unicode(sys.stdout.encoding)
    )
    print("\n".join(lines))
    return 0
