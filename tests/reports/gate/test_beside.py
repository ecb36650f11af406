"""What a check says beside its verdicts: assumptions that the run at hand does not meet."""

from __future__ import annotations

from dataclasses import replace

from reports.gate.check import broken_by_chance, unequal_lengths
from reports.gate.items import Item

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
