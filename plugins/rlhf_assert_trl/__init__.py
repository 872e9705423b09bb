"""rlhf-assert for TRL: trains scenarios, and watches anybody's TRL trainer through `HealthCallback`.

Importing this package imports no framework; `HealthCallback` is loaded when it is first asked for (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlhf_assert_trl.callback import HealthCallback

__all__ = ["HealthCallback"]


def __getattr__(name: str) -> Any:
    if name == "HealthCallback":
        from rlhf_assert_trl.callback import HealthCallback

        return HealthCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
