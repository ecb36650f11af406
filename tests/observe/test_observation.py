"""The values that an observation computes from its instants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.catalogue.causes import in_words
from bench.catalogue.columns import SESSION_INSTANTS, TURN_INSTANTS
from bench.catalogue.metrics import (
    CATALOGUE,
    MANUAL_SEGMENTS,
    SEGMENT_NAMES,
    VAD_SEGMENTS,
    segments,
)
from bench.catalogue.outcomes import SUCCESSFUL, outcome_class
from bench.observe.observation import receive_timestamp_source
from bench.record.folder import SCHEMAS
from tests.examples import thorough
from tests.helpers import MS, at, build_observation, build_session

NOTHING_ELSE = {"stall_duration_ns": None, "network_rtt_ns": None}
"""The durations that an observation stores in their own columns. All are unknown here."""


def test_a_turn_s_metrics_are_differences_of_its_instants() -> None:
    assert build_observation().measured_from == "request_sent"
    assert build_observation().metrics_ns() == {
        "ttfa": 500 * MS,
        "transcript_first": 399 * MS,
        "transcript_total": 1_449 * MS,
        "transcript_lead": 101 * MS,
        "response_total": 1_500 * MS,
        "stall_duration": 0,
        "network_rtt": 2 * MS,
        "ttfa_minus_rtt": 498 * MS,
    }


MEASURED: dict[str, tuple[dict[str, float], str | None, dict[str, float]]] = {
    # (instants in ms, measured_from, metrics in ms)
    "a text turn with a transcription": (
        {"request_sent": 1, "committed": 2, "first_text": 31, "input_transcribed": 52},
        "request_sent",
        {"ttft": 30, "input_transcript": 50},
    ),
    "a voice turn is measured in microphone time": (
        {
            "speech_start": -40,
            "speech_end": 1_000,
            "speech_started": 60,
            "speech_stopped": 1_500,
            "committed": 1_505,
            "first_audio": 1_900,
            "first_audible": 2_020,
            "input_transcribed": 2_100,
        },
        "speech_end",
        {
            "ttfa": 900,
            "voice_to_voice": 1_020,
            "end_of_turn_delay": 500,
            "start_of_speech_delay": 100,
            "input_transcript": 595,
            "input_transcript_total": 1_100,
        },
    ),
    "a pause taken for the end gives a negative delay": (
        {"speech_end": 1_000, "speech_stopped": 700},
        "speech_end",
        {"end_of_turn_delay": -300},
    ),
    "latency is measured from speech_end without a request": (
        {"speech_end": 10, "first_audio": 40, "ended": 50},
        "speech_end",
        {"ttfa": 30},
    ),
    "a turn without measured_from has no latency": ({"first_audio": 40, "ended": 50}, None, {}),
    "transcript_lead is negative if the transcript follows the audio": (
        {"first_transcript": 30, "first_audio": 10},
        None,
        {"transcript_lead": -20},
    ),
}


@pytest.mark.parametrize(("instants", "measured_from", "metrics"), MEASURED.values(), ids=MEASURED)
def test_a_turn_has_the_metrics_between_its_instants(
    instants: dict[str, float], measured_from: str | None, metrics: dict[str, float]
) -> None:
    turn = build_observation(
        instants={name: at(ms) for name, ms in instants.items()}, **NOTHING_ELSE
    )

    assert turn.measured_from == measured_from
    assert turn.metrics_ns() == {name: round(ms * MS) for name, ms in metrics.items()}


def test_ttfa_minus_rtt_is_absent_behind_a_proxy() -> None:
    metrics = build_observation(rtt_scope="proxy").metrics_ns()

    assert "ttfa_minus_rtt" not in metrics
    assert (metrics["ttfa"], metrics["network_rtt"]) == (500 * MS, 2 * MS)
    assert build_observation(rtt_scope="service").metrics_ns()["ttfa_minus_rtt"] == 498 * MS


TRY_AGAIN = "rate_limit_exceeded: Rate limit reached. Please try again in 6.232s."


@pytest.mark.parametrize(
    ("outcome", "detail", "wait_ns"),
    [
        ("throttled:response", TRY_AGAIN, 6_232 * MS),
        ("throttled:error", TRY_AGAIN, 6_232 * MS),
        ("throttled:response", "rate_limit_exceeded: You exceeded your current quota.", None),
        ("failed:server_error", "server_error: Please try again in 6.232s.", None),
        ("ok", "", None),
    ],
)
def test_a_throttled_turn_has_the_wait_that_the_service_asked_for(
    outcome: str, detail: str, wait_ns: int | None
) -> None:
    assert build_observation(outcome=outcome, causes=(in_words(detail),)).retry_after_ns == wait_ns


@pytest.mark.parametrize(
    ("outcome", "headers", "detail", "wait_ns"),
    [
        ("throttled:handshake", {"retry-after": "7"}, "", 7_000 * MS),
        ("throttled:handshake", {"retry-after-ms": "250", "retry-after": "1"}, "", 250 * MS),
        ("throttled:handshake", {}, "429: Please retry after 6 seconds.", 6_000 * MS),
        ("throttled:handshake", {"retry-after": "0"}, "429: Please retry after 6 seconds.", 0),
        ("throttled:error", {}, TRY_AGAIN, 6_232 * MS),
        ("throttled:handshake", {}, "", None),
        ("connect_failed:503", {"retry-after": "7"}, "", 7_000 * MS),
        ("connect_failed:tcp", {}, TRY_AGAIN, None),
        ("closed:1013", {"retry-after": "7"}, "", None),
        ("ok", {"retry-after": "7"}, "", None),
    ],
)
def test_a_refused_session_has_the_wait_that_the_service_asked_for(
    outcome: str, headers: dict[str, str], detail: str, wait_ns: int | None
) -> None:
    assert (
        build_session(outcome=outcome, headers=headers, causes=(in_words(detail),)).retry_after_ns
        == wait_ns
    )


def test_a_session_s_metrics_are_differences_of_its_instants() -> None:
    assert build_session(auth_wait_ns=5 * MS).metrics_ns() == {
        "auth_wait": 5 * MS,
        "connect_dns": 1 * MS,
        "connect_tcp": 2 * MS,
        "connect_tls": 5 * MS,
        "connect_upgrade": 12 * MS,
        "connect_relay": 1 * MS,
        "connect_offer": 2 * MS,
        "connect_ice": 1 * MS,
        "connect_dtls": 1 * MS,
        "connect_total": 20 * MS,
        "post_dial_delay": 15 * MS,
        "session_ready": 40 * MS,
        "session_update": 20 * MS,
        "mcp_listing": 25 * MS,
        "service_time": 361 * MS,
        "response_time": 365 * MS,
        "history_load": 10 * MS,
        "connect_to_first_audible": 461 * MS,
        "greeting": 261 * MS,
        "answer_to_greeting": 241 * MS,
        "renewal_gap": 500 * MS,
        "return_gap": 596 * MS,
        "reconnect_time": 91 * MS,
        "idle_prompt": 10 * MS,
        "rtp_jitter": 3 * MS,
        "peer_rtp_jitter": 2 * MS,
        "relay_rtt": 6 * MS,
        "relay_path_rtt": 9 * MS,
        "transfer_silence": 800 * MS,
        "session_duration": 2_020 * MS,
    }


@pytest.mark.parametrize(
    ("kernel", "user", "source"),
    [(0, 0, None), (3, 0, "kernel"), (0, 1, "userspace"), (9, 1, "mixed")],
)
def test_the_receive_timestamp_source_is_kernel_userspace_or_mixed(
    kernel: int, user: int, source: str | None
) -> None:
    assert receive_timestamp_source(kernel, user) == source


def test_planned_turns_count_as_not_started_unless_the_run_s_end_stopped_them() -> None:
    assert (
        build_session(
            outcome="timeout:response", turns_planned=5, turns_started=2
        ).turns_not_started
        == 3
    )
    assert (
        build_session(
            outcome="connect_failed:401", turns_planned=5, turns_started=0
        ).turns_not_started
        == 5
    )
    assert (
        build_session(outcome="unfinished", turns_planned=5, turns_started=2).turns_not_started == 0
    )
    assert (
        build_session(outcome="exhausted:ports", turns_planned=5, turns_started=0).turns_not_started
        == 0
    )


# The catalogue.


def test_a_metric_names_instants_and_columns_that_a_row_has() -> None:
    instants = {
        "turn": {*TURN_INSTANTS, "measured_from"},
        "session": {*SESSION_INSTANTS},
        "load_generator": {*SESSION_INSTANTS},
    }
    sessions = {*SCHEMAS["sessions"].names}
    columns = {"turn": {*SCHEMAS["turns"].names}, "session": sessions, "load_generator": sessions}

    for name, metric in CATALOGUE.items():
        assert {metric.begin, metric.end} - {""} <= instants.get(metric.scope, set()), name
        assert {metric.column, metric.less} - {""} <= columns.get(metric.scope, set()), name
        assert bool(metric.begin) == bool(metric.end), name
        assert not (metric.column and metric.begin), name
        assert metric.sentence.endswith("."), name


# The segments of voice_to_voice.

SPOKEN = {
    "speech_end": 0,
    "speech_stopped": 500,
    "committed": 510,
    "response_created": 560,
    "first_audio": 900,
    "first_audible": 1_100,
}


def test_request_sent_is_a_segment_boundary_if_the_client_requests_the_response() -> None:
    assert ("committed", "request_sent", 20) in segments(SPOKEN | {"request_sent": 530})


@pytest.mark.parametrize("missing", ["speech_end", "first_audible"])
def test_without_speech_end_or_first_audible_there_are_no_segments(missing: str) -> None:
    assert segments({name: at_ns for name, at_ns in SPOKEN.items() if name != missing}) == []


@thorough
@given(
    instants=st.dictionaries(
        st.sampled_from(sorted({*VAD_SEGMENTS, *MANUAL_SEGMENTS, "ended"})), st.integers()
    ),
    ends=st.tuples(st.integers(), st.integers()),
)
def test_segments_add_up_to_voice_to_voice_even_with_missing_or_negative_parts(
    instants: dict[str, int], ends: tuple[int, int]
) -> None:
    instants |= {"speech_end": ends[0], "first_audible": ends[1]}
    cut = segments(instants)

    metrics = build_observation(instants=instants).metrics_ns()
    assert ("voice_to_voice" in metrics) is (ends[1] >= ends[0]) is bool(cut)
    assert (
        sum(length_ns for _, _, length_ns in cut)
        == metrics.get("voice_to_voice", 0)
        == max(0, ends[1] - ends[0])
    )
    assert [end for _, end, _ in cut[:-1]] == [begin for begin, _, _ in cut[1:]]
    assert {place for begin, end, _ in cut for place in (begin, end)} <= SEGMENT_NAMES.keys()


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        ("ok", "success"),
        ("interrupted", "success"),
        ("renewed", "success"),
        ("unfinished", "unfinished"),
        ("failed:x", "failed"),
        ("session_expired", "failed"),
        ("timeout:response", "failed"),
        ("throttled:response", "failed"),
        ("ok:unknown", "failed"),
    ],
)
def test_every_outcome_has_its_class(outcome: str, kind: str) -> None:
    assert outcome_class(outcome) == kind
    assert (outcome in SUCCESSFUL) == (kind == "success")
