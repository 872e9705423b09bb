"""Hypothesis profiles, and synthetic runs, written through the real Recorder and read back with the real reader."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from safetensors.numpy import save_file

from rlhf_assert.recording.events import decode_event
from rlhf_assert.recording.recorder import Recorder
from rlhf_assert.recording.run import Run, read_run

MakeRun = Callable[..., Run]


def pytest_configure(config: pytest.Config) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ["RLHF_ASSERT_LOCK"] = "none"  # two workers on two cores: neither waits for the other's training
    if config.getoption("rlhf_scenario"):
        return  # the packaged health tests run alone, also where hypothesis is not installed
    from hypothesis import settings

    settings.register_profile("default", deadline=None, max_examples=50)
    settings.register_profile("ci", deadline=None, max_examples=100, derandomize=True, print_blob=True)
    settings.load_profile("ci" if os.environ.get("CI") else "default")


def healthy_rows(steps: int = 40, seed: int = 0) -> list[dict[str, float | None]]:
    """Rows of a sound GRPO run: kl from 0, reward up, entropy slowly down, noise in everything."""
    noise = np.random.default_rng(seed)
    part = np.linspace(0.0, 1.0, steps)
    return [
        {
            "loss": float(noise.normal(0.0, 0.1)),
            "grad_norm": float(noise.uniform(0.6, 1.1)),
            "learning_rate": 1e-3 * (1.0 - 0.95 * at),
            "kl": 0.0 if step == 0 else float(0.2 * at + 0.01 * noise.uniform()),
            "entropy": float(2.4 - 0.2 * at + noise.normal(0.0, 0.03)),
            "reward": float(0.2 + 0.3 * at + noise.normal(0.0, 0.04)),
            "reward_std": float(noise.uniform(0.15, 0.3)),
            "frac_reward_zero_std": 0.0,
            "completions/mean_length": float(noise.uniform(7.0, 9.0)),
        }
        for step, at in enumerate(part)
    ]


@pytest.fixture(autouse=True)
def same_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test depend on the terminal: workers of xdist are told its width, and pass it on."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def rows() -> list[dict[str, float | None]]:
    """Forty rows of a sound GRPO run, to be spoilt by the test."""
    return healthy_rows()


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Return a function that records a run and reads it back.

    `weights` are the saved states by step, each a mapping of tensor name to array; step 0 becomes `initial_weights`.
    `resources` are usage mappings with their own `time`.
    """
    made = 0

    def make(
        rows: Iterable[Mapping[str, Any]] = (),
        *,
        status: Any = "completed",
        error: Mapping[str, str] | None = None,
        samples: Iterable[Mapping[str, Any]] = (),
        resources: Iterable[Mapping[str, Any]] = (),
        events: Iterable[tuple[str, int, Mapping[str, Any]]] = (),
        weights: Mapping[int, Mapping[str, Any]] | None = None,
        **info: Any,
    ) -> Run:
        nonlocal made
        made += 1
        path = tmp_path / f"run{made}"
        recorder = Recorder(
            path, **{"scenario": "synthetic", "algorithm": "grpo", "seed": 0, "config": {"beta": 0.04}, **info}
        )
        for step, row in enumerate(rows, start=1):
            recorder.row(step, row)
        recorder.samples(samples)
        for usage in resources:
            recorder.append("resources", {"rank": 0, **usage})
        for name, step, fields in events:
            recorder.event(decode_event({"event": name, "step": step, **fields}))
        for step, tensors in (weights or {}).items():
            folder = path / "checkpoints" / ("initial" if step == 0 else f"checkpoint-{step}")
            folder.mkdir()
            save_file({name: np.asarray(tensor) for name, tensor in tensors.items()}, folder / "model.safetensors")
            if step == 0:
                recorder.describe(initial_weights="checkpoints/initial")
        recorder.finish(status, error)
        return read_run(path)

    return make


@pytest.fixture
def tiny_weights() -> dict[str, Any]:
    """Two matrices of root mean square 0.05, as in a tiny warm-started model, and a norm of ones."""
    noise = np.random.default_rng(0)
    matrices = {name: noise.normal(0.0, 0.05, (64, 64)).astype(np.float32) for name in ("a.weight", "b.weight")}
    return {**matrices, "norm.weight": np.ones(64, dtype=np.float32)}


@pytest.fixture(scope="session")
def fault_log() -> Callable[[str], list[dict[str, Any]]]:
    """Return a function that reads one log of real faulty trainings from the folder RLHF_ASSERT_CORPUS/faults."""
    folder = os.environ.get("RLHF_ASSERT_CORPUS")
    if not folder:
        pytest.skip("RLHF_ASSERT_CORPUS does not name the folder with real training logs")

    def read(name: str) -> list[dict[str, Any]]:
        lines = (Path(folder) / "faults" / f"{name}.jsonl").read_bytes().splitlines()
        return [{key: value for key, value in orjson.loads(line).items() if key != "step"} for line in lines]

    return read
