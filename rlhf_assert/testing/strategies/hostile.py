"""What nobody promised to be sane: logs of any floats, with gaps and steps that repeat."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, nan

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from rlhf_assert.recording.rows import Row
from rlhf_assert.testing.strategies.healthy import seeds
from rlhf_assert.testing.synthetic import Log

METRICS = ("reward", "kl_div", "loss", "entropy", "grad_norm", "reward_std", "value_loss", "zero_std_fraction")
NASTY = (0.0, -0.0, 1.0, 5e-324, -1e-300, 1e154, 1e300, 1.7976931348623157e308, -1.7976931348623157e308, inf, -inf, nan)
NUMBERS = st.floats(0.1, 2.0) | st.sampled_from(NASTY) | st.none() | st.floats()
STRIDES = st.sampled_from((1, 1, 1, 0, -5, 1000))


@st.composite
def hostile_logs(draw: DrawFn, metrics: Sequence[str] = METRICS, *, max_rows: int = 30) -> Log:
    """Logs that nobody promised to be sane: any float, null, rows without metrics, steps that repeat or go back.

    Up to 60 calm rows come first, which bring a detector with a memory to where it judges.

    Args:
        draw: given by hypothesis.
        metrics: which metrics the rows may hold.
        max_rows: most rows that are hostile.
    """
    calm = draw(st.integers(0, 60))
    row = st.tuples(STRIDES, st.dictionaries(st.sampled_from(metrics), NUMBERS))
    rows = draw(st.lists(row, min_size=1, max_size=max_rows))
    source = np.random.default_rng(draw(seeds()))
    values = (2.0 + 0.1 * source.standard_normal((calm, len(metrics)))).tolist()
    log = [Row(step, None, dict(zip(metrics, row, strict=True))) for step, row in enumerate(values, 1)]
    step = calm
    for stride, metrics_of_row in rows:
        step += stride
        log.append(Row(step, None, metrics_of_row))
    return tuple(log)
