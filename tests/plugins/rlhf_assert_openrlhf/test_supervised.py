"""What OpenRLHF's supervised trainers do is told, by whatever name they log it; and their loop is left as it is."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlhf_assert import Recorder, Run, read_run
from rlhf_assert.checked import Status
from rlhf_assert.checks.data import judge_data
from rlhf_assert.recording.events import Batch, Evaluation, ReferenceFingerprint
from rlhf_assert.recording.live_recording import LiveRecording
from rlhf_assert_openrlhf.feed import Feed
from rlhf_assert_openrlhf.inside import supervised

ROWS = [{"loss": 0.7 - 0.1 * step, "chosen_reward": 0.1 * step, "reject_reward": -0.1 * step} for step in range(4)]


class Strategy:
    def __init__(self, rank: int) -> None:
        self.rank = rank

    def is_rank_0(self) -> bool:
        return self.rank == 0

    def all_reduce(self, data: Any, op: str = "mean") -> Any:
        return {key: self.all_reduce(value, op) for key, value in data.items()} if isinstance(data, dict) else data


def trainer_class() -> Any:
    """Return a class with the three methods of OpenRLHF's, which logs every second step and evaluates at the last."""

    class Trainer:
        def __init__(self, rank: int = 0) -> None:
            self.strategy = Strategy(rank)
            self.seen: list[int] = []
            self.train_dataloader: Any = range(2 * len(ROWS))

        def fit(self, args: Any, consumed_samples: int = 0, num_update_steps_per_epoch: Any = None) -> None:
            assert len(self.train_dataloader) == 2 * len(ROWS)
            for number, _ in enumerate(self.train_dataloader, 1):
                if number % 2:  # gradients are accumulated over two batches
                    continue
                step, logs = number // 2, ROWS[number // 2 - 1]
                self.save_logs_and_checkpoints(args, step, None, dict(logs), {})

        def save_logs_and_checkpoints(
            self, args: Any, global_step: int, step_bar: Any, logs_dict: Any = None, client_states: Any = None
        ) -> None:
            self.seen.append(global_step)
            if global_step == len(ROWS):
                self.evaluate([0.25, 0.75], global_step)

        def evaluate(self, eval_dataloader: Any, steps: int = 0) -> None:
            self.strategy.all_reduce(1.0)
            logs = self.strategy.all_reduce({"eval_loss": sum(eval_dataloader) / 2})
            assert logs == {"eval_loss": 0.5}

    return Trainer


def record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, rank: int = 0, every: int = 1, data: Any = None
) -> tuple[Any, Run]:
    monkeypatch.setenv("RLHF_ASSERT_FEED", str(tmp_path / "feed.jsonl"))
    watched = trainer_class()
    supervised.watch(watched)
    trainer = watched(rank)
    trainer.train_dataloader = data or trainer.train_dataloader
    trainer.fit(SimpleNamespace(logger=SimpleNamespace(logging_steps=every)))
    live = LiveRecording(Recorder(tmp_path / "run", config={"dataset_rows": 1000, "per_device_train_batch_size": 8}))
    Feed(tmp_path / "feed.jsonl", live).take()
    live.finish()
    return trainer, read_run(live.path)


def test_rows_margins_and_evaluations_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    trainer, run = record(tmp_path, monkeypatch)
    assert trainer.seen == [1, 2, 3, 4]
    assert run["loss"].values == pytest.approx([0.7, 0.6, 0.5, 0.4])
    assert run["rejected_reward"].values == pytest.approx([0.0, -0.1, -0.2, -0.3])
    assert run["reward_margin"].values == pytest.approx([0.0, 0.2, 0.4, 0.6])
    assert (run["step_time"].values >= 0.0).all()
    (evaluation,) = run.events_of(Evaluation)
    assert (evaluation.step, evaluation.metrics) == (4, {"eval_loss": 0.5})
    assert [run.events[0].name, run.events[-1].name] == ["train_begin", "train_end"]
    assert "all_reduce" not in vars(trainer.strategy)


def test_steps_that_are_not_logged_are_not_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    trainer, run = record(tmp_path, monkeypatch, every=2)
    assert trainer.seen == [1, 2, 3, 4]
    assert [row.step for row in run.rows] == [2, 4]


class Data:
    """A data loader over micro-batches, with something of its own."""

    sampler = "mine"

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Any:
        return iter(self.batches)


def test_each_step_has_the_hash_of_its_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    trainer, run = record(tmp_path, monkeypatch, data=Data([(torch.arange(4) + i, ["text"]) for i in range(8)]))
    batches = run.events_of(Batch)
    assert [event.step for event in batches] == [1, 2, 3, 4]
    assert len({event.digest for event in batches}) == 4
    assert trainer.train_dataloader.sampler == "mine"
    assert judge_data(run).status is Status.PASS


def test_batches_that_come_again_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    _, run = record(tmp_path, monkeypatch, data=Data([torch.arange(4) + i for i in (0, 1) * 4]))
    check = judge_data(run)
    assert check.status is Status.FAIL
    assert [sign.onset for sign in check.anomalies] == [2]


def test_only_rank_0_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, run = record(tmp_path, monkeypatch, rank=1)
    assert trainer.seen == [1, 2, 3, 4]
    assert not run.rows
    assert not run.events


@pytest.mark.parametrize("moves", [False, True])
def test_a_reference_that_moves_is_told_with_its_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: bool
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setenv("RLHF_ASSERT_FEED", str(tmp_path / "feed.jsonl"))
    trainer = SimpleNamespace(ref_model=torch.nn.Linear(3, 2), train_dataloader=[])
    watched = supervised.Watch(trainer)
    watched.begin()
    for step in (1, 2, 3):
        if moves and step == 2:
            trainer.ref_model.weight.data += 1.0
        watched.row(step, {"loss": 0.5})
    watched.end()
    live = LiveRecording(Recorder(tmp_path / "run"))
    Feed(tmp_path / "feed.jsonl", live).take()
    live.finish()
    events = [event for event in read_run(live.path).events if event.name.startswith("reference")]
    assert [(event.name, event.step) for event in events] == [
        ("reference_fingerprint", 0),
        *([("reference_moved", 2)] if moves else []),
        ("reference_fingerprint", None),
    ]
    first, last = read_run(live.path).events_of(ReferenceFingerprint)
    assert (first.fingerprint == last.fingerprint) is not moves


def test_a_trainer_with_other_methods_is_refused() -> None:
    moved = trainer_class()
    moved.evaluate = lambda self, loader: None
    with pytest.raises(ImportError, match="install those versions"):
        supervised.watch(moved)


@pytest.mark.parametrize(
    ("folder", "step"), [("out/global_step20_hf", 20), ("out/global_step7_hf/", 7), ("out/final", None)]
)
def test_saved_weights_are_told_by_their_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, step: int | None
) -> None:
    monkeypatch.setenv("RLHF_ASSERT_FEED", str(tmp_path / "feed.jsonl"))

    class DeepspeedStrategy:
        def is_rank_0(self) -> bool:
            return True

        def save_model(self, model: Any, tokenizer: Any, output_dir: str, **kwargs: Any) -> None:
            Path(tmp_path / "saved").touch()

    module = SimpleNamespace(DeepspeedStrategy=DeepspeedStrategy)
    monkeypatch.setitem(sys.modules, supervised.saved_weights.module, module)  # type: ignore[arg-type]
    with supervised.saved_weights.surround():
        pass
    DeepspeedStrategy().save_model(None, None, folder)
    assert (tmp_path / "saved").exists()
    feed = tmp_path / "feed.jsonl"
    told = [json.loads(line)["step"] for line in feed.read_text().splitlines()] if feed.exists() else []
    assert told == ([] if step is None else [step])
