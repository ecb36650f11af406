"""trend.html: what is on it, what is drawn, what filters hide."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reports.question import Stratum
from reports.trends.entry import Entry, FigureKey
from reports.trends.outputs import trend_text
from reports.trends.page import MOST, OTHERS, filters_of, trend_html, trend_page
from reports.trends.trend import told_by
from tests.reports.synthetic import BEGAN_NS
from tests.reports.trends.made import entry, invalid, nights, stepped, told

HERE = Path("/somewhere/runs")


def page(entries: list[Entry]) -> str:
    return trend_html(told_by(entries), HERE)


def test_the_page_loads_nothing_and_leads_to_each_report() -> None:
    runs = [replace(one, report=HERE / one.name / "report.html") for one in nights([600.0] * 3)]
    found = page(runs)

    assert not re.search(r"https?://(?!www\.w3\.org)", found)
    assert re.findall(r'<a href="(run-\d+/report\.html)"', found) == [
        f"run-{number:03}/report.html" for number in (2, 1, 0)
    ]


def test_the_newest_change_is_the_headline_and_all_are_in_a_table() -> None:
    made = trend_page(told_by(stepped(12, 12)), HERE)

    assert made.headline.startswith("ttfa p50 of gateway: +")
    assert made.headline.endswith(", with 1\u00a0more change.")
    assert [badge.word for badge in made.badges] == ["1\u00a0CHANGE"]
    assert trend_html(told_by(stepped(12, 12)), HERE).count('class="moved"') == 2


def test_invalid_runs_are_crosses_and_joined_with_nothing() -> None:
    valid, spoilt = nights([600.0] * 6), [*nights([600.0] * 3), invalid(3), invalid(4), *nights([600.0] * 8)[5:]]

    assert page(valid).count('class="run s0"') == 3 * 5
    assert page(spoilt).count('class="run s0"') == 3 * 5
    assert (page(valid).count('class="unfit"'), page(spoilt).count('class="unfit"')) == (0, 3 * 2)
    assert "✕\u00a0INVALID" in page(spoilt)


def test_simulated_runs_are_told_to_be() -> None:
    simulated = nights([600.0] * 3, conditions={"simulated": "yes"})
    mixed = [*simulated, *nights([600.0] * 3, target="real")]

    assert trend_page(told_by(simulated), HERE).badges[-1].beside == "rtbench simulate, no real service"
    assert trend_page(told_by(nights([600.0] * 3)), HERE).badges[-1].beside == "a change takes 10"
    assert "◇ SIMULATED" in trend_text(told_by(mixed))
    assert trend_page(told_by(mixed), HERE).badges[-1].word == "SIMULATED"


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


def test_a_terminal_shows_each_run_with_its_verdict_and_marks_the_run_that_begins_a_change() -> None:
    lines = trend_text(told_by([*stepped(12, 12), invalid(30)]), 120).splitlines()
    marked = [line for line in lines if "↕" in line]

    assert lines[0].startswith("ttfa p50 of gateway: +")
    assert len(marked) == 1
    assert lines[lines.index(marked[0]) + 1].strip().startswith("changed here: ttfa p50 +")
    assert "run-012" in marked[0]
    assert "✓ VALID" in marked[0]
    assert [line for line in lines if "✕ INVALID" in line and "run-030" in line]
    assert any(line.startswith("note") and "shown and not compared" in line for line in lines)


def test_a_terminal_of_100_columns_shows_p95_rather_than_when_a_run_began() -> None:
    """The run's name tells that."""
    slow = nights([1_600.0] * 3, name="20261120T091400Z-voice_turns")
    lines = trend_text(told_by(slow), 100).splitlines()
    head = next(line for line in lines if "verdict" in line)

    assert "ttfa p50, ms" in head
    assert "ttfa p95, ms" in head


def test_lines_fit_a_narrow_terminal() -> None:
    long = [replace(one, name="20261120T091400Z-a-scenario-with-a-name") for one in stepped(12, 12)]

    assert max(len(line) for line in trend_text(told_by(long), 80).splitlines()) <= 80


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
