"""Reads what OpenRLHF's processes tell, while they run, and records it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rlhf_assert.detect.anomaly import encode_anomaly
from rlhf_assert.detect.config import settings_of
from rlhf_assert.detect.default import default_detectors
from rlhf_assert.monitor import Monitor
from rlhf_assert.record import Recorder


class Feed:
    """Records the lines of a feed; their kinds are those of `rlhf_assert_openrlhf.inside.recording`.

    Args:
        file: the feed; it need not be there yet.
        recorder: where everything goes.

    Attributes:
        begun: whether the first step has been told.
        ended: whether the training loop has ended; what comes after is saving and taking down.
    """

    def __init__(self, file: Path, recorder: Recorder) -> None:
        self.begun = self.ended = False
        self._file = file
        self._recorder = recorder
        self._offset = 0
        self._step = 0
        self._beside: dict[str, float] = {}
        info = recorder.info
        self._reward = str(((info.get("config") or {}).get("reward_functions") or ["reward"])[0])
        self._monitor = Monitor(
            default_detectors(info.get("algorithm") or "", info.get("config"), settings=settings_of(info))
        )

    def take(self) -> None:
        """Record every complete line that was added since the last call."""
        started = time.perf_counter()
        for line in self._lines():
            if not self.begun and line["kind"] in {"samples", "metrics"}:
                self.begun = True
                self._recorder.event("train_begin", 0)
            self._record(line)
        self._recorder.monitor_seconds += time.perf_counter() - started

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            with self._file.open("rb") as file:
                file.seek(self._offset)
                added = file.read()
        except FileNotFoundError:
            return
        whole = added[: added.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            # Not orjson: NaN and Infinity are bare words there, and they are what this is about.
            yield json.loads(line)

    def _record(self, line: Mapping[str, Any]) -> None:
        recorder, step = self._recorder, line.get("step")
        match line["kind"]:
            case "metrics" if step is not None:
                self._step = step
                metrics = recorder.row(step, {**self._beside, **line["metrics"]})
                self._beside.clear()
                recorder.event("log", step)
                for anomaly in self._monitor.update(step, metrics):
                    recorder.event("anomaly", step, **encode_anomaly(anomaly))
            case "samples":
                records: list[dict[str, Any]] = line["records"]
                recorder.samples(
                    {"step": step, **record, "rewards": {self._reward: record["reward"]}} for record in records
                )
            case "evaluation":
                recorder.event("evaluation", step, metrics=line["metrics"])
            case "event":
                timed = line["name"] in {"actors", "process_lost"}  # told by processes that know of no step
                recorder.event(line["name"], self._step if timed else step, **line["fields"])
                if line["name"] == "actors" and self.begun:
                    self._beside |= actor_metrics(line["fields"])
            case "end":
                self.ended = True
                recorder.event("train_end")
            case "failure":
                name = "samples_unavailable" if line["of"] == "record_samples" else "recording_failed"
                recorder.event(name, step, reason=line["message"])


def actor_metrics(look: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics that a look at Ray adds to the next step: see `rlhf_assert_openrlhf.inside.actors`.

    `ray_actor_utilization` is the share of time in which the actors that hold a model or an engine ran a task, on
    average since the look before.
    """
    living = [actor for actor in look["actors"] if actor["state"] == "ALIVE"]
    shares: dict[str, list[float]] = {}
    for actor in living:
        if actor["worker"] and "utilization" in actor:
            shares.setdefault(actor["class"], []).append(actor["utilization"])
    found = {"actors/alive": float(len(living))}
    every = [share for own in shares.values() for share in own]
    if every:
        found["ray_actor_utilization"] = sum(every) / len(every)
    found |= {f"actors/{name}/utilization": sum(own) / len(own) for name, own in shares.items()}
    for name in ("cpu", "memory", "object_store"):
        told = [node[name] for node in look["nodes"] if name in node]
        if told:
            found[f"actors/node_{name}"] = max(told)
    return found
