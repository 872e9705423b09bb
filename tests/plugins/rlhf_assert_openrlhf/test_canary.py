"""The weight sync canary: what it does to the policy, to the engines, and to those that do not follow."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlhf_assert import Recorder, read_run
from rlhf_assert.checked import Status
from rlhf_assert.checks.engine import judge_engine
from rlhf_assert.recording.live_recording import LiveRecording
from rlhf_assert_openrlhf.feed import Feed
from rlhf_assert_openrlhf.inside import canary

torch = pytest.importorskip("torch")


def model() -> Any:
    parts = torch.nn.Embedding(32, 8), torch.nn.LayerNorm(8, bias=False), torch.nn.Linear(8, 32, bias=False)
    return torch.nn.Sequential(*parts).bfloat16()


class Trainer:
    """A policy and an engine, each a real model, between which `broadcast_to_vllm` copies weights as the test says."""

    def __init__(self, arrives: str = "all") -> None:
        module, engine = model(), model()
        engine.load_state_dict(module.state_dict())
        self.actor = SimpleNamespace(model=SimpleNamespace(module=module))
        self.vllm_engines = [engine]
        self.args = SimpleNamespace(
            ds=SimpleNamespace(tensor_parallel_size=1), vllm=SimpleNamespace(enable_sleep=False)
        )
        self.syncs = 0
        self._arrives = arrives

    def broadcast_to_vllm(self) -> None:
        self.syncs += 1
        if self._arrives == "all" or (self._arrives == "first two" and self.syncs <= 2):
            self.vllm_engines[0].load_state_dict(self.actor.model.module.state_dict())


@pytest.fixture
def feed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RLHF_ASSERT_FEED", str(tmp_path / "feed.jsonl"))
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(canary, "_call", lambda *_: [])
    monkeypatch.setattr(canary, "look", look)
    return tmp_path / "feed.jsonl"


def look(engines: list[Any], looks: list[Any]) -> None:
    prompt = torch.tensor(canary.PROMPT)
    with torch.no_grad():
        scores = [engine(prompt[:-1]).float().log_softmax(-1).gather(1, prompt[1:, None]) for engine in engines]
    looks.append([found.flatten().tolist() for found in scores])


def judged(feed: Path, tmp_path: Path) -> Any:
    live = LiveRecording(Recorder(tmp_path / "run"))
    Feed(feed, live).take()
    live.finish()
    return judge_engine(read_run(tmp_path / "run"))


def test_policy_and_random_state_are_what_they_were_bit_by_bit(feed: Path, tmp_path: Path) -> None:
    trainer = Trainer()
    model = trainer.actor.model.module
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    state = torch.get_rng_state()
    canary.fly(trainer)
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert all(torch.equal(before[name], weight) for name, weight in trainer.vllm_engines[0].state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert trainer.syncs == 3
    (engine,) = json.loads(feed.read_text().splitlines()[-1])["fields"]["engines"]
    assert engine["moved"] > 0.1
    assert engine["off"] == 0.0
    assert judged(feed, tmp_path).status is Status.PASS


def test_an_engine_that_begins_with_other_weights_follows(feed: Path, tmp_path: Path) -> None:
    """As where a training goes on from a checkpoint, and the engine has loaded the model that it began with."""
    trainer = Trainer()
    with torch.no_grad():
        for weight in trainer.vllm_engines[0].parameters():
            weight.add_(1.0)
    canary.fly(trainer)
    assert judged(feed, tmp_path).status is Status.PASS


@pytest.mark.parametrize(
    ("arrives", "said"), [("none", "a changed weight"), ("first two", "a weight that was put back")]
)
def test_a_sync_that_does_not_arrive_is_judged(feed: Path, tmp_path: Path, arrives: str, said: str) -> None:
    canary.fly(Trainer(arrives))
    check = judged(feed, tmp_path)
    assert check.status is Status.FAIL
    assert f"engine 0 did not follow {said}" in check.headline


def test_an_engine_that_cannot_be_asked_costs_no_sync_and_no_weight(
    feed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(engines: list[Any], looks: list[Any]) -> None:
        raise TimeoutError("no answer")

    monkeypatch.setattr(canary, "look", broken)
    trainer = Trainer()
    before = trainer.actor.model.module[1].weight.clone()
    canary.fly(trainer)
    assert torch.equal(before, trainer.actor.model.module[1].weight)
    assert trainer.syncs == 3
    assert {json.loads(line)["kind"] for line in feed.read_text().splitlines()} == {"failure"}
    assert judged(feed, tmp_path).status is Status.SKIPPED


def test_tensor_parallelism_is_told_as_the_reason(feed: Path, tmp_path: Path) -> None:
    trainer = Trainer()
    trainer.args.ds.tensor_parallel_size = 2
    canary.fly(trainer)
    assert trainer.syncs == 0
    assert "skipped" in json.loads(feed.read_text())["fields"]
