"""What a node sends back: the run directory, logs before checkpoints, up to a limit; or why it cannot train."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
from filelock import FileLock

from rlhf_assert import Recorder, scenario
from rlhf_assert.training.locator import locate_one, packaged_scenarios
from rlhf_assert.training.request import Request, encode_request
from rlhf_assert.training.runner import RemoteRunner, Runner
from rlhf_assert_ray.cluster import ClusterRunner, needs, unpack
from rlhf_assert_ray.node import pack, within

MINE = """
from rlhf_assert import scenario

@scenario(backend="trl")
def mine(ctx): ...

@scenario(backend="trl", requires=("no-such-package>=9",), reason="it has what we need")
def unmet(ctx): ...

@scenario(backend="trl")
def endless(ctx):
    import time
    (ctx.output_dir.parent / "begun").touch()
    time.sleep(600)
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    recorder = Recorder(tmp_path / "run", scenario="mine")
    recorder.row(1, {"loss": 1.0})
    recorder.finish("completed")
    saved = tmp_path / "run" / "checkpoints"
    (saved / "global_step2_hf").mkdir()
    (saved / "global_step2_hf" / "model.safetensors").write_bytes(os.urandom(50_000))
    (saved / "checkpoint-2").symlink_to("global_step2_hf")
    return tmp_path / "run"


def sent(run: Path, limit: int) -> tuple[io.BytesIO, list[str]]:
    stream, left_out = io.BytesIO(), []
    files = list(within(run, limit, left_out))
    stream.write(orjson.dumps({"missing": None, "left_out": left_out}) + b"\n")
    pack(run, files, stream)
    stream.seek(0)
    return stream, left_out


def test_a_run_comes_back_as_it_was(run: Path, tmp_path: Path) -> None:
    stream, left_out = sent(run, 1 << 20)
    assert unpack(stream, tmp_path / "back") == left_out == []
    names = {str(path.relative_to(run)) for path in run.rglob("*") if not path.is_dir()}
    assert names == {
        str(path.relative_to(tmp_path / "back")) for path in (tmp_path / "back").rglob("*") if not path.is_dir()
    }
    for name in names:
        assert (run / name).read_bytes() == (tmp_path / "back" / name).read_bytes()
    assert (tmp_path / "back" / "checkpoints" / "checkpoint-2").is_symlink()


def test_what_is_too_large_is_left_out_and_named(run: Path, tmp_path: Path) -> None:
    stream, left_out = sent(run, 20_000)
    assert left_out == ["checkpoints/global_step2_hf/model.safetensors"]
    assert unpack(stream, tmp_path / "back") == left_out
    assert (tmp_path / "back" / "metrics.jsonl").read_bytes() == (run / "metrics.jsonl").read_bytes()


def test_a_cluster_has_a_runner_like_any_other() -> None:
    connect: RemoteRunner = ClusterRunner
    assert isinstance(connect, type)
    assert isinstance(ClusterRunner.__new__(ClusterRunner), Runner)


def test_needs_are_the_scenarios_own_or_its_backends() -> None:
    @scenario(backend="trl", gpus=1)
    def large(ctx: Any) -> None: ...

    assert needs(packaged_scenarios()["trl-sft"]) == {"CPU": 1.0, "GPU": 0.0}
    assert needs(large) == {"CPU": 1.0, "GPU": 1}


def order(file: Path, name: str) -> bytes:
    request = encode_request(Request.of(locate_one(f"{file}::{name}"), steps=2))
    training = {"request": request, "name": "run", "folder": "/none"}
    return orjson.dumps({**training, "limit": 1 << 20, "detection": {}}) + b"\n"


def start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "rlhf_assert_ray.node"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def test_a_node_says_what_it_has_not(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    with start() as process:
        said, _ = process.communicate(order(tmp_path / "mine.py", "unmet"))
    assert orjson.loads(said)["missing"].startswith("unmet needs no-such-package>=9")
    assert process.returncode == 0


def test_what_a_killed_one_left_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "mine.py").write_text(MINE)
    for name in ("left", "held", "young"):
        (tmp_path / f"rlhf-assert-node-{name}" / "run").mkdir(parents=True)
        if name != "young":
            os.utime(tmp_path / f"rlhf-assert-node-{name}", (0, 0))
    with FileLock(tmp_path / "rlhf-assert-node-held" / "held.lock"):
        os.utime(tmp_path / "rlhf-assert-node-held", (0, 0))
        with start() as process:
            process.communicate(order(tmp_path / "mine.py", "unmet"))
    assert {path.name for path in tmp_path.glob("rlhf-assert-node-*")} == {
        "rlhf-assert-node-held",
        "rlhf-assert-node-young",
    }


@pytest.mark.training
def test_a_training_ends_with_who_asked_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "mine.py").write_text(MINE)
    with start() as process:
        assert process.stdin is not None
        process.stdin.write(order(tmp_path / "mine.py", "endless"))
        process.stdin.flush()
        while not list(tmp_path.glob("rlhf-assert-node-*/run/begun")):
            assert process.poll() is None
            time.sleep(0.1)
        family = psutil.Process(process.pid).children(recursive=True)
        assert family
        process.stdin.close()
        process.wait()
    assert not psutil.wait_procs(family, timeout=30)[1]
    assert not list(tmp_path.glob("rlhf-assert-node-*"))
