"""The wheel and the editable install, each used from an unrelated folder."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCENARIOS = str(len(list((ROOT / "scenarios" / "rlhf_scenarios").glob("[!_t]*.py"))))
"""A module holds one each."""
USE = """
import rlhf_assert, pytest_rlhf_assert, rlhf_assert_openrlhf, rlhf_assert_ray, rlhf_assert_tiny, rlhf_assert_trl
import rlhf_scenarios
from pathlib import Path
from rlhf_assert.training.backend import find_backend
from rlhf_assert.training.locator import packaged_scenarios
from rlhf_assert.training.runner import find_remote_runner
assert (Path(rlhf_assert.__file__).parent / "py.typed").is_file()
assert [find_backend(name).name for name in ("trl", "openrlhf")] == ["trl", "openrlhf"]
assert find_remote_runner("ray").__name__ == "ClusterRunner"
print(rlhf_assert.__version__, len(packaged_scenarios()), Path(rlhf_assert.__file__).parent)
"""


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def environment(folder: Path) -> Path:
    """Return the Python of a new environment that sees this one's packages, but not this project."""
    venv.create(folder, with_pip=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    # A .pth file makes the dependencies importable; the editable install's own .pth in that folder is not followed.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"


def test_the_wheel_holds_every_package_and_no_test(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if not name.split("/")[0].endswith(".dist-info")}
    plugins = {"pytest_rlhf_assert"} | {f"rlhf_assert_{name}" for name in ("openrlhf", "ray", "tiny", "trl")}
    assert tops == {"rlhf_assert", *plugins, "rlhf_scenarios"}
    for package in tops:
        assert f"{package}/py.typed" in names
    assert "rlhf_scenarios/test_health.py" in names


def test_the_installed_wheel_works_from_an_unrelated_folder(wheel: Path, tmp_path: Path) -> None:
    python = environment(tmp_path / "env")
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    printed = run(python, "-c", USE, cwd=tmp_path)
    assert printed.split()[1] == SCENARIOS
    assert str(tmp_path) in printed, "the wheel is used, not the checkout"
    listed = run(python, "-m", "pytest", "--rlhf-scenario=list", cwd=tmp_path)
    assert "trl-grpo" in listed
    # The environment lies inside of the user's project here, as it often does.
    collected = run(python, "-m", "pytest", "--collect-only", "-q", "--rlhf-scenario=trl-sft", cwd=tmp_path)
    assert "rlhf_scenarios/test_health.py::test_kl_is_anomaly_free[trl-sft]" in collected
    assert "rlhf-assert, version 0.1.0" in run(tmp_path / "env" / "bin" / "rlhf-assert", "--version", cwd=tmp_path)


def test_the_editable_install_works_from_an_unrelated_folder(tmp_path: Path) -> None:
    python = environment(tmp_path / "env")
    install = (python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    run(*install, "--editable", ROOT, cwd=tmp_path)
    printed = run(python, "-c", USE, cwd=tmp_path)
    assert printed.split()[1:] == [SCENARIOS, str(ROOT / "rlhf_assert")]
