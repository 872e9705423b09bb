from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_assert.detect import Severity
from rlhf_assert.detect.detectors.non_finite import NonFinite


@pytest.mark.parametrize(("value", "text"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf"), (None, "null")])
@pytest.mark.parametrize(("metric", "severity"), [("loss", Severity.critical), ("my/metric", Severity.warning)])
def test_each_kind_is_found_where_it_is(
    find: Any, metric: str, severity: Severity, value: float | None, text: str
) -> None:
    (found,) = find(NonFinite(), [{metric: 1.0, "ok": 0.0}, {metric: value, "ok": 0.0}, {metric: 1.0, "ok": 0.0}])

    assert (found.metric, found.onset, found.severity, found.evidence["value"]) == (metric, 2, severity, text)


def test_a_metric_is_reported_once(find: Any) -> None:
    assert len(find(NonFinite(), [{"loss": math.nan, "kl_div": None}] * 10)) == 2


@given(st.lists(st.dictionaries(st.text(max_size=3), st.floats(allow_nan=False, allow_infinity=False)), max_size=5))
def test_finite_rows_are_never_reported(find: Any, rows: list[dict[str, float | None]]) -> None:
    assert find(NonFinite(), rows) == []
