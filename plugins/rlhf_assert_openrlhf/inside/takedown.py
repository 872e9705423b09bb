"""Ends the processes of a Ray that a launched training has started, at once.

Ray asks its daemons one by one to end, and the actors, whose raylet is gone, take down their interpreters meanwhile:
some six seconds of two cores. By then the driver has ended, the weights are saved and everything has been told. Only
where `rlhf_assert_openrlhf.launcher` (which ends what is left in any case) holds the training: `RLHF_ASSERT_LAUNCHED`.
"""

from __future__ import annotations

import contextlib
from typing import Any

from rlhf_assert_openrlhf.inside.post_import import after, expect_parameters


@after("ray._private.node")
def takedown(module: Any) -> None:
    """Every process that a node started, and what descends from it, by SIGKILL."""
    node = module.Node
    original = node.kill_all_processes
    expect_parameters(original, "self", "check_alive", "allow_graceful", "wait")

    def kill_all_processes(self: Any, *_: Any, **__: Any) -> None:
        import psutil

        for _, daemon in self.live_processes():
            with contextlib.suppress(psutil.NoSuchProcess):  # any of them may end by itself meanwhile
                process = psutil.Process(daemon.pid)
                workers = process.children(recursive=True)
                process.kill()  # first: a raylet would tell of each worker that it died
                for worker in workers:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        worker.kill()
        original(self, check_alive=False)

    node.kill_all_processes = kill_all_processes


HOOKS = (takedown,)
