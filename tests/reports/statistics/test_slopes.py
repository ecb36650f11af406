"""Slopes of sessions, and how far those of two arms lie apart."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from reports.statistics import centre
from reports.statistics.arms import Arms
from reports.statistics.centre import slope_differences, theil_sen
from reports.statistics.differences import Difference, Inference, Margin
from reports.statistics.quantiles import Sample

POINT = st.tuples(st.integers(0, 40), st.floats(100, 5_000))


@given(st.lists(st.lists(POINT, min_size=1, max_size=9), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_a_session_s_slope_is_theil_s_and_sen_s(sessions: list[list[tuple[int, float]]], order: object) -> None:
    points = [(code, x, y) for code, mine in enumerate(sessions) for x, y in mine]
    order.shuffle(points)  # type: ignore[attr-defined]
    codes, x, y = (np.array(column) for column in zip(*points, strict=True))
    found = theil_sen(x.astype(float), y, codes, span=1.0)

    there = {
        code: scipy.stats.theilslopes([y for _, y in mine], [x for x, _ in mine]).slope
        for code, mine in enumerate(sessions)
        if len(mine) >= centre.POINTS and len({x for x, _ in mine}) > 1
    }
    assert dict(zip(found.sessions.tolist(), found.values, strict=True)) == pytest.approx(there)
    assert (np.diff(found.values) >= 0).all()


def test_many_pairs_are_looked_at_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    codes, x = np.repeat(np.arange(30), 10), np.tile(np.arange(10.0), 30)
    y = rng.normal(x * 20, 5)
    whole = theil_sen(x, y, codes, span=1.0)
    monkeypatch.setattr(centre, "CELLS", 100)

    assert theil_sen(x, y, codes, span=1.0).values.tolist() == whole.values.tolist()


def test_what_does_not_span_enough_has_no_slope() -> None:
    x, y = np.array([0.0, 0.3, 0.6, 0.9, 0.0, 0.4, 0.8, 1.0]), np.arange(8.0)
    found = theil_sen(x, y, np.repeat([4, 9], 4), span=1.0)

    assert found.sessions.tolist() == [9]


def test_a_few_slow_turns_do_not_move_it() -> None:
    x = np.arange(12.0)
    y = 600 + 25 * x
    y[[3, 8]] = 9_000

    assert theil_sen(x, y, np.zeros(12, dtype=np.int64), 1.0).values[0] == pytest.approx(25, abs=1)


def arm(middle: float, seed: int, sessions: int = 60) -> Sample:
    rng = np.random.default_rng(seed)
    return Sample(np.sort(rng.normal(middle, 15, sessions)), rng.permutation(sessions))


def differ(base: Sample, cand: Sample, plus: float = 10.0) -> Difference:
    (found,) = slope_differences(
        Arms(base, cand, (60, 60), paired=False), [(0.5, Margin(plus=plus))], "lower", Inference(draws=500, seed=2)
    )
    return found


@pytest.mark.parametrize(("base", "cand", "worse"), [(-20, 30, True), (5, 2, False), (30, -20, False)])
def test_arms_differ_by_their_medians_also_below_zero(base: float, cand: float, worse: bool) -> None:
    found = differ(arm(base, 1), arm(cand, 2))

    assert found.scale == "slope"
    assert found.d == pytest.approx(found.candidate - found.baseline)
    assert found.low < found.d < found.high
    assert (found.worse_low > 0) == worse
    assert (found.worse_high < 0) == (not worse)


def test_a_margin_is_in_the_unit_of_the_slope() -> None:
    base = arm(10, 1)
    cand = Sample(base.values + 12, base.sessions)

    assert differ(base, cand, plus=40).worse_high < 0
    assert differ(base, cand, plus=0).worse_low > 0
