"""Builds the two C++ operators that DeepSpeed compiles on a CPU: run by OpenRLHF's interpreter, once per environment.

They take two minutes, and every rank of a training would build them at the same time; here they are built under a lock,
into `TORCH_EXTENSIONS_DIR`. A second call finds them and ends at once. Where DeepSpeed has another accelerator than the
CPU there is nothing to build.
"""

from __future__ import annotations

import os
from pathlib import Path

from filelock import FileLock

OPERATORS = ("fused_adam", "deepspeed_shm_comm")
"""The names of `deepspeed.ops.op_builder.cpu`'s FusedAdamBuilder and ShareMemCommBuilder (DeepSpeed 0.19.6)."""


def missing(folder: Path) -> list[str]:
    """Return the operators that the folder of torch extensions does not hold."""
    return [name for name in OPERATORS if not (folder / name / f"{name}.so").is_file()]


def build(folder: Path) -> None:
    """Build what is missing; whoever comes second waits for the first."""
    if not missing(folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "build.lock"):
        if not missing(folder):
            return
        from deepspeed.ops.op_builder.cpu import FusedAdamBuilder, ShareMemCommBuilder

        for builder in (FusedAdamBuilder, ShareMemCommBuilder):
            print(f"building DeepSpeed's {builder.NAME}, about a minute", flush=True)
            builder().load(verbose=False)


if __name__ == "__main__":
    build(Path(os.environ["TORCH_EXTENSIONS_DIR"]))
