"""Statistics agree with numpy, safetensors and torch in every format, at the edges, and across blocks."""

from __future__ import annotations

import math
from pathlib import Path

import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from safetensors.numpy import save_file

from rlhf_assert.checkpoints import TensorStatistics
from rlhf_assert.checkpoints.dtypes import STORAGE, decode
from rlhf_assert.checkpoints.header import read_header
from rlhf_assert.checkpoints.tensor_statistics import BLOCK, scan_tensors

torch = pytest.importorskip("torch")


def scan(file: Path, reference: Path | None = None) -> dict[str, TensorStatistics]:
    entries, issues = read_header(file)
    assert not issues
    others = {entry.name: entry for entry in read_header(reference)[0]} if reference else None
    return {found.name: found for found in scan_tensors(entries, others)}


def assert_matches(found: TensorStatistics, values: np.ndarray) -> None:
    values = values.astype(np.float64)
    finite = values[np.isfinite(values)]
    assert found.count == values.size
    assert found.nan == np.isnan(values).sum()
    assert found.infinite == np.isinf(values).sum()
    assert found.zeros == (values == 0).sum()
    if not finite.size:
        assert math.isnan(found.mean)
        assert math.isnan(found.norm)
        return
    scale = max(abs(finite).max(), 1e-300)
    assert found.minimum == finite.min()
    assert found.maximum == finite.max()
    assert found.mean == pytest.approx(finite.mean(), rel=1e-12, abs=1e-12 * scale)
    assert found.std == pytest.approx(finite.std(), rel=1e-9, abs=1e-12 * scale)
    assert found.norm == pytest.approx(np.sqrt((finite**2).sum()), rel=1e-12)
    assert found.rms == pytest.approx(np.sqrt((finite**2).mean()), rel=1e-12)


@pytest.mark.parametrize("size", [1, 7, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 17])
def test_blocks_add_up(tmp_path, size):
    values = np.random.default_rng(size).normal(0.3, 2.0, size).astype(np.float32)
    save_file({"x": values}, tmp_path / "x.safetensors")
    assert_matches(scan(tmp_path / "x.safetensors")["x"], values)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int8", "uint8", "int16", "int32", "int64", "bool"])
def test_numpy_formats(tmp_path, dtype):
    values = np.random.default_rng(1).normal(0, 50, (40, 30)).clip(0, 120).astype(dtype)
    save_file({"x": values}, tmp_path / "x.safetensors")
    assert_matches(scan(tmp_path / "x.safetensors")["x"], values)


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float16"])
def test_every_code_of_the_short_formats_decodes_as_in_torch(dtype):
    bits = 8 if "float8" in dtype else 16
    codes = np.arange(1 << bits, dtype=np.uint8 if bits == 8 else np.uint16)
    expected = (
        torch.from_numpy(codes.view(f"i{bits // 8}").copy()).view(getattr(torch, dtype)).to(torch.float64).numpy()
    )
    name = {"bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float16": "F16"}[dtype]
    out = np.empty(len(codes))
    with np.errstate(invalid="ignore"):
        decode(codes.astype(STORAGE[name]), name, np.empty(len(codes), np.float32), out)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_torch_formats(tmp_path, dtype):
    from safetensors.torch import save_file as save_torch

    values = (torch.randn(64, 48, generator=torch.Generator().manual_seed(0)) * 3).to(getattr(torch, dtype))
    save_torch({"x": values}, tmp_path / "x.safetensors")
    assert_matches(scan(tmp_path / "x.safetensors")["x"], values.to(torch.float64).numpy())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrays.arrays(np.float32, arrays.array_shapes(max_dims=2, max_side=40), elements=st.floats(width=32)))
def test_any_floats(tmp_path, values):
    save_file({"x": values}, tmp_path / "x.safetensors")
    with np.errstate(all="ignore"):
        assert_matches(scan(tmp_path / "x.safetensors")["x"], values)


def test_a_mean_that_dwarfs_the_spread_costs_no_digits(tmp_path):
    values = (1e8 + np.random.default_rng(0).normal(0, 1, 2 * BLOCK + 5)).astype(np.float64)
    save_file({"x": values}, tmp_path / "x.safetensors")
    found = scan(tmp_path / "x.safetensors")["x"]
    naive = math.sqrt(abs((values**2).mean() - values.mean() ** 2))
    assert found.std == pytest.approx(values.std(), rel=1e-9)
    assert naive != pytest.approx(values.std(), rel=1e-3)  # the textbook formula fails here: the test can fail


def test_dead_rows_are_counted_in_matrices_only(tmp_path):
    matrix = np.ones((500, 300), np.float32)
    matrix[[3, 4, 499]] = 0.0
    matrix[7, :299] = 0.0
    save_file({"matrix": matrix, "vector": np.zeros(10, np.float32)}, tmp_path / "x.safetensors")
    found = scan(tmp_path / "x.safetensors")
    assert found["matrix"].dead_rows == 3
    assert found["vector"].dead_rows == 0


def test_rows_longer_than_a_block(tmp_path):
    matrix = np.ones((3, BLOCK + 100), np.float32)
    matrix[1] = 0.0
    save_file({"x": matrix}, tmp_path / "x.safetensors")
    assert scan(tmp_path / "x.safetensors")["x"].dead_rows == 1


def test_drift_is_that_of_numpy(tmp_path):
    noise = np.random.default_rng(0)
    old = noise.normal(0, 1, (700, 300)).astype(np.float32)
    new = old + noise.normal(0, 0.01, old.shape).astype(np.float32)
    save_file({"x": old, "same": old}, tmp_path / "old.safetensors")
    save_file({"x": new, "same": old}, tmp_path / "new.safetensors")
    found = scan(tmp_path / "new.safetensors", tmp_path / "old.safetensors")
    expected = np.linalg.norm(new.astype(np.float64) - old) / np.linalg.norm(old.astype(np.float64))
    assert found["x"].drift == pytest.approx(expected, rel=1e-9)
    assert not found["x"].identical
    assert found["same"].drift == 0.0
    assert found["same"].identical


def test_one_flipped_bit_is_not_identical(tmp_path):
    old = np.random.default_rng(0).normal(0, 1, 3 * BLOCK).astype(np.float32)
    new = old.copy()
    new.view(np.uint32)[2 * BLOCK + 1] ^= 1
    save_file({"x": old}, tmp_path / "old.safetensors")
    save_file({"x": new}, tmp_path / "new.safetensors")
    assert scan(tmp_path / "new.safetensors", tmp_path / "old.safetensors")["x"].identical is False


def test_equal_values_in_two_formats_are_identical(tmp_path):
    values = np.arange(100, dtype=np.float32)
    save_file({"x": values}, tmp_path / "old.safetensors")
    save_file({"x": values.astype(np.float64)}, tmp_path / "new.safetensors")
    assert scan(tmp_path / "new.safetensors", tmp_path / "old.safetensors")["x"].identical is True


def test_memory_stays_under_twice_the_largest_tensor(tmp_path):
    import tracemalloc

    tensor = np.ones((4096, 1024), np.float32)
    save_file({"a": tensor, "b": tensor}, tmp_path / "x.safetensors")
    size = tensor.nbytes
    del tensor
    tracemalloc.start()
    scan(tmp_path / "x.safetensors", tmp_path / "x.safetensors")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * size
