"""For tests of detectors, anybody's: made-up data, hypothesis strategies that draw it, and a battery of properties.

The public names are listed in `__init__.pyi`; the strategies are in `rlhf_assert.strategies`. Only what draws at
random, `check_detector` among it, needs hypothesis.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
