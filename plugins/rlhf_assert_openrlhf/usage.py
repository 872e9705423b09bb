"""What a tree of processes uses."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

import psutil

from rlhf_assert.resources.gpu import GPUs


class TreeUsage:
    """Memory and processor time of a process and all its descendants.

    Args:
        root: the process number.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._before: tuple[float, float] | None = None
        self._gpus = GPUs()

    def take(self) -> dict[str, Any]:
        """Return one sample with the fields of `rlhf_assert.resources.ResourceSampler`, summed over the processes.

        Memory that processes share counts in each of them.
        """
        rss = vms = 0
        used = 0.0
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(self._root)
            for process in (root, *root.children(recursive=True)):
                with contextlib.suppress(psutil.Error), process.oneshot():
                    memory, times = process.memory_info(), process.cpu_times()
                    rss, vms, used = rss + memory.rss, vms + memory.vms, used + times.user + times.system
        now, cores = time.monotonic(), len(os.sched_getaffinity(0))
        share = None
        if self._before is not None and now > self._before[0]:  # a process that ended takes its time with it
            share = max(0.0, (used - self._before[1]) / ((now - self._before[0]) * cores))
        self._before = now, used
        return {"memory_rss": rss, "memory_vms": vms, "cpu_utilization": share, "cores": cores, **self._gpus.usage()}
