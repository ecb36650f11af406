"""Logs and settings of a track, whose responses are in tests/services/messages/track.log."""

from __future__ import annotations

import base64

import msgspec

from bench.record.replay import LoggedMessage, logged_events
from bench.services.openai.track import GA_NARROW_TRACK
from bench.wire.dialect import BinaryMessage, decoder_of
from bench.wire.settings import SessionSettings, TurnDetection
from tests.observe.talk_log import cases
from tests.services.message_log import FOLDER, received

FRAME = BinaryMessage(b"\xff" * 160)


def test_a_log_without_audio_gives_the_same_responses() -> None:
    case = cases(FOLDER / "track.log")[
        "the audio belongs to a response from its creation to the end of its audio"
    ]
    steps = [received(line.text) for line in case.lines if line.kind == "<"]
    whole, decode = decoder_of(GA_NARROW_TRACK), decoder_of(GA_NARROW_TRACK)
    again = [
        event
        for stored in map(GA_NARROW_TRACK.without_audio, steps)
        for event in logged_events(LoggedMessage(0, 0, event=msgspec.Raw(stored)), decode)
    ]

    assert [(event.kind, event.response_id) for event in again] == [
        (event.kind, event.response_id) for step in steps for event in whole(step)
    ]
    recorded = msgspec.json.encode({"binary": base64.b64encode(FRAME).decode()})
    _, (found,) = whole(steps[1]), whole(recorded)
    assert found.payload_bytes == len(FRAME)


def test_the_settings_have_no_audio_formats() -> None:
    """The offer and the answer determine them."""
    session = GA_NARROW_TRACK.session(
        SessionSettings(turn_detection=TurnDetection(type="server_vad"), voice="alloy")
    )

    assert session["audio"]["output"] == {"voice": "alloy"}
    assert list(session["audio"]["input"]) == ["turn_detection"]
