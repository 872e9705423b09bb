"""Updates and the reference, watched: real optimizers of torch in wrappers like DeepSpeed's."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlhf_assert import Recorder, read_run
from rlhf_assert.checks.optimizer import judge_optimizer
from rlhf_assert.checks.reference import judge_reference
from rlhf_assert.recording.live_recording import LiveRecording
from rlhf_assert_openrlhf.feed import Feed
from rlhf_assert_openrlhf.inside import weights

torch = pytest.importorskip("torch")


@pytest.fixture
def feed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RLHF_ASSERT_FEED", str(tmp_path / "feed"))
    monkeypatch.setattr(weights, "_updates", {})
    return tmp_path / "feed"


def told(feed: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in feed.read_text().splitlines()]


class Strategy:
    """Steps, clips and accumulates as DeepSpeed's engine does; `accumulated` batches make one update."""

    def __init__(self, accumulated: int = 1) -> None:
        self.accumulated, self.batches, self.rank = accumulated, 0, 0

    def is_rank_0(self) -> bool:
        return self.rank == 0

    def optimizer_step(self, _optimizer: Any, model: Any, _scheduler: Any, name: str = "model", **kwargs: Any) -> None:
        self.batches += 1
        if self.batches % self.accumulated == 0:
            _optimizer.optimizer.step()
            _scheduler.step()

    def _ds_init_train_model(self, model: Any, cfg: Any) -> Any:
        return model

    def _ds_init_eval_model(self, model: Any) -> Any:
        return model


class Actor(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, x: Any) -> Any:
        return self.layer(x)


def shift(layer: Any, _: Any) -> None:
    layer.weight.data.add_(1.0)


@pytest.fixture
def strategy(feed: Path) -> Callable[..., Any]:
    """Return a function that makes a strategy whose class has the hooks."""

    def make(accumulated: int = 1) -> Any:
        watched = type("Watched", (Strategy,), dict(vars(Strategy)))
        module = SimpleNamespace(DeepspeedStrategy=watched, Actor=Actor)
        sys.modules[weights.STRATEGY] = module  # type: ignore[assignment]
        for hook in weights.HOOKS:
            with hook.surround():
                pass
        del sys.modules[weights.STRATEGY]
        return watched(accumulated)

    return make


def trained(rate: float = 0.5) -> tuple[Any, Any, Any]:
    """Return a model with a gradient of norm 3, its wrapped optimizer and its scheduler."""
    model = torch.nn.Linear(3, 3, bias=False)
    model.weight.grad = torch.ones(3, 3)
    inner = torch.optim.AdamW(model.parameters(), lr=rate)
    scheduler = torch.optim.lr_scheduler.LambdaLR(inner, lambda step: 1.0 / (1 + step))
    return model, SimpleNamespace(optimizer=inner, param_groups=inner.param_groups), scheduler


def test_an_update_is_told_as_it_was_applied(strategy: Callable[..., Any], feed: Path) -> None:
    watched, (model, optimizer, scheduler) = strategy(), trained()
    watched.optimizer_step(optimizer, model, scheduler, name="actor")
    optimizer.param_groups[0]["lr"] = 7.0
    watched.optimizer_step(optimizer, model, scheduler, name="actor")
    first, second = (line["fields"] for line in told(feed))
    assert first == {"model": "actor", "learning_rate": 0.5, "scheduled": 0.5, "grad_norm": 3.0, "optimizer_step": 1}
    assert (second["learning_rate"], second["scheduled"], second["optimizer_step"]) == (7.0, 0.25, 2)


def test_a_batch_that_only_accumulates_is_no_update(strategy: Callable[..., Any], feed: Path) -> None:
    watched, (model, optimizer, scheduler) = strategy(accumulated=3), trained()
    for _ in range(6):
        watched.optimizer_step(optimizer, model, scheduler, name="actor")
    assert [line["fields"]["optimizer_step"] for line in told(feed)] == [1, 2]


def test_one_rank_tells(strategy: Callable[..., Any], feed: Path) -> None:
    watched, (model, optimizer, scheduler) = strategy(), trained()
    watched.rank = 1
    watched.optimizer_step(optimizer, model, scheduler)
    assert not feed.exists()


def test_an_optimizer_that_cannot_be_watched_goes_on(strategy: Callable[..., Any], feed: Path) -> None:
    steps = []
    watched, strange = strategy(), SimpleNamespace(optimizer=SimpleNamespace(step=lambda: steps.append(1)))
    watched.optimizer_step(strange, None, SimpleNamespace(step=lambda: None))
    assert steps == [1]
    assert {line["kind"] for line in told(feed)} == {"failure"}


@pytest.mark.parametrize("moves", ["never", "before it is used", "while it is used"])
def test_a_reference_that_moves_is_told_and_judged(
    strategy: Callable[..., Any], feed: Path, tmp_path: Path, moves: str
) -> None:
    reference = strategy()._ds_init_eval_model(Actor())
    live = LiveRecording(Recorder(tmp_path / "run", scenario="mine", backend="openrlhf", config={"beta": 0.02}))
    for step in (1, 2, 3):
        if moves == "before it is used" and step == 2:
            reference.layer.weight.data.add_(1.0)
        if moves == "while it is used" and step == 2:
            reference.layer.register_forward_pre_hook(shift)
        reference(torch.ones(3))
        with feed.open("a") as file:
            file.write(json.dumps({"kind": "metrics", "step": step, "metrics": {"kl": 0.1}}) + "\n")
    Feed(feed, live).take()
    live.finish()
    check = judge_reference(read_run(tmp_path / "run"))
    assert check.status.name == ("PASS" if moves == "never" else "FAIL")
    assert ("moved at step 2" in check.headline) is (moves != "never")


def test_the_average_of_a_policy_is_no_reference(strategy: Callable[..., Any], feed: Path) -> None:
    watched = strategy()
    watched._ds_init_train_model(Actor(), {})
    watched._ds_init_eval_model(Actor())(torch.ones(3))
    assert not feed.exists()


@pytest.mark.parametrize("name", ["actor", "critic"])
def test_a_learning_rate_beside_the_schedule_is_judged(
    strategy: Callable[..., Any], feed: Path, tmp_path: Path, name: str
) -> None:
    watched, (model, optimizer, scheduler) = strategy(), trained()
    live = LiveRecording(Recorder(tmp_path / "run", scenario="mine", backend="openrlhf", config={"max_grad_norm": 5.0}))
    for step in (1, 2, 3):
        if step == 2:
            optimizer.param_groups[0]["lr"] *= 1000.0
        watched.optimizer_step(optimizer, model, scheduler, name=name)
        with feed.open("a") as file:
            file.write(json.dumps({"kind": "metrics", "step": step, "metrics": {"kl": 0.1}}) + "\n")
    Feed(feed, live).take()
    live.finish()
    check = judge_optimizer(read_run(tmp_path / "run"))
    assert "stepped with learning rate 250.0 at step 2, the schedule says 0.25" in check.headline
    assert ("of the critic" in check.headline) is (name == "critic")
    assert [sign.onset for sign in check.anomalies] == [2]
