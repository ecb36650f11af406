"""What an observation derives from its instants."""

from __future__ import annotations

import pytest

from bench.measures import CATALOGUE, GOOD, LIMIT_NAMES, Limits, outcome_class
from bench.observe.observation import differences, stamp_source
from bench.run.folder import SESSION_INSTANTS, TURN_INSTANTS
from tests.helpers import AT_NS, MS, at, build_observation, build_session


def test_a_turn_s_measures_are_differences_of_its_instants() -> None:
    assert build_observation().measures_ns() == {
        "ttfa": 500 * MS,
        "transcript_first": 399 * MS,
        "transcript_total": 1_449 * MS,
        "transcript_lead": 101 * MS,
        "response_total": 1_500 * MS,
    }


def test_a_text_turn_and_a_transcription_have_theirs() -> None:
    instants = {"requested": at(1), "committed": at(2), "first_text": at(31), "input_transcribed": at(52)}

    assert build_observation(instants=instants).measures_ns() == {"ttft": 30 * MS, "input_transcript": 50 * MS}


def test_latency_counts_from_the_end_of_speech_where_nothing_was_requested() -> None:
    turn = build_observation(instants={"speech_end": at(10), "first_audio": at(40), "ended": at(50)})

    assert turn.origin == "speech_end"
    assert turn.measures_ns() == {"ttfa": 30 * MS}
    assert build_observation().origin == "requested"


def test_a_turn_without_an_origin_has_no_latency() -> None:
    turn = build_observation(instants={"first_audio": at(40), "ended": at(50)})

    assert (turn.origin, turn.measures_ns()) == (None, {})


def test_captions_that_come_after_the_sound_are_negative() -> None:
    instants = {"first_transcript": at(30), "first_audio": at(10)}

    assert build_observation(instants=instants).measures_ns() == {"transcript_lead": -20 * MS}


def test_a_session_s_measures_are_differences_of_its_instants() -> None:
    assert build_session().measures_ns() == {
        "connect_dns": 1 * MS,
        "connect_tcp": 2 * MS,
        "connect_tls": 5 * MS,
        "connect_upgrade": 12 * MS,
        "connect_total": 20 * MS,
        "session_ready": 40 * MS,
        "session_update": 20 * MS,
        "session_length": 2_020 * MS,
    }


def test_without_tls_the_upgrade_counts_from_the_tcp_connection() -> None:
    instants = {"connect_start": AT_NS, "dns_done": at(1), "tcp_done": at(3), "upgrade_done": at(20)}
    measures = build_session(instants=instants).measures_ns()

    assert measures["connect_upgrade"] == 17 * MS
    assert "connect_tls" not in measures


def test_what_a_session_did_not_reach_has_no_measure() -> None:
    instants = {"connect_start": AT_NS, "dns_done": at(1), "tcp_done": at(3), "ended": at(4)}

    assert set(build_session(instants=instants).measures_ns()) == {"connect_dns", "connect_tcp", "session_length"}


@pytest.mark.parametrize(
    ("received", "first", "span_ms", "speed"),
    [
        (4_800 + 48_000, 4_800, 1_000, 1.0),
        (4_800 + 96_000, 4_800, 1_000, 2.0),
        (52_800 + 24_000, 52_800, 1_000, 0.5),
    ],
)
def test_audio_speed_leaves_out_what_came_with_the_first_delta(
    received: int, first: int, span_ms: int, speed: float
) -> None:
    instants = {"first_audio": at(100), "last_audio": at(100 + span_ms)}
    turn = build_observation(instants=instants, audio_bytes_received=received, first_audio_bytes=first)

    assert turn.audio_speed == pytest.approx(speed)


@pytest.mark.parametrize("instants", [{}, {"first_audio": AT_NS, "last_audio": AT_NS}])
def test_under_two_deltas_there_is_no_speed(instants: dict[str, int]) -> None:
    assert build_observation(instants=instants).audio_speed is None


@pytest.mark.parametrize(
    ("kernel", "user", "source"), [(0, 0, None), (3, 0, "kernel"), (0, 1, "user"), (9, 1, "mixed")]
)
def test_the_source_of_stamps(kernel: int, user: int, source: str | None) -> None:
    assert stamp_source(kernel, user) == source


def test_turns_that_were_never_begun_are_lost_unless_the_run_s_end_cut_them() -> None:
    assert build_session(outcome="timeout:done", turns_wanted=5, turns_begun=2).lost_turns == 3
    assert build_session(outcome="refused:401", turns_wanted=5, turns_begun=0).lost_turns == 5
    assert build_session(outcome="abandoned", turns_wanted=5, turns_begun=2).lost_turns == 0


def test_a_measure_of_another_scope_is_not_among_them() -> None:
    instants = dict.fromkeys(("connect_start", "ended", "origin", "first_audio"), AT_NS)

    assert set(differences(instants, "turn")) == {"ttfa"}
    assert set(differences(instants, "session")) == {"session_length"}


# The catalogue.


@pytest.mark.parametrize("measure", CATALOGUE.values(), ids=CATALOGUE)
def test_a_measure_names_instants_that_a_row_has(measure: object) -> None:
    instants = {"turn": {*TURN_INSTANTS, "origin"}, "session": {*SESSION_INSTANTS}}
    known = instants.get(measure.scope, set())  # type: ignore[attr-defined]

    assert {measure.begin, measure.end} - {""} <= known  # type: ignore[attr-defined]
    assert measure.sentence.endswith(".")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [("ok", "good"), ("interrupted", "good"), ("abandoned", "censored"), ("failed:x", "failed"), ("expired", "failed"),
     ("timeout:done", "failed"), ("throttled:response", "failed"), ("ok:unknown", "failed")],
)  # fmt: skip
def test_every_outcome_has_its_class(outcome: str, kind: str) -> None:
    assert outcome_class(outcome) == kind
    assert (outcome in GOOD) == (kind == "good")


def test_the_limits_are_those_of_the_documentation() -> None:
    assert {name: getattr(Limits(), name) for name in LIMIT_NAMES} == {
        "tcp": 5,
        "tls": 5,
        "upgrade": 10,
        "session": 10,
        "first_delta": 30,
        "next_delta": 10,
        "done": 120,
    }
