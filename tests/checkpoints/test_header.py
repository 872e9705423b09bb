"""Whatever the bytes of a checkpoint are: a finding, never an exception; and 0 if safetensors refuses them."""

from __future__ import annotations

import json

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from safetensors import SafetensorError
from safetensors.numpy import load, save

from rlhf_assert.checkpoints import inspect_checkpoint

SOUND = save({"w": np.linspace(-1, 1, 96, dtype=np.float32).reshape(8, 12), "b": np.ones(5, np.float32)})
fuzz = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)


def check(tmp_path, content: bytes):
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    health = inspect_checkpoint(file)
    try:
        load(content)
    except SafetensorError:
        assert health.score == 0.0
        assert health.issues
    return health


def with_header(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def test_the_sound_file_is_healthy(tmp_path):
    assert check(tmp_path, SOUND).score == 1.0


@fuzz
@given(st.binary(max_size=200))
def test_any_bytes(tmp_path, content):
    assert check(tmp_path, content).score == 0.0


@fuzz
@given(st.integers(0, len(SOUND) - 1), st.binary(min_size=1, max_size=8))
@example(141, b"\x00\x81\x7f")  # a signalling NaN
def test_sound_bytes_overwritten_anywhere(tmp_path, place, patch):
    check(tmp_path, SOUND[:place] + patch + SOUND[place + len(patch) :])


@fuzz
@given(st.integers(0, len(SOUND) - 1))
def test_truncated_anywhere(tmp_path, size):
    health = check(tmp_path, SOUND[:size])
    assert health.score == 0.0
    assert health.issues[0].kind in {"truncated-file", "broken-header"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "BF16", "F4", "C64", "F8_E8M0", "float32", ""]) | json_values,
        "shape": st.lists(st.integers(-1, 2**66), max_size=4) | json_values,
        "data_offsets": st.lists(st.integers(-8, 2**66), min_size=1, max_size=3) | json_values,
    }
)


@fuzz
@given(st.dictionaries(st.text(max_size=12), entries | json_values, max_size=3), st.binary(max_size=40))
@example({"__metadata__": {}}, b"")
@example({"w": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 8]}}, b"12345678")
@example({"w": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, b"1234")
@example({"w": {"dtype": "F4", "shape": [3], "data_offsets": [0, 2]}}, b"12")
def test_any_header(tmp_path, header, data):
    check(tmp_path, with_header(header, data))


@pytest.mark.parametrize(
    ("header", "data", "kind"),
    [
        (b"{", b"", "broken-header"),
        (b"[" * 10_000, b"", "broken-header"),
        ([], b"", "broken-header"),
        ({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"1234", "truncated-file"),
        ({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"1234", "broken-header"),
        ({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"12345678", "broken-header"),
        ({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"12345678", "broken-header"),
        ({"w": {"dtype": "F33", "shape": [1], "data_offsets": [0, 4]}}, b"1234", "broken-header"),
        ({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in "ab"}, b"1234", "broken-header"),
        ({}, b"", "no-weights"),
    ],
)
def test_each_fault_has_its_name(tmp_path, header, data, kind):
    health = check(tmp_path, with_header(header, data))
    assert health.score == 0.0
    assert health.issues[0].kind == kind
    assert "model.safetensors" in health.issues[0].detail
    assert health.recommendations


def test_a_header_that_claims_exabytes_is_not_read(tmp_path):
    assert check(tmp_path, (2**63).to_bytes(8, "little") + b"{}").issues[0].kind == "broken-header"
