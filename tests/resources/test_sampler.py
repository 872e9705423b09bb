"""The resource sampler against real processes, threads, forks and a full disk."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from rlhf_assert.errors import RecordingError
from rlhf_assert.recording.recorder import Recorder
from rlhf_assert.recording.run import read_run
from rlhf_assert.resources import ResourceSampler


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path / "run")


def until(condition: object, seconds: float = 20.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_the_shortest_run_has_a_first_and_a_last_sample(recorder: Recorder) -> None:
    with ResourceSampler(recorder, interval=3600.0):
        pass

    first, last = read_run(recorder.path).resources

    assert first["memory_rss"] > 1_000_000
    assert first["memory_vms"] >= first["memory_rss"]
    assert first["cpu_utilization"] is None
    assert last["cpu_utilization"] >= 0.0
    assert last["cores"] == len(os.sched_getaffinity(0))
    assert first["gpu"] if isinstance(first["gpu"], list) else first["gpu"].startswith("no GPU: ")


def test_it_samples_in_the_background_until_it_is_stopped(recorder: Recorder) -> None:
    sampler = ResourceSampler(recorder, interval=0.01)
    sampler.start()
    sampler.start()  # runs already
    assert sampler.running
    until(lambda: len(read_run(recorder.path).resources) > 4)
    sampler.stop()
    count = len(read_run(recorder.path).resources)
    sampler.stop()

    assert not sampler.running
    assert len(read_run(recorder.path).resources) == count
    assert not [thread for thread in threading.enumerate() if thread.name == "rlhf-assert-resources"]


def test_memory_and_processor_time_are_those_of_this_process(recorder: Recorder) -> None:
    with ResourceSampler(recorder, interval=3600.0):
        block = bytearray(os.urandom(1)) * 64_000_000
        begin = time.process_time()
        while time.process_time() - begin < 0.2:
            pass

    first, last = read_run(recorder.path).resources

    assert last["memory_rss"] - first["memory_rss"] > 0.8 * len(block)
    assert last["cpu_utilization"] > 0.0


def test_it_can_be_started_again(recorder: Recorder) -> None:
    sampler = ResourceSampler(recorder, interval=3600.0)
    for _ in range(2):
        with sampler:
            pass
    assert len(read_run(recorder.path).resources) == 4


def test_a_folder_that_is_full_from_the_start_is_an_error_at_start(recorder: Recorder) -> None:
    (recorder.path / "resources.jsonl").symlink_to("/dev/full")
    sampler = ResourceSampler(recorder)

    with pytest.raises(RecordingError, match="No space left on device"):
        sampler.start()

    assert not sampler.running
    sampler.stop()


class TestDiskThatFillsUp:
    """The recorder writes, then meets a full device: the thread ends, and the main thread gets the error at stop."""

    @pytest.fixture
    def failing(self, recorder: Recorder) -> ResourceSampler:
        sampler = ResourceSampler(recorder, interval=0.01)
        sampler.start()
        descriptor = os.open("/dev/full", os.O_WRONLY)
        os.dup2(descriptor, recorder._files["resources"]._descriptor)
        os.close(descriptor)
        assert sampler._thread is not None
        until(lambda: sampler._thread is not None and not sampler._thread.is_alive())
        return sampler

    def test_the_thread_ends_quietly_and_stop_raises_once(
        self, failing: ResourceSampler, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(RecordingError, match=r"resources\.jsonl: cannot write: No space left on device"):
            failing.stop()
        failing.stop()
        assert capfd.readouterr().err == ""

    def test_it_does_not_hide_the_error_that_ends_the_training(self, failing: ResourceSampler) -> None:
        with pytest.raises(ZeroDivisionError), failing:
            raise ZeroDivisionError

    def test_it_is_raised_where_the_training_ended_well(self, failing: ResourceSampler) -> None:
        with pytest.raises(RecordingError), failing:
            pass


@pytest.mark.parametrize("action", ["stop", "restart"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_forked_child_neither_hangs_nor_samples_for_its_parent(recorder: Recorder, action: str) -> None:
    sampler = ResourceSampler(recorder, interval=3600.0)
    sampler.start()
    child = os.fork()
    if child == 0:
        try:
            assert not sampler.running
            sampler.stop()
            if action == "restart":
                with sampler:
                    assert sampler.running
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    sampler.stop()

    assert os.waitstatus_to_exitcode(status) == 0
    assert len(read_run(recorder.path).resources) == (4 if action == "restart" else 2)


def test_an_interval_of_nothing_is_refused(recorder: Recorder) -> None:
    with pytest.raises(ValueError, match="interval=0"):
        ResourceSampler(recorder, interval=0)
