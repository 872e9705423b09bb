"""What programs rely on: the JSON of every command, its exit code, and the bytes of a run directory.

The files in `answers/` are the contract. A change of one is a change for every program that reads it, so it needs an
entry in CHANGELOG.md. `RLHF_ASSERT_RENEW_GOLDEN=1 pytest tests/golden` writes them anew.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

from rlhf_assert import Recorder
from rlhf_assert.cli import main
from rlhf_assert.recording.events import Batch, TrainBegin

HERE = Path(__file__).parent
INPUTS = sorted(path.name for path in (HERE / "inputs").iterdir())
MOMENT = 1_700_000_000.0


def matches(name: str, answer: Any) -> None:
    """Compare an answer with the committed one, or write it."""
    file = HERE / "answers" / f"{name}.json"
    text = json.dumps(answer, indent=1, ensure_ascii=False) + "\n"
    if os.environ.get("RLHF_ASSERT_RENEW_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert json.loads(text) == json.loads(file.read_text(encoding="utf-8")), f"{file.name} is a public contract"


def called(*words: str) -> dict[str, Any]:
    """Call the command line, and return its exit code and what it printed as JSON."""
    result = CliRunner().invoke(main, words)
    return {"exit": result.exit_code, "answer": json.loads(result.stdout) if result.stdout.strip() else None}


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The committed inputs, copied to where no pyproject.toml sets anything."""
    shutil.copytree(HERE / "inputs", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", INPUTS)
def test_check(name: str, inputs: Path) -> None:
    matches(f"check-{name}", called("check", name, "--format", "json"))


@pytest.mark.parametrize("name", ["trl-grpo", "runaway"])
def test_rewards(name: str, inputs: Path) -> None:
    matches(f"rewards-{name}", called("rewards", f"{name}/samples.jsonl", "--format", "json"))


@pytest.mark.parametrize("broken", [False, True])
def test_checkpoint(broken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0)
    tensors = {f"model.layers.{n}.mlp.up_proj.weight": noise.normal(0, 0.05, (16, 16)) for n in range(2)}
    for folder, factor in (("start", 1.0), ("checkpoint-8", 1.01)):
        (tmp_path / folder).mkdir()
        own = {name: (factor * tensor).astype(np.float32) for name, tensor in tensors.items()}
        if broken and folder != "start":
            own["model.layers.0.mlp.up_proj.weight"][0, 0] = np.nan
        save_file(own, tmp_path / folder / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    answer = called("checkpoint", "checkpoint-8", "--reference", "start", "--format", "json")
    matches(f"checkpoint-{'broken' if broken else 'sound'}", answer)


def test_a_run_directory_is_written_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: MOMENT)
    monkeypatch.setattr(os, "getpid", lambda: 1)
    recorder = Recorder(tmp_path / "run", scenario="golden", backend="trl", seed=3, algorithm="grpo", config={"b": 1})
    recorder.describe(promised=["reward"])
    recorder.row(1, {"reward": 0.5, "kl": 0.0, "loss": 0.1, "mine": "words"}, epoch=0.5)
    recorder.row(2, {"reward": float("nan"), "kl": float("inf"), "loss": None})
    recorder.samples([{"step": 1, "prompt": "a", "length": 3, "reward": 1.0}, {"step": 1, "reward": float("-inf")}])
    recorder.event(TrainBegin(step=0))
    recorder.event(Batch(step=1, digest="abc"))
    recorder.resources({"memory_rss": 1})
    recorder.finish("crashed", {"type": "ValueError", "message": "no", "traceback": ""})
    files = {path.name: path.read_text().splitlines() for path in sorted((tmp_path / "run").glob("*.json*"))}
    matches("run-directory", _without_host(files))


def _without_host(files: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {name: [line for line in lines if '"host"' not in line] for name, lines in files.items()}
