from __future__ import annotations

import pytest

from rlhf_assert.recording.recorder import Recorder
from rlhf_assert.report.live import format_progress, progress_line, seconds


def row(step, time, **metrics):
    return {"step": step, "time": time, "metrics": metrics}


def test_the_line():
    first = row(1, 100.8)
    last = row(23, 103.1, kl_div=0.021, reward=0.38, entropy=2.29, loss=0.1)
    line = format_progress("trl-grpo", 40, first, last, 3.1)
    assert line == "trl-grpo  23/40  kl 0.021  reward 0.38  entropy 2.29  3.1 s, 1.8 s left"


def test_a_run_that_has_not_begun(tmp_path):
    assert progress_line(tmp_path / "none", "trl-ppo", 30, 2.04) == "trl-ppo  0/30  starting  2.0 s"


def test_a_run_that_is_being_written(tmp_path):
    recorder = Recorder(tmp_path / "run")
    recorder.row(1, {"kl": 0.5})
    assert progress_line(recorder.path, "x", 4, 1.0) == "x  1/4  kl 0.50  1.0 s"
    recorder.row(2, {"kl": float("nan"), "loss": 0.25})
    with (recorder.path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 3, "metr')
    line = progress_line(recorder.path, "x", 4, 1.0)
    assert line.startswith("x  2/4  kl nan  loss 0.25  1.0 s, ")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (59.96, "1 min 00 s"), (185, "3 min 05 s"), (7620, "2 h 07 min")],
)
def test_durations(value, text):
    assert seconds(value) == text
