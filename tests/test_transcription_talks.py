"""Sessions that only transcribe, against the simulator on a virtual clock. The simulator's
events are the truth.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from bench.observe.observation import TurnObservation
from bench.plan.steps import PauseStep
from bench.plan.turns import AudioTurn
from bench.services.openai.dialect import GA
from bench.services.openai.preview import PREVIEW
from bench.wire.dialect import Dialect
from bench.wire.settings import InputTranscription, TurnDetection
from rtbench_simulator.profile import Profile, TranscriptSettings, quiet_profile
from rtbench_simulator.server_events import OutgoingEvent
from rtbench_simulator.services.azure import AZURE_PREVIEW
from rtbench_simulator.services.openai import OPENAI_GA
from tests.helpers import MS, S
from tests.simulator.builders import constant
from tests.talking import Simulator, Talked, build_script, speak, talked

FAMILY = "conversation.item.input_audio_transcription"
TEXT = "My parcel is late and I want to know where it is now"
WORDS = len(TEXT.split())
VAD = TurnDetection(silence_duration_ms=400)
LONG = (100, WORDS * 500)
"""Silence and speech in ms, with two words per second."""
WIRES = {GA.name: OPENAI_GA.transcribing(), PREVIEW.name: AZURE_PREVIEW.transcribing()}


def profile_of(**transcripts: Any) -> Profile:
    base = quiet_profile()
    settings = TranscriptSettings(texts=(TEXT,), words_per_s=2, **transcripts)
    return replace(base, transcripts=settings)


def transcribe(
    *steps: Any, model: str, dialect: Dialect = GA, profile: Profile | None = None, **session: Any
) -> Talked:
    """Play a session that only transcribes."""
    transcription = InputTranscription(model=model)
    script = build_script(
        *steps, dialect=dialect, output="transcript", input_transcription=transcription, **session
    )
    simulator = Simulator(dialect, profile or profile_of(), 1, wire=WIRES[dialect.name])
    return talked(script, simulator)


def sent(talk: Talked, name: str) -> list[OutgoingEvent]:
    return [event for event in talk.simulator.said if event.type.endswith(name)]


def fields(event: OutgoingEvent) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(event.body)
    return decoded


def check(talk: Talked, turns: int) -> None:
    """Compare the instants and words of each turn with the events that the simulator sent."""
    assert (talk.session.outcome, len(talk.turns)) == ("ok", turns)
    assert talk.session.unattributed_commits == talk.session.service_errors == 0
    assert not [event for event in talk.simulator.said if event.type.startswith("response.")]
    for number, turn in enumerate(talk.turns):
        assert turn.outcome == "ok", turn.detail
        completed, committed = sent(talk, ".completed")[number], sent(talk, ".committed")[number]
        item_id = fields(completed)["item_id"]
        assert (turn.item_id, turn.input_text) == (item_id, fields(completed)["transcript"])
        deltas = [
            event for event in sent(talk, f"{FAMILY}.delta") if fields(event)["item_id"] == item_id
        ]
        assert turn.input_transcript_deltas == len(deltas) > 0
        assert turn.instants["first_input_transcript"] == deltas[0].due_ns
        assert turn.instants["input_transcribed"] == turn.instants["ended"] == completed.due_ns
        assert turn.instants["committed"] == committed.due_ns
        assert turn.response_id == ""


@pytest.mark.parametrize("dialect", [GA, PREVIEW], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("detection", [None, VAD], ids=["client commit", "server VAD"])
def test_the_instants_of_all_dialects_equal_the_truth(
    detection: TurnDetection | None, dialect: Dialect
) -> None:
    steps = speak(30, 700, 200), PauseStep(0.9), speak(30, 700, 200, chunk_ms=60), speak(30, 700)
    talk = transcribe(*steps, model="gpt-4o-transcribe", dialect=dialect, turn_detection=detection)

    check(talk, 3)
    assert {turn.measured_from for turn in talk.turns} == {
        "speech_end" if detection else "request_sent"
    }
    assert talk.session.model == "gpt-4o-transcribe"
    assert not talk.session.is_answered


def test_recordings_that_are_sent_at_once_are_transcribed() -> None:
    talk = transcribe(*(speak(30, 700, paced=False) for _ in range(3)), model="whisper-1")

    check(talk, 3)
    assert all(turn.transcription_speed for turn in talk.turns)


@pytest.mark.parametrize("lag_ms", [0, 450, 2_500])
def test_the_lag_of_a_stream_equals_the_lag_of_the_profile(lag_ms: int) -> None:
    base = profile_of()
    delays = replace(
        base.delays, input_transcript_lag=constant(lag_ms), input_transcribed=constant(5_000)
    )
    turns = [speak(*LONG, 200), speak(*LONG, 200)]
    talk = transcribe(*turns, model="gpt-live-transcribe", profile=replace(base, delays=delays))

    check(talk, 2)
    for turn in talk.turns:
        assert turn.input_transcript_deltas == WORDS
        assert turn.transcript_lag_ns == pytest.approx(lag_of(talk, turn), abs=WORD_NS)
        assert turn.metrics_ns()["input_transcript_first"] == pytest.approx(
            (500 + lag_ms) * MS, abs=CHUNK_NS
        )


WORD_NS = 300 * MS
"""The tolerance of the even pace: words have different lengths."""
CHUNK_NS = 100 * MS


def lag_of(talk: Talked, turn: TurnObservation) -> float:
    """Return the median lag of a turn's deltas, from the positions that the simulator recorded."""
    heard = [
        (at_ns, event) for at_ns, event in talk.simulator.heard if event["type"].endswith(".append")
    ]
    ends, total = [], 0
    for at_ns, event in heard:
        total += len(event["audio"]) // 4 * 3 - event["audio"].count("=")
        ends.append((total, at_ns))
    lags = []
    for delta in sent(talk, f"{FAMILY}.delta"):
        if fields(delta)["item_id"] == turn.item_id:
            byte = (delta.facts or {})["audio_to_byte"]
            end, at_ns = next(place for place in ends if place[0] >= byte)
            lags.append(delta.due_ns - (at_ns - (end - byte) * S // 48_000))
    ordered = sorted(lags)
    return (ordered[(len(lags) - 1) // 2] + ordered[len(lags) // 2]) / 2


def test_the_lag_is_exact_for_words_of_equal_length() -> None:
    text = " ".join(["word"] * WORDS)
    base = replace(profile_of(), transcripts=TranscriptSettings(texts=(text,), words_per_s=2))
    delays = replace(
        base.delays, input_transcript_lag=constant(700), input_transcribed=constant(5_000)
    )
    talk = transcribe(
        speak(*LONG, 200), model="gpt-live-transcribe", profile=replace(base, delays=delays)
    )

    (turn,) = talk.turns
    assert turn.transcript_lag_ns == pytest.approx(lag_of(talk, turn), abs=MS)


@pytest.mark.parametrize("rate", [0.0, 0.25, 1.0])
def test_the_word_errors_are_those_of_the_profile(rate: float) -> None:
    turn: AudioTurn = replace(speak(30, 700), transcript=(TEXT,))
    talk = transcribe(
        *[turn] * 4, model="gpt-4o-transcribe", profile=profile_of(word_error_rate=rate)
    )

    errors = sum(turn.quality.input_word_errors or 0 for turn in talk.turns)
    assert errors == int(rate * 4 * WORDS)
    assert {turn.quality.input_words for turn in talk.turns} == {WORDS}


def test_a_failed_transcription_fails_its_turn_and_not_the_session() -> None:
    talk = transcribe(
        speak(30, 700),
        speak(30, 700),
        model="gpt-4o-transcribe",
        profile=profile_of(failure_rate=1.0),
    )

    assert [turn.outcome for turn in talk.turns] == ["failed:transcription"] * 2
    assert re.search("server_error: Input transcription failed", talk.turns[0].detail)
    assert talk.session.outcome == "ok"


def test_a_ten_minute_recording_is_transcribed_at_once() -> None:
    talk = transcribe(speak(30, 600_000, paced=False), model="whisper-1")

    (turn,) = talk.turns
    assert turn.outcome == "ok"
    assert turn.input_audio_ns == 600_030 * MS
