"""The reader: a run directory reads the same whether the training ended, died or was cut off in mid-line."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from rlhf_assert.errors import UnreadableRun
from rlhf_assert.recording.recorder import Recorder
from rlhf_assert.recording.run import read_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    recorder = Recorder(tmp_path / "run", scenario="toy", seed=3, config={"beta": 0.04}, promised=["loss"])
    for step in (1, 2, 3):
        recorder.row(step, {"loss": 1.0 / step, "foo": 1.0, "engine/waiting": 2.0})
    recorder.finish("completed")
    return tmp_path / "run"


def test_a_finished_run_reads_as_it_was_recorded(folder: Path) -> None:
    run = read_run(folder)

    assert (run.scenario, run.seed, run.status, run.steps) == ("toy", 3, "completed", 3)
    assert run["loss"].steps.tolist() == [1, 2, 3]
    assert run["loss"].values.tolist() == [1.0, 0.5, 1.0 / 3.0]
    assert run.unmapped == ("foo",)
    assert run.original["engine/waiting"].values.tolist() == [2.0, 2.0, 2.0]
    assert run.config == {"beta": 0.04}
    assert run.promised == ("loss",)
    assert "toy" in repr(run)
    assert "loss" in run
    assert "kl_div" not in run


def test_an_unknown_metric_gets_a_suggestion(folder: Path) -> None:
    with pytest.raises(KeyError, match=r"los was not recorded .*did you mean loss"):
        read_run(folder)["los"]


@pytest.mark.parametrize("cut", [1, 2, 10, 40])
def test_a_torn_last_line_is_dropped_and_counted(folder: Path, cut: int) -> None:
    file = folder / "metrics.jsonl"
    file.write_bytes(file.read_bytes()[:-cut])

    run = read_run(folder)

    assert len(run.rows) == 2
    assert run.torn_lines == 1


@pytest.mark.parametrize(
    "garbage", [b"\x00" * 64 + b"\n", b"[1, 2]\n", b"{}\n", b'{"step": "x"}\n', b"\xff\xfe\n", b"\n"]
)
def test_a_damaged_line_costs_that_line_only(folder: Path, garbage: bytes) -> None:
    file = folder / "metrics.jsonl"
    first, *rest = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([first, garbage, *rest]))

    run = read_run(folder)

    assert run["loss"].steps.tolist() == [1, 2, 3]
    assert run.torn_lines == 1


@pytest.mark.parametrize("part", ["metrics", "original"])
def test_a_row_whose_parts_are_of_another_type_is_damaged(folder: Path, part: str) -> None:
    with (folder / "metrics.jsonl").open("a") as stream:
        stream.write(json.dumps({"step": 4, "metrics": {}, "original": {}} | {part: [1]}) + "\n")

    run = read_run(folder)

    assert len(run.rows) == 3
    assert run.torn_lines == 1


def test_a_newer_format_is_refused_in_one_line(folder: Path) -> None:
    info = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(info | {"format": 2}))

    with pytest.raises(UnreadableRun, match=r"run\.json: format 2, but this rlhf-assert reads up to 1: pip") as caught:
        read_run(folder)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "not a run directory: it has no run.json"),
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "no format number"),
        ('{"format": "one"}', "no format number"),
    ],
)
def test_what_is_no_run_directory_is_refused_in_one_line(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)

    with pytest.raises(UnreadableRun, match=message) as caught:
        read_run(tmp_path)

    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_that_says_little_of_itself_can_still_be_read(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"format": 1}')

    run = read_run(tmp_path)

    assert (run.status, run.steps, run.seed, run.seconds) == ("running", 0, None, 0.0)
    assert len(run.samples) == 0
    assert run.resources == ()
    assert run.checkpoints == ()


def test_a_run_whose_process_is_gone_reads_as_crashed(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from rlhf_assert.recording.recorder import Recorder
        recorder = Recorder(Path(sys.argv[1]))
        for step in range(1, 4):
            recorder.row(step, {"loss": 1.0})
        print("ready", flush=True)
        time.sleep(60)
        """
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "run")], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    alive = read_run(tmp_path / "run").status

    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    dead = read_run(tmp_path / "run")

    assert alive == "running"
    assert dead.status == "crashed"
    assert dead.error is not None
    assert dead.error["type"] == "ProcessDied"
    assert dead.steps == 3


def test_a_later_process_with_the_number_of_the_dead_one_does_not_revive_it(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(
        json.dumps({"format": 1, "status": "running", "pid": os.getpid(), "host": socket.gethostname(), "started": 1.0})
    )

    assert read_run(tmp_path).status == "crashed"


def test_another_machines_run_is_taken_at_its_word(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(
        json.dumps({"format": 1, "status": "running", "pid": 1, "host": "elsewhere", "started": time.time()})
    )

    assert read_run(tmp_path).status == "running"


def test_checkpoints_come_in_the_order_of_their_steps(folder: Path) -> None:
    for name in ("checkpoint-10", "checkpoint-9", "checkpoint-0", "checkpoint-last", "other"):
        (folder / "checkpoints" / name).mkdir()

    assert [path.name for path in read_run(folder).checkpoints] == ["checkpoint-0", "checkpoint-9", "checkpoint-10"]


def test_samples_are_columns_with_nan_where_nothing_is_known(folder: Path) -> None:
    recorder = Recorder(folder)
    recorder.samples(
        [
            {"step": 1, "prompt": "a", "length": 3, "reward": 0.5, "rewards": {"f": 0.5}, "text": "hi"},
            {"step": 2, "prompt": "a", "reward": float("nan"), "rewards": {"g": None}},
        ]
    )

    samples = read_run(folder).samples

    assert samples.step.tolist() == [1, 2]
    assert samples.length.tolist()[0] == 3.0
    assert [str(value) for value in samples.reward] == ["0.5", "nan"]
    assert [str(value) for value in samples.rewards["f"]] == ["0.5", "nan"]
    assert [str(value) for value in samples.rewards["g"]] == ["nan", "nan"]
    assert samples.text == ("hi", "")
