"""The writer: what is on disk is what was given, complete lines only, and every failure is one clear error."""

from __future__ import annotations

import json
import math
import os
import resource
import signal
from pathlib import Path

import numpy as np
import pytest

from rlhf_assert.errors import RecordingError
from rlhf_assert.recording.encoding import as_number, dump_line
from rlhf_assert.recording.events import Save, TrainBegin
from rlhf_assert.recording.files import AppendOnlyFile
from rlhf_assert.recording.recorder import Recorder
from rlhf_assert.recording.run import read_run


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_row_is_returned_by_canonical_name_and_kept_under_its_own(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run")

    metrics = recorder.row(1, {"kl": 0.5, "completions/clipped_ratio": 1.0, "my/own": 3.0}, epoch=0.1)

    assert metrics == {"kl_div": 0.5, "truncated_fraction": 1.0}
    (line,) = lines(tmp_path / "run" / "metrics.jsonl")
    assert line["original"] == {"kl": 0.5, "completions/clipped_ratio": 1.0, "my/own": 3.0}
    assert (line["step"], line["epoch"], line["metrics"]) == (1, 0.1, metrics)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, 0.0, -0.0, 5e-324, 1.7976931348623157e308, 0.1])
def test_every_number_survives_the_trip(tmp_path: Path, value: float | None) -> None:
    Recorder(tmp_path / "run").row(1, {"reward": value, "odd/key": value, "loss": 1.0})

    run = read_run(tmp_path / "run")

    (row,) = run.rows
    expected = math.nan if value is None else value
    assert row.metrics["reward"] is None if value is None else repr(row.metrics["reward"]) == repr(value)
    np.testing.assert_array_equal(run["reward"].values, [expected])
    np.testing.assert_array_equal(run.original["odd/key"].values, [expected])
    assert row.metrics["loss"] == 1.0


def test_text_is_kept_under_its_own_key_and_is_no_metric(tmp_path: Path) -> None:
    metrics = Recorder(tmp_path / "run").row(1, {"reward": "n/a", "loss": "0.25", "note": "fine"})

    assert metrics == {"loss": 0.25}
    assert lines(tmp_path / "run" / "metrics.jsonl")[0]["original"] == {"reward": "n/a", "loss": 0.25, "note": "fine"}


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (3, 3.0),
        (True, 1.0),
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.array([2.0]), 2.0),
        ("1e-3", 1e-3),
        ("nan", math.nan),
        (10**400, str(10**400)),
        (np.array([1.0, 2.0]), "[1. 2.]"),
        ([1], "[1]"),
    ],
)
def test_what_frameworks_log_becomes_a_plain_float_or_text(value: object, number: float | str) -> None:
    result = as_number(value)

    assert type(result) is type(number)
    assert result == number or (result != result and number != number)


def test_numpy_scalars_can_be_written(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run", config={"beta": np.float64(0.04), "big": 10**30})
    recorder.row(1, {"loss": np.float64(0.5), "reward": np.float32(math.nan)})
    recorder.samples([{"step": 1, "reward": np.float64(math.inf)}])

    run = read_run(tmp_path / "run")

    assert run["loss"].first == 0.5
    assert math.isnan(run["reward"].first)
    assert run.samples.reward[0] == math.inf
    assert run.config["beta"] == 0.04


def test_text_that_is_not_unicode_does_not_stop_the_training(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run")
    recorder.samples([{"step": 1, "text": "half a pair \ud83d"}])
    recorder.row(1, {"bad \udfff key": 1.0, "loss": 0.5, "note": "\ud800"})

    run = read_run(tmp_path / "run")

    assert run.samples.text == ("half a pair ?",)
    assert run["loss"].first == 0.5
    assert dump_line({1: 2}) == b'{"1":2}\n'


def test_the_earliest_alias_wins_whatever_the_order_of_the_row(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run")

    assert recorder.row(1, {"objective/kl": 7.0, "kl": 1.0})["kl_div"] == 1.0
    assert recorder.row(2, {"kl": 2.0, "objective/kl": 7.0})["kl_div"] == 2.0
    assert recorder.row(3, {"kl_div": 3.0, "kl": 2.0})["kl_div"] == 3.0
    assert recorder.row(4, {"kl": "text", "objective/kl": 7.0})["kl_div"] == 7.0
    assert recorder.row(5, {"kl": None, "objective/kl": 7.0})["kl_div"] is None
    assert read_run(tmp_path / "run").original["objective/kl"].values.tolist() == [7.0] * 4


def test_ratios_are_derived_where_both_parts_are_there(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run")

    assert recorder.row(1, {"kl": 1.0, "loss": 0.5})["kl_policy_ratio"] == 2.0
    assert recorder.row(2, {"kl": 1.0, "loss": 0.5, "loss/policy_avg": 0.25})["kl_policy_ratio"] == 4.0
    assert "kl_policy_ratio" not in recorder.row(3, {"kl": 1.0, "loss": 0.0})
    assert recorder.row(4, {"kl": 1e308, "loss": 1e-308})["kl_policy_ratio"] == math.inf
    assert read_run(tmp_path / "run")["kl_policy_ratio"].values[-1] == math.inf


def test_memory_stays_bounded_when_keys_never_repeat(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run")
    for step in range(3000):
        recorder.row(step, {f"sample_{step}": 1.0})

    assert len(recorder._plans) == 1000
    assert len(read_run(tmp_path / "run").rows) == 3000


def test_only_rank_0_writes_metrics_and_every_rank_its_resources(tmp_path: Path) -> None:
    first, second = Recorder(tmp_path / "run"), Recorder(tmp_path / "run", rank=1)
    for recorder in (first, second):
        recorder.row(1, {"loss": float(recorder.rank)})
        recorder.event(Save(step=1))
        recorder.resources({"memory_rss": recorder.rank})
    second.finish("crashed")

    run = read_run(tmp_path / "run")

    assert run["loss"].values.tolist() == [0.0]
    assert len(run.events) == 1
    assert [sample["rank"] for sample in run.resources] == [0, 1]
    assert run.status == "running"


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(RecordingError, match=r"file/run: cannot create the run directory: Not a directory$"):
        Recorder(tmp_path / "file" / "run")


def test_a_full_disk_is_one_clear_error_that_says_what_is_kept(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").symlink_to("/dev/full")

    with pytest.raises(
        RecordingError, match=r"metrics\.jsonl: cannot write: No space left on device; what was"
    ) as caught:
        recorder.row(1, {"loss": 0.5})

    assert "\n" not in str(caught.value)
    recorder.event(TrainBegin())
    assert len(read_run(tmp_path / "run").events) == 1


def test_a_full_disk_keeps_the_former_run_json(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run", scenario="kept")
    (tmp_path / "run" / "run.draft").symlink_to("/dev/full")

    with pytest.raises(RecordingError, match=r"run\.json: cannot be written: No space left on device"):
        recorder.describe(scenario="lost")

    assert read_run(tmp_path / "run").scenario == "kept"


def test_a_partial_write_leaves_only_complete_lines(tmp_path: Path) -> None:
    """The kernel accepts part of a line at the size limit, as it does on a disk that fills up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    recorder = Recorder(tmp_path / "run")

    def fill_up() -> None:
        for step in range(100):
            recorder.row(step, {"loss": 0.125})

    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        with pytest.raises(RecordingError, match="no space left"):
            fill_up()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, former)

    run = read_run(tmp_path / "run")

    assert 0 < len(run.rows) < 100
    assert run.torn_lines == 0
    recorder.row(100, {"loss": 0.125})
    after = read_run(tmp_path / "run")
    assert (after.steps, len(after.rows), after.torn_lines) == (100, len(run.rows) + 1, 0)


def test_a_closed_file_does_not_write_into_the_file_that_took_its_number(tmp_path: Path) -> None:
    file = AppendOnlyFile(tmp_path / "closed.jsonl")
    file.close()
    other = os.open(tmp_path / "other", os.O_WRONLY | os.O_CREAT)
    try:
        with pytest.raises(RecordingError, match=r"closed\.jsonl: cannot write: Bad file descriptor"):
            file.append(b"{}\n")
    finally:
        os.close(other)
    file.close()
    assert (tmp_path / "other").read_bytes() == b""
