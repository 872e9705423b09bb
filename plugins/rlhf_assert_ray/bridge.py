"""Makes each training a Ray task: run as a script, by an interpreter that has Ray and need not have rlhf-assert.

`python bridge.py ADDRESS` reads a JSON line per training from standard input (`ClusterRunner.submit`), and answers with
a line `{"ready": true}` or `{"error"}`, and then one per training, as it ends: `id`, `node`, `exit`, `said`, `lost`.
The bytes that the training's process printed are in the order's `file` by then. When standard input closes, it ends,
and Ray with it ends the tasks: nothing outlives the session that started it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

ATTEMPTS = 2
"""A training whose node is lost is trained once more."""


def work(words: list[str], variables: dict[str, str], order: bytes) -> Iterator[bytes]:
    """Run a command on the node on which this task is, and yield the node, what it prints, and how it ended.

    Its standard input stays open as long as this task lives: it ends when that closes.
    """
    import shutil
    import subprocess
    import tempfile

    import ray

    context = ray.get_runtime_context()
    yield json.dumps({"node": context.get_node_id(), "host": os.uname().nodename}).encode()
    if shutil.which(words[0]) is None:
        yield json.dumps({"exit": 127, "said": f"{words[0]}: no such program on this node"}).encode()
        return
    # What Ray tells its workers is not for a training, which may start a Ray of its own.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHONPATH"))}
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603 - the interpreter that the user named
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**inherited, **variables},
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(order)
        process.stdin.flush()
        while chunk := process.stdout.read(4 << 20):
            yield chunk
        code = process.wait()
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
    yield json.dumps({"exit": code, "said": said[-1]}).encode()


def attempt(order: dict[str, Any]) -> dict[str, Any]:
    """Run an order once, its output into its `file`; raises what Ray raises when the node is lost."""
    import ray

    needs = order["needs"]
    task = ray.remote(work).options(
        num_cpus=needs["CPU"], num_gpus=needs["GPU"], max_retries=0, num_returns="streaming", name=order["name"]
    )
    chunks = iter(task.remote(order["words"], order["variables"], json.dumps(order["training"]).encode() + b"\n"))
    node: dict[str, Any] = {}
    try:
        node = json.loads(ray.get(next(chunks)))
        with open(order["file"], "wb") as file:  # noqa: PTH123 - an interpreter's own tools are enough here
            last = b""
            for reference in chunks:
                file.write(last)
                last = ray.get(reference)
        return {"node": node, **json.loads(last)}
    except ray.exceptions.RayTaskError as error:  # the task itself is wrong: no other node helps
        return {"node": node, "exit": None, "said": str(error).strip().splitlines()[-1]}
    except ray.exceptions.RayError as error:
        raise Lost(node, type(error).__name__) from error


class Lost(Exception):
    """A task ended without its answer: its node or its process is gone.

    Args:
        node: where it ran; empty if it had not begun.
        reason: the name of Ray's error.
    """

    def __init__(self, node: dict[str, Any], reason: str) -> None:
        super().__init__(reason)
        self.record = {**node, "reason": reason}


def fulfil(order: dict[str, Any]) -> dict[str, Any]:
    """Run an order to its end, again if its node is lost, and return the answer."""
    lost: list[dict[str, Any]] = []
    while len(lost) < ATTEMPTS:
        if said := unmet(order["needs"]):
            return {"id": order["id"], "exit": None, "said": said, "lost": lost}
        try:
            return {"id": order["id"], **attempt(order), "lost": lost}
        except Lost as error:
            lost.append(error.record)
    return {"id": order["id"], "exit": None, "said": f"lost {len(lost)} times", "lost": lost}


def unmet(needs: dict[str, float]) -> str | None:
    """Return why no living node can ever run a task with these needs, None if one can."""
    import ray

    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(all(node.get(kind, 0.0) >= amount for kind, amount in needs.items()) for node in alive):
        return None
    wanted = " and ".join(f"{amount:g} {kind}" for kind, amount in needs.items() if amount)
    return f"no node of the cluster has {wanted}"


def main() -> None:
    """Serve orders until standard input closes."""
    replies = os.dup(1)
    os.dup2(2, 1)  # what Ray prints is no reply
    lock = threading.Lock()

    def reply(message: dict[str, Any]) -> None:
        with lock:
            os.write(replies, json.dumps(message).encode() + b"\n")

    try:
        import ray

        ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR", configure_logging=False)
    except Exception as error:  # noqa: BLE001 - whatever it is, the session has to say it
        said = str(error).strip().splitlines() or [type(error).__name__]
        reply({"error": said[0]})
        return
    reply({"ready": True, "nodes": sum(node["Alive"] for node in ray.nodes())})
    for line in sys.stdin:
        order = json.loads(line)
        threading.Thread(target=lambda order=order: reply(fulfil(order)), daemon=True).start()
    ray.shutdown()  # ends this driver's tasks, wherever they are
    os._exit(0)  # threads still wait for them


if __name__ == "__main__":
    main()
