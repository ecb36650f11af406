"""Rows of calls with an agent, joined with the truth log: when the agent became audible, and
when it became silent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.base.units import NS_PER_MS
from bench.plan.recordings import Pcm, SpeechSpan
from bench.wire.audio import G711_ULAW, PCM16_16K, AudioFormat
from rtbench.calibrate.ground_truth import (
    OF_CALLS,
    MatchedErrors,
    PlayedRecording,
    match_rows,
    parse_truth,
)
from tests.calibrate.builders import SESSION, build_row, received, sent

CALL = "0a1b"
FRAME_MS, FRAME_BYTES = 20, 160
RECORDING = PlayedRecording(G711_ULAW, SpeechSpan(2_400, 12_000), received_bytes=4_160)
"""A recording with speech from 100 to 500 ms. A speech detector classifies its first 520 ms as
speech."""
BEGINS_MS = (1_000, 5_000)
"""The positions in the caller's audio, in ms, at which the recording is played."""
LATE_MS = 3
"""The time in ms from the instant when the caller plays a frame to the instant when the frame
arrives at the agent."""
JITTER_MS = 50


def lines() -> Iterator[dict[str, Any]]:
    """Yield the truth log of a call.

    The agent begins a greeting at 400 ms, and an answer 700 ms after the speech of each recording
    ends. The agent clears the first answer at 5,200 ms.
    """
    yield received("start", 0, event_id=f"MZ{CALL}")
    for place in range(400):
        span = {"from_byte": place * FRAME_BYTES, "to_byte": (place + 1) * FRAME_BYTES}
        yield received("media", ms((place + 1) * FRAME_MS + LATE_MS), **span)
    yield from agent_frames(400, {"utterance": "greeting"}, silent=3)
    for begin_ms in BEGINS_MS:
        yield from agent_frames(
            begin_ms + 1_220,
            {"utterance": "answer", "speech_at_byte": begin_ms * 8 + 4_160},
            silent=2,
        )
    yield sent("clear", ms(5_200), response=None)


def agent_frames(at_ms: int, facts: dict[str, Any], *, silent: int) -> Iterator[dict[str, Any]]:
    """Yield `silent` frames without audible samples, and then a frame that is audible from its 80th
    byte (10 ms) on.

    `facts` is added to the first frame.
    """
    for place in range(silent + 1):
        audible = 80 if place == silent else None
        first = facts if place == 0 else {}
        yield sent(
            "media",
            ms(at_ms + place * FRAME_MS),
            response=None,
            audio=FRAME_BYTES,
            audible_at_byte=audible,
            **first,
        )


def ms(number: float) -> int:
    return round(number * NS_PER_MS)


def spoken_row(begin_ms: int, **instants_ms: float) -> dict[str, Any]:
    """Return a row of a turn whose instants are correct, except those in `instants_ms`.

    `begin_ms` is the start of the recording. All times are in ms after the start of the call.
    """
    true = {"speech_start": begin_ms + 100 + LATE_MS, "speech_end": begin_ms + 500 + LATE_MS}
    true |= {"first_audible": begin_ms + 1_220 + 40 + 10 + JITTER_MS}
    return call_row("speech_end", **(true | instants_ms))


def call_row(measured_from: str | None, **instants_ms: float) -> dict[str, Any]:
    row = build_row(ms(100), None, **{name: ms(at_ms) for name, at_ms in instants_ms.items()})
    return row | {
        "service_session_id": CALL,
        "response_id": None,
        "measured_from": measured_from,
        "audio": "hello.wav",
    }


def errors(*rows: dict[str, Any], log: Sequence[dict[str, Any]] | None = None) -> MatchedErrors:
    truth = parse_truth(lines() if log is None else log, RECORDING)
    return match_rows(rows, truth, {}, OF_CALLS)


def errors_ms(found: MatchedErrors) -> dict[str, list[float]]:
    return {name: [round(ns / NS_PER_MS, 3) for ns in of] for name, of in found.metrics.items()}


def test_voice_to_voice_is_compared_with_the_first_audible_sample_sent() -> None:
    right, late = spoken_row(1_000), spoken_row(5_000, first_audible=5_000 + 1_320 + 7)

    assert errors_ms(errors(right, late)) == {"voice_to_voice": [0, 7]}


def test_a_greeting_without_a_turn_is_compared() -> None:
    row = call_row(None, first_audible=400 + 60 + 10 + JITTER_MS - 2)

    assert errors_ms(errors(row)) == {"greeting": [-2]}
    assert errors(row).unmatched == 0


def test_a_frame_by_telephone_is_audible_when_its_packet_is_sent_however_late_that_is() -> None:
    """All packets are 3 ms late or more, and the audible one is 9 ms late."""
    log = list(agent_frames(400, {"utterance": "greeting"}, silent=3))
    for line, late_ms in zip(log, (5, 3, 20, 9), strict=True):
        line |= {name: line[name] + ms(late_ms) for name in ("send_start_ns", "send_end_ns")}
    opened = {"direction": "open", "session": SESSION, "call_id": CALL}
    row = call_row(None, first_audible=400 + 60 + 9 + 10 + JITTER_MS)

    assert errors_ms(errors(row, log=[opened, *log])) == {"greeting": [0]}


def test_audio_sent_faster_than_real_time_is_audible_after_the_silence_before_it() -> None:
    """The frames arrive at four times real time. The playout queue plays all earlier frames
    before the audible one.
    """
    log = list(agent_frames(400, {"utterance": "greeting"}, silent=3))
    for place, line in enumerate(log):
        line |= {
            name: line[name] - ms(place * FRAME_MS * 3 / 4)
            for name in ("due_ns", "send_start_ns", "send_end_ns")
        }
    opened = received("start", 0, event_id=f"MZ{CALL}")
    row = call_row(None, first_audible=400 + 60 + 10 + JITTER_MS)

    assert errors_ms(errors(row, log=[opened, *log])) == {"greeting": [0]}


@pytest.mark.parametrize(
    ("late_ms", "heard_later_ms"), [(60, 0), (100, 0), (150, 100), (200, 200), (900, 900)]
)
def test_a_late_frame_delays_later_audio_only_if_its_delay_exceeds_100_ms(
    late_ms: float, heard_later_ms: float
) -> None:
    """Silent frames are sent continuously before the voice.

    All frames that wait behind the late frame arrive with it.
    """
    log = [received("start", 0, event_id=f"MZ{CALL}")]
    behind = [
        sent("media", ms(at_ms), response=None, audio=FRAME_BYTES, audible_at_byte=None)
        for at_ms in range(1_000, 2_400, FRAME_MS)
    ]
    for line in (*behind, *agent_frames(2_400, {"utterance": "greeting"}, silent=3)):
        come_ns = (
            max(line["send_start_ns"], ms(1_400 + late_ms))
            if line["send_start_ns"] >= ms(1_400)
            else line["send_start_ns"]
        )
        log.append(
            line
            | {
                "send_start_ns": come_ns,
                "send_end_ns": come_ns + line["send_end_ns"] - line["send_start_ns"],
            }
        )
    row = call_row(None, first_audible=2_400 + 60 + 10 + JITTER_MS)

    assert errors_ms(errors(row, log=log)) == {"greeting": [-heard_later_ms]}


def test_an_interruption_is_compared_from_its_recording_to_the_clear() -> None:
    begin_ms = 5_000 + 2_401 / 24 + LATE_MS
    row = spoken_row(
        1_000, barge_in=begin_ms - 1, barge_in_detected=5_200.5, barge_in_silent=5_200.5
    ) | {"outcome": "interrupted"}

    assert errors_ms(errors(row)) == {
        "voice_to_voice": [0],
        "barge_in_detection": [1.5],
        "barge_in_yield": [1.5],
    }


def test_the_two_instants_of_a_metric_have_separate_errors() -> None:
    found = errors(spoken_row(1_000, speech_end=1_000 + 500 + LATE_MS + 1)).instants

    assert found["speech_end"] == [NS_PER_MS]
    assert found["first_audible"] == [0]


@pytest.mark.parametrize(
    "row",
    [
        spoken_row(1_000) | {"service_session_id": "another"},
        spoken_row(1_000, speech_end=3_000),
        call_row(None, first_audible=3_000),
    ],
    ids=["another call", "no speech ends at that time", "no greeting at that time"],
)
def test_rows_without_a_match_in_the_truth_log_are_counted(row: dict[str, Any]) -> None:
    found = errors(row)

    assert (found.metrics, found.unmatched) == ({}, 1)


def test_a_frame_with_an_unknown_send_time_has_no_instant() -> None:
    log = [
        line | {"send_end_ns": None} if line.get("audible_at_byte") is not None else line
        for line in lines()
    ]
    found = errors(spoken_row(1_000), log=log)

    assert (found.metrics, found.unmatched) == ({}, 1)


def test_a_silent_answer_does_not_affect_the_match_of_the_other_answers() -> None:
    log = list(lines())
    last = max(
        place
        for place, line in enumerate(log)
        if line.get("audible_at_byte") is not None and line["send_start_ns"] < ms(5_000)
    )
    found = errors(spoken_row(1_000), spoken_row(5_000), log=[*log[:last], *log[last + 1 :]])

    assert errors_ms(found) == {"voice_to_voice": [0]}
    assert found.unmatched == 1


@pytest.mark.parametrize("format", [G711_ULAW, PCM16_16K], ids=["twilio", "acs"])
def test_the_end_of_speech_of_a_recording_is_its_last_active_frame(format: AudioFormat) -> None:
    """The recording contains 100 ms of silence, then a tone of half a second, and then silence
    again.
    """
    tone = np.tile(np.repeat(np.array([3_000, -3_000], np.int16), 24), 250)
    samples = np.concatenate((np.zeros(2_400, np.int16), tone, np.zeros(1_200, np.int16)))
    pcm = Pcm(Path("tone.wav"), "", samples.tobytes(), SpeechSpan(2_400, 14_400))

    assert PlayedRecording.of(pcm, format) == (format, pcm.speech, 600 * format.bytes_per_s // 1000)


def test_a_call_is_identified_by_the_id_in_its_opening_message() -> None:
    log = [
        line | {"event_id": CALL, "type": "AudioMetadata"} if line["type"] == "start" else line
        for line in lines()
    ]

    assert errors_ms(errors(spoken_row(1_000), log=log)) == {"voice_to_voice": [0]}
    assert {line["session"] for line in log} == {SESSION}
