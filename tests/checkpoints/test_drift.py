"""Drift between two checkpoints."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rlhf_assert.checkpoints import compare_checkpoints
from rlhf_assert.errors import UnreadableRun

Q1 = "model.layers.1.self_attn.q_proj.weight"


def test_the_largest_drift_is_named(save, sound_tensors):
    old = save(sound_tensors, "old")
    new = save({**sound_tensors, Q1: 1.1 * sound_tensors[Q1]}, "new")
    drift = compare_checkpoints(new, old)
    assert drift.largest == (Q1, pytest.approx(0.1, rel=1e-5))
    assert not drift.unchanged
    assert len(drift.identical) == len(sound_tensors) - 1
    assert max(drift.layers, key=lambda layer: drift.layers[layer]) == "model.layers.1"
    assert 0 < drift.layers["model.layers.1"] < 0.1
    assert drift.layers["model.layers.0"] == 0.0
    assert 0 < drift.total < drift.layers["model.layers.1"]


def test_equal_weights_are_unchanged(save, sound_tensors):
    drift = compare_checkpoints(save(sound_tensors, "new"), save(sound_tensors, "old"))
    assert drift.unchanged
    assert drift.total == 0.0


def test_a_bias_that_began_at_zero_does_not_lead(save, sound_tensors):
    name = "model.layers.0.self_attn.q_proj.bias"
    old = save({**sound_tensors, name: np.full(64, 1e-9, np.float32)}, "old")
    new = save({**sound_tensors, name: np.ones(64, np.float32), Q1: 1.01 * sound_tensors[Q1]}, "new")
    assert compare_checkpoints(new, old).largest[0] == Q1
    assert compare_checkpoints(new, save(sound_tensors, "zero")).tensors[name] == math.inf


def test_tensors_that_only_one_of_them_has(save, sound_tensors):
    reshaped = {**sound_tensors, Q1: np.ones((2, 2), np.float32), "new.weight": np.ones((2, 2), np.float32)}
    del reshaped["model.embed_tokens.weight"]
    drift = compare_checkpoints(save(reshaped, "new"), save(sound_tensors, "old"))
    assert drift.added == ("new.weight",)
    assert drift.missing == ("model.embed_tokens.weight",)
    assert drift.reshaped == (Q1,)
    assert Q1 not in drift.tensors


def test_an_unreadable_checkpoint_is_an_error_of_one_line(save, sound_tensors, tmp_path):
    with pytest.raises(UnreadableRun, match="no such file") as caught:
        compare_checkpoints(save(sound_tensors), tmp_path / "nowhere")
    assert "\n" not in str(caught.value)
