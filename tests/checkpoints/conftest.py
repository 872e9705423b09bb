"""Checkpoint folders on disk: sound ones, to be spoilt by the test."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

Tensors = dict[str, np.ndarray[Any, Any]]


@pytest.fixture
def sound_tensors() -> Tensors:
    """A small decoder: 4 layers of matrices at rms 0.02, norms of 1, biases of 0."""
    noise = np.random.default_rng(0)
    tensors: Tensors = {"model.embed_tokens.weight": noise.normal(0, 0.02, (320, 64)).astype(np.float32)}
    for layer in range(4):
        for name, shape in (("self_attn.q_proj", (64, 64)), ("mlp.up_proj", (128, 64)), ("mlp.down_proj", (64, 128))):
            tensors[f"model.layers.{layer}.{name}.weight"] = noise.normal(0, 0.02, shape).astype(np.float32)
        tensors[f"model.layers.{layer}.self_attn.q_proj.bias"] = np.zeros(64, np.float32)
        tensors[f"model.layers.{layer}.input_layernorm.weight"] = np.ones(64, np.float32)
    return tensors


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that saves a checkpoint folder."""

    def save_checkpoint(
        tensors: Mapping[str, Any], name: str = "checkpoint-10", state: Mapping[str, Any] | None = None
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        save_file(
            {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, folder / "model.safetensors"
        )
        if state is not None:
            (folder / "trainer_state.json").write_text(json.dumps(state))
        return folder

    return save_checkpoint


@pytest.fixture
def save_sharded(tmp_path: Path) -> Callable[[Tensors], Path]:
    """Return a function that saves a checkpoint in two shards with their index."""

    def save_shards(tensors: Tensors) -> Path:
        folder = tmp_path / "checkpoint-20"
        folder.mkdir()
        names = sorted(tensors)
        shards = {f"model-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}
        for file, part in shards.items():
            save_file({name: tensors[name] for name in part}, folder / file)
        mapping = {name: file for file, part in shards.items() for name in part}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": mapping}))
        return folder

    return save_shards
