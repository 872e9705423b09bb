"""The lock of a device: sessions on one machine train on it one after the other."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock

POLL_SECONDS = 0.1
SWITCH = "RLHF_ASSERT_LOCK"
"""Environment variable: `none` lets trainings run beside one another."""


@contextlib.contextmanager
def one_training_per_device(on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold this device's lock: two trainings at once would disturb each other's timings and memory.

    With `RLHF_ASSERT_LOCK=none` in the environment there is no lock.

    Args:
        on_wait: called about every 0.1 s while another session holds the device.
    """
    if os.environ.get(SWITCH) == "none":
        yield
        return
    device = os.environ.get("CUDA_VISIBLE_DEVICES", "all").replace(",", "-") or "none"
    lock = FileLock(Path(tempfile.gettempdir()) / f"rlhf-assert-{os.getuid()}-{device}.lock")
    while True:
        try:
            lock.acquire(timeout=POLL_SECONDS)
            break
        except TimeoutError:
            on_wait()
    try:
        yield
    finally:
        lock.release()
