"""The choice of the next load of a search from the results of the earlier loads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.results.value import Result
from rtbench.load_search import (
    VERDICTS,
    LevelResult,
    LoadGrid,
    NextLevel,
    bracket_of,
    levels_left,
    next_level,
)

GRID = LoadGrid(1, 256)
grids = st.builds(
    lambda first, more, precision, factor: LoadGrid(first, first + more, precision, factor),
    st.integers(1, 40),
    st.integers(0, 300),
    st.sampled_from([0.05, 0.1, 0.25, 0.5, 3.0]),
    st.sampled_from([2, 4]),
)
RISING: tuple[tuple[int, Result], ...] = (
    (8, "pass"),
    (16, "inconclusive"),
    (32, "inconclusive"),
    (64, "fail"),
)


def results(*played: tuple[int, Result]) -> list[LevelResult]:
    return [LevelResult(*one) for one in played]


def play_search(grid: LoadGrid, limit: int, beyond: Result = "fail") -> list[LevelResult]:
    """Return the levels of a search. All loads up to `limit` pass, and all higher loads get the
    verdict `beyond`.
    """
    known: list[LevelResult] = []
    while (step := next_level(grid, known)) is not None:
        known.append(
            LevelResult(step.load, "pass" if step.load <= limit else beyond, step.confirmation_run)
        )
    return known


@pytest.mark.parametrize(
    ("grid", "limit", "beyond", "loads"),
    [
        (LoadGrid(1, 100), 1000, "fail", [1, 2, 4, 8, 16, 32, 64, 100, 100]),
        (LoadGrid(8, 64), 20, "fail", [8, 16, 32, 23, 19, 21, 20, 20]),
        (GRID, 0, "fail", [1]),
        (
            LoadGrid(100, 1600, precision=0.25),
            650,
            "not_evaluated",
            [100, 200, 400, 800, 800, 566, 673, 673, 566],
        ),
        (
            LoadGrid(100, 1600, precision=3.0, factor=4),
            650,
            "not_evaluated",
            [100, 400, 1600, 1600, 400],
        ),
        (
            LoadGrid(100, 1600, precision=0.25),
            30,
            "not_evaluated",
            [100, 100, 50, 50, 25, 35, 35, 30, 30],
        ),
    ],
)
def test_a_search_multiplies_the_load_until_it_fails_then_bisects_and_confirms(
    grid: LoadGrid, limit: int, beyond: Result, loads: list[int]
) -> None:
    assert [result.load for result in play_search(grid, limit, beyond)] == loads


@pytest.mark.parametrize(
    ("limit", "played"),
    [
        (300, [LevelResult(300, "pass"), LevelResult(300, "pass", confirmation_run=True)]),
        (299, results((300, "fail"))),
    ],
)
def test_a_search_with_one_load_tries_no_other(limit: int, played: list[LevelResult]) -> None:
    only = LoadGrid(300, 300)

    assert play_search(only, limit) == played
    assert levels_left(only, []) == 1
    assert next_level(only, []) == NextLevel(300, confirmation_run=False, last=True)
    assert next_level(only, results((300, "inconclusive"))) is None, "it had all the time"


SEEMS = [
    LevelResult(8, "inconclusive", seems_to_pass=True),
    LevelResult(16, "inconclusive", seems_to_pass=True),
]
TWICE = results(*RISING, (32, "inconclusive"), (16, "inconclusive"))
FINE = results(
    (20, "pass"),
    (40, "fail"),
    (28, "fail"),
    (23, "fail"),
    (21, "inconclusive"),
    (22, "fail"),
    (21, "inconclusive"),
)
FEW = results((40, "inconclusive"), (80, "fail"), (20, "inconclusive"))
BELOW = results(*RISING, (11, "pass"), (13, "inconclusive"), (12, "pass"))
COARSE, DOUBLE = LoadGrid(8, 64, precision=1.0), LoadGrid(40, 80, precision=1.0)
UNHELD = LevelResult(1, "not_evaluated", confirmation_run=True)
NEXT: dict[str, tuple[LoadGrid, list[LevelResult], NextLevel | None]] = {
    "the gap below inconclusive levels is narrowed": (GRID, results(*RISING), NextLevel(11, False)),
    "the gap above them is narrowed after it": (GRID, BELOW, NextLevel(45, False)),
    "the middle one is played again": (COARSE, results(*RISING), NextLevel(32, False)),
    "one below it is played again": (
        COARSE,
        results(*RISING, (32, "inconclusive")),
        NextLevel(16, False),
    ),
    "none is if the answer is precise now": (
        COARSE,
        results(*RISING, (32, "pass")),
        NextLevel(32, True),
    ),
    "each is played on in all the time left": (COARSE, TWICE, NextLevel(32, False, last=True)),
    "each once": (
        COARSE,
        [*TWICE, *results((32, "inconclusive"))],
        NextLevel(16, False, last=True),
    ),
    "then the confirmation run": (
        COARSE,
        [*TWICE, *results((32, "inconclusive"), (16, "inconclusive"))],
        NextLevel(8, True),
    ),
    "a crash is no answer of a level that is played on": (
        COARSE,
        [*TWICE, *results((32, "inconclusive"), (16, "not_evaluated"))],
        NextLevel(16, False, last=True),
    ),
    "none is played on if the answer is precise without it": (
        LoadGrid(20, 40, 0.1),
        FINE,
        NextLevel(20, True),
    ),
    "one is if it is not": (LoadGrid(20, 40, 0.05), FINE, NextLevel(21, False, last=True)),
    "below an inconclusive first level": (DOUBLE, FEW[:2], NextLevel(20, False)),
    "no further below one that is inconclusive, too": (DOUBLE, FEW, NextLevel(40, False)),
    "further below one that fails": (
        DOUBLE,
        [*FEW[:2], *results((20, "fail"))],
        NextLevel(10, False),
    ),
    "not below a level that seems to pass": (LoadGrid(8, 16), SEEMS, NextLevel(16, False)),
    "above it": (LoadGrid(8, 16), [SEEMS[0], *results((16, "fail"))], NextLevel(11, False)),
    "a confirmation run without a verdict is repeated": (
        GRID,
        [*results((1, "pass"), (2, "fail")), UNHELD],
        NextLevel(1, True),
    ),
    "once": (GRID, [*results((1, "pass"), (2, "fail")), UNHELD, UNHELD], None),
}


@pytest.mark.parametrize(("grid", "known", "step"), NEXT.values(), ids=NEXT)
def test_the_next_level_follows_from_the_results_so_far(
    grid: LoadGrid, known: list[LevelResult], step: NextLevel | None
) -> None:
    assert next_level(grid, known) == step


@given(grids, st.integers(0, 400), st.sampled_from(["fail", "not_evaluated"]))
def test_the_bounds_of_a_result_are_as_close_as_the_precision(
    grid: LoadGrid, limit: int, beyond: Result
) -> None:
    known = play_search(grid, limit, beyond)
    bracket, upper = bracket_of(known), bracket_of(known).upper

    assert bracket.highest_pass <= limit
    assert upper is None or upper > limit
    assert all(result.load <= grid.max for result in known)
    if upper is None:
        assert bracket.highest_pass == grid.max
    elif grid.first == grid.max:
        assert upper == grid.max
    elif bracket.highest_pass:
        assert upper <= max(bracket.highest_pass + 1, bracket.highest_pass * (1 + grid.precision))
    else:
        assert upper < grid.factor


@given(grids, st.lists(st.sampled_from(VERDICTS), min_size=100, max_size=100))
def test_a_search_needs_at_most_the_levels_counted_beforehand(
    grid: LoadGrid, verdicts: list[Result]
) -> None:
    known: list[LevelResult] = []
    most = levels_left(grid, known)
    while (
        (step := next_level(grid, known)) is not None
        and not step.confirmation_run
        and not step.last
    ):
        left = levels_left(grid, known)
        assert left >= 1
        known.append(LevelResult(step.load, verdicts[len(known)]))
        assert levels_left(grid, known) < left

    assert len(known) <= most


@given(grids, st.lists(st.sampled_from([*VERDICTS, "not_evaluated"]), min_size=200))
def test_every_search_ends(grid: LoadGrid, verdicts: list[Result]) -> None:
    known: list[LevelResult] = []
    while (step := next_level(grid, known)) is not None:
        known.append(LevelResult(step.load, verdicts[len(known)], step.confirmation_run))

    assert all(1 <= result.load <= grid.max for result in known)
