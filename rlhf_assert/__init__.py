"""rlhf-assert: real, short RLHF trainings in pytest, recorded and judged.

The public names are listed once, in `__init__.pyi`, and load on first use: importing the package costs next to nothing.
"""

from __future__ import annotations

__version__ = "0.1.0"

_NEEDS_HYPOTHESIS = frozenset({"Finds", "check_detector"})
"""Names that `from rlhf_assert import *` leaves out: hypothesis need not be installed."""

try:
    import lazy_loader
except ModuleNotFoundError:  # in OpenRLHF's processes, which import single modules without what the library needs
    _names = []
else:
    __getattr__, _, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = sorted({*_names, "__version__"} - _NEEDS_HYPOTHESIS)  # noqa: PLE0605 - a list of names


def __dir__() -> list[str]:
    return sorted({*_names, "__version__"})
