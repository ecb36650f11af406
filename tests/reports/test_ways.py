"""Round trip against service time: one mark per session, or hexagons that hold each session once."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import reports
from reports.page import charts
from reports.page.svg import HALF, WIDE
from reports.question import Stratum
from reports.runs import load_for_report
from reports.summary import curves as frames
from reports.summary.curves import GRIDS, ways
from reports.summary.summary import Summary, summarise
from tests.reports import synthetic
from tests.reports.forms import run_html
from tests.reports.synthetic import Plan

TWO = Plan(sessions=40, targets=("direct", "gateway"), failed=0.05)


def build(folder: Path, plan: Plan) -> Summary:
    return summarise(load_for_report(synthetic.write(folder, plan)))


def test_each_session_is_a_mark_of_its_shortest_round_trip_and_its_median(tmp_path: Path) -> None:
    frame = ways(build(tmp_path, TWO), Stratum("speech_end"))
    rows = reports.load(tmp_path).turns
    good = rows[rows["outcome_class"] == "success"]
    assert frame is not None

    for way in frame.ways:
        mine = good[good["target"] == way.label].groupby("session_id", observed=True)
        middle = mine["ttfa_minus_rtt_ms"].quantile(0.5, interpolation="lower")
        assert way.marks is not None
        assert sorted(way.marks[0]) == sorted(mine["network_rtt_ms"].min())
        assert sorted(way.marks[1]) == pytest.approx(sorted(middle))
        assert way.sessions == 20


def test_many_sessions_are_counted_in_hexagons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MOST", 10)
    frame = ways(build(tmp_path, TWO), Stratum("speech_end"))
    assert frame is not None

    for way in frame.ways:
        assert way.marks is None
        assert [grid[:, 2].sum() for grid in way.hexagons] == [20, 20]
        for grid, (columns, lines) in zip(way.hexagons, GRIDS, strict=True):
            assert grid[:, 0].min() >= -1
            assert grid[:, 0].max() <= columns
            assert 0 <= grid[:, 1].min() <= grid[:, 1].max() <= lines
    for w in (HALF, WIDE):
        drawn = charts.scatter(frame, w).svg()
        assert 'class="cell s0 k5"' in drawn
        assert "specks" not in drawn


def test_a_figure_of_many_sessions_is_no_larger_than_its_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MOST", 10)
    frame = ways(build(tmp_path, Plan(sessions=600, turns=2)), Stratum("speech_end"))
    assert frame is not None

    assert len(frame.ways[0].hexagons[0]) <= (GRIDS[0][0] + 2) * (GRIDS[0][1] + 1)
    assert frame.ways[0].hexagons[0][:, 2].sum() == 600


def test_a_session_is_in_the_nearest_hexagon() -> None:
    """Centres of the grid are their own hexagons, those of odd lines half a column to the right."""
    columns, lines = 8, 4
    line = np.repeat(np.arange(lines + 1), columns)
    column = np.tile(np.arange(columns), lines + 1)
    rtt = (column + 0.5 * (line % 2) + 0.1) / columns
    rest = np.exp((line + 0.1) / lines)
    found = frames._hexagons(rtt, rest, (0.0, 1.0, 1.0, float(np.e)), columns, lines)

    assert sorted(map(tuple, found.tolist())) == sorted((int(c), int(k), 1) for c, k in zip(column, line, strict=True))


def test_behind_a_proxy_there_is_no_figure_and_the_page_says_why(tmp_path: Path) -> None:
    summary = build(tmp_path, Plan(sessions=20, proxied=("sim",)))
    page = run_html(summary)

    assert ways(summary, Stratum("speech_end")) is None
    assert "to the proxy and not beyond; so there is no ttfa_minus_rtt" in page
    assert "Network round trip against" not in page


def test_the_share_of_the_round_trip_is_said(tmp_path: Path) -> None:
    page = re.sub(r"\s+", " ", run_html(build(tmp_path, TWO)).replace("\u00a0", " "))

    assert re.search(r"Of the middle session’s ttfa the round trip is [\d.]+ % \(20.\d ms\) on direct and", page)
