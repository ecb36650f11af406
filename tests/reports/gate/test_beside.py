"""What a check says beside its verdicts: assumptions that the run at hand does not meet."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reports.gate.by_limit import limit_results
from reports.gate.check import broken_by_chance, unequal_lengths
from reports.gate.items import Item
from tests.reports.gate.made import sides, thresholds
from tests.reports.statistics.unequal import heavy, sampled

KEPT = Item(
    "ttfa: p(95)<900",
    "ttfa p95",
    "sim",
    "ms",
    "pass",
    None,
    800.0,
    780.0,
    820.0,
    limit=900.0,
    sessions=60,
    effective_sessions=60.0,
)


def test_sessions_of_unequal_length_are_said_beside_the_verdicts_on_them() -> None:
    (notice,) = unequal_lengths(
        [replace(KEPT, effective_sessions=26.2), KEPT, replace(KEPT, title="ttfa p50", effective_sessions=None)]
    )

    assert notice.startswith(
        "Sessions of unequal length count as fewer: 60 sessions of unequal length count as 26 for ttfa p95."
    )
    assert list(unequal_lengths([replace(KEPT, effective_sessions=58.0)])) == []


def test_of_several_limits_of_which_one_is_broken_it_is_said_how_often_chance_breaks_one() -> None:
    broken = replace(KEPT, result="fail")

    assert "Each of the 4 limits" in (notice := next(iter(broken_by_chance([broken, KEPT, KEPT, KEPT]))))
    assert "in 5 to 19 % of runs" in notice
    assert list(broken_by_chance([KEPT, KEPT])) == list(broken_by_chance([broken])) == []


def test_a_limit_that_depends_on_few_long_sessions_states_the_quantile_with_equal_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("reports.gate.by_limit.sample_of", lambda side, question: sampled(heavy(400), 0.6))
    (threshold,), (side,) = thresholds("ttfa: p(50)<1200"), sides()
    (item,) = limit_results(threshold, side)

    assert item.result == "inconclusive"
    assert item.reason == (
        "the limit lies within the interval. Long sessions differ from short ones, and few sessions have many of the "
        "turns; with equal weight for each session it is 1,020\u00a0ms (998 to 1,060\u00a0ms)"
    )
