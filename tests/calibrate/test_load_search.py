"""The choice of the next load of a calibration from the results of the earlier loads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtbench.calibrate.load_search import LoadGrid, LoadResult, highest_pass, lowest_fail, next_load

grids = st.builds(
    lambda first, more, precision, factor: LoadGrid(first, first + more, precision, factor),
    st.integers(1, 40),
    st.integers(0, 300),
    st.sampled_from([0.05, 0.1, 0.25, 0.5, 3.0]),
    st.sampled_from([2, 4]),
)


def tried(grid: LoadGrid, limit: int) -> list[LoadResult]:
    """Return the tries of a search. All loads up to `limit` pass, and no higher load does."""
    known: list[LoadResult] = []
    while (load := next_load(grid, known)) is not None:
        known.append(LoadResult(load, load <= limit))
    return known


@pytest.mark.parametrize(
    ("grid", "limit", "loads"),
    [
        (LoadGrid(1, 100), 1000, [1, 2, 4, 8, 16, 32, 64, 100]),
        (LoadGrid(8, 64), 20, [8, 16, 32, 32, 23, 23, 19, 21, 21, 20]),
        (LoadGrid(1, 256), 0, [1, 1]),
        (LoadGrid(300, 300), 300, [300]),
        (LoadGrid(300, 300), 299, [300, 300]),
        (LoadGrid(100, 1600, precision=0.25), 650, [100, 200, 400, 800, 800, 566, 673, 673]),
        (LoadGrid(100, 1600, precision=3.0, factor=4), 650, [100, 400, 1600, 1600]),
        (LoadGrid(100, 1600, precision=0.25), 30, [100, 100, 50, 50, 25, 35, 35, 30]),
    ],
)
def test_a_search_multiplies_the_load_until_it_fails_twice_then_narrows_the_gap(
    grid: LoadGrid, limit: int, loads: list[int]
) -> None:
    assert [result.load for result in tried(grid, limit)] == loads


def test_a_load_whose_second_try_passes_does_not_fail() -> None:
    known = [LoadResult(8, True), LoadResult(16, False), LoadResult(16, True)]

    assert next_load(LoadGrid(8, 64), known) == 32


@given(grids, st.integers(0, 400))
def test_the_bounds_of_a_result_are_as_close_as_the_precision(grid: LoadGrid, limit: int) -> None:
    known = tried(grid, limit)
    passes = highest_pass(known)
    upper = lowest_fail(known)

    assert passes <= limit
    assert upper is None or upper > limit
    assert all(result.load <= grid.max for result in known)
    if upper is None:
        assert passes == grid.max
    elif grid.first == grid.max:
        assert upper == grid.max
    elif passes:
        assert upper <= max(passes + 1, passes * (1 + grid.precision))
    else:
        assert upper < grid.factor


@given(grids, st.lists(st.booleans(), min_size=200, max_size=200))
def test_every_search_ends(grid: LoadGrid, verdicts: list[bool]) -> None:
    known: list[LoadResult] = []
    while (load := next_load(grid, known)) is not None:
        known.append(LoadResult(load, verdicts[len(known)]))

    assert all(1 <= result.load <= grid.max for result in known)
