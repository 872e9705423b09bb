"""A real Ray cluster of several nodes on this machine, which a test can take apart."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rlhf_assert.errors import MissingDependency
from rlhf_assert_openrlhf.backend import private_folder
from rlhf_assert_ray.cluster import python_with_ray

# Nodes are killed as a machine dies: the raylet gets no chance to say so.
CLUSTER = """
import sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
nodes = {}
for _ in range(int(sys.argv[1])):
    node = cluster.add_node(num_cpus=int(sys.argv[2]), object_store_memory=80_000_000)
    nodes[node.node_id] = node
cluster.wait_for_nodes()
print(cluster.address, *nodes, flush=True)
for line in sys.stdin:
    cluster.remove_node(nodes.pop(line.strip()), allow_graceful=False)
    print("killed", flush=True)
cluster.shutdown()
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A training on a cluster of this machine takes both cores: it runs alone."""
    for item in items:
        if Path(__file__).parent in item.path.parents and item.get_closest_marker("training"):
            item.add_marker(pytest.mark.alone)


class Nodes:
    """A cluster: a head without processors, and nodes with some.

    Attributes:
        address: what `--rlhf-ray` takes.
        numbers: the numbers of the nodes.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._process = process
        self.address, *self.numbers = process.stdout.readline().split()

    def kill(self, number: str) -> None:
        """Kill a node, and return when it is dead."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(number + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "killed\n"


@pytest.fixture
def cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """A cluster of two nodes with a processor each, or as many of both as the parameter says; it is gone afterwards."""
    nodes, processors = getattr(request, "param", (2, 1))
    try:
        python = python_with_ray()
    except MissingDependency as error:
        pytest.skip(str(error))
    if python != sys.executable:  # found from this folder, but not from that of a session elsewhere
        monkeypatch.setenv("RLHF_OPENRLHF_PYTHON", python)
    with private_folder() as folder:
        hidden = {"PYTHONPATH", "CUDA_VISIBLE_DEVICES"}
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        process = subprocess.Popen(
            [python, "-c", CLUSTER, str(nodes), str(processors)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**environment, "RAY_TMPDIR": str(folder), "RAY_USAGE_STATS_ENABLED": "0"},
        )
        try:
            yield Nodes(process)
        finally:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            process.wait()
            process.stdout.close()
        left = [each for each in psutil.process_iter() if folder.name in " ".join(_words(each))]
        assert not left


def _words(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
