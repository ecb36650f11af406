"""The calculations of the benchmarks. Client reports are joined with the truth log, and only
equal work is compared.
"""

from __future__ import annotations

from array import array
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.cpu import CpuReading
from tools.benchmarks.peers import table
from tools.benchmarks.peers.benchmark import Runs, differences, middle, ratios
from tools.benchmarks.peers.figures import (
    Cannot,
    ClientReport,
    Figures,
    errors,
    figures,
    per_session,
    report_from_records,
    report_from_rows,
    ttfas,
    typical,
    unequal,
)
from tools.benchmarks.peers.truth import INSTANTS, Truth, truth_of
from tools.benchmarks.peers.work import SessionRecord, frame_bytes
from tools.benchmarks.watch import Sample, Watched

MS = 1_000_000
TURN = (
    "conversation.item.done",
    "response.created",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.done",
)
PER_TURN = len(TURN)
OPENING = ("session.created", "session.updated")
STEP_NS = 300 * MS


def run_of(sessions: int, turns: int) -> list[dict[str, Any]]:
    """Return the truth log of concurrent sessions.

    Each session has an event every 300 ms, sent 1 ms after it was due.
    """
    lines: list[dict[str, Any]] = [{"schema": 2, "simulated": True}]
    for number in range(sessions):
        at_ns = number * MS
        for place, kind in enumerate(OPENING + TURN * turns):
            at_ns += STEP_NS
            name = f"sess_{number}"
            if kind == TURN[0]:
                lines.append(
                    {
                        "session": name,
                        "direction": "in",
                        "type": "response.create",
                        "at_ns": at_ns - STEP_NS // 2,
                    }
                )
            n = 4800 if kind == "response.output_audio.delta" else 0
            lines.append(
                {
                    "session": name,
                    "direction": "out",
                    "type": kind,
                    "due_ns": at_ns - MS,
                    "send_start_ns": at_ns,
                    "audio_bytes": n,
                    "frame_bytes": 100 + place,
                }
            )
    return sorted(lines, key=lambda line: line.get("send_start_ns", line.get("at_ns", 0)))


def records_of(truth: Truth, late_ns: int = 0) -> list[SessionRecord]:
    """Return the report of a client whose timestamp of each event is `late_ns` after the event was
    sent.

    Requests have no such delay.
    """
    records = []
    for name, wire in truth.wire.items():
        first_ns = int(truth.sessions["created_ns"][name])
        stamps = array("q", [first_ns + place * STEP_NS + late_ns for place in range(len(wire))])
        asked = array("q", truth.requests.loc[truth.requests["session_id"] == name, "at_ns"])
        records.append(SessionRecord(name, stamps, int(wire[-1]), asked))
    return records


def resource_use_of(truth: Truth) -> Watched:
    """Return the resource use of a client that uses half a core.

    Its memory is 1 MB before the first session, and grows by 1 MB each second. The simulator uses a
    quarter of a core, and other processes use no CPU time.
    """
    seconds = range(int(truth.handed_ns.max() // 1_000_000_000) + 2)
    return Watched(
        [
            Sample(CpuReading(s * 1_000_000_000, s / 2, s / 4, s * 3 / 4), (s + 1) * 1_000_000)
            for s in seconds
        ]
    )


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 10**9))
def test_the_error_of_an_instant_is_the_delay_of_the_client_s_timestamp(
    sessions: int, turns: int, late_ns: int
) -> None:
    truth = truth_of(run_of(sessions, turns))
    found = errors(report_from_records(records_of(truth, late_ns), truth), truth, 0, 1 << 62)

    assert len(found) == sessions * turns * len(INSTANTS)
    assert set(found) == {late_ns / MS}


def test_errors_are_computed_only_from_events_of_the_steady_state() -> None:
    truth = truth_of(run_of(2, 2))
    begin_ns = int(truth.instants["handed_ns"].median())
    found = errors(report_from_records(records_of(truth), truth), truth, begin_ns, 1 << 62)

    assert len(found) == (truth.instants["handed_ns"] >= begin_ns).sum() < len(truth.instants)


def test_each_instant_is_that_of_its_event() -> None:
    truth = truth_of(run_of(1, 2))
    second = (
        truth.instants[truth.instants["turn"] == 2].set_index("instant")["place"]
        - len(OPENING)
        - PER_TURN
    )

    assert second.to_dict() == {
        "response_created": 1,
        "first_transcript": 2,
        "first_audio": 3,
        "last_audio": 5,
        "audio_done": 6,
        "transcript_done": 7,
        "response_done": 8,
    }


def test_the_true_and_the_reported_ttfa_of_each_turn_are_returned() -> None:
    truth = truth_of(run_of(1, 3))
    found = ttfas(report_from_records(records_of(truth, 5 * MS), truth), truth)

    assert list(found["true_ms"]) == [1050] * 3
    assert list(found["reported_ms"]) == [1055] * 3


def test_a_report_from_run_rows_equals_one_from_timestamps() -> None:
    truth = truth_of(run_of(2, 2))
    instants = (
        truth.instants.pivot(index=["session_id", "turn"], columns="instant", values="handed_ns")
        - 7
    )
    turns = (
        instants.add_suffix("_at_ns")
        .assign(start_ns=7, outcome="ok", request_sent_at_ns=3.0)
        .reset_index()
    )
    turns = turns.rename(columns={"session_id": "service_session_id"}).assign(session_id="ours")
    counts = {name: (len(wire), int(wire[-1])) for name, wire in truth.wire.items()}
    sessions = pd.DataFrame(
        [("ok", name, *count) for name, count in counts.items()],
        columns=["outcome", "service_session_id", "events", "wire_bytes_received"],
    )
    report = report_from_rows(turns, sessions)

    assert set(errors(report, truth, 0, 1 << 62)) == {0.0}
    assert list(report.requested["at_ns"]) == [10] * 4
    assert unequal(report, truth, 2, 2) is None


def report_of_truth(truth: Truth) -> ClientReport:
    return report_from_records(records_of(truth), truth)


def one_byte_more() -> tuple[ClientReport, Truth]:
    truth = truth_of(run_of(1, 1))
    report = report_of_truth(truth)
    return (
        replace(report, wire_bytes={name: count + 1 for name, count in report.wire_bytes.items()}),
        truth,
    )


def left_early() -> tuple[ClientReport, Truth]:
    truth = truth_of(run_of(1, 1))
    (record,) = records_of(truth)
    record.stamps.pop()
    record.wire_bytes = int(truth.wire["sess_0"][-2])
    return report_from_records([record], truth), truth


def test_work_is_equal_if_all_sessions_turns_and_bytes_are_equal() -> None:
    truth = truth_of(run_of(2, 2))
    report = report_of_truth(truth)

    assert unequal(report, truth, 2, 2) is None
    assert "2 of 3 sessions" in str(unequal(report, truth, 3, 2))
    assert "4 turns reported" in str(unequal(report, truth, 2, 3))
    assert "bytes in 11 messages" in str(unequal(*one_byte_more(), 1, 1))
    assert "the last turn ends with number 11" in str(unequal(*left_early(), 1, 1))


def test_work_is_equal_with_or_without_events_after_the_last_reply() -> None:
    lines = run_of(1, 1)
    lines.append(lines[-1] | {"type": "rate_limits.updated", "frame_bytes": 50})
    truth = truth_of(lines)
    with_it = records_of(truth)
    (without,) = records_of(truth)
    without.stamps.pop()
    without.wire_bytes -= 50

    assert unequal(report_from_records(with_it, truth), truth, 1, 1) is None
    assert unequal(report_from_records([without], truth), truth, 1, 1) is None
    assert truth.done_bytes() == without.wire_bytes


def test_cpu_and_memory_are_measured_in_the_steady_state() -> None:
    truth = truth_of(run_of(2, 2))
    found = figures(report_of_truth(truth), truth, resource_use_of(truth))

    assert isinstance(found, Figures)
    begin_ns, end_ns = truth.steady()
    within = sum(begin_ns <= at_ns < end_ns for at_ns in truth.handed_ns)
    assert found.cpu_us_per_event == pytest.approx((end_ns - begin_ns) / 2 / within / 1000)
    assert found.events_per_s == pytest.approx(within / ((end_ns - begin_ns) / 1e9))
    assert found.session_bytes == pytest.approx((end_ns - 300 * MS) / 1000 / 2)
    assert found.simulator_late_ms == 1.0
    assert found.others_share == pytest.approx(0)


def test_a_run_whose_sessions_were_never_all_open_has_no_metrics() -> None:
    truth = truth_of(run_of(2, 1))
    truth.sessions.loc["sess_1", "opened_ns"] = truth.sessions["done_ns"].min()

    assert isinstance(figures(report_of_truth(truth), truth, resource_use_of(truth)), Cannot)


def test_an_event_without_a_timestamp_is_the_reason_why_a_row_has_no_metrics() -> None:
    truth = truth_of(run_of(2, 2))
    report = report_of_truth(truth)
    begin_ns, end_ns = truth.steady()
    middle = truth.instants[truth.instants["handed_ns"].between(begin_ns, end_ns, inclusive="left")]
    found = figures(
        replace(report, stamps=report.stamps.drop(middle.index[0])), truth, resource_use_of(truth)
    )

    assert isinstance(found, Cannot)
    assert found.why == f"1 of {len(middle)} events have no timestamp"


def test_repeated_runs_are_shown_by_their_medians() -> None:
    truth = truth_of(run_of(2, 2))
    one = figures(report_of_truth(truth), truth, resource_use_of(truth))
    assert isinstance(one, Figures)
    found = typical(
        [replace(one, cpu_us_per_event=cost, error_ms=(cost, 0, 0)) for cost in (30.0, 10.0, 14.0)]
    )

    assert found.cpu_us_per_event == 14.0
    assert found.error_ms[0] == 14.0
    assert found.wire_bytes == one.wire_bytes


def test_memory_per_session_is_the_slope_over_the_number_of_sessions() -> None:
    assert per_session(
        {100: 50e6 + 100 * 9e3, 200: 50e6 + 200 * 9e3, 400: 50e6 + 400 * 9e3}
    ) == pytest.approx(9e3)
    assert per_session({100: 50e6}) is None


@pytest.mark.parametrize(
    ("payload", "frame"), [(0, 2), (125, 127), (126, 130), (65_535, 65_539), (65_536, 65_546)]
)
def test_the_header_size_of_a_frame_depends_on_its_length(payload: int, frame: int) -> None:
    assert frame_bytes(payload) == frame


FIGURES = Figures(
    error_ms=(0.0061, 0.118, 1.52),
    events=70_000,
    events_per_s=2012.4,
    cpu_us_per_event=23.44,
    rss_bytes=150e6,
    session_bytes=90e3,
    wire_bytes=26_595_123,
    reported_ttfa_ms=(150.84, 375.51),
    true_ttfa_ms=(150.83, 375.49),
    simulator_late_ms=0.31,
    others_share=0.02,
)


def test_a_table_row_shows_each_metric_with_its_significant_digits() -> None:
    row = table.cells(50, "rtbench", FIGURES)

    assert row[:7] == ("50", "rtbench", "0.006", "0.118", "1.52", "23.4", "2,012")
    assert row[7:] == ("26.595", "150.8 · 375.5", "150.8 · 375.5", "0.31", "2%")


def test_a_row_of_a_late_simulator_is_marked() -> None:
    late = replace(FIGURES, simulator_late_ms=1.2)

    assert table.LATE in table.cells(50, "rtbench", late)[10]
    assert table.LATE not in table.cells(50, "rtbench", FIGURES)[10]


def test_repeated_runs_with_a_late_simulator_are_ignored_if_others_exist() -> None:
    late = replace(FIGURES, cpu_us_per_event=99.0, simulator_late_ms=5.0)

    assert middle([late, FIGURES, Cannot("too slow", simulator_late_ms=7.0)]) == FIGURES
    assert middle([late]) == late


def test_a_client_that_fails_in_one_of_the_repeated_runs_fails() -> None:
    assert middle([FIGURES, Cannot("too slow"), FIGURES]) == Cannot("too slow")


def test_clients_that_received_different_amounts_of_data_are_reported() -> None:
    other = replace(FIGURES, wire_bytes=FIGURES.wire_bytes + 1)

    assert (
        differences(
            {(50, "one"): [FIGURES, FIGURES], (200, "one"): [other], (50, "two"): [Cannot("slow")]}
        )
        == []
    )
    assert differences({(50, "one"): [FIGURES], (50, "two"): [FIGURES, other]}) == [
        "different work: at 50 sessions the clients received 26595123 or 26595124 bytes"
    ]


def test_the_cost_of_an_event_is_compared_with_picows_where_both_have_one() -> None:
    ours = replace(FIGURES, cpu_us_per_event=34.0)
    theirs = replace(FIGURES, cpu_us_per_event=20.0)
    runs: Runs = {
        (50, "rtbench"): [ours],
        (50, "picows + uvloop"): [theirs],
        (400, "rtbench"): [ours],
        (400, "picows + uvloop"): [Cannot("too slow")],
    }

    assert ratios(runs) == ["50 sessions: an event costs 1.70 times as much as picows'"]
