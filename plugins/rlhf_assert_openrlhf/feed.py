"""Reads what OpenRLHF's processes tell, while they run, and records it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rlhf_assert import __version__
from rlhf_assert.recording.events import (
    Actors,
    Evaluation,
    Event,
    RecordingFailed,
    Resume,
    SamplesUnavailable,
    TrainEnd,
    decode_event,
)
from rlhf_assert.recording.live_recording import LiveRecording
from rlhf_assert_openrlhf.promises import algorithm_of, configuration, promised_metrics

_START = {
    "train_ppo_ray": "actor.model_name_or_path",
    **dict.fromkeys(("train_sft", "train_rm", "train_dpo"), "model.model_name_or_path"),
}
"""Command -> the flag with the weights that its training starts from."""


class Feed:
    """Records the lines of a feed; their kinds are those of `rlhf_assert_openrlhf.inside`.

    Args:
        file: the feed; it need not be there yet.
        recording: takes everything; what it does not know of the training yet, the feed tells it.
        last: the step after which nothing is recorded any more; None for no such step.

    Attributes:
        begun: whether the training loop has begun, or its first step been told.
        ended: whether the training loop has ended; what comes after is saving and taking down.
        passed: whether a step after `last` has been told.
        saves: the folder in which OpenRLHF saves, once it is told.
        error: the exception that ended a process, as `run.json` keeps it; None if none was told.
        hook_seconds: how long the hooks have held up the training's processes, all together.
    """

    def __init__(
        self,
        file: Path,
        recording: LiveRecording,
        *,
        last: int | None = None,
    ) -> None:
        self.begun = self.ended = self.passed = False
        self.saves: Path | None = None
        self.error: dict[str, str] | None = None
        self.hook_seconds = 0.0
        self._last = last
        self._from = 0
        self._file = file
        self._recording = recording
        self._offset = 0
        self._within: list[Mapping[str, Any]] = []
        self._step = 0
        self._beside: dict[str, float] = {}

    def take(self) -> None:
        """Record every complete line that was added since the last call; one that makes no sense is named."""
        with self._recording.timed():
            for line in self._lines():
                self._recording.attempt("feed", self._take, line)

    def _take(self, text: bytes) -> None:
        line = json.loads(text)  # not orjson: NaN and Infinity are bare words there, and they are what this is about
        self.hook_seconds += line.get("seconds", 0.0)
        self.passed = self.passed or (self._last is not None and (line.get("step") or 0) > self._last)
        if not self.passed:
            self._begin(line["kind"])
            self._record(line)

    def resume(self) -> None:
        """Take, from now on, what a second process tells that goes on after step `last`; the feed is a new file."""
        assert self._last is not None
        self.begun = self.passed = False
        self._from, self._last, self._offset = self._last, None, 0
        self._within.clear()  # of a step that is made again
        self._beside.clear()

    def _lines(self) -> Iterator[bytes]:
        try:
            with self._file.open("rb") as file:
                file.seek(self._offset)
                added = file.read()
        except FileNotFoundError:
            return
        whole = added[: added.rfind(b"\n") + 1]
        self._offset += len(whole)
        yield from whole.splitlines()

    def _begin(self, kind: str) -> None:
        if self.begun or kind not in {"begin", "samples", "metrics"}:
            return
        self.begun = True
        if self._from:
            self._recording.event(Resume(step=self._from))
        else:
            self._recording.begin(sample_resources=False)

    def _record(self, line: Mapping[str, Any]) -> None:
        recording, step = self._recording, line.get("step")
        match line["kind"]:
            case "within":  # events of the step whose metrics come next
                self._within.append(line)
            case "metrics" if step is not None:
                self._row(step, line["metrics"])
            case "samples":
                records: list[dict[str, Any]] = line["records"]
                reward = str(((recording.info.get("config") or {}).get("reward_functions") or ["reward"])[0])
                recording.samples({"step": step, **record, "rewards": {reward: record["reward"]}} for record in records)
            case "evaluation":
                recording.event(Evaluation(step=step, metrics=line["metrics"]))
            case "beside":
                self._beside |= line["metrics"]
            case "event":
                event = _told(line, self._step if line.get("last") else step)
                recording.event(event)
                if isinstance(event, Actors) and self.begun:
                    self._beside |= actor_metrics(event)
            case "end":
                self.ended = True
                recording.event(TrainEnd())
            case "failure":
                kind = SamplesUnavailable if line["of"] == "record_samples" else RecordingFailed
                recording.event(kind(step=step, reason=line["message"]))
            case _:
                self._learn(line)

    def _row(self, step: int, logged: Mapping[str, Any]) -> None:
        self._step = step
        for line in self._within:
            self._recording.event(_told(line, step))
        self._within.clear()
        self._recording.row(step, {**self._beside, **logged})
        self._beside.clear()

    def _learn(self, line: Mapping[str, Any]) -> None:
        match line["kind"]:
            case "command":
                self.saves = Path(line["folder"], line["settings"].get("ckpt.path") or ".")
                self._recording.learn(**described(line))
            case "error":
                self.error = {name: line[name] for name in ("type", "message", "traceback")}


def described(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `run.json` that a line of kind `command` tells."""
    command, settings = line["entry_point"], line["settings"]
    weights, reward = settings.get(_START.get(command, "")), settings.get("reward.remote_url")
    start = Path(line["folder"], weights) if weights else None
    return {
        "algorithm": algorithm_of(command, settings),
        "config": {
            **configuration(command, settings),
            **({"reward_functions": [Path(str(reward)).stem]} if reward else {}),
        },
        "device": "cpu" if line["on_cpu"] else "cuda",
        "promised": promised_metrics(command, settings),
        "seed": settings.get("train.seed"),
        "initial_weights": str(start) if start is not None and start.is_dir() else None,
        "versions": {"rlhf-assert": __version__, **line["versions"]},
    }


def _told(line: Mapping[str, Any], step: int | None) -> Event:
    """Return the event that a line of kind `event` or `within` tells."""
    return decode_event({"event": line["name"], "step": step, **line["fields"]})


def actor_metrics(look: Actors) -> dict[str, float]:
    """Return the metrics that a look at Ray adds to the next step: see `rlhf_assert_openrlhf.inside.actors`.

    `ray_actor_utilization` is the share of time in which the actors that hold a model or an engine ran a task, on
    average since the look before.
    """
    living = [actor for actor in look.actors if actor.state == "ALIVE"]
    shares: dict[str, list[float]] = {}
    for actor in living:
        if actor.worker and actor.utilization is not None:
            shares.setdefault(actor.class_name, []).append(actor.utilization)
    metrics = {"actors/alive": float(len(living))}
    every = [share for own in shares.values() for share in own]
    if every:
        metrics["ray_actor_utilization"] = sum(every) / len(every)
    metrics |= {f"actors/{name}/utilization": sum(own) / len(own) for name, own in shares.items()}
    for name in ("cpu", "memory", "object_store"):
        told = [value for node in look.nodes if (value := getattr(node, name)) is not None]
        if told:
            metrics[f"actors/node_{name}"] = max(told)
    return metrics
