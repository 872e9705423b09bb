"""Why a check failed: hypotheses put to the run's own data.

Each hypothesis looks at the run and comes to `Likely`, to `RuledOut`, or to None where the data is silent. The first
likely one, in the order of `HYPOTHESES` (the most specific first), is the cause; what is ruled out is told beside it.
"""

from __future__ import annotations

from rlhf_assert.causes.explaining import HYPOTHESES, explain
from rlhf_assert.causes.hypothesis import Likely, RuledOut

__all__ = ["HYPOTHESES", "Likely", "RuledOut", "explain"]
