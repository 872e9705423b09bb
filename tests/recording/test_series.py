"""One metric over the steps of a run."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rlhf_assert.recording.series import Series


def series(*values: float) -> Series:
    return Series("loss", np.arange(1, len(values) + 1), np.array(values, dtype=np.float64))


def test_first_last_and_the_finite_part() -> None:
    found = series(1.0, math.nan, math.inf, 4.0)

    assert (len(found), found.first, found.last) == (4, 1.0, 4.0)
    assert found.finite.values.tolist() == [1.0, 4.0]
    assert found.finite.steps.tolist() == [1, 4]


def test_an_empty_series_has_no_first_value() -> None:
    assert math.isnan(series().first)
    assert math.isnan(series().last)


def test_steps_and_values_must_match() -> None:
    with pytest.raises(ValueError, match="loss"):
        Series("loss", np.arange(3), np.zeros(2))
