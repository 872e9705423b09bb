"""rlhf-assert for OpenRLHF: trains scenarios through OpenRLHF's own commands, in an environment of their own.

`inside` runs in OpenRLHF's processes; everything else in rlhf-assert's. Importing this package imports no framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlhf_assert_openrlhf.training import OpenRLHFTraining

__all__ = ["OpenRLHFTraining"]


def __getattr__(name: str) -> Any:
    if name == "OpenRLHFTraining":
        from rlhf_assert_openrlhf.training import OpenRLHFTraining

        return OpenRLHFTraining
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
