"""Faults of the machine that trains, and of the files that it writes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlhf_assert_trl.faults.injection import Injection

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def _memory_leak(injection: Injection) -> None:
    kept: list[bytes] = []
    step = int(injection.magnitude * 2**20)
    injection.before_step(lambda: kept.append(b"\1" * step) if injection.active else None)
    injection.undo_with(kept.clear)


def _slow_step(injection: Injection) -> None:
    slept = -1

    def slowly(backward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        nonlocal slept
        if injection.active and injection.step != slept:
            slept = injection.step
            time.sleep(injection.magnitude)
        return backward(*args, **kwargs)

    injection.wrap(injection.trainer.accelerator, "backward", slowly)  # inside of what trainers log as step_time


def _checkpoint_truncated(injection: Injection) -> None:
    def truncate() -> None:
        step = injection.trainer.state.global_step
        folder = Path(injection.trainer.args.output_dir) / f"checkpoint-{step}"
        if step >= injection.onset:
            for file in (file for pattern in _WEIGHTS for file in folder.glob(pattern)):
                os.truncate(file, int(file.stat().st_size * injection.magnitude))

    injection.at_save(truncate)


INSTALLERS: dict[str, Callable[[Injection], None]] = {
    "memory_leak": _memory_leak,
    "slow_step": _slow_step,
    "checkpoint_truncated": _checkpoint_truncated,
}
