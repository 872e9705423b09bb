"""What a session trains: the options and markers are turned into requests, and the requests reach the tests."""

from __future__ import annotations

import os
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest  # noqa: TID253 - this is a pytest plugin

from pytest_rlhf_assert.markers import marked
from pytest_rlhf_assert.options import options
from rlhf_assert import __version__
from rlhf_assert.detect.settings import Settings, read_settings
from rlhf_assert.errors import UsageError
from rlhf_assert.training.backend import backends
from rlhf_assert.training.locator import locate_all, packaged_scenarios
from rlhf_assert.training.request import Request

HEALTH_TESTS = "test_health.py"
LIST_WIDTH = 100
IF_PATH = "give the option its value after '=', as in --rlhf-scenario=all {}"

SELECTED = pytest.StashKey[tuple[Request, ...]]()


def configure(config: pytest.Config) -> None:
    """Resolve the command line; without a path, make the packaged health tests what runs.

    Raises:
        pytest.UsageError: an option or setting that cannot be right.
    """
    detection(config)
    try:
        given = options(config)
        config.stash[SELECTED] = tuple(
            Request.of(scenario, seed=seed, steps=given.steps, fault=fault)
            for scenario in locate_all(config.getoption("rlhf_scenario"), if_path=IF_PATH)
            for seed in given.seeds or (0,)
            for fault in given.faults or (None,)
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


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Give a test that uses `rlhf_run` the training of its marker, or those of the command line.

    Raises:
        pytest.Collector.CollectError: the marker's arguments cannot be right.
    """
    try:
        requests = marked(metafunc.definition, options(metafunc.config)) or metafunc.config.stash.get(SELECTED, ())
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
