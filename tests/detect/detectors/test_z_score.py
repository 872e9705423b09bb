from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rlhf_assert.detect import Severity
from rlhf_assert.detect.detectors.z_score import ZScore
from rlhf_assert.detect.outlier import outlier_in
from rlhf_assert.errors import UsageError


def noise(count: int, seed: int = 0) -> list[float]:
    source = random.Random(seed)
    return [source.gauss(0.0, 1.0) for _ in range(count)]


@given(
    place=st.integers(21, 119),
    size=st.sampled_from([-60.0, 60.0, 1e9]),
    seed=st.integers(0, 10_000),
)
def test_a_planted_spike_is_found_where_it_was_put(find: Any, place: int, size: float, seed: int) -> None:
    values = noise(120, seed)
    values[place] += size

    # Noise may earn a note of its own: how often is a rate, and in the calibration's table.
    by_onset = {anomaly.onset: anomaly for anomaly in find(ZScore(), [{"reward": value} for value in values])}

    found = by_onset[place + 1]
    assert (found.metric, found.severity) == ("reward", Severity.info)
    assert math.copysign(1.0, size) == math.copysign(1.0, float(found.evidence["z"]))


@given(scale=st.floats(-1e6, 1e6), shift=st.floats(-1e3, 1e3), place=st.integers(21, 59))
def test_scale_and_origin_do_not_matter(find: Any, scale: float, shift: float, place: int) -> None:
    assume(abs(scale) > 1e-2)
    values = noise(60)
    values[place] += 60.0

    def findings(numbers: list[float]) -> list[tuple[int, float]]:
        return [(found.onset, abs(float(found.evidence["z"]))) for found in find(ZScore(), [{"x": v} for v in numbers])]

    plain, moved = findings(values), findings([scale * value + shift for value in values])

    assert [onset for onset, _ in plain] == [onset for onset, _ in moved] == [place + 1]
    assert moved[0][1] == pytest.approx(plain[0][1], rel=1e-6)


def test_the_tested_value_is_not_in_its_own_window(find: Any) -> None:
    """With it, |z| could not pass (n - 1)/sqrt(n), 4.4 for the 21st value."""
    (found,) = find(ZScore(), [{"x": value} for value in [*noise(20), 100.0]])

    assert float(found.evidence["z"]) > 50.0
    assert found.evidence["window"] == 20


def test_the_first_twenty_rows_are_not_tested(find: Any) -> None:
    assert find(ZScore(), [{"x": value} for value in [*noise(19), 1e6]]) == []


def test_healthy_noise_and_trends_are_quiet(find: Any) -> None:
    assert find(ZScore(), [{"x": value, "y": 0.1 * step} for step, value in enumerate(noise(2000))]) == []


@pytest.mark.parametrize("window", [[1.0] * 40, [1.0, 1.0 + 1e-9] * 20, [0.0, 0.0, 0.0, 1.0] * 10])
def test_a_window_without_scale_is_not_tested(find: Any, window: list[float]) -> None:
    assert find(ZScore(), [{"x": value} for value in [*window, 5000.0]]) == []


def test_an_old_outlier_leaves_no_trace(find: Any) -> None:
    values = [*noise(30), 1e12, *noise(60, seed=1), 50.0]

    assert [found.onset for found in find(ZScore(), [{"x": value} for value in values])] == [31, 92]


@given(
    plants=st.lists(
        st.tuples(st.integers(0, 199), st.sampled_from([0.0, 4.0, -6.0, 9.0, 30.0, 1e4, 1e300])), max_size=5
    ),
    flat=st.tuples(st.integers(0, 199), st.sampled_from([0, 10, 30, 80])),
    threshold=st.sampled_from([0.9, 1.5, 3.0, 8.0]),
    seed=st.integers(0, 100),
)
def test_no_outlier_passes_unseen(
    find: Any, plants: list[tuple[int, float]], flat: tuple[int, int], threshold: float, seed: int
) -> None:
    """Values within bounds that hold for some rows are not tested: it must make no difference."""
    values = noise(200, seed)
    values[flat[0] : flat[0] + flat[1]] = [0.01 * value for value in values[flat[0] : flat[0] + flat[1]]]
    for place, size in plants:
        values[place] += size
    expected, quiet, loudest = [], 0, 0.0
    for place in range(20, 200):
        outlier = outlier_in(values[max(0, place - 50) : place], values[place], threshold)
        if outlier and not (place < quiet and abs(outlier.score) < 2.0 * loudest):
            expected.append((place + 1, outlier.score))
            quiet, loudest = place + 50, abs(outlier.score)

    found = find(ZScore(threshold), [{"x": value} for value in values])

    assert [(anomaly.onset, anomaly.evidence["z"]) for anomaly in found] == expected


def test_a_metric_is_quiet_for_a_window_after_a_report(find: Any) -> None:
    values = noise(200)
    for place in (60, 62, 64, 130):
        values[place] = 10.0 ** (place - 55) if place < 100 else 1e3

    assert [found.onset for found in find(ZScore(), [{"x": value} for value in values])] == [61, 131]


def test_thresholds_can_be_set_for_all_and_by_metric(find: Any) -> None:
    rows = [{"x": value, "y": value, "step_time": value} for value in [*noise(40), 7.0]]

    def metrics(detector: ZScore) -> list[str]:
        return [found.metric for found in find(detector, rows) if found.severity is Severity.warning]

    assert metrics(ZScore()) == []
    assert metrics(ZScore(threshold=5.0)) == ["x", "y"]
    assert metrics(ZScore(thresholds={"y": 5.0, "step_time": 5.0})) == ["y", "step_time"]
    assert metrics(ZScore(threshold=5.0, thresholds={"y": math.inf})) == ["x"]


def test_a_value_alone_is_a_note_unless_another_family_or_the_user_says_more(find: Any) -> None:
    def severities(last: dict[str, float], **options: Any) -> list[Severity]:
        calm = [dict.fromkeys(last, 1.0 + 0.01 * value) for value in noise(40)]
        return [found.severity for found in find(ZScore(**options), [*calm, last])]

    assert severities({"reward": 5.0}) == [Severity.info]
    assert severities({"reward": 1.1}) == [Severity.info]
    assert severities({"loss": 5.0, "kl_div": 5.0}) == [Severity.info, Severity.info]
    assert severities({"reward": 5.0, "kl_div": 5.0}) == [Severity.warning, Severity.warning]
    assert severities({"reward": 5.0}, thresholds={"reward": 8.0}) == [Severity.warning]
    assert severities({"reward": 5.0}, threshold=10.0) == [Severity.warning]


@pytest.mark.parametrize(
    "options", [{"threshold": 0.0}, {"threshold": math.nan}, {"thresholds": {"x": -1.0}}, {"window": 5}]
)
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ZScore(**options)
