"""The benchmark's table."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.benchmark.peers import benchmark, table
from tests.benchmark.peers.benchmark import LOADS, RAMP_S, TURNS, differences, gave_up, middle
from tests.benchmark.peers.figures import Cannot, Figures
from tests.benchmark.peers.play import Load

FIGURES = Figures(
    error_ms=(0.0061, 0.118, 1.52),
    events=70_000,
    events_per_s=2012.4,
    cpu_us_per_event=23.44,
    rss_bytes=150e6,
    session_bytes=90e3,
    wire_bytes=26_595_123,
    said_ttfa_ms=(150.84, 375.51),
    true_ttfa_ms=(150.83, 375.49),
    simulator_late_ms=0.31,
    others_share=0.02,
)


def test_a_row_shows_every_figure_with_the_digits_that_matter() -> None:
    row = table.cells(50, "rtbench", FIGURES)

    assert row[:7] == ("50", "rtbench", "0.006", "0.118", "1.52", "23.4", "2,012")
    assert row[7:] == ("26.595", "150.8 · 375.5", "150.8 · 375.5", "0.31", "2%")


def test_a_row_of_a_late_simulator_is_marked() -> None:
    late = replace(FIGURES, simulator_late_ms=1.2)

    assert table.LATE in table.cells(50, "rtbench", late)[10]
    assert table.LATE not in table.cells(50, "rtbench", FIGURES)[10]


def test_columns_stand_in_line_and_a_reason_may_stick_out() -> None:
    rows = [table.cells(50, "rtbench", FIGURES), table.cells(1400, "slow", Cannot("it was far too slow for this"))]
    header, first, second = table.text(table.HEADER, rows).splitlines()

    assert header.index("off p50") == first.index("0.006") == second.index("cannot")
    assert header.index("others") == first.index("2%")


def test_markdown_has_as_many_cells_in_each_line() -> None:
    rows = [table.cells(50, "a | b", FIGURES), table.cells(400, "slow", Cannot("too slow"))]
    lines = table.markdown(table.HEADER, rows).splitlines()

    assert len(lines) == 4
    assert {line.replace("\\|", "").count("|") for line in lines} == {len(table.HEADER) + 1}


def test_memory_is_told_of_clients_that_carried_two_loads() -> None:
    outcomes: dict[tuple[int, str], table.Outcome] = {
        (50, "one"): FIGURES,
        (200, "one"): replace(FIGURES, rss_bytes=150e6 + 150 * 80e3),
        (50, "other"): FIGURES,
        (200, "other"): Cannot("too slow"),
    }

    assert table.memory(outcomes) == ["one: 80 kB a session, from 50 to 200 sessions"]


def test_of_repeated_runs_those_of_a_late_simulator_do_not_count() -> None:
    late = replace(FIGURES, cpu_us_per_event=99.0, simulator_late_ms=5.0)

    assert middle([late, FIGURES, Cannot("too slow", simulator_late_ms=7.0)]) == FIGURES
    assert middle([late]) == late


def test_who_could_not_once_cannot() -> None:
    assert middle([FIGURES, Cannot("too slow"), FIGURES]) == Cannot("too slow")


def test_a_reason_says_where_the_simulator_may_have_been_it() -> None:
    assert table.reason(Cannot("too slow")) == "cannot: too slow"
    assert "the simulator was late, p99 7.00 ms" in table.reason(Cannot("too slow", simulator_late_ms=7.0))


def test_only_a_client_that_could_not_by_itself_is_spared_the_larger_loads() -> None:
    assert gave_up({(50, "slow"): [FIGURES], (200, "slow"): [Cannot("too slow")]}, "slow")
    assert not gave_up({(200, "other"): [Cannot("too slow")]}, "slow")
    assert not gave_up({(200, "slow"): [Cannot("too slow", simulator_late_ms=7.0)]}, "slow")
    assert not gave_up({(200, "slow"): [FIGURES]}, "slow")


def test_clients_that_were_not_sent_the_same_are_not_compared() -> None:
    other = replace(FIGURES, wire_bytes=FIGURES.wire_bytes + 1)

    assert differences({(50, "one"): [FIGURES, FIGURES], (200, "one"): [other], (50, "two"): [Cannot("slow")]}) == []
    assert differences({(50, "one"): [FIGURES], (50, "two"): [FIGURES, other]}) == [
        "not the same work: at 50 sessions clients were sent 26595123 or 26595124 bytes"
    ]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="says which cores it uses")
def test_a_row_is_there_as_soon_as_it_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured: Iterator[table.Outcome] = iter([FIGURES])

    def play(*_: object) -> table.Outcome:
        if (outcome := next(measured, None)) is None:
            raise KeyboardInterrupt
        return outcome

    monkeypatch.setattr(benchmark, "play", play)
    monkeypatch.setattr(benchmark, "judged", lambda outcome, load: outcome)
    with pytest.raises(KeyboardInterrupt):
        benchmark.main(["--sessions", "50", "--peers", "rtbench,picows + uvloop"])

    assert capsys.readouterr().out.endswith(table.markdown(table.HEADER, [table.cells(50, "rtbench", FIGURES)]) + "\n")


def test_who_cannot_is_ended_after_half_a_minute() -> None:
    assert max(Load(sessions, TURNS, RAMP_S).limit_s for sessions in LOADS) <= 30
