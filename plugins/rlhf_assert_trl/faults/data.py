"""Faults of the data that a trainer is fed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from rlhf_assert_trl.faults.injection import Injection


def _data_repeated(injection: Injection) -> None:
    wanted = max(1, int(injection.magnitude))
    kept: list[Any] = []
    drawn = 0

    def repeat(fresh: Any) -> Any:
        """Return a batch in place of a fresh one, which is drawn all the same: no epoch gets longer."""
        nonlocal drawn
        if not injection.active:
            return fresh
        if len(kept) < wanted:
            kept.append(copy.deepcopy(fresh))
        drawn += 1
        return copy.deepcopy(kept[(drawn - 1) % len(kept)])

    if injection.algorithm == "ppo":
        injection.set(injection.trainer, "dataloader", _Repeating(injection.trainer.dataloader, repeat))
    else:
        injection.wrap(
            injection.trainer, "get_batch_samples", lambda method, *args, **kwargs: repeat(method(*args, **kwargs))
        )


class _Repeating:
    """A data loader whose batches pass through a function."""

    def __init__(self, loader: Any, change: Callable[[Any], Any]) -> None:
        self._loader = loader
        self._change = change

    def __iter__(self) -> Iterator[Any]:
        return (self._change(batch) for batch in self._loader)


INSTALLERS: dict[str, Callable[[Injection], None]] = {"data_repeated": _data_repeated}
