"""Text turns, voice turns and other turn types: they have separate samples, latencies for
callers, and names.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rtbench
from bench.record.folder import SCHEMAS, row_reader
from bench.record.histograms import HistogramKey, Histograms
from bench.record.metric_values import record_rows
from reports.analysis.summary.run_validity import data_notes
from reports.analysis.summary.summary import Summary
from reports.data.runs import RunFrames, session_frame, turn_frame
from reports.data.turns import TurnArrays, measured_turns
from reports.metrics.strata import Stratum
from reports.results.json_entries import to_json_data
from reports.results.value import by_subject
from reports.text import settings
from reports.text.notices import notices, run_notices
from reports.text.sentences import run_headline
from tests.reports import synthetic
from tests.reports.edited import Row, edited
from tests.reports.forms import run_forms, run_text
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan


def origins_of(*rows: dict[str, Any]) -> tuple[TurnArrays, list[tuple[str, str]]]:
    """Return the turns of these rows, and a (step, measured_from) pair for each turn."""
    known = [{"session_id": "s", "target": "t", "turn": n + 1} | row for n, row in enumerate(rows)]
    frame = turn_frame(pa.Table.from_pylist(known, schema=SCHEMAS["turns"]))
    no_sessions = session_frame(SCHEMAS["sessions"].empty_table())
    turns = measured_turns(
        RunFrames(Path(), {}, frame, no_sessions, no_sessions, Histograms(), True)
    )
    return turns, [
        (turns.steps[step], turns.strata[turns.stratum[step]].measured_from) for step in turns.step
    ]


def test_a_step_label_with_turns_of_both_instants_is_two_steps() -> None:
    rows = [
        {"step": "greeting", "outcome": "ok", "measured_from": measured_from}
        for measured_from in ("request_sent", "speech_end")
    ]
    turns, found = origins_of(
        *rows, {"step": "goodbye", "outcome": "ok", "measured_from": "speech_end"}
    )

    assert turns.steps == ("greeting, from request sent", "greeting, from end of speech", "goodbye")
    assert [measured_from for _, measured_from in found] == [
        "request_sent",
        "speech_end",
        "speech_end",
    ]


def test_a_failed_turn_without_an_instant_gets_the_more_common_one() -> None:
    rows = [
        {"step": "greeting", "outcome": "ok", "measured_from": measured_from}
        for measured_from in ("request_sent", *["speech_end"] * 2)
    ]
    failed = {"step": "greeting", "outcome": "timeout:end_of_turn"}

    assert origins_of(*rows, failed)[1][-1] == ("greeting, from end of speech", "speech_end")


def test_a_failed_turn_with_request_sent_is_measured_from_it() -> None:
    good = {"step": "greeting", "outcome": "ok", "measured_from": "speech_end"}
    late = {"step": "greeting", "outcome": "timeout:first_delta", "measured_from": "request_sent"}

    assert origins_of(good, late)[1] == [
        ("greeting, from end of speech", "speech_end"),
        ("greeting, from request sent", "request_sent"),
    ]


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "step": st.sampled_from(["turn_1", "turn_2", "other", None]),
                "script": st.sampled_from(["a", "b"]),
                "measured_from": st.sampled_from(["request_sent", "speech_end", None]),
                "outcome": st.sampled_from(
                    ["ok", "interrupted", "timeout:end_of_turn", "closed:1006", "unfinished", None]
                ),
                "phase": st.sampled_from(["measurement", "warmup", None]),
            }
        ),
        max_size=20,
    )
)
def test_any_mixture_of_instants_is_accepted_and_none_is_pooled(rows: list[dict[str, Any]]) -> None:
    turns, found = origins_of(*rows)
    measured = [row for row in rows if row["phase"] != "warmup"]

    assert len(found) == len(measured)
    assert len(set(turns.steps)) == len(turns.steps)
    assert sum(int(turns.of(pool).sum()) for pool in turns.pools) == len(measured)
    for row, (step, measured_from) in zip(measured, found, strict=True):
        assert str(row["step"] or "unnamed") in step
        if row["outcome"] in ("ok", "interrupted") and row["measured_from"]:
            assert measured_from == row["measured_from"]


def test_turns_of_each_instant_have_their_own_main_metric(tmp_path: Path) -> None:
    """The service answers text turns in text, and voice turns in audio."""
    synthetic.write(tmp_path, Plan(kinds=("vad", "typed")))

    def change(_: int, row: Row) -> Row:
        in_text = {"first_text_at_ns": row["first_audio_at_ns"], "first_audio_at_ns": None}
        return row | (in_text if row["measured_from"] == "request_sent" else {})

    summary = edited(tmp_path, change)

    assert summary.mains == {Stratum("request_sent"): "ttft", Stratum("speech_end"): "ttfa"}
    assert [(a.metric, a.n) for a in summary.results] == [("ttft", 20), ("ttfa", 20)]
    assert "for a reply (median)" in run_headline(summary)
    assert "to the first text delta" in run_text(summary)
    assert "to the first audio delta" in run_text(summary)


def test_counts_of_turn_detection_and_network_are_reported(tmp_path: Path) -> None:
    summary = summary_of(
        Plan(sessions=20, kinds=("vad", "typed"), early=6, failed=0.1, unattributed_commits=2)
    )
    turns = rtbench.load(summary.run.folder).turns
    (counts,) = by_subject(summary.counts).values()
    early, stalls, resent = (
        counts[name] for name in ("end_detected_early", "stall_rate", "turns_with_retransmits")
    )

    assert (early.count, counts["turns_split"].n, counts["splits"].n) == (3, 3, 3)
    assert early.n == int(turns["speech_stopped_at_ns"].notna().sum())
    assert stalls.n == int((turns["stall_count"].notna() & (turns["outcome"] == "ok")).sum())
    assert stalls.count == int(((turns["stall_count"] > 0) & (turns["outcome"] == "ok")).sum())
    assert (resent.n, counts["retransmits"].n) == (80, int(turns["retransmits"].sum()))
    made = (
        "2 commits were not caused by a turn of the script: noise, sounds during silence, or the"
        " idle timeout."
    )
    assert made in notices(summary)


@pytest.mark.parametrize(
    ("detections", "contained"),
    [
        (
            [{"type": "server_vad", "silence_duration_ms": 500}] * 2,
            "the 500 ms of silence_duration_ms that the script sets",
        ),
        (
            [{"type": "server_vad", "silence_duration_ms": ms} for ms in (500, 200)],
            "the 200 and 500 ms of silence_duration_ms that scripts set",
        ),
        ([{"type": "server_vad"}], "the service’s own silence_duration_ms, which no script sets"),
        (
            [{"type": "semantic_vad", "eagerness": "low"}],
            "the delay of semantic_vad, by the eagerness low that a script sets",
        ),
        ([{"type": "semantic_vad"}], "the delay of semantic_vad, by the service’s own eagerness"),
    ],
)
def test_the_end_of_turn_delay_segment_names_the_configured_silence(
    detections: list[dict[str, Any]], contained: str
) -> None:
    scripts = [
        {"name": "voice_turns", "turn_detection": one["type"], "turn_detection_settings": one}
        for one in detections
    ]
    summary = summary_of(Plan(), scripts=scripts)

    assert f"End-of-turn detection (VAD) contains {contained}." in settings.contained(
        summary.playback
    ).replace("\u00a0", " ")
    assert to_json_data(summary.playback)["detections"] == [
        d for n, d in enumerate(detections) if d not in detections[:n]
    ]


PLAN = Plan(sessions=40, turns=5, targets=("west", "east"))
SLOWER_NS = 1_000_000_000


def with_calls(_: int, row: Row) -> Row:
    """Add a function call to the turn `order_status` in half of the sessions, and one second to
    the turn's latency.
    """
    if row["step"] != "order_status" or int(row["session_id"][1:]) % 4 > 1:
        return row
    later = {
        name: row[name] and row[name] + SLOWER_NS
        for name in ("first_audio_at_ns", "first_audible_at_ns")
    }
    return row | later | {"turn_type": "function_calls"}


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return edited(synthetic.write(tmp_path_factory.mktemp("strata"), PLAN), with_calls)


def test_failed_mcp_calls_are_counted_and_named_in_the_section_on_turns_with_tools(
    tmp_path: Path,
) -> None:
    errors = {
        0: "docs.search: http_error 503: Busy",
        1: "docs.search: http_error 503: Busy",
        2: "crm.find: No\x1b",
    }

    def with_call(index: int, row: Row) -> Row:
        called_ns = row["request_sent_at_ns"] or row["speech_end_at_ns"]
        mcp = {"mcp_calls": 1, "mcp_execution_ns": 600_000_000, "mcp_call_failed": index in errors}
        called = {
            "turn_type": "function_calls",
            "function_call_done_at_ns": called_ns and called_ns + 1,
        }
        return row | called | mcp | {"mcp_error": errors.get(index)}

    synthetic.write(tmp_path, Plan(sessions=40, turns=2))
    summary = edited(tmp_path, with_call)

    rate = next(rate for rate in summary.rates if rate.metric == "mcp_failure_rate")
    turns = len(summary.run.turns)
    assert (rate.count, rate.n) == (3, turns)
    expected = (
        f"3 of {turns} turns with MCP calls had a failed call",
        "docs.search: http_error 503: Busy (2)",
        "crm.find: No\\x1b (1)",
    )
    page = re.sub(r"\s+", " ", run_text(summary)).replace("\xa0", " ")
    assert all(text in page for text in expected)
    assert "mcp_execution p50 600" in page


def test_each_turn_type_has_its_own_values(summary: Summary) -> None:
    waits = {
        (f.target, f.stratum.turn_type): f
        for f in summary.turn_metrics
        if (f.metric, f.step) == ("ttfa", "all")
    }

    assert {key: wait.n for key, wait in waits.items()} == {
        ("west", ""): 90,
        ("west", "function_calls"): 10,
        ("east", ""): 90,
        ("east", "function_calls"): 10,
    }
    assert waits["west", "function_calls"].at(0.5).value > waits["west", ""].at(0.5).value + 900
    assert {answer.stratum for answer in summary.results} == {
        Stratum("speech_end"),
        Stratum("speech_end", "function_calls"),
    }


def test_histograms_of_turn_types_are_separate(summary: Summary) -> None:
    histograms = Histograms()
    record_rows(row_reader(summary.run.folder), histograms)

    steps = (
        "voice_turns.order_status.speech_end",
        "voice_turns.order_status.function_calls.speech_end",
    )
    found = [histograms.get(HistogramKey("ttfa", "west", step)) for step in steps]
    assert [histogram and histogram.get_total_count() for histogram in found] == [10, 10]


def with_fillers(_: int, row: Row) -> Row:
    """Set the turn type of all turns of `east` to `filler`. One of these turns also gets the
    type `function_calls`.
    """
    if row["target"] != "east":
        return row
    return row | {
        "turn_type": (
            "function_calls+filler" if (row["session_id"], row["turn"]) == ("s1", 2) else "filler"
        )
    }


def test_turns_with_fillers_have_a_notice_and_are_not_compared_with_regular_ones(
    tmp_path: Path,
) -> None:
    synthetic.write(tmp_path, PLAN)
    summary = edited(tmp_path, with_fillers)
    (notice,) = [notice for notice in notices(summary) if "fillers" in notice]

    assert notice.startswith(
        "100 turns are from sessions with fillers (interim_response): the first sound"
    )
    assert summary.differences == ()
    for text in (run_text(summary), *run_forms(summary)):
        assert "with fillers" in " ".join(text.split())


@pytest.mark.parametrize(
    ("heard_alone", "whose"), [((), None), (("west",), "west: "), (("west", "east"), "")]
)
def test_a_service_without_turn_events_is_named_in_one_line(
    heard_alone: tuple[str, ...], whose: str | None
) -> None:
    run = summary_of(PLAN).run
    targets = [t | {"full_duplex": t["name"] in heard_alone} for t in run.metadata["targets"]]
    changed = replace(run, metadata=run.metadata | {"targets": targets})
    printed = [
        notice
        for notice in run_notices(
            changed, data_notes(changed, measured_turns(changed), changed.sessions, ())
        )
        if "events for turns" in notice
    ]

    unread = [
        line
        for line in run_notices(
            changed, data_notes(changed, measured_turns(changed), changed.sessions, ())
        )
        if "ignored" in line
    ]
    assert [line.endswith("were ignored: conversation.item.added 3.") for line in unread] == [
        True
    ] * len(printed)
    begun = [line.startswith(f"{whose}The protocol has no events for turns:") for line in printed]
    assert begun == [True] * (whose is not None)
