"""The telephone calls of a run in its report: which were set up, why others were not, who ended
them, their packets.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from bench.base.units import NS_PER_MS
from bench.catalogue.columns import ADDED
from bench.catalogue.outcomes import HANG_UP, NO_MEDIA, NO_SOUND
from bench.services.telephone import TELEPHONE
from reports.analysis.check.check import check_of
from reports.analysis.comparisons.comparison import compare_targets
from reports.analysis.summary.summary import Summary, summarise
from reports.analysis.targets.named import parse_targets
from reports.data.runs import load_for_report
from reports.results.value import Value
from reports.text.check_sentences import why
from tests.reports.check.examples import thresholds
from tests.reports.edited import Row, edit
from tests.reports.forms import run_forms, run_html, run_text
from tests.reports.synthetic import Plan, write
from tests.reports.telephone_calls import BUSY, CALLS, FULL, REFUSED, called, summary_of_calls

HUNG_UP = "the peer hung up"
NOT_REFRESHED = "the session was not refreshed in time"
OTHER_CODEC = "the peer answers with a codec that was not offered"
OWN_HANG_UP = "this tool hung up"


@pytest.fixture(scope="module")
def plain_calls(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return summary_of_calls(tmp_path_factory.mktemp("calls") / "run")


@pytest.fixture(scope="module")
def plain_page(plain_calls: Summary) -> str:
    return run_html(plain_calls)


def hung_up(reason: str = "") -> dict[str, Any]:
    text = f"{HUNG_UP} ({reason})" if reason else HUNG_UP
    return {"outcome": "closed:1000", "cause": text, "close_reason": text, "close_code": 1000}


def hung_up_by_tool(cause: str) -> dict[str, Any]:
    return {
        "outcome": HANG_UP,
        "cause": f"{OWN_HANG_UP}: {cause}",
        "close_reason": None,
        "close_code": None,
    }


def test_calls_that_were_tried_answered_refused_and_not_answered_are_counted(
    tmp_path: Path,
) -> None:
    refusals = (
        *[("throttled:handshake", FULL)] * 2,
        ("timeout:upgrade", "the call was not answered within 10 s: it only rang"),
        ("connect_failed:media", "the call was answered without audio that this tool can receive"),
    )
    (calls,) = summary_of_calls(tmp_path / "run", refusals=refusals).calls

    assert (calls.answered.count, calls.answered.n) == (CALLS, CALLS + REFUSED)
    assert calls.answered.value == pytest.approx(CALLS / (CALLS + REFUSED))
    assert calls.answered.low < calls.answered.value < calls.answered.high
    assert (calls.refused, calls.unanswered, calls.failed) == (REFUSED - 2, 1, 1)
    assert [(reason.part, reason.n) for reason in calls.not_set_up[:2]] == [
        (BUSY, 4),
        (FULL, 2),
    ]


def test_calls_without_a_sound_are_counted_by_what_arrived(tmp_path: Path) -> None:
    changes = [{"outcome": NO_MEDIA, "rtp_expected": 0, "rtp_lost": 0, "rtp_late": 0}] * 2 + [
        {"outcome": NO_SOUND}
    ]
    (calls,) = summary_of_calls(tmp_path / "run", *changes).calls

    assert (calls.without_packets, calls.without_sound) == (2, 1)


def named(reason: Value) -> tuple[str, str, int]:
    return reason.metric, reason.part, reason.n


def test_the_reasons_with_which_the_agent_ended_calls_are_grouped(tmp_path: Path) -> None:
    normal = hung_up("Q.850;cause=16")
    (calls,) = summary_of_calls(
        tmp_path / "run", normal, normal, hung_up(), hung_up("Q.850;cause=41")
    ).calls

    assert calls.ended_by_agent == 4
    assert named(calls.endings[0]) == ("closed:1000", f"{HUNG_UP} (Q.850;cause=16)", 2)
    assert {reason.part: reason.n for reason in calls.endings[1:]} == {
        HUNG_UP: 1,
        f"{HUNG_UP} (Q.850;cause=41)": 1,
    }


def test_calls_that_this_tool_hung_up_are_not_said_to_be_ended_by_the_agent(tmp_path: Path) -> None:
    changes = [hung_up_by_tool(NOT_REFRESHED)] * 2 + [hung_up_by_tool(OTHER_CODEC)]
    summary = summary_of_calls(tmp_path / "run", *changes)
    (calls,) = summary.calls
    text = plain(run_text(summary))

    assert (calls.ended_by_agent, calls.hung_up) == (0, 3)
    assert named(calls.hang_ups[0]) == (HANG_UP, f"{OWN_HANG_UP}: {NOT_REFRESHED}", 2)
    assert f"2 × {OWN_HANG_UP}: {NOT_REFRESHED}, 1 × {OWN_HANG_UP}: {OTHER_CODEC}" in text
    for form in run_forms(summary):
        assert "ended by the agent" not in form
        assert "closed the connection" not in form


def test_missing_packets_are_counted_over_all_calls_and_unreported_ones_are_unknown(
    tmp_path: Path,
) -> None:
    elsewhere = {
        "rtp_unsent": 7,
        "other_hosts": "192.0.2.9 (audio)",
        "rtp_uncounted_pauses": 2,
        "rtp_restarts": 1,
        "calls_without_line": 3,
    }
    summary = summary_of_calls(tmp_path / "run", {"rtp_lost": 3}, elsewhere, elsewhere)
    (calls,) = summary.calls
    text = run_text(summary)

    assert (calls.packets.count, calls.packets.n) == (CALLS + 2, 100 * CALLS)
    assert (calls.late_packets.count, calls.late_packets.n) == (CALLS, 100 * CALLS)
    assert calls.peer_packets.n == 0
    assert "peer_rtp_loss unknown" in text
    assert "this machine could not send 14 packets" in plain(text)
    assert "the timestamps of the agent's RTP do not count 4 pauses" in plain(text)
    assert "the agent's RTP began again 2 ×" in plain(text)
    assert "no line was free for 6 calls" in plain(text)
    assert "hosts that only the agent named: 192.0.2.9 (audio) in 2 calls" in plain(text)


def test_counts_that_an_older_tool_did_not_record_are_unknown(tmp_path: Path) -> None:
    path = called(tmp_path / "run") / "sessions.parquet"
    rows = pq.read_table(path)
    pq.write_table(rows.select([name for name in rows.column_names if name not in ADDED]), path)
    (calls,) = summarise(load_for_report(path.parent)).calls

    assert (calls.unsent_packets, calls.uncounted_pauses, calls.restarts) == (None, None, None)
    assert calls.without_line is None
    assert calls.verdicts == ()


RANG_NS, ANSWERED_NS = 20 * NS_PER_MS, 3000 * NS_PER_MS


def plain(text: str) -> str:
    return " ".join(text.replace("\\", "").split())


def test_the_setup_of_calls_is_shown_in_the_terminal_and_in_the_section(tmp_path: Path) -> None:
    def change(_: int, row: Row) -> Row:
        if row["opened_at_ns"] is None:
            return row
        began_ns = row["connect_start_at_ns"]
        return row | {"ringing_at_ns": began_ns + RANG_NS, "opened_at_ns": began_ns + ANSWERED_NS}

    summary = summarise(load_for_report(edit(called(tmp_path / "run"), "sessions", change)))
    text, (page, markdown) = plain(run_text(summary)), run_forms(summary)

    assert "setup ringing after 20 ms, connected after 3 s, session set up in " in text
    assert page.count("Setup of each call") == 1
    for name in ("connect_total", "post_dial_delay"):
        assert f"| {name} (ms) | sim |" in plain(markdown)


def test_without_medians_the_terminal_has_the_range_of_the_setup(tmp_path: Path) -> None:
    def change(index: int, row: Row) -> Row | None:
        answered_ns = row["connect_start_at_ns"] + ANSWERED_NS + index * 10 * NS_PER_MS
        return (
            None
            if index > 4 or row["opened_at_ns"] is None
            else row | {"opened_at_ns": answered_ns}
        )

    text = plain(
        run_text(summarise(load_for_report(edit(called(tmp_path / "run"), "sessions", change))))
    )

    assert re.search(r"connected after 3.0\d s to 3.0\d s, session set up in .* packets", text)


def test_the_terminal_has_the_jitter_of_the_packets(tmp_path: Path) -> None:
    jitter = [{"rtp_jitter_ns": 2 * NS_PER_MS}] * CALLS
    text = plain(run_text(summary_of_calls(tmp_path / "run", *jitter)))

    assert (
        "(40 of 4,000 packets), rtp_jitter 2 ms (p50); rtp_late_share 1 % (40 of 4,000 packets);"
        " peer_rtp_loss unknown" in text
    )


def test_a_run_in_which_no_call_was_answered_has_no_lines_on_setup_and_packets(
    tmp_path: Path,
) -> None:
    def change(_: int, row: Row) -> Row:
        refused = {
            "outcome": "connect_failed:486",
            "cause": BUSY,
            "turns_started": 0,
            "turns_not_started": 2,
        }
        never = dict.fromkeys(
            ("opened_at_ns", "session_created_at_ns", "update_sent_at_ns", "rtp_expected")
        )
        return row | never | refused

    folder = edit(called(tmp_path / "run"), "sessions", change)
    text = run_text(summarise(load_for_report(edit(folder, "turns", lambda _, row: None))))

    assert "0 answered" in text
    assert not re.search("^(setup|packets) ", text, re.MULTILINE)


def test_counts_of_0_are_left_out_except_of_calls_tried_and_answered(plain_page: str) -> None:
    for name in ("tried", "answered", "refused"):
        assert f">{name}</th>" in plain_page
    for name in ("not answered", "not set up", "answered, no RTP", "ended by the agent"):
        assert f">{name}</th>" not in plain_page


@pytest.mark.parametrize(
    ("kept", "text"),
    [
        (
            30,
            (
                "with no late session in 30 sessions the lower bound is 90.5 %: about 149 sessions"
                " are needed"
            ),
        ),
        (6, "too few sessions to decide: 6 of 6; a rate needs 10 sessions"),
    ],
)
def test_a_threshold_on_calls_counts_sessions_not_turns(
    kept: int, text: str, tmp_path: Path
) -> None:
    folder = called(tmp_path / "run")
    edit(
        folder,
        "sessions",
        lambda index, row: None if index >= kept or row["opened_at_ns"] is None else row,
    )
    (found,) = check_of(folder, thresholds("connect_total: within(10s)>0.98")).thresholds

    assert plain(why(found)) == text


@pytest.mark.parametrize("lost", [0, 1])
def test_two_telephones_are_compared_by_their_setup_greeting_and_packets(
    lost: int, tmp_path: Path
) -> None:
    plan = Plan(sessions=60, turns=2, targets=("direct", "number"), paired=True)
    folder = write(tmp_path / "run", plan, interleaved=True)
    document = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    for target in document["targets"]:
        target["dialect"] = TELEPHONE.name
    (folder / "run.json").write_text(json.dumps(document), encoding="utf-8")

    def change(_: int, row: Row) -> Row:
        delay_ns = 600 * NS_PER_MS if row["target"] == "number" else 100 * NS_PER_MS
        at = {
            "ringing_at_ns": delay_ns,
            "opened_at_ns": 2 * delay_ns,
            "greeting_audible_at_ns": 3 * delay_ns,
        }
        missing = lost if row["target"] == "number" else 2 * lost
        return row | at | {"rtp_expected": 100, "rtp_late": 0, "rtp_lost": missing}

    found = compare_targets(parse_targets([str(edit(folder, "sessions", change))]), draws=300)
    metrics = {compared.spec.name: compared.difference for compared in found.comparisons}

    for name in (
        "connect_total p50",
        "post_dial_delay p50",
        "greeting p50",
        "answer_to_greeting p50",
    ):
        assert metrics[name] is not None
        assert metrics[name].candidate == pytest.approx(6 * metrics[name].baseline)
    assert ("rtp_loss mean" in metrics) is bool(lost)
    assert not metrics.keys() & {"session_ready p50", "peer_rtp_loss mean"}


@pytest.mark.parametrize("turns_started", [True, False])
def test_missing_turn_events_are_noted_only_if_turns_were_measured(
    turns_started: bool, tmp_path: Path
) -> None:
    folder = called(tmp_path / "run")
    document = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    document["targets"][0]["full_duplex"] = True
    (folder / "run.json").write_text(json.dumps(document), encoding="utf-8")
    if not turns_started:
        edit(folder, "turns", lambda _, row: None)

    assert (
        "has no events for turns" in plain(run_text(summarise(load_for_report(folder))))
    ) is turns_started


def test_the_terminal_states_how_calls_were_set_up(tmp_path: Path) -> None:
    text = " ".join(run_text(summary_of_calls(tmp_path / "run", hung_up("Q.850;cause=16"))).split())

    assert "48 tried, 40 answered (83.3 %" in text
    assert f"8 refused: 8 × {BUSY}" in text
    assert f"1 ended by the agent: 1 × {HUNG_UP} (Q.850;cause=16)" in text
    assert "WebSocket" not in text


def test_a_threshold_on_the_answer_limits_the_share_of_calls_that_were_set_up(
    tmp_path: Path,
) -> None:
    refused = {"opened_at_ns": None, "outcome": "connect_failed:486", "cause": BUSY}
    third = edit(
        called(tmp_path / "run"), "sessions", lambda index, row: row if index % 3 else row | refused
    )
    found = check_of(
        third, thresholds("connect_total: within(10s)>0.3", "connect_total: within(10s)>0.9")
    )
    (calls,) = summarise(load_for_report(third)).calls

    assert [each.result for each in found.thresholds] == ["pass", "fail"]
    assert [each.measured[0] for each in found.thresholds] == [
        pytest.approx(calls.answered.value)
    ] * 2
