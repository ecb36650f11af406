"""The exit status, and how figures are written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reports.gate.items import Item, OnInconclusive, without_few
from reports.gate.sentences import interval_text, limit_text, value_text
from reports.question import Question
from reports.statistics.differences import Margin
from reports.wording import verdicts
from reports.wording.validity import Cause
from tests.reports.gate.made import BROKEN, KEPT, NO_DATA, REGRESSED, UNSURE, check


@pytest.mark.parametrize(
    ("items", "status"),
    [
        ([KEPT], 0),
        ([KEPT, BROKEN], 1),
        ([KEPT, REGRESSED], 1),
        ([KEPT, UNSURE], 3),
        ([UNSURE, BROKEN], 1),
        ([BROKEN, UNSURE, NO_DATA], 4),
        ([], 4),
    ],
)
def test_what_is_void_wins_over_what_is_broken_and_that_over_what_is_not_known(items: list[Item], status: int) -> None:
    assert check(*items).exit_status == status


@pytest.mark.parametrize(
    "changes", [{"causes": (Cause("send_delay", "the run is invalid"),)}, {"differs": ("model: a here, b there",)}]
)
def test_an_invalid_run_and_an_unlike_baseline_void_the_whole_check(changes: dict[str, Any]) -> None:
    assert check(KEPT, **changes).exit_status == check(BROKEN, **changes).exit_status == 4


@pytest.mark.parametrize(("asked", "status", "warns"), [("fail", 3, False), ("warn", 0, True), ("pass", 0, False)])
def test_what_becomes_of_the_inconclusive_can_be_asked(asked: OnInconclusive, status: int, warns: bool) -> None:
    found = check(KEPT, UNSURE, on_inconclusive=asked)

    assert (found.exit_status, found.warns) == (status, warns)
    assert check(UNSURE, BROKEN, on_inconclusive=asked).exit_status == 1
    assert check(UNSURE, NO_DATA, on_inconclusive=asked).exit_status == 4


def test_a_figure_that_is_withheld_has_no_interval_and_one_session_is_one() -> None:
    withheld = replace(KEPT, result="inconclusive", value=None, low=None, high=None, reason="uncertain in this run")
    few = replace(withheld, required=40, available=1, required_unit="sessions", sessions=1)

    assert (interval_text(withheld), value_text(few)) == ("–", "n/a (1\u00a0session; needs 40)")


def test_figures_are_written_in_their_unit() -> None:
    rate = Item(
        "failure_rate: rate<2%", "failure rate", "sim", "share", "pass", None, 0.008, 0.0044, 0.0125, limit=0.02
    )
    speed = Item("audio_speed: p(5)>=1.2", "audio_speed p5", "sim", "×", "pass", None, 2.5, 2.4, None, 1.2, ">=")
    lost = Item(
        "ttfa: p(99)<3s", "ttfa p99", "sim", "ms", "fail", None, None, 4000.0, None, limit=3000.0, in_failures=True
    )

    assert [value_text(one) for one in (rate, speed, lost)] == ["0.80\u00a0%", "2.5\u00a0×", "∞"]
    assert [interval_text(one) for one in (rate, speed, lost)] == [
        "0.44 to 1.25\u00a0%",
        "from 2.4\u00a0×, no upper bound",
        "from 4,000\u00a0ms, no upper bound",
    ]
    assert [limit_text(one) for one in (rate, speed, lost)] == [
        "<\u00a02\u00a0%",
        "≥\u00a01.2\u00a0×",
        "<\u00a03,000\u00a0ms",
    ]


@pytest.mark.parametrize(
    ("arms", "left"),
    [
        ([(440, 44)], (None, None, False)),
        ([(440, 44), (3_000, 300)], (None, 3_000.0, True)),
        ([(3_000, 300), (440, 44)], (2_500.0, None, False)),
    ],
)
def test_of_a_quantile_that_an_arm_is_too_small_for_only_the_other_arm_s_figure_is_left(
    arms: list[tuple[int, int]], left: tuple[float | None, float | None, bool]
) -> None:
    item = replace(UNSURE, value=3_000.0, low=1.0, high=2.0, baseline=2_500.0, difference=0.2, more_sessions=9,
                   in_failures=True, low_infinite=True)  # fmt: skip
    few = without_few(item, Question("ttfa", "quantile", Margin(), 0.99), arms)

    assert (few.baseline, few.value, few.in_failures) == left
    assert (few.low, few.high, few.low_infinite, few.difference, few.more_sessions) == (None, None, False, None, None)
    assert (few.required, few.available, few.required_unit) == (198, 44, "sessions")


@pytest.mark.parametrize(
    ("margin", "metric", "text"),
    [
        (Margin(ratio=0.2), "ttfa", "+20 %"),
        (Margin(ratio=0.2, plus=30), "ttfa", "+20 % and +30 ms"),
        (Margin(plus=30), "ttfa", "+30 ms"),
        (Margin(), "ttfa", "+0 %"),
        (Margin(points=0.01), "failure_rate", "+1 point"),
        (Margin(points=0.005), "failure_rate", "+0.5 points"),
        (Margin(ratio=1 / 0.9 - 1), "audio_speed", "−10 %"),
    ],
)
def test_a_margin_is_written_as_it_was_asked(margin: Margin, metric: str, text: str) -> None:
    assert verdicts.margin(margin, metric, sign=True).replace("\u00a0", " ") == text
