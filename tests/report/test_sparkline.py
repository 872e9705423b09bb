from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rlhf_assert.report.sparkline import ASCII, BLOCKS, NOT_FINITE, Axis, sparkline

STEPS = st.integers(-(2**62), 2**62)


@given(
    values=st.lists(st.floats(width=64), max_size=200),
    cells=st.integers(1, 60),
    plain=st.booleans(),
)
def test_any_floats_give_the_asked_cells(values, cells, plain):
    drawn = sparkline(values, cells=cells, ascii=plain).cells
    assert len(drawn) == cells
    assert set(drawn) <= set((ASCII if plain else BLOCKS) + NOT_FINITE + " ")
    assert drawn.isascii() or not plain
    assert (NOT_FINITE in drawn) == (not np.isfinite(values).all())
    assert (" " in drawn) == (not values)


@given(
    values=arrays(np.float64, st.integers(0, 80), elements=st.floats(width=64)),
    data=st.data(),
    edges=st.lists(STEPS, min_size=2, max_size=2).map(sorted),
    cells=st.integers(1, 60),
)
def test_any_steps_give_the_asked_cells(values, data, edges, cells):
    steps = data.draw(arrays(np.int64, len(values), elements=STEPS))
    assert len(sparkline(values, steps, axis=Axis(edges[0], edges[1], cells)).cells) == cells


@given(first=st.integers(-1000, 1000), steps=st.integers(1, 500), cells=st.integers(1, 60), data=st.data())
def test_the_cell_of_a_step_shows_that_step(first, steps, cells, data):
    axis = Axis(first, first + steps - 1, cells)
    step = data.draw(st.integers(axis.first, axis.last))
    steps_drawn = sorted({first, step})
    drawn = sparkline([1.0, 9.0][-len(steps_drawn) :], steps_drawn, axis=axis)
    assert drawn.cells[axis.cell(step)] != " "
    if axis.cell(step) > axis.cell(first):
        assert drawn.cells[axis.cell(step)] == BLOCKS[-1]
        assert drawn.cells[axis.cell(step) - 1] == BLOCKS[0]


@pytest.mark.parametrize(
    ("values", "cells", "expected"),
    [
        ([], 4, "    "),
        ([0.0, 0.0, 0.0], 3, "▁▁▁"),
        ([7.0], 4, "▅▅▅▅"),
        ([1.0, 2.0], 4, "▁▁██"),
        ([1.0, float("nan"), 2.0, float("inf")], 8, "▁▁!!██!!"),
        (list(range(8)), 8, BLOCKS),
        (list(range(80)), 8, BLOCKS),
        ([float("-inf")] * 2, 2, "!!"),
    ],
)
def test_small_curves(values, cells, expected):
    assert sparkline(values, cells=cells).cells == expected


def test_steps_without_a_row_repeat_the_one_before_and_are_blank_outside():
    assert sparkline([0.0, 1.0], [3, 5], axis=Axis(1, 6, 6)).cells == "  ▁▁█ "


def test_one_bad_value_in_a_full_cell_shows():
    values = np.ones(400)
    values[203] = np.nan
    assert sparkline(values, cells=40).cells == "▅" * 20 + "!" + "▅" * 19


@pytest.mark.parametrize(("top", "log_scale"), [(29.0, False), (34.0, True)])
def test_log_scale_past_thirty_to_one(top, log_scale):
    drawn = sparkline(np.geomspace(1.0, top, 40))
    assert drawn.log_scale is log_scale
    if log_scale:
        assert set(drawn.cells) == set(BLOCKS)
        assert max(drawn.cells.count(block) for block in BLOCKS) <= 7


def test_log_scale_needs_values_that_are_not_negative():
    assert sparkline([0.0, *np.geomspace(0.01, 100.0, 39)]).log_scale
    assert not sparkline([-0.001, *np.geomspace(0.01, 100.0, 39)]).log_scale


def test_a_tiny_first_value_does_not_make_the_scale_logarithmic():
    assert not sparkline([0.0, 1e-9, *np.linspace(0.1, 0.2, 38)]).log_scale


@pytest.mark.parametrize("seed", range(20))
def test_noise_looks_flat_and_a_change_does_not(seed):
    noise = np.random.default_rng(seed).normal(0.0, 1.0, 40)
    levels = [BLOCKS.index(cell) for cell in sparkline(noise).cells]
    assert max(levels) - min(levels) <= 5
    assert np.std(levels) < 1.2
    changed = [BLOCKS.index(cell) for cell in sparkline(noise + np.repeat([0.0, 20.0], 20)).cells]
    assert np.mean(changed[20:]) - np.mean(changed[:20]) > 4


def test_two_per_cent_look_flat_and_twenty_do_not():
    assert len(set(sparkline(np.linspace(1.00, 1.02, 6), cells=6).cells)) <= 3
    assert sparkline(np.linspace(1.0, 1.2, 8), cells=8).cells == BLOCKS


@pytest.mark.parametrize("wrong", [(1, 5, 0), (5, 1, 10)])
def test_an_axis_needs_cells_and_steps(wrong):
    with pytest.raises(ValueError, match="no axis"):
        Axis(*wrong)
