"""trend.html: what is on it, what is drawn, what filters hide; ticks of an axis of weeks."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.question import Stratum
from reports.trends.entry import Entry, FigureKey
from reports.trends.figure import ticks
from reports.trends.outputs import trend_text
from reports.trends.page import MOST, OTHERS, filters_of, trend_html, trend_page
from reports.trends.trend import told_by
from tests.reports.synthetic import BEGAN_NS
from tests.reports.trends.made import entry, nights, told

HERE = Path("/somewhere/runs")


def page(entries: list[Entry]) -> str:
    return trend_html(told_by(entries), HERE)


def test_a_filter_hides_the_marks_and_rows_of_its_value_and_the_lines_to_them() -> None:
    runs = [entry(number, conditions={"model": "new" if number == 2 else "old"}) for number in range(4)]
    found = page(runs)
    (model,) = trend_page(told_by(runs), HERE).filters
    new = dict(model.values)["new"]

    assert (model.name, [value for value, _ in model.values]) == ("model", ["new", "old"])
    assert f"main:has([value={new}]:not(:checked)) .{new}{{display:none}}" in found
    assert len(re.findall(rf'<g class="[^"]*{new}[^"]*"><path d="[^"]*" class="run s0"/>', found)) == 3 * 2
    assert len(re.findall(rf'<tr class="{new} o0"', found)) == 1


def test_what_all_runs_share_or_none_share_is_no_filter() -> None:
    runs = [entry(number, labels={"ring": "a", "commit": str(number)}) for number in range(5)]

    assert filters_of(runs).shown == ()
    assert [one.name for one in filters_of([*runs, entry(5, labels={"ring": "b"})]).shown] == ["ring"]


def test_of_many_values_the_rarest_share_a_box() -> None:
    runs = [entry(number, labels={"build": str(number // 2)}) for number in range(40)]
    (build,) = filters_of(runs).shown

    assert len(build.values) == MOST
    assert build.values[-1][0] == OTHERS
    assert filters_of(runs).of(runs[0]) == build.values[-1][1]


def test_a_run_without_a_label_has_a_box_of_its_own() -> None:
    runs = [entry(0, labels={"ring": "a"}), entry(1, labels={"ring": "a"}), entry(2)]
    (ring,) = filters_of(runs).shown

    assert [value for value, _ in ring.values] == ["a", "–"]


def test_scenarios_have_sections_that_their_filter_hides() -> None:
    made = trend_page(told_by([entry(n, scenario=s) for n in range(3) for s in ("calls", "typed")]), HERE)
    (scenario,) = made.filters

    assert [section.style for section in made.sections[:2]] == [hidden for _, hidden in scenario.values]


def test_a_terminal_of_100_columns_shows_p95_rather_than_when_a_run_began() -> None:
    """The run's name tells that."""
    slow = nights([1_600.0] * 3, name="20261120T091400Z-voice_turns")
    lines = trend_text(told_by(slow), 100).splitlines()
    head = next(line for line in lines if "verdict" in line)

    assert "ttfa p50, ms" in head
    assert "ttfa p95, ms" in head


@pytest.mark.parametrize("width", [60, 80, 100, 140])
@pytest.mark.parametrize(
    "strata", [[Stratum()], [Stratum("request_sent"), Stratum("speech_end"), Stratum("request_sent", "function_calls")]]
)
@pytest.mark.parametrize("scenario", ["text_turns", "bench", "a_scenario_of_our_own_with_a_long_name"])
def test_every_row_of_a_terminal_is_a_run_of_its_own(scenario: str, strata: list[Stratum], width: int) -> None:
    """Runs of one day: their names begin alike, and end alike."""
    runs = []
    waits = {FigureKey("ttfa", stratum): {0.5: told(1_600.0), 0.95: told(3_200.0)} for stratum in strata}
    for one in nights([1_600.0] * 4, quantiles=waits):
        began_ns = BEGAN_NS + (one.started_utc_ns - BEGAN_NS) // 4320  # 20 s apart
        stamp = f"{datetime.fromtimestamp(began_ns / 1e9, UTC):%Y%m%dT%H%M%SZ}"
        runs.append(replace(one, name=f"{stamp}-{scenario}", started_utc_ns=began_ns))
    lines = trend_text(told_by(runs), width).splitlines()
    named = [line.split()[0] for line in lines if line.startswith("  2026")]

    assert len(named) == len(set(named)) == 4
    assert max(map(len, lines)) <= width


MONDAY = datetime(2026, 11, 16, tzinfo=UTC).timestamp()


DAY = 86_400.0


def words(low: float, high: float, most: int = 10) -> list[str]:
    return [text for _, text in ticks(low, high, most)]


@pytest.mark.parametrize(
    ("length", "first", "second"),
    [
        (0.04, "16 Nov", "00:15"),
        (1, "16 Nov", "03:00"),
        (5, "16 Nov", "17 Nov"),
        (40, "16 Nov", "23 Nov"),
        (300, "Dec 2026", "Jan 2027"),
        (2000, "2027", "2028"),
    ],
)
def test_ticks_are_round_instants_of_the_calendar(length: float, first: str, second: str) -> None:
    assert words(MONDAY, MONDAY + length * DAY)[:2] == [first, second]


@given(st.floats(1e9, 3e9), st.floats(60.0, 30 * 365 * DAY), st.integers(3, 12))
def test_ticks_ascend_inside_the_axis_and_are_no_more_than_asked(low: float, length: float, most: int) -> None:
    found = [at for at, _ in ticks(low, low + length, most)]

    assert found == sorted(set(found))
    assert len(found) <= most
    assert all(low <= at <= low + length for at in found)
