from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from rlhf_assert.recording.run import Run

pytestmark = [
    pytest.mark.training,
    *(pytest.mark.filterwarnings(f"ignore::{name}") for name in ("FutureWarning", "DeprecationWarning", "UserWarning")),
]
OTHERS = ("ppo", "rloo", "online_dpo", "kto", "reward", "sft")
MODULES = ("grpo", "dpo", *(pytest.param(module, marks=pytest.mark.thorough) for module in OTHERS))
TIMINGS = {"time", "step_time", "eps"}


def lines(file: Path) -> list[Any]:
    """Return the records of a JSONL file without timings."""
    return [_untimed(orjson.loads(line)) for line in file.read_bytes().splitlines()]


def _untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _untimed(item) for key, item in value.items() if key not in TIMINGS}
    return value


@pytest.mark.parametrize("module", MODULES)
def test_one_seed_repeats_bit_for_bit_and_another_differs(train: Callable[..., Run], module: str) -> None:
    runs = [train(module, seed, steps=5, folder=folder) for seed, folder in ((0, "one"), (0, "two"), (1, "three"))]
    one, two, three = (lines(run.path / "metrics.jsonl") for run in runs)

    assert len(one) == 5
    assert one == two
    assert one != three
    if (runs[0].path / "samples.jsonl").exists():
        assert lines(runs[0].path / "samples.jsonl") == lines(runs[1].path / "samples.jsonl")
    weights = [(run.checkpoints[-1] / "model.safetensors").read_bytes() for run in runs]
    assert weights[0] == weights[1] != weights[2]
