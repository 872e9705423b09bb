"""Folders that the ranks of a training wrote to resume from, in the layout of DeepSpeed 0.19."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner

from rlhf_assert.checked import Status
from rlhf_assert.checkpoints import inspect_checkpoint
from rlhf_assert.checks.saved_checkpoints import judge_checkpoints
from rlhf_assert.cli import main

torch = pytest.importorskip("torch")
WEIGHTS = {"embed.weight": (6, 4), "norm.weight": (4,), "head.weight": (5, 4)}


@pytest.fixture(autouse=True)
def framework(monkeypatch: pytest.MonkeyPatch) -> Iterator[type]:
    """A package `deepspeed` while files are written; it is not there when they are read."""
    module = ModuleType("deepspeed.runtime.fp16.loss_scaler")

    class LossScaler:
        def __init__(self) -> None:
            self.cur_scale = 65536.0

    LossScaler.__module__, LossScaler.__qualname__ = module.__name__, "LossScaler"
    module.LossScaler = LossScaler  # type: ignore[attr-defined]
    for name in ("deepspeed", "deepspeed.runtime", "deepspeed.runtime.fp16"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return LossScaler


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, framework: type) -> Write:
    """Return a function that writes one model's folder: `stage` of ZeRO, `ranks`, and what spoils its weights."""

    def write(
        model: str = "_actor", *, stage: int = 2, ranks: int = 1, step: int = 8, spoil: Any = None, scaler: Any = None
    ) -> Path:
        torch.manual_seed(0)
        weights = {name: torch.randn(shape) * 0.1 for name, shape in WEIGHTS.items()}
        if spoil is not None:
            spoil(weights)
        folder = tmp_path / model / f"global_step{step}"
        folder.mkdir(parents=True)
        (folder.parent / "latest").write_text(folder.name)
        shapes = OrderedDict((name, weight.shape) for name, weight in weights.items())
        pieces = [
            torch.cat([padded(weight, ranks).reshape(ranks, -1)[rank] for weight in weights.values()])
            for rank in range(ranks)
        ]
        kept = {name: weight if stage < 3 else torch.empty(0) for name, weight in weights.items()}
        state = {
            "module": OrderedDict((name, weight.bfloat16()) for name, weight in kept.items()),
            "param_shapes": [shapes],
            "shared_params": {},
            "dp_world_size": ranks,
            "global_steps": step,
            "ds_config": {"zero_optimization": {"stage": stage}},
        }
        for rank in range(ranks if stage == 3 else 1):
            name = f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt" if stage == 3 else "mp_rank_00_model_states.pt"
            torch.save(state, folder / name)
        for rank, piece in enumerate(pieces):
            adam = {"step": torch.tensor(8.0), "exp_avg": piece * 0.01, "exp_avg_sq": piece.square() * 0.01}
            base = {"state": {0: adam}, "param_groups": [{"lr": 1e-3}]}
            own: dict[str, Any] = {"loss_scaler": scaler or framework(), "overflow": False, "zero_stage": stage}
            if stage == 3:
                own |= {"partition_count": ranks, "fp32_flat_groups": [piece], "optimizer_state_dict": base}
            else:
                own |= {"partition_count": [ranks], "base_optimizer_state": base}
            torch.save({"optimizer_state_dict": own}, folder / f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
        return folder

    return write


def padded(weight: Any, ranks: int) -> Any:
    flat = weight.reshape(-1)
    return torch.nn.functional.pad(flat, (0, -flat.numel() % ranks))


@pytest.mark.parametrize(("stage", "ranks"), [(0, 1), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3)])
def test_a_sound_folder_is_read_without_running_anything(
    write: Write, monkeypatch: pytest.MonkeyPatch, stage: int, ranks: int
) -> None:
    folder = write(stage=stage, ranks=ranks)
    monkeypatch.delitem(sys.modules, "deepspeed.runtime.fp16.loss_scaler")
    for path in (folder, folder.parent, folder.parent.parent):
        health = inspect_checkpoint(path)
        assert (health.score, health.step, health.issues) == (1.0, 8, ())
    assert sum(tensor.count for tensor in health.tensors) == sum(
        torch.Size(shape).numel() for shape in WEIGHTS.values()
    )
    assert health.facts == {"zero_stage": stage, "ranks": ranks, "overflow": False, "loss_scale": 65536.0}
    state = health.training_state
    assert (state.learning_rate, state.step) == (1e-3, 8)
    assert state.first_moment == pytest.approx(1e-3, rel=0.5)
    if stage == 3 and ranks == 1:
        assert {tensor.name: tensor.shape for tensor in health.tensors} == WEIGHTS


@pytest.mark.parametrize("stage", [2, 3])
def test_drift_from_an_earlier_step(write: Write, stage: int) -> None:
    def grow(weights: dict[str, Any]) -> None:
        weights["head.weight"] *= 1.5

    first, second = write(stage=stage, step=4), write(stage=stage, step=8, spoil=grow)
    drift = inspect_checkpoint(second, first).drift
    assert drift is not None
    assert drift.largest == ("head.weight", pytest.approx(0.5, rel=0.02))
    assert set(drift.identical) == {"embed.weight", "norm.weight"}


@pytest.mark.parametrize("stage", [2, 3])
def test_a_weight_that_is_no_number(write: Write, stage: int) -> None:
    def spoil(weights: dict[str, Any]) -> None:
        weights["head.weight"][2, 1] = float("nan")

    health = inspect_checkpoint(write(stage=stage, ranks=2, spoil=spoil))
    assert health.score == 0.0
    assert any(issue.detail.startswith("head.weight") for issue in health.issues)


@pytest.mark.parametrize("file", ["mp_rank_00_model_states.pt", "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"])
@pytest.mark.parametrize("harm", ["truncate", "empty", "remove"])
def test_a_rank_file_that_is_damaged_or_missing_scores_nothing(write: Write, file: str, harm: str) -> None:
    folder = write(ranks=2)
    if harm == "remove":
        (folder / file).unlink()
    else:
        content = (folder / file).read_bytes()
        (folder / file).write_bytes(content[: len(content) // 2] if harm == "truncate" else b"")
    health = inspect_checkpoint(folder.parent)
    assert health.score == 0.0
    details = [issue.detail for issue in health.issues]
    assert any(file in detail or "no file of a model's state" in detail for detail in details), details
    assert all("\n" not in detail for detail in details)


def test_a_folder_that_latest_names_and_that_is_gone(write: Write) -> None:
    folder = write()
    (folder.parent / "latest").write_text("global_step9")
    health = inspect_checkpoint(folder.parent)
    assert health.score == 0.0
    assert health.issues[0].detail == "global_step9: named by `latest`, but not there"


class Evil:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("executed"),)


def test_a_file_that_names_code_is_not_opened(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    health = inspect_checkpoint(write(scaler=Evil()))
    assert health.score == 0.0
    assert health.issues[0].kind == "unsafe-optimizer"
    assert not (tmp_path / "executed").exists()


def test_models_at_unequal_steps_are_told(write: Write) -> None:
    write("_actor", step=8)
    folder = write("_critic", step=4)
    health = inspect_checkpoint(folder.parent.parent)
    assert health.score == 0.5
    assert health.issues[0].detail.endswith("_actor at global_step8, _critic at global_step4")


def test_the_command_shows_what_is_known_of_the_training(write: Write, tmp_path: Path) -> None:
    folder = write(stage=3)
    config = {"estimator": "gae", "reward_normalization": True, "packing": False, "learning_rate": 1e-3}
    (tmp_path / "run.json").write_bytes(orjson.dumps({"format": 1, "config": config}))
    result = CliRunner().invoke(main, ["checkpoint", str(folder.parent)])
    assert result.exit_code == 0, result.output
    shown = " ".join(result.output.split())
    assert "zero stage 3, ranks 1, overflow False, loss scale 65536.0, estimator gae" in shown
    assert "reward normalization True, packing False" in shown
    answer = orjson.loads(CliRunner().invoke(main, ["checkpoint", str(folder), "--format=json"]).stdout)
    assert answer["facts"]["estimator"] == "gae"


def test_a_run_whose_models_were_saved_at_different_steps_fails(
    write: Write, make_run: Callable[..., Any], tmp_path: Path
) -> None:
    run = make_run()
    for model, step in (("_actor", 8), ("_critic", 8)):
        write(model, step=step)
        (tmp_path / model).rename(run.path / "checkpoints" / model)
    assert judge_checkpoints(run).status is Status.PASS
    (run.path / "checkpoints" / "_critic" / "latest").write_text("global_step4")
    check = judge_checkpoints(run)
    assert check.status is Status.FAIL
    assert check.headline == "models were saved at different steps: _actor at global_step8, _critic at global_step4"


def test_a_run_that_cannot_be_resumed_fails(write: Write, make_run: Callable[..., Any], tmp_path: Path) -> None:
    run = make_run()
    folder = write(ranks=2)
    (folder / "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt").unlink()
    folder.parent.rename(run.path / "checkpoints" / "_actor")
    check = judge_checkpoints(run)
    assert check.status is Status.FAIL
    assert check.headline.startswith("_actor/global_step8: bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt: missing")


def test_whole_weights_beside_rank_files_are_what_is_judged(write: Write, make_run: Callable[..., Any]) -> None:
    """As in what transformers' trainer saves under ZeRO, a folder for each step with its own `latest`."""
    run = make_run(weights={step: {"a.weight": np.full((4, 4), 0.1, np.float32)} for step in (4, 8)})
    for step in (4, 8):
        (run.path / "checkpoints" / f"checkpoint-{step}" / "latest").write_text(f"global_step{step}")
    assert judge_checkpoints(run).headline.startswith("2 files, score 1.00")
