"""Each format is told by its content, and read to the same run."""

from __future__ import annotations

import json
import math

import pytest

from rlhf_assert.errors import UnreadableRun
from rlhf_assert.ingest import logs_in, read_log
from rlhf_assert.recording.rows import Row

ROWS = [
    {"step": step, "epoch": step / 10, "loss": 0.5 / step, "reward": 0.1 * step, "reward_std": 0.2, "kl": 0.01 * step}
    for step in range(1, 9)
]


def as_csv(delimiter=","):
    return "\n".join([delimiter.join(ROWS[0]), *(delimiter.join(map(str, row.values())) for row in ROWS)]) + "\n"


STATE = {"best_metric": None, "epoch": 0.8, "global_step": 8, "is_local_process_zero": True, "log_history": ROWS}
CONTENTS = {
    "jsonl": "".join(json.dumps(row) + "\n" for row in ROWS),
    "trainer_state": json.dumps(STATE, indent=2),
    "trainer_state on one line": json.dumps(STATE) + "\n",
    "json": json.dumps(ROWS, indent=1),
    "json of columns": json.dumps({key: [row[key] for row in ROWS] for key in ROWS[0]}),
    "csv": as_csv(),
    "csv with semicolons": as_csv(";"),
    "csv with tabs and a byte-order mark": "\ufeff" + as_csv("\t"),
    "csv with carriage returns": as_csv().replace("\n", "\r\n"),
    "console": "starting up\n[2025-01-01] {not a dict}\n" + "".join(f"{row}\n" for row in ROWS),
    "console of openrlhf": "".join(
        f"(pid=3) Global step {row['step']}: { {k: v for k, v in row.items() if k != 'step'} }\n" for row in ROWS
    ),
    "console of verl": "".join(
        "(main pid=1) step:{step} - actor/kl_loss:{kl} - critic/score/mean:{reward} - actor/pg_loss:{loss}\n".format(
            **row
        )
        for row in ROWS
    ),
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_the_format_is_told_by_the_content(read, content):
    run = read(content, name="whatever.bin")
    assert run.series["reward"].values.tolist() == pytest.approx([0.1 * step for step in range(1, 9)])
    assert run.series["kl_div"].steps.tolist() == list(range(1, 9))
    assert run.info["algorithm"] == "grpo"
    assert (run.status, run.config, run.steps, run.torn_lines) == ("completed", {}, 8, 0)
    assert len(run.samples) == len(run.checkpoints) == len(run.resources) == 0


def test_torn_and_foreign_lines_of_jsonl_are_counted(read):
    run = read(CONTENTS["jsonl"] + "[1, 2]\n" + '{"step": 9, "loss": 0.')
    assert (len(run.rows), run.torn_lines) == (8, 2)


def test_a_last_line_without_its_newline_counts(read):
    assert len(read(CONTENTS["jsonl"].rstrip("\n")).rows) == 8


def test_rows_are_a_sequence_of_rows(read):
    rows = read(CONTENTS["jsonl"]).rows
    assert len(rows) == len(list(rows)) == 8
    assert rows[-1] == list(rows)[-1] == rows[7]
    assert isinstance(rows[0], Row)
    assert rows[0].metrics["reward"] == ROWS[0]["reward"]
    assert rows[2:4] == tuple(list(rows)[2:4])
    with pytest.raises(IndexError):
        rows[8]


def test_rows_column_by_column_equal_rows_one_by_one(read):
    """The fast path of `Table.extend` must change nothing: every other layout defeats it."""
    many = [dict(row, step=step) for step, row in enumerate(ROWS * 700, start=1)]
    fast = read(many)
    slow = read([row if row["step"] % 2 else {**row, "loss": row["loss"], "note": "x"} for row in many])
    assert list(fast.rows) == list(slow.rows)
    assert len(fast.rows) == 5600
    ints = read([dict(row, reward=step) for step, row in enumerate(many)])
    assert ints.series["reward"].values[5000] == 5000.0
    holes = read([dict(row, reward=None if row["step"] == 4000 else 1) for row in many])
    assert holes.rows[3999].metrics["reward"] is None


def test_tensorboard_files_and_folders(tmp_path):
    summary = pytest.importorskip("tensorboard.compat.proto.summary_pb2").Summary
    event = pytest.importorskip("tensorboard.compat.proto.event_pb2").Event
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    folder = tmp_path / "runs" / "first"
    writer = EventFileWriter(str(folder))
    for row in ROWS:
        for key in ("loss", "reward", "kl"):
            value = math.nan if key == "reward" and row["step"] == 5 else row[key]
            told = summary(value=[summary.Value(tag=f"train/{key}", simple_value=value)])
            writer.add_event(event(step=row["step"], wall_time=1.0, summary=told))
    writer.close()
    (file,) = folder.iterdir()
    assert logs_in(tmp_path) == [folder]
    for path in (file, folder):
        (run,) = read_log(path)
        assert run.info["log"] == "tensorboard"
        assert run.series["kl_div"].values.tolist() == pytest.approx([row["kl"] for row in ROWS], rel=1e-6)
        assert math.isnan(run.series["reward"].values[4])
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(UnreadableRun, match="no rows"):
        read_log(file)


def test_without_tensorboard_the_error_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorboard.backend.event_processing.event_accumulator", None)
    file = tmp_path / "events.out.tfevents.1"
    file.write_bytes(b'\x18\0\0\0\0\0\0\0\xa3\x7fK"\t\0\0\0\0\0\0\0\0\x1a\rbrain.Event:2')
    with pytest.raises(Exception, match=r"pip install 'rlhf-assert\[report\]'") as error:
        read_log(file)
    assert len(str(error.value).splitlines()) == 1


def test_a_run_directory_is_read_as_one(make_run, rows):
    (run,) = read_log(make_run(rows, scenario="mine").path)
    assert (run.scenario, "log" in run.info) == ("mine", False)


def test_of_several_checkpoints_the_newest_state_counts(tmp_path, make_run, rows):
    for step in (8, 80, 9):
        (tmp_path / "out" / f"checkpoint-{step}").mkdir(parents=True)
        (tmp_path / "out" / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps(STATE))
    (tmp_path / "out" / "config.json").write_text("{}")
    (tmp_path / "out" / "progress.csv").write_text(as_csv())
    run = make_run(rows)
    expected = {tmp_path / "out" / "checkpoint-80" / "trainer_state.json", tmp_path / "out" / "progress.csv", run.path}
    assert set(logs_in(tmp_path)) == expected


def test_a_folder_without_logs_says_so(tmp_path):
    with pytest.raises(UnreadableRun, match="no log in this folder"):
        logs_in(tmp_path)


def box(iteration, *, reward, end="\n"):
    """A box as HumanOutputFormat of stable-baselines3 2.7 prints it."""
    rows = [
        ("rollout/", ""),
        ("   ep_len_mean", "197"),
        ("   ep_rew_mean", f"{reward:<8.3g}"),
        ("time/", ""),
        ("   iterations", str(iteration)),
        ("   total_timesteps", str(2048 * iteration)),
        ("train/", ""),
        ("   approx_kl", "0.0085"),
        ("   entropy_loss", "-0.68"),
        ("   value_loss", "nan"),
        ("   a_name_that_is_longer_than_tha...", "1"),
        ("success", "0.5"),
    ]
    rule = "-" * 50
    return end.join([rule, *(f"| {key:36} | {value:8} |" for key, value in rows), rule]) + end


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_boxes_of_stable_baselines(read, end):
    before = end.join(["Using cpu device", "--------------------", "| no box |", "Wrapping the env", ""])
    text = before + "".join(box(n, reward=-1200.0 + n, end=end) + f"Eval num_timesteps={n}{end}" for n in range(1, 6))
    run = read(text, "train.log")
    assert run.info["log"] == "console"
    assert run.series["reward"].steps.tolist() == [1, 2, 3, 4, 5]
    assert run.series["reward"].values.tolist() == [-1.2e3] * 5
    assert run.series["entropy"].values.tolist() == [0.68] * 5
    assert all(math.isnan(value) for value in run.series["value_loss"].values)
    assert set(run.unmapped) == {
        "rollout/ep_len_mean", "time/total_timesteps", "train/a_name_that_is_longer_than_tha...", "success",
    }  # fmt: skip


def test_a_box_that_is_cut_is_no_row_and_costs_no_other(read):
    whole = "".join(box(n, reward=float(n)) for n in range(1, 5))
    lines = whole.splitlines(keepends=True)
    assert read("".join(lines[5:-4])).series["reward"].values.tolist() == [2.0, 3.0]
    assert read("".join([*lines[:5], "WARNING: something\n", *lines[5:]])).series["reward"].values.tolist() == [
        2.0, 3.0, 4.0,
    ]  # fmt: skip
