"""The recording of observations as rows and counts."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from bench.base.clock import Arrival, utc_ns
from bench.catalogue.causes import decoded, in_words, text_of
from bench.catalogue.columns import TOKENS, TURNS, names_of, token_column
from bench.catalogue.metrics import CATALOGUE
from bench.observe.observation import SessionObservation, TurnObservation, TurnScore
from bench.record import folder as files
from bench.record.histograms import HistogramKey, Histograms, distribution
from bench.record.metric_values import all_histograms
from bench.record.provenance import named_host
from bench.record.recorder import Recorder, RowContext, SessionRecorder, Traffic
from bench.record.rows import TURN_COLUMNS, session_row
from bench.record.spool import FACTS, Spool, parts, path_of, prepare
from bench.services.openai.dialect import GA
from bench.target.target import Credential
from bench.wire.connection import ReceivedMessage
from bench.wire.dialect import SIMULATOR_VALUE
from bench.wire.events import UNREAD, TokenUsage
from tests.helpers import (
    AT_NS,
    MS,
    USAGE,
    S,
    at,
    base64_of,
    build_observation,
    build_session,
    created,
    delta,
    message,
    present,
    row_of,
    session_created,
)

LABELS = RowContext("w0-000001", "simulator", "voice_turns", "voice_turns")
OFFSET_NS = 1_700_000_000 * S
BEGAN_NS = 1_763_000_000 * S


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return files.create(tmp_path, "x", BEGAN_NS)


@pytest.fixture
def recorder(folder: Path) -> Recorder:
    return Recorder(Spool(folder, 0), BEGAN_NS)


def rows(folder: Path, table: files.TableName) -> list[dict[str, Any]]:
    return [present(row) for row in files.read_table(folder, table).to_pylist()]


def gathered(folder: Path, recorder: Recorder) -> Histograms:
    """Return all histograms of the data that the recorder has recorded until now."""
    recorder.flush()
    for _ in recorder.histogram_slices():
        pass
    return all_histograms(files.row_reader(folder), parts(folder))


def histogram_values(folder: Path, recorder: Recorder, metric: str, step: str = "all") -> list[int]:
    """Return the values in the histogram of a metric. Each value is the top of its bucket, in
    µs.
    """
    histogram = gathered(folder, recorder).get(HistogramKey(metric, "simulator", step))
    if histogram is None:
        return []
    values, counts = distribution(histogram)
    return [int(value) for value, count in zip(values, counts, strict=True) for _ in range(count)]


# Rows.


def test_a_turn_in_progress_has_a_row_until_it_ends(folder: Path) -> None:
    recorder = Recorder(Spool(folder, 0), BEGAN_NS, show_open_turns=True)
    record = recorder.session(LABELS)
    in_progress = [build_observation(turn=number, outcome="unfinished") for number in (1, 2)]
    recorder.open[record] = lambda now_ns: in_progress
    recorder.flush()
    assert [row["outcome"] for row in rows(folder, "turns")] == ["unfinished", "unfinished"]

    del in_progress[0]
    record.turn_ended(build_observation(turn=1))
    recorder.flush()
    assert [(row["turn"], row["outcome"]) for row in rows(folder, "turns")] == [
        (1, "ok"),
        (2, "unfinished"),
    ]
    record.session_ended(build_session())
    recorder.flush()
    assert [row["turn"] for row in rows(folder, "turns")] == [1]


def filled(turn: TurnObservation) -> TurnObservation:
    """Return the turn with a value of its own in each column for which it has none."""
    types = {"bool": bool, "double": float, "string": str}
    return structs.replace(
        turn,
        **{
            field.name: types.get(str(field.type), int)(place)
            for place, field in enumerate(files.SCHEMAS["turns"])
            if field.name in turn.__struct_fields__ and not getattr(turn, field.name)
        },
    )


def test_a_turn_s_row_has_all_values_of_its_observation(folder: Path, recorder: Recorder) -> None:
    turn = filled(build_observation(turn_type="function_calls+filler"))
    record = recorder.session(LABELS)
    record.turn_ended(turn)
    recorder.flush()

    (row,) = rows(folder, "turns")
    assert {name: row[f"{name}_at_ns"] for name in turn.instants} == {
        name: at_ns - AT_NS for name, at_ns in turn.instants.items()
    }
    same = set(TurnObservation.__struct_fields__) & set(files.SCHEMAS["turns"].names)
    assert {name: row[name] for name in same} == {name: getattr(turn, name) for name in same}
    assert (row["measured_from"], row["receive_timestamp_source"], row["audio_speed"]) == (
        "request_sent",
        "kernel",
        turn.audio_speed,
    )
    assert (row["delta_gap_max_ns"], row["delta_gap_p95_ns"]) == (20 * MS, 19 * MS)
    tokens = {name: row[token_column(name)] for name in TOKENS}
    assert TokenUsage(**tokens) == turn.usage
    assert (row["run_id"], row["session_id"], row["worker"]) == (folder.name, "w0-000001", 0)
    assert row["host"] == named_host()["name"]
    assert (row["target"], row["scenario"], row["script"]) == (
        "simulator",
        "voice_turns",
        "voice_turns",
    )
    assert row["simulated"] is False


def test_a_session_s_row_has_all_values_of_its_observation(
    folder: Path, recorder: Recorder
) -> None:
    session = build_session(
        outcome="closed:1006", turns_planned=4, backend_model="gpt-5", callee="person"
    )
    record = recorder.session(LABELS)
    record.session_ended(session)
    recorder.flush()

    (row,) = rows(folder, "sessions")
    assert {name: row[f"{name}_at_ns"] for name in session.instants} == {
        name: at_ns - AT_NS for name, at_ns in session.instants.items()
    }
    told_otherwise = {
        "unknown_events",
        "response_headers",
        "effective_settings",
        "service_session_id",
    }
    same = {field.name for field in fields(SessionObservation)} & set(
        files.SCHEMAS["sessions"].names
    ) - told_otherwise
    assert {name: row[name] for name in same} == {name: getattr(session, name) for name in same}
    others = ("other_hosts", "relay_rtt_ns")
    assert {name: value for name, value in row.items() if "rtp_" in name or name in others} == {
        "rtp_expected": 100,
        "rtp_lost": 2,
        "rtp_late": 1,
        "rtp_jitter_ns": 3 * MS,
        "rtp_sent": 90,
        "rtp_unsent": 3,
        "rtp_dropped": 0,
        "rtp_uncounted_pauses": 5,
        "rtp_restarts": 1,
        "rtp_transfers": 1,
        "rtp_transfer_silence_ns": 800 * MS,
        "rtp_transfer_silence_uncertainty_ns": 20 * MS,
        "other_hosts": "192.0.2.9 (audio)",
        "peer_rtp_expected": 80,
        "peer_rtp_lost": 4,
        "peer_rtp_jitter_ns": 2 * MS,
        "relay_rtt_ns": 6 * MS,
    }
    assert (row["unknown_events"], row["turns_not_started"], row["model"]) == (3, 3, "gpt-realtime")
    assert (row["region"], row["request_id"]) == ("Sweden Central", "r1")
    assert json.loads(row["response_headers"]) == session.headers
    assert json.loads(row["effective_settings"]) == session.effective_settings


def test_a_row_has_no_tokens_if_some_are_unreadable(folder: Path, recorder: Recorder) -> None:
    """If some token counts are unreadable, the sum of the other counts would look like the
    total.
    """
    record = recorder.session(LABELS)
    record.turn_ended(build_observation(usage=TokenUsage(text_in=9, audio_out=8) + UNREAD))
    record.session_ended(build_session(stray_usage=UNREAD))
    recorder.flush()

    for table in ("turns", "sessions"):
        (row,) = rows(folder, table)
        assert not {token_column(name) for name in TOKENS} & row.keys()


THROTTLED = {
    "outcome": "throttled:response",
    "causes": (in_words("rate_limit_exceeded: Please try again in 6.232s."),),
}


def test_rows_of_throttled_turns_and_sessions_have_the_retry_after(
    folder: Path, recorder: Recorder
) -> None:
    record = recorder.session(LABELS)
    record.turn_ended(build_observation(**THROTTLED))
    record.turn_ended(build_observation())
    record.session_ended(build_session(outcome="throttled:handshake", headers={"retry-after": "7"}))
    recorder.flush()

    throttled, good = files.read_table(folder, "turns").to_pylist()
    assert (throttled["retry_after_ns"], good["retry_after_ns"]) == (6_232 * MS, None)
    assert rows(folder, "sessions")[0]["retry_after_ns"] == 7 * S


def test_a_row_has_only_columns_of_its_table() -> None:
    turn, session = row_of(build_observation(), OFFSET_NS), session_row(build_session(), OFFSET_NS)

    assert sorted(TURN_COLUMNS) == sorted(files.SCHEMAS["turns"].names)
    assert TurnScore._fields == names_of(TURNS, "quality")
    assert {*TOKENS, "unread"} == {*TokenUsage.__struct_fields__}
    assert set(session) <= set(files.SCHEMAS["sessions"].names)
    assert turn["start_utc_ns"] == session["start_utc_ns"] == AT_NS + OFFSET_NS


def test_missing_values_of_a_turn_are_null() -> None:
    turn = build_observation(
        instants={"ended": at(5)},
        usage=None,
        gaps_ns=(),
        response_id="",
        item_id="",
        widths_ns={},
        uncertainties_ns={},
        kernel_stamps=0,
        audio_speed=None,
        stall_duration_ns=None,
        stall_count=None,
        network_rtt_ns=None,
        retransmits=None,
        rtt_scope=None,
        send_timestamp_source=None,
        transmit_delay_ns=None,
    )
    row = present(row_of(turn))

    absent = {
        "response_id",
        "item_id",
        "first_audio_at_ns",
        "request_sent_at_ns",
        "delta_gap_max_ns",
        "receive_timestamp_source",
        "audio_speed",
        "input_text_tokens",
        "timestamp_uncertainty_ns",
        "request_sent_uncertainty_ns",
        "cause",
        "audio",
        "stall_duration_ns",
        "stall_count",
        "vad_splits",
        "network_rtt_ns",
        "rtt_scope",
        "retransmits",
        "retry_after_ns",
        "send_timestamp_source",
        "transmit_delay_ns",
        "request_acked_at_ns",
        "context_tokens",
        "preamble",
        "interruption",
        "yielded",
        "function_calls",
        "dead_air_ns",
    }
    assert absent.isdisjoint(row)
    assert row["ended_at_ns"] == 5 * MS


@given(gaps=st.lists(st.integers(0, 10**9), min_size=1, max_size=60))
def test_the_p95_of_gaps_is_the_inverted_cdf(gaps: list[int]) -> None:
    row = row_of(build_observation(gaps_ns=tuple(gaps)))

    p95 = row["delta_gap_p95_ns"]
    assert p95 in gaps
    assert 100 * sum(gap <= p95 for gap in gaps) >= 95 * len(gaps)
    assert 100 * sum(gap < p95 for gap in gaps) < 95 * len(gaps)
    assert row["delta_gap_max_ns"] == max(gaps)


def test_a_session_row_contains_no_secret() -> None:
    secret = "sk-1234567890"
    settings = {"model": "m", "client_secret": {"value": secret}}
    headers = {
        "set-cookie": secret,
        "authorization": secret,
        "api-key": secret,
        "x-request-id": "r2",
    }
    row = session_row(build_session(effective_settings=settings, headers=headers), OFFSET_NS)

    assert secret not in str(row)
    assert row["request_id"] == "r2"


def test_a_truncated_text_contains_no_part_of_a_secret(folder: Path) -> None:
    secret = "sk-1234567890"
    recorder = Recorder(Spool(folder, 0), BEGAN_NS, hide=lambda text: text.replace(secret, "***"))
    record = recorder.session(LABELS)
    record.turn_ended(build_observation(causes=(in_words("x" * 295 + secret),)))
    record.session_ended(build_session(unknown_events={f"event.{secret}": 1}))
    recorder.incident("auth_refresh", "x" * 295 + secret)
    recorder.close()

    assert (
        text_of(decoded(rows(folder, "turns")[0]["cause"]))
        == counters(folder)["incidents"][0]["text"]
        == "x" * 295 + "***"
    )
    assert counters(folder)["unknown_events"] == {"event.***": 1}


SECRET = "a-key-that-nobody-may-see"


def test_a_column_contains_no_part_of_a_secret_that_the_service_truncated(folder: Path) -> None:
    """The texts of the rows that are written together are cleaned together."""
    recorder = Recorder(Spool(folder, 0), BEGAN_NS, hide=Credential("x", SECRET).redact)
    record = recorder.session(LABELS)
    for code, detail in ((SECRET[:10], f"no key {SECRET[:12]}"), ("no_reply", "no reply")):
        record.turn_ended(build_observation(outcome=f"failed:{code}", causes=(in_words(detail),)))
    recorder.close()

    assert [text_of(decoded(row["cause"])) for row in rows(folder, "turns")] == [
        "no key ***",
        "no reply",
    ]
    assert [row["outcome"] for row in rows(folder, "turns")] == ["failed:***", "failed:no_reply"]


def test_a_secret_is_removed_only_from_texts_of_the_service(tmp_path: Path) -> None:
    folder = tmp_path / SECRET
    folder.mkdir()
    prepare(folder)
    recorder = Recorder(
        Spool(folder, 0), BEGAN_NS, hide=Credential("x", SECRET).redact, transcripts=True
    )
    labels = RowContext(SECRET, SECRET, SECRET, SECRET, phase=SECRET)
    record = recorder.session(labels)
    texts = {
        "response_id": SECRET,
        "item_id": SECRET,
        "outcome": f"failed:{SECRET}",
    }
    record.turn_ended(
        build_observation(step=SECRET, audio=SECRET, reply_text=SECRET, input_text=SECRET, **texts)
    )
    headers = {"x-ms-region": SECRET, "x-request-id": SECRET}
    settings = {"model": SECRET}
    record.session_ended(
        build_session(
            outcome=f"connect_failed:{SECRET}",
            headers=headers,
            effective_settings=settings,
            close_reason=SECRET,
        )
    )
    recorder.close()

    ours = {"run_id", "session_id", "target", "scenario", "script", "phase", "step", "audio"}
    for table in ("turns", "sessions"):
        (row,) = rows(folder, table)
        assert {name for name, value in row.items() if SECRET in str(value)} == ours & set(row)
    (line,) = (
        json.loads(line)
        for line in (folder / "spool" / "transcripts-0.jsonl").read_text().splitlines()
    )
    assert {name for name, value in line.items() if SECRET in str(value)} == {"session_id", "step"}


@pytest.mark.parametrize(
    "secret", ['a "quoted" secret', "a\\secret\\of\\backslashes", "a secret of Zürich"]
)
def test_a_secret_with_json_escapes_is_removed_from_json_columns(folder: Path, secret: str) -> None:
    recorder = Recorder(Spool(folder, 0), BEGAN_NS, hide=Credential("x", secret).redact)
    settings = {"model": "m", "tools": [{"note": f"so {secret}"}], secret: 1}
    recorder.session(LABELS).session_ended(
        build_session(headers={"x-echo": f"so {secret}"}, effective_settings=settings)
    )
    recorder.flush()

    (row,) = rows(folder, "sessions")
    assert json.loads(row["response_headers"]) == {"x-echo": "so ***"}
    assert json.loads(row["effective_settings"]) == {
        "model": "m",
        "tools": [{"note": "so ***"}],
        "***": 1,
    }


def test_a_number_too_large_for_its_column_is_null_and_reported(
    folder: Path, recorder: Recorder
) -> None:
    """A service reports its usage as JSON, which has no limit for numbers."""
    endless = structs.replace(USAGE, text_in=10**30)
    record = recorder.session(LABELS)
    for usage in (USAGE, endless, USAGE):
        record.turn_ended(build_observation(usage=usage))
    record.session_ended(build_session())
    recorder.close()

    turns = files.read_table(folder, "turns").to_pylist()
    assert [turn["input_text_tokens"] for turn in turns] == [USAGE.text_in, None, USAGE.text_in]
    assert [turn["input_audio_tokens"] for turn in turns] == [USAGE.audio_in] * 3
    assert [turn["first_audio_at_ns"] for turn in turns] == [501 * MS] * 3
    assert len(rows(folder, "sessions")) == 1
    (incident,) = counters(folder)["incidents"]
    assert incident["kind"] == "value_dropped"
    assert incident["text"].startswith(
        "input_text_tokens in turns of session w0-000001, null there: OverflowError"
    )


def test_an_error_in_a_row_of_seconds_affects_no_other_row(
    folder: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = recorder.session(LABELS)
    record.turn_started()
    with monkeypatch.context() as broken:
        broken.setattr("bench.record.recorder.time.process_time", lambda: 1 / 0)
        recorder.end_second()
    record.turn_ended(build_observation())
    record.session_ended(build_session())
    recorder.close()

    assert [len(rows(folder, table)) for table in ("turns", "sessions", "seconds")] == [1, 1, 1]
    assert rows(folder, "seconds")[0]["turns_started"] == 1
    assert counters(folder)["incident_counts"] == {"second_dropped": 1}
    assert counters(folder)["done"] is True


def test_the_last_rows_are_written_if_the_last_second_fails(
    folder: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.session(LABELS).turn_ended(build_observation())
    monkeypatch.setattr("bench.record.recorder.time.process_time", lambda: 1 / 0)
    recorder.close()

    assert len(rows(folder, "turns")) == 1


# Counts.


def test_the_metrics_of_a_successful_turn_are_counted_by_step(
    folder: Path, recorder: Recorder
) -> None:
    record = recorder.session(LABELS)
    for ms in (100, 250):
        instants = {"request_sent": at(0), "first_audio": at(ms), "ended": at(900)}
        record.turn_ended(build_observation(instants=instants, gaps_ns=(3 * MS,)))

    assert histogram_values(folder, recorder, "ttfa", "voice_turns.greeting") == pytest.approx(
        [100_000, 250_000], rel=1e-3
    )
    assert histogram_values(folder, recorder, "delta_gap") == pytest.approx(
        [3_000, 3_000], rel=1e-3
    )


@pytest.mark.parametrize(
    "outcome", ["failed:x", "timeout:response", "throttled:response", "unfinished"]
)
def test_a_failed_turn_has_a_row_and_is_in_no_histogram(
    folder: Path, recorder: Recorder, outcome: str
) -> None:
    recorder.session(LABELS).turn_ended(build_observation(outcome=outcome))
    recorder.flush()

    assert histogram_values(folder, recorder, "ttfa", "voice_turns.greeting") == []
    assert [row["outcome"] for row in rows(folder, "turns")] == [outcome]
    assert rows(folder, "turns")[0]["first_audio_at_ns"] == 501 * MS


def test_a_session_s_metrics_are_counted(folder: Path, recorder: Recorder) -> None:
    recorder.session(LABELS).session_ended(build_session())

    scope = [
        name
        for name, metric in CATALOGUE.items()
        if metric.scope == "session" and metric.unit == "ms"
    ]
    assert {name: len(histogram_values(folder, recorder, name)) for name in scope} == dict.fromkeys(
        scope, 1
    )
    assert histogram_values(folder, recorder, "connect_total") == pytest.approx([20_000], rel=1e-3)


def receive(
    record: SessionRecorder, data: bytes, *, lag_ns: int = 0, error_ns: int = 0, kernel: bool = True
) -> None:
    record.received(
        GA.decode(data),
        ReceivedMessage(data, Arrival(AT_NS, error_ns, kernel), len(data)),
        AT_NS + lag_ns,
    )


def test_the_uncertainty_of_each_event_and_the_kernel_receive_delay_are_counted(
    folder: Path, recorder: Recorder
) -> None:
    record = recorder.session(LABELS)
    receive(record, created("r1"), lag_ns=70_000, error_ns=9_000)
    receive(record, created("r1"), lag_ns=40_000, error_ns=0)
    receive(record, created("r1"), lag_ns=99_000, error_ns=5_000, kernel=False)

    assert histogram_values(folder, recorder, "timestamp_uncertainty") == [0, 5, 9]
    assert histogram_values(folder, recorder, "receive_delay") == [40, 70]


def test_a_row_of_a_second_has_only_the_counts_of_that_second(
    folder: Path, recorder: Recorder
) -> None:
    record, other = recorder.session(LABELS), recorder.session(LABELS)
    record.turn_started()
    receive(record, session_created(), lag_ns=1)
    receive(record, delta(GA, "audio", "r1", base64_of(480)), lag_ns=9_000)
    receive(record, delta(GA, "audio", "r1", "abc"))
    record.sent(650, 480, (None,))
    record.turn_ended(build_observation(outcome="failed:x"))
    record.turn_ended(build_observation(outcome="unfinished"))
    recorder.event_loop_delay(7 * MS)
    recorder.event_loop_delay(3 * MS)
    recorder.end_second()
    other.session_ended(build_session())
    recorder.end_second()
    recorder.flush()

    first, second = rows(folder, "seconds")
    wire = len(session_created()) + sum(
        len(delta(GA, "audio", "r1", p)) for p in (base64_of(480), "abc")
    )
    assert {
        name: first[name]
        for name in ("sessions_active", "session_starts", "turns_started", "turns_ended")
    } == {
        "sessions_active": 2,
        "session_starts": 2,
        "turns_started": 1,
        "turns_ended": 2,
    }
    assert (first["turns_failed"], first["events"]) == (1, 3)
    assert (first["audio_bytes_received"], first["audio_bytes_sent"]) == (480, 480)
    assert (first["wire_bytes_received"], first["wire_bytes_sent"]) == (wire, 650)
    assert recorder.traffic == {LABELS.target: Traffic(3, 1, wire, 650)}
    assert (first["receive_delay_max_ns"], first["event_loop_delay_max_ns"]) == (9_000, 7 * MS)
    assert (second["sessions_active"], second["session_starts"], second["events"]) == (1, 0, 0)
    assert (second["receive_delay_max_ns"], second["event_loop_delay_max_ns"]) == (0, 0)


def limits(tokens: Any, requests: Any = None) -> bytes:
    entries = [
        {"name": "tokens", **tokens},
        *([{"name": "requests", **requests}] if requests else []),
    ]
    return message(
        "rate_limits.updated", rate_limits=[*entries, {"name": "conversations", "remaining": 1}]
    )


def test_a_row_of_a_second_has_the_minimum_remaining_of_each_rate_limit(
    folder: Path, recorder: Recorder
) -> None:
    record = recorder.session(LABELS)
    record.connected({"x-ratelimit-limit-requests": "36", "x-ratelimit-remaining-requests": "12"})
    receive(record, limits({"limit": 6_000, "remaining": 900}, {"limit": 40, "remaining": 30}))
    receive(record, limits({"limit": 6_100, "remaining": 1_700}))
    recorder.end_second()
    receive(record, limits({"remaining": 5_000}))
    recorder.end_second()
    recorder.end_second()
    recorder.flush()

    names = ("requests_limit", "requests_remaining", "tokens_limit", "tokens_remaining")
    reported = [
        tuple(row[name] for name in names)
        for row in files.read_table(folder, "seconds").to_pylist()
    ]
    assert reported == [(40, 12, 6_100, 900), (None, None, None, 5_000), (None, None, None, None)]


def test_a_row_of_a_second_counts_throttled_turns_and_sessions(
    folder: Path, recorder: Recorder
) -> None:
    record = recorder.session(LABELS)
    record.turn_ended(build_observation(**THROTTLED))
    record.turn_ended(build_observation(outcome="failed:x"))
    record.session_ended(build_session(outcome="throttled:handshake"))
    recorder.end_second()
    recorder.session(LABELS).session_ended(build_session())
    recorder.end_second()
    recorder.flush()

    assert [row["throttled"] for row in rows(folder, "seconds")] == [2, 0]


def test_a_late_simulator_is_an_incident_once_and_again_if_it_is_much_later(
    folder: Path, recorder: Recorder
) -> None:
    for late_ms in ("6.1", "7.0", "no number", "29.4"):
        recorder.session(LABELS).connected(
            {"x-rtbench-simulator": "1", "x-rtbench-simulator-late-ms": late_ms}
        )
    recorder.close()

    reported = [incident["text"] for incident in counters(folder)["incidents"]]
    since = (
        f"{LABELS.target}: since its start (restart it to reset this value), 99 % of the"
        " simulator's events were"
    )
    assert reported == [f"{since} at most 6.1 ms late", f"{since} at most 29.4 ms late"]
    assert [incident["late_ms"] for incident in counters(folder)["incidents"]] == [6.1, 29.4]
    assert counters(folder)["incident_counts"] == {"simulator_late": 2}


def test_a_simulator_behind_a_gateway_is_detected_by_its_session(
    folder: Path, recorder: Recorder
) -> None:
    record = recorder.session(LABELS)
    record.connected({"server": "a gateway"})
    receive(record, message("session.created", session={"id": "sess_1", SIMULATOR_VALUE: True}))
    record.turn_ended(build_observation())
    record.session_ended(build_session())
    recorder.flush()

    assert recorder.simulated
    assert [row["simulated"] for table in ("turns", "sessions") for row in rows(folder, table)] == [
        True,
        True,
    ]
    assert rows(folder, "turns")[0]["service_session_id"] == "sess_1", (
        "rows know the service's id of their session"
    )


# On disk.


def counters(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path_of(folder, 0, FACTS).read_text())
    return document


def test_the_counters_are_done_only_after_the_last_row(folder: Path, recorder: Recorder) -> None:
    assert counters(folder)["done"] is False
    record = recorder.session(LABELS)
    record.session_ended(build_session())
    assert sum(1 for _ in recorder.histogram_slices()) == len(list(recorder.histograms.items()))
    reported = counters(folder)
    (host,) = reported["hosts"]
    assert host.pop("cpu_use")["cores"] == os.cpu_count()
    assert reported == {
        "done": False,
        "pid": os.getpid(),
        "simulated": False,
        "hosts": [named_host() | {"workers": 1}],
        "out_of_range": {},
        "negative": {},
        "unknown_events": {"x.y": 2, "z": 1},
        "timestamp_fallbacks": 2,
        "incidents": [],
        "incident_counts": {},
        "rows": {},
    }
    recorder.close()
    assert counters(folder)["done"] is True
    assert len(rows(folder, "sessions")) == 1


def test_incidents_have_their_time_and_worker_and_no_secrets(folder: Path) -> None:
    recorder = Recorder(Spool(folder, 3), BEGAN_NS, hide=lambda text: text.replace("secret", "***"))
    before_ns = utc_ns()
    recorder.incident("auth_refresh", "no answer to secret \udcff" + "x" * 500)
    recorder.close()

    document = json.loads(path_of(folder, 3, FACTS).read_text())
    (incident,) = document["incidents"]
    assert (incident["worker"], incident["kind"]) == (3, "auth_refresh")
    assert incident["text"].startswith("no answer to *** ?x")
    assert len(incident["text"]) == 300
    assert before_ns <= incident["at_utc_ns"] <= utc_ns()
    assert document["incident_counts"] == {"auth_refresh": 1}
