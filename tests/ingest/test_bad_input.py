"""What is no log is refused in one line that names the reason, within bounded memory."""

from __future__ import annotations

import os
import threading
import tracemalloc

import pytest

from rlhf_assert.errors import UnreadableRun
from rlhf_assert.ingest import read_log, text
from rlhf_assert.ingest.table import MAX_KEYS


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no rows"),
        (b"  \n \n", "no rows"),
        (b"\x7fELF\x02\x01\x01\0\0\0", "not text: byte 0x02 at offset 4"),
        (b"\x89PNG\r\n\x1a\n\0\0", "not text: byte 0x89 at offset 0"),
        (b"loss,step\n\xe9,1\n", "not text: byte 0xe9 at offset 10"),
        ("{'loss': 1}\n".encode("utf-16"), "UTF-16 text: convert it first"),
        (b"hello\nworld\n", "no rows"),
        (b"\t\r!", "no rows"),
        (b"[]", "no rows"),
        (b"{}", "no rows"),
        (b'{"log_history": []}', "no rows"),
        (b'{"a": "b"}{', "no JSON"),
        (b"step,loss\n", "no rows"),
        (b'{"loss": ' + b"[" * 100_000, "no JSON"),
    ],
)
def test_the_reason_is_told_in_one_line(tmp_path, content, reason):
    path = tmp_path / "log"
    path.write_bytes(content)
    with pytest.raises(UnreadableRun) as error:
        read_log(path)
    assert str(error.value).startswith(reason)
    assert "\n" not in str(error.value)


def test_a_line_without_end_is_not_read_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "LONGEST_LINE", 2**22)
    path = tmp_path / "long.jsonl"
    with path.open("wb") as stream:
        stream.write(b'{"step": 1, "loss": 1.0}\n{"step": 2, "note": "')
        for _ in range(64):
            stream.write(b"x" * 2**20)
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableRun, match="line 2 is longer than"):
            read_log(path)
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()


def test_keys_beyond_the_limit_are_counted_and_known_metrics_kept(read):
    rows = [{"step": s, **{f"key{s}_{index}": 1.0 for index in range(3000)}} for s in range(1, 6)]
    rows.append({"step": 6, "loss": 0.5})
    run = read(rows)
    assert len(run.original) == MAX_KEYS + 1
    assert run.info["keys_left_out"] == 15_000 - MAX_KEYS
    assert run.series["loss"].values.tolist() == [0.5]


def test_one_record_with_far_too_many_keys_is_cut_to_the_known_ones(read):
    run = read([{"step": 1, **{f"key{index}": 1.0 for index in range(50_000)}, "loss": 0.5}])
    assert run.series["loss"].values.tolist() == [0.5]
    assert run.info["keys_left_out"] == 50_002 - MAX_KEYS - 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_and_a_device_are_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, reason in ((tmp_path / "pipe", "a pipe, not a file"), (tmp_path / "zero", "a device, not a file")):
        if path.name == "zero":
            path.symlink_to("/dev/zero")
        with pytest.raises(UnreadableRun, match=reason):
            read_log(path)


def test_a_file_that_grows_is_read_as_long_as_it_was(tmp_path):
    path = tmp_path / "growing.jsonl"
    line = b'{"step": 1, "loss": 1.0}\n'
    path.write_bytes(line * 100)
    lines = text.lines_of(path)
    next(lines)
    with path.open("ab") as stream:
        stream.write(line * 100)
    assert sum(1 for _ in lines) == 99


def test_a_file_that_is_written_meanwhile_is_read(tmp_path):
    path = tmp_path / "growing.jsonl"
    line = b'{"step": 1, "loss": 1.0}\n'
    path.write_bytes(line)
    stop = threading.Event()

    def write():
        with path.open("ab", buffering=0) as stream:
            while not stop.is_set():
                stream.write(line[:10])
                stream.write(line[10:])

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(5):
            (run,) = read_log(path)
            assert run.torn_lines <= 1
    finally:
        stop.set()
        thread.join()


def test_huge_and_hostile_numbers(read):
    run = read('{"step": 1, "loss": 1' + "0" * 400 + '}\n{"step": 2, "loss": -1e999}\n{"step": 9e99, "loss": true}\n')
    assert run.series["loss"].values.tolist()[1:] == [float("-inf"), 1.0]
    assert run.series["loss"].steps.tolist() == [1, 2, 2]
