"""The score: 1 for what is sound at any scale, 0 for what is broken, and in between by how far a limit is passed."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from rlhf_assert.checkpoints import health_over_time, inspect_checkpoint

torch = pytest.importorskip("torch")
Q0 = "model.layers.0.self_attn.q_proj.weight"
UP2 = "model.layers.2.mlp.up_proj.weight"


def kinds(health):
    return {issue.kind for issue in health.issues}


def test_a_sound_checkpoint_scores_one(save, sound_tensors):
    health = inspect_checkpoint(save(sound_tensors, state={"global_step": 7, "log_history": [{"learning_rate": 1e-3}]}))
    assert health.score == 1.0
    assert not health.issues
    assert not health.recommendations
    assert health.step == 7
    assert health.training_state.learning_rate == 1e-3
    assert len(health.tensors) == len(sound_tensors)


@pytest.mark.parametrize("seed", range(3))
def test_the_proportions_of_a_7b_model_score_one(save, seed):
    """A 7B model's heavy tails, its spread between layers, its large norms and biases, at a sixteenth of the width."""
    noise = np.random.default_rng(seed)
    tensors = {"model.embed_tokens.weight": 0.02 * noise.standard_t(4, (2000, 256))}
    tensors["model.embed_tokens.weight"][-9:] = 0.0  # padding of the vocabulary
    for layer in range(12):
        scale = 0.02 * np.exp(noise.normal(0, 0.3))
        tensors[f"model.layers.{layer}.self_attn.q_proj.weight"] = scale * noise.standard_t(5, (256, 256))
        tensors[f"model.layers.{layer}.self_attn.k_proj.bias"] = np.append(np.zeros(250), [150.0, 3, 1, 1, -80, 2])
        down = scale * noise.standard_t(5, (256, 688))
        down[3, 5] = 100 * scale if layer == 2 else down[3, 5]  # a super weight
        tensors[f"model.layers.{layer}.mlp.down_proj.weight"] = down
        tensors[f"model.layers.{layer}.input_layernorm.weight"] = np.full(256, 0.4 + 0.4 * layer)
    health = inspect_checkpoint(save({name: tensor.astype(np.float16) for name, tensor in tensors.items()}))
    assert health.score == 1.0, health.issues


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_scale_alone_is_no_fault(save, sound_tensors, scale):
    assert inspect_checkpoint(save({name: scale * tensor for name, tensor in sound_tensors.items()})).score == 1.0


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lambda w: w.__setitem__((3, 4), np.nan), "non-finite-weight"),
        (lambda w: w.__setitem__((3, 4), -np.inf), "non-finite-weight"),
        (lambda w: w.fill(np.nan), "non-finite-weight"),
        (lambda w: w.fill(0.0), "all-zero-matrix"),
    ],
)
def test_what_closes_the_score(save, sound_tensors, spoil, kind):
    spoil(sound_tensors[Q0])
    health = inspect_checkpoint(save(sound_tensors))
    assert health.score == 0.0
    assert health.issues[0].kind == kind
    assert health.issues[0].tensor == Q0
    assert health.recommendations


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lambda w: w.__imul__(40.0), "large-weights"),
        (lambda w: w.__setitem__((3, 4), 1e30), "dominant-element"),
        (lambda w: w.__setitem__(slice(0, 60), 0.0), "dead-rows"),
    ],
)
def test_what_lowers_the_score(save, sound_tensors, spoil, kind):
    spoil(sound_tensors[UP2])
    health = inspect_checkpoint(save(sound_tensors))
    assert 0.0 < health.score < 0.8
    assert kind in kinds(health)
    assert all(issue.tensor == UP2 for issue in health.issues)


def test_worse_scores_lower(save, sound_tensors):
    scores = []
    for rank, factor in enumerate((1.0, 20.0, 100.0, 1e4)):
        spoilt = {**sound_tensors, UP2: factor * sound_tensors[UP2]}
        scores.append(inspect_checkpoint(save(spoilt, f"checkpoint-{rank}")).score)
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == len(scores)


def test_a_gain_of_a_hundred_shows_without_a_family(save):
    matrix = np.random.default_rng(0).normal(0, 20.0, (64, 64)).astype(np.float32)
    assert kinds(inspect_checkpoint(save({"score.weight": matrix}))) == {"large-weights"}


def test_a_lora_b_of_zeros_is_where_an_adapter_begins(save):
    a = np.random.default_rng(0).normal(0, 0.1, (8, 64)).astype(np.float32)
    health = inspect_checkpoint(save({"q.lora_A.weight": a, "q.lora_B.weight": np.zeros((64, 8), np.float32)}))
    assert health.score == 1.0
    assert kinds(health) == {"zero-lora-b"}


def test_no_folder_no_weights_and_pickles(tmp_path):
    assert inspect_checkpoint(tmp_path / "nowhere").issues[0].kind == "missing-file"
    assert inspect_checkpoint(tmp_path).issues[0].kind == "no-weights"
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    health = inspect_checkpoint(tmp_path)
    assert health.score == 0.0
    assert "pickle" in health.issues[0].detail


def test_sound_shards(save_sharded, sound_tensors):
    folder = save_sharded(sound_tensors)
    for path in (folder, folder / "model.safetensors.index.json"):
        health = inspect_checkpoint(path)
        assert health.score == 1.0
        assert len(health.tensors) == len(sound_tensors)


def _missing_shard(folder):
    next(folder.glob("*00001*")).unlink()


def _truncated_shard(folder):
    file = next(folder.glob("*00002*"))
    file.write_bytes(file.read_bytes()[:-10])


def _no_index(folder):
    (folder / "model.safetensors.index.json").unlink()


def _index(**content):
    return lambda folder: (folder / "model.safetensors.index.json").write_text(json.dumps(content))


def _swapped(folder):
    file = folder / "model.safetensors.index.json"
    text = file.read_text().replace("00001-of", "0000x-of").replace("00002-of", "00001-of")
    file.write_text(text.replace("0000x-of", "00002-of"))


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (_missing_shard, "missing-file"),
        (_truncated_shard, "truncated-file"),
        (_no_index, "broken-index"),
        (_swapped, "broken-index"),
        (_index(weight_map={}), "broken-index"),
        (_index(weight_map={"w": 3}), "broken-index"),
        (_index(weight_map={"w": "../../etc/passwd"}), "broken-index"),
        (_index(weight_map={"w": "model-00001-of-00002.safetensors"}), "broken-index"),
        (lambda folder: (folder / "model.safetensors.index.json").write_text("{"), "broken-index"),
    ],
)
def test_broken_shards(save_sharded, sound_tensors, spoil, kind):
    folder = save_sharded(sound_tensors)
    spoil(folder)
    health = inspect_checkpoint(folder)
    assert health.score == 0.0
    assert health.issues[0].kind == kind


def test_a_tensor_that_the_index_does_not_name(save_sharded, sound_tensors):
    folder = save_sharded(sound_tensors)
    file = folder / "model.safetensors.index.json"
    content = json.loads(file.read_text())
    del content["weight_map"][Q0]
    file.write_text(json.dumps(content))
    health = inspect_checkpoint(folder)
    assert health.score == 0.75
    assert health.issues[0].tensor == Q0


@pytest.mark.parametrize(
    ("history", "lowest", "highest"),
    [
        ([{"learning_rate": 1e-3}] * 5, 1.0, 1.0),
        ([{"learning_rate": 1e-3}, {"learning_rate": 0.0}], 1.0, 1.0),  # the end of a schedule
        ([{"learning_rate": 0.0}] * 5, 0.8, 0.95),
        ([{"learning_rate": 1.0}] * 5, 0.0, 0.3),
        ([{"learning_rate": float("nan")}] * 5, 0.3, 0.6),
        ([{"learning_rate": -1e-3}], 0.3, 0.6),
        (["no row"], 1.0, 1.0),
        ("no list", 1.0, 1.0),
    ],
)
def test_learning_rate(save, sound_tensors, history, lowest, highest):
    health = inspect_checkpoint(save(sound_tensors, state={"log_history": history}))
    assert lowest <= health.score <= highest
    assert (health.score < 1.0) == ("learning-rate" in kinds(health))


def test_a_truncated_trainer_state_closes_the_score(save, sound_tensors):
    folder = save(sound_tensors)
    (folder / "trainer_state.json").write_text('{"global_step": 1')
    assert inspect_checkpoint(folder).score == 0.0


def adam(folder, spoil=lambda state: None, steps=3, learning_rate=1e-3):
    parameter = torch.nn.Parameter(torch.randn(32, 16, generator=torch.Generator().manual_seed(0)))
    optimizer = torch.optim.AdamW([parameter], lr=learning_rate)
    for _ in range(steps):
        (parameter**2).sum().backward()
        optimizer.step()
    state = optimizer.state_dict()
    spoil(state)
    torch.save(state, folder / "optimizer.pt")
    return state["state"].get(0, {})


def test_adams_moments_are_read(save, sound_tensors):
    folder = save(sound_tensors)
    moments = adam(folder)
    health = inspect_checkpoint(folder)
    assert health.score == 1.0
    assert health.training_state.learning_rate == 1e-3
    assert health.training_state.first_moment == pytest.approx(
        moments["exp_avg"].square().mean().sqrt().item(), rel=1e-5
    )
    assert health.training_state.second_moment == pytest.approx(moments["exp_avg_sq"].mean().sqrt().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lambda state: state["state"][0]["exp_avg"].view(-1).__setitem__(5, float("nan")), "non-finite-moment"),
        (lambda state: state["state"][0]["exp_avg_sq"].view(-1).__setitem__(5, float("inf")), "non-finite-moment"),
        (lambda state: state["state"][0]["exp_avg_sq"].view(-1).__setitem__(5, -1.0), "negative-moment"),
    ],
)
def test_spoilt_moments_close_the_score(save, sound_tensors, spoil, kind):
    folder = save(sound_tensors)
    adam(folder, spoil)
    health = inspect_checkpoint(folder)
    assert health.score == 0.0
    assert kinds(health) == {kind}


def test_a_truncated_optimizer_closes_the_score(save, sound_tensors):
    folder = save(sound_tensors)
    adam(folder)
    file = folder / "optimizer.pt"
    file.write_bytes(file.read_bytes()[:-300])
    health = inspect_checkpoint(folder)
    assert health.score == 0.0
    assert health.issues[0].detail.startswith("optimizer.pt")


class _Evil:
    def __reduce__(self):
        return open, ("pwned", "w")


def test_code_in_an_optimizer_is_not_run(save, sound_tensors, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    folder = save(sound_tensors)
    torch.save({"state": _Evil()}, folder / "optimizer.pt")
    health = inspect_checkpoint(folder)
    assert not (tmp_path / "pwned").exists()
    assert health.score == 0.0
    assert kinds(health) == {"unsafe-optimizer"}


def test_without_torch_the_optimizer_is_not_judged(save, sound_tensors, monkeypatch):
    folder = save(sound_tensors)
    adam(folder)
    monkeypatch.setitem(sys.modules, "torch", None)
    health = inspect_checkpoint(folder)
    assert health.score == 1.0
    assert health.training_state.unjudged == "not judged: torch is not installed"


def test_an_optimizer_that_saw_zero_gradients_only(save, sound_tensors):
    folder = save(sound_tensors)
    adam(folder, lambda state: state["state"][0]["exp_avg_sq"].zero_())
    health = inspect_checkpoint(folder)
    assert kinds(health) == {"zero-moments"}
    assert health.score == 0.9


def test_health_over_time(save, sound_tensors):
    folders = []
    for step in (1, 2, 3):
        moved = {name: (1 + 0.01 * step) * tensor for name, tensor in sound_tensors.items()}
        folders.append(save(moved, f"checkpoint-{step}"))
    healths = health_over_time(folders)
    assert [health.step for health in healths] == [1, 2, 3]
    assert healths[0].drift is None
    assert healths[1].drift.total == pytest.approx(0.01 / 1.01, rel=1e-4)
    assert healths[2].drift.total == pytest.approx(0.02 / 1.01, rel=1e-4)
