"""The join of rows with the truth log: the rows that are compared, and the rows that are left
out.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.catalogue.metrics import CATALOGUE
from bench.plan.recordings import SpeechSpan
from bench.wire.audio import PCM16_16K
from rtbench.calibrate.ground_truth import (
    PlayedRecording,
    match_rows,
    parse_truth,
    percentiles_of_errors,
)
from tests.calibrate.builders import SESSION, appends, build_row, received, sent

TYPED = [
    received("response.create", 1000, response="resp_1"),
    sent("response.created", 1100),
    sent("response.output_audio_transcript.delta", 1500),
    sent("response.output_audio.delta", 2000, audio=480),
    sent("response.output_audio.delta", 3000, audio=480),
    sent("response.output_audio.done", 3500),
    sent("response.done", 4000),
]
SPEECH = SpeechSpan(240, 2400)  # speech from 10 ms to 100 ms
CHUNK_NS = 50_000_000
SPOKEN = [
    *appends(1, 9600, [CHUNK_NS, 2 * CHUNK_NS, 3 * CHUNK_NS]),
    sent("input_audio_buffer.speech_started", 60_000_000, response=None, speech_at_byte=9000),
    sent("input_audio_buffer.speech_started", 70_000_000, response=None, speech_at_byte=10_080),
    sent("input_audio_buffer.speech_stopped", 160_000_000, response=None, speech_at_byte=14_400),
    sent("response.output_audio.delta", 200_000_000, audio=480),
    sent("response.done", 300_000_000),
]


def test_the_error_of_a_metric_is_its_value_minus_the_true_value() -> None:
    row = build_row(
        900, request_sent=990, first_audio=2007, first_transcript=1500, response_done=4003
    )
    errors = match_rows([row], parse_truth(TYPED), {})

    assert errors.metrics == {"ttfa": [17], "transcript_first": [10], "response_total": [13]}
    assert errors.instants == {
        "request_sent": [-10],
        "first_audio": [7],
        "first_transcript": [0],
        "response_done": [3],
    }


def test_a_reply_in_two_items_begins_in_the_first_and_ends_in_the_last() -> None:
    """Rows and the truth log use the same rule.

    A reply begins with its first delta of a kind, and ends with its last delta of this kind.
    """
    other = [
        sent("response.output_audio_transcript.done", 3400),
        sent("response.output_audio.delta", 3600, audio=480),
        sent("response.output_audio_transcript.done", 3900),
    ]
    truth = parse_truth([*TYPED[:-1], *other, TYPED[-1]]).replies[SESSION, "resp_1"]

    assert (truth["first_audio"], truth["transcript_done"]) == (2000, 3900)


def test_turns_without_ids_are_found_by_the_end_of_their_speech() -> None:
    """The ids of responses are unique only within their session."""
    recording = PlayedRecording(PCM16_16K, SPEECH, received_bytes=3_200)
    spoken = [
        *(
            line | {"event_id": None}
            for line in appends(1, 6_400, [CHUNK_NS, 2 * CHUNK_NS], size=1_600)
        ),
        sent("audio.delta", 200_000_000, audio=480, response="reply-1", speech_at_byte=9_600),
        sent("audio.delta", 900_000_000, audio=480, response="reply-1") | {"session": "another"},
    ]
    row = build_row(900, "speech_end", speech_end=100_000_000, first_audio=200_000_000)
    row |= {"response_id": "reply-1", "audio": "hello.wav"}
    errors = match_rows([row], parse_truth(spoken, recording), {"hello.wav": SPEECH})

    assert errors.metrics == {"ttfa": [0]}
    assert errors.instants == {"speech_end": [0], "first_audio": [0]}


def test_true_speech_instants_are_those_of_the_recorded_sample() -> None:
    true = {"speech_start": 10_041_666, "speech_end": 2 * CHUNK_NS, "speech_started": 70_000_000}
    row = build_row(
        0,
        measured_from="speech_end",
        **true,
        speech_stopped=160_000_000,
        first_audio=200_000_500,
        response_done=300_000_000,
    ) | {"audio": "hello.wav"}
    errors = match_rows([row], parse_truth(SPOKEN), {"hello.wav": SPEECH})

    assert errors.metrics["ttfa"] == [500]
    assert errors.metrics["end_of_turn_delay"] == [0]
    assert errors.metrics["start_of_speech_delay"] == [pytest.approx(0, abs=1)]
    assert errors.instants["speech_end"] == [0]


def test_an_unknown_recording_has_no_errors_of_metrics_that_begin_at_speech() -> None:
    row = build_row(0, measured_from="speech_end", speech_end=1, first_audio=2) | {
        "audio": "other.wav"
    }

    assert match_rows([row], parse_truth(SPOKEN), {"hello.wav": SPEECH}).metrics == {}


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": "timeout:response"},
        {"vad_splits": 1},
        {"response_id": "resp_2"},
        {"response_id": None},
    ],
)
def test_turns_without_a_unique_true_value_are_skipped(change: dict[str, Any]) -> None:
    row = build_row(0, request_sent=990, first_audio=2007) | change
    errors = match_rows([row], parse_truth(TYPED), {})

    assert errors.metrics == {}
    assert errors.unmatched == (row["outcome"] == "ok")


@pytest.mark.parametrize("taken_ns", [None, 10**9], ids=["unknown send time", "slow send"])
def test_an_event_with_an_uncertain_send_time_is_skipped_and_counted(taken_ns: int | None) -> None:
    lines = [
        line | {"send_end_ns": taken_ns} if line["type"] == "response.output_audio.delta" else line
        for line in TYPED
    ]
    truth = parse_truth(lines)
    errors = match_rows(
        [build_row(0, request_sent=1000, first_audio=2000, response_done=4000)], truth, {}
    )

    assert errors.metrics == {"response_total": [0]}
    assert errors.unmatched == 1
    assert truth.left_out == 2


def test_a_request_with_an_uncertain_arrival_time_is_skipped_and_counted() -> None:
    truth = parse_truth(
        [
            line | {"earliest_ns": line["at_ns"] - 10**9} if line["direction"] == "in" else line
            for line in TYPED
        ]
    )
    errors = match_rows(
        [build_row(0, request_sent=1000, first_audio=2000, response_done=4000)], truth, {}
    )

    assert (errors.metrics, errors.unmatched, truth.left_out) == ({}, 1, 1)
    assert set(errors.instants) == {"first_audio", "response_done"}


def test_speech_in_a_chunk_with_an_uncertain_arrival_time_has_no_instant() -> None:
    lines = [
        (
            line | {"earliest_ns": line["at_ns"] - 10**9}
            if line.get("event_id") == "turn-1-append-2"
            else line
        )
        for line in SPOKEN
    ]
    row = build_row(0, measured_from="speech_end", speech_end=1, speech_start=1, first_audio=2) | {
        "audio": "hello.wav"
    }
    errors = match_rows([row], parse_truth(lines), {"hello.wav": SPEECH})

    assert set(errors.instants) == {"speech_start", "first_audio"}
    assert errors.unmatched == 1


def test_lateness_is_computed_from_the_events_due_within_the_interval() -> None:
    truth = parse_truth(
        [
            *TYPED,
            {"schema": 2},
            {"direction": "end", "events": 5},
            {"direction": "refused", "at_ns": 1},
        ]
    )

    assert (truth.ended, parse_truth(TYPED).ended) == (1, 0)
    assert truth.late_within(1400, 3000).tolist() == [10, 10, 10]
    assert truth.late_within(10_000, 20_000).tolist() == []
    assert parse_truth([]).late_within(0, 1).tolist() == []


@given(st.lists(st.integers(-5000, 5000), min_size=6, max_size=6), st.integers(0, 10**9))
def test_the_error_of_a_metric_is_the_difference_of_the_errors_of_its_instants(
    moved: list[int], start_ns: int
) -> None:
    true = {
        "request_sent": 1000,
        "first_transcript": 1500,
        "first_audio": 2000,
        "response_done": 4000,
    }
    seen = {name: at_ns + by for (name, at_ns), by in zip(true.items(), moved, strict=False)}
    errors = match_rows([build_row(start_ns, "request_sent", **seen)], parse_truth(TYPED), {})

    assert {name: by for name, (by,) in errors.instants.items()} == {
        n: seen[n] - true[n] for n in true
    }
    for name, (error,) in errors.metrics.items():
        end = CATALOGUE[name].end
        assert error == errors.instants[end][0] - errors.instants["request_sent"][0]


def test_percentiles_of_errors_use_absolute_values() -> None:
    found = percentiles_of_errors({"ttfa": [-3_000_000, 1_000_000, 2_000_000], "ttft": []})

    assert list(found) == ["ttfa"]
    assert (found["ttfa"].n, found["ttfa"].p50, found["ttfa"].high) == (3, 2.0, 3.0)
