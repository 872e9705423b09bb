"""What cannot be read costs one line, and never the judgement of the other files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from rlhf_assert.cli import main
from rlhf_assert.ingest import text
from rlhf_assert.ingest.table import MAX_KEYS
from rlhf_assert.judging import pool

LINES = [json.dumps({"step": step, "loss": 1.0 / step, "grad_norm": 1.0 + 0.1 * (step % 3)}) for step in range(1, 40)]
GOOD = "".join(line + "\n" for line in LINES)


@pytest.fixture(autouse=True)
def good(tmp_path, monkeypatch):
    """A working folder with one sound log."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.jsonl").write_text(GOOD)


def checked(*paths):
    """Return why each path was not read, None where it was; the sound log, named last, must be judged."""
    result = CliRunner().invoke(main, ["check", "--format=json", *paths, "good.jsonl"])
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("exit 2   (")
    *bad, last = json.loads(result.stdout)["runs"]
    assert (last["source"], last["error"], last["steps"]) == ("good.jsonl", None, 39)
    assert not [run for run in bad if "\n" in (run["error"] or "")]
    return {run["source"]: run["error"] for run in bad}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (os.urandom(4096) + b"\0", "not text: byte"),
        (b"", "no rows"),
        (b"step,loss\n", "no rows"),
        (GOOD.encode("utf-16"), "UTF-16 text: convert it first, iconv -f UTF-16 -t UTF-8"),
        (GOOD.encode("utf-32"), "UTF-32 text: convert it first, iconv -f UTF-32 -t UTF-8"),
        (b"\xfe\xff" + GOOD.encode("utf-16-be"), "UTF-16 text"),
        (GOOD.encode("utf-16-le"), "not text: byte 0x00 at offset 1"),
        (GOOD.encode("cp037"), "not text: byte"),
    ],
)
def test_the_reason_names_what_is_wrong(tmp_path, content, reason):
    (tmp_path / "bad").write_bytes(content)
    assert checked("bad")["bad"].startswith(reason)


def test_one_row_is_no_judgement(tmp_path):
    (tmp_path / "one.jsonl").write_text(LINES[0])
    assert checked("one.jsonl") == {"one.jsonl": None}


@pytest.mark.parametrize("start", ['{"step": 1, "loss": [', "step,loss\n1,0.5\n", "{'loss': 1}\n", "x"])
def test_a_gigabyte_on_one_line_is_not_read(tmp_path, start):
    with (tmp_path / "huge").open("wb") as stream:
        stream.write(start.encode().ljust(text.SAMPLE, b" "))
        stream.truncate(2**30)  # sparse: zeros that need no disk
    (why,) = checked("huge").values()
    assert "longer than 64 MiB" in why or "a JSON document of 1.0 GiB" in why


@pytest.mark.parametrize("width", [8, 9, 10])
def test_a_header_past_the_sample_is_a_table_all_the_same(tmp_path, width):
    """Wherever the sample of 64 KiB cuts it, behind a comma included."""
    names = [f"k{index:0{width - 2}}" for index in range(3 * MAX_KEYS)]
    rows = "".join(f"{step},{1 / step}," + "1," * (len(names) - 1) + "1\n" for step in range(1, 8))
    (tmp_path / "wide.csv").write_text("step,loss," + ",".join(names) + "\n" + rows)
    result = CliRunner().invoke(main, ["check", "--format=json", "wide.csv"])
    (run,) = json.loads(result.stdout)["runs"]
    assert (run["error"], run["steps"], run["metrics"]) == (None, 7, ["loss"])


def test_a_million_columns_are_no_log(tmp_path):
    (tmp_path / "wide.csv").write_text(",".join(f"k{index}" for index in range(1_000_001)) + "\n1\n")
    assert checked("wide.csv") == {"wide.csv": "1000001 columns: no log"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_what_may_never_end_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    assert checked("pipe", "zero") == {
        "pipe": "a pipe, not a file: save it to a file first",
        "zero": "a device, not a file: save it to a file first",
    }


def test_names_that_lead_nowhere(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("gone")
    long = "x" * 5000
    assert checked("loop", "dangling", "", long) == {
        "loop": "a link to loop, which leads nowhere",
        "dangling": "a link to gone, which leads nowhere",
        "": "an empty name: a variable that is not set?",
        long: "File name too long",
    }


@pytest.mark.skipif(os.name != "posix", reason="permissions of this kind are POSIX's")
def test_what_is_closed_is_told_also_within_a_folder(tmp_path):
    for name in ("logs", "logs/closed", "run"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "log.jsonl").write_text(GOOD)
    (tmp_path / "run" / "run.json").write_text('{"format": 1}')
    (tmp_path / "run" / "metrics.jsonl").write_text(GOOD)
    (tmp_path / "secret.jsonl").write_text(GOOD)
    for name in ("secret.jsonl", "run/metrics.jsonl", "logs/closed"):
        (tmp_path / name).chmod(0)
    tmp_path.chmod(0o755)
    code = (
        "import os\n"
        "from click.testing import CliRunner\n"
        "from rlhf_assert.cli import main\n"
        "call = lambda *paths: CliRunner().invoke(main, ['check', '--format=json', *paths])\n"
        "call('good.jsonl')\n"  # imports everything, which another user may not be allowed to
        "if os.geteuid() == 0:\n"
        "    os.setgroups([]), os.setegid(65534), os.seteuid(65534)\n"
        "result = call('logs', 'logs/closed', 'logs/closed/log.jsonl', 'secret.jsonl', 'run', 'good.jsonl')\n"
        "assert result.exit_code == 2, result.output\n"
        "print(result.stdout)"
    )
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    finally:
        (tmp_path / "logs" / "closed").chmod(0o700)
    found = [(run["source"], run["error"]) for run in json.loads(done.stdout)["runs"]]
    denied = "Permission denied"
    assert [source for source, error in found if error is None] == ["logs/log.jsonl", "good.jsonl"]
    assert [(source, error.rpartition(": ")[2]) for source, error in found if error is not None] == [
        ("logs/closed", denied), ("logs/closed", denied), ("logs/closed/log.jsonl", denied), ("secret.jsonl", denied),
        ("run", denied),
    ]  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forked, so that they inherit the fault")
def test_a_process_that_is_killed_takes_no_other_log_with_it(tmp_path, monkeypatch):
    from rlhf_assert.judging import answers

    read_log = answers.read_log

    def read_or_die(path):
        if path.name == "deadly.jsonl":
            os.kill(os.getpid(), signal.SIGKILL)
        return read_log(path)

    names = ["deadly.jsonl", *(f"log{index}.jsonl" for index in range(6))]
    for name in names:
        (tmp_path / name).write_text(GOOD)
    monkeypatch.setattr(answers, "read_log", read_or_die)
    monkeypatch.setattr(pool, "WORTH_FILES", 2)
    monkeypatch.setattr(pool, "usable_cores", lambda: 2)
    found = checked(*names)
    assert found.pop("deadly.jsonl") == "the process that judged it was killed: out of memory?"
    assert set(found.values()) == {None}
