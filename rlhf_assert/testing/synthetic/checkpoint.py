"""Checkpoints on disk, sound or with a known corruption."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

CorruptionKind = Literal[
    "nan",
    "infinity",
    "zero-matrix",
    "dead-rows",
    "flipped-bit",
    "scaled-layer",
    "truncated",
    "broken-header",
    "empty",
    "missing-shard",
    "broken-index",
]

FOUND_AS: dict[CorruptionKind, str] = {
    "nan": "non-finite-weight",
    "infinity": "non-finite-weight",
    "zero-matrix": "all-zero-matrix",
    "dead-rows": "dead-rows",
    "flipped-bit": "dominant-element",
    "scaled-layer": "large-weights",
    "truncated": "truncated-file",
    "broken-header": "broken-header",
    "empty": "truncated-file",
    "missing-shard": "missing-file",
    "broken-index": "broken-index",
}
"""Corruption -> kind of the issue that `rlhf_assert.checkpoints.inspect_checkpoint` reports for it."""

Tensors = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Corruption:
    """What is wrong with a checkpoint.

    - `nan`, `infinity`: one element; `flipped-bit`: one element becomes 1e6; `zero-matrix`, `dead-rows` (a quarter of
      the rows, at least); `scaled-layer`: times 1e4.
    - `truncated`: the weight file ends after `place` of its bytes; `broken-header`: its header is no JSON; `empty`: it
      has no bytes.
    - `missing-shard`: one of the shards is gone; `broken-index`: the index is cut off.

    Attributes:
        kind: one of the above; the last two make a checkpoint of two shards.
        place: where, as a share of the matrices (or of their elements, or of the bytes), 0 up to 1 (excluded).
    """

    kind: CorruptionKind
    place: float = 0.0

    @property
    def found_as(self) -> str:
        """The kind of issue that `inspect_checkpoint` reports for it."""
        return FOUND_AS[self.kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticCheckpoint:
    """A small decoder: matrices at rms 0.02, norms of 1, biases of 0.

    Attributes:
        layers: number of layers, at least 1.
        width: rows and columns of the matrices, at least 8.
        sharded: whether it is saved in two shards with their index.
        corruption: what is wrong with it, or None.
        step: the step at which it is saved.
        seed: of the weights.
    """

    layers: int = 1
    width: int = 16
    sharded: bool = False
    corruption: Corruption | None = None
    step: int = 10
    seed: int = 1

    def tensors(self) -> Tensors:
        """Return the weights, with what is wrong with them."""
        source = np.random.default_rng(self.seed)
        tensors: Tensors = {}
        for layer in range(self.layers):
            for name in ("self_attn.q_proj", "mlp.up_proj"):
                weights = source.normal(0.0, 0.02, (self.width, self.width)).astype(np.float32)
                tensors[f"model.layers.{layer}.{name}.weight"] = weights
            tensors[f"model.layers.{layer}.self_attn.q_proj.bias"] = np.zeros(self.width, np.float32)
            tensors[f"model.layers.{layer}.input_layernorm.weight"] = np.ones(self.width, np.float32)
        if self.corruption is not None:
            _spoil(tensors, self.corruption)
        return tensors

    def save(self, folder: Path) -> Path:
        """Save it as `checkpoint-<step>` in a folder, in the format of transformers, and return its path.

        Raises:
            FileExistsError: the folder holds such a checkpoint already.
        """
        from safetensors.numpy import save_file  # noqa: PLC0415 - only those who save pay for it

        path = folder / f"checkpoint-{self.step}"
        path.mkdir(parents=True)
        tensors = self.tensors()
        names = sorted(tensors)
        kind = self.corruption.kind if self.corruption else ""
        if self.sharded or kind in {"missing-shard", "broken-index"}:
            shards = {f"model-0000{number + 1}-of-00002.safetensors": names[number::2] for number in range(2)}
            index = {name: file for file, part in shards.items() for name in part}
            text = json.dumps({"metadata": {}, "weight_map": index})
            (path / "model.safetensors.index.json").write_text(text)
        else:
            shards = {"model.safetensors": names}
        for file, part in shards.items():
            save_file({name: tensors[name] for name in part}, path / file)
        if self.corruption is not None:
            _damage(path, sorted(shards), self.corruption)
        return path


def _spoil(tensors: Tensors, corruption: Corruption) -> None:
    matrices = [name for name, tensor in tensors.items() if tensor.ndim == 2]
    matrix = tensors[matrices[int(corruption.place * len(matrices))]]
    element = int(corruption.place * matrix.size)
    match corruption.kind:
        case "nan":
            matrix.flat[element] = np.nan
        case "infinity":
            matrix.flat[element] = np.inf
        case "flipped-bit":
            matrix.flat[element] = 1e6
        case "zero-matrix":
            matrix[:] = 0.0
        case "dead-rows":
            matrix[: -(-len(matrix) // 4)] = 0.0
        case "scaled-layer":
            matrix *= 1e4


def _damage(path: Path, shards: list[str], corruption: Corruption) -> None:
    file = path / shards[int(corruption.place * len(shards))]
    size = file.stat().st_size
    match corruption.kind:
        case "truncated":
            os.truncate(file, int(corruption.place * size))
        case "broken-header":
            content = bytearray(file.read_bytes())
            content[8:16] = b"\xff" * 8
            file.write_bytes(content)
        case "empty":
            os.truncate(file, 0)
        case "missing-shard":
            file.unlink()
        case "broken-index":
            index = path / "model.safetensors.index.json"
            os.truncate(index, index.stat().st_size // 2)
