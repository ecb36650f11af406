"""Standby of the simulated GPT-Live over WebRTC: pauses, wake-ups, and their minutes."""

from __future__ import annotations

import msgspec

from bench.wire.audio import PCM16
from rtbench_simulator.services.gpt_live.session_form import OFFERED
from rtbench_simulator.services.webrtc.live_session import LiveCallSession
from rtbench_simulator.services.webrtc.output_buffer import OutputBuffer
from rtbench_simulator.session.checks import EventValue
from tests.simulator.builders import AT_NS, MS, session_parts, sound
from tests.simulator.live_call import live_profile

STANDBY = {"idle_timeout_s": 2, "wake_policy": {"type": "speech"}}
CHUNK = 48 * 20


def heard(*parts_ms: int, **settings: object) -> list[tuple[int, str, dict[str, object]]]:
    """Return the events of a call in which the caller says sounds and silences in turn: (the ms of
    audio, the type, the event). The first part is a silence.
    """
    offered = OFFERED.read(EventValue("session", {"model": "gpt-live-1", **settings}))
    session = LiveCallSession(
        session_parts(live_profile(delegates=0)), offered, PCM16, OutputBuffer(AT_NS, PCM16)
    )
    session.open(AT_NS)
    audio = bytes(48 * parts_ms[0]) + sound(*parts_ms[1:])
    events = []
    for start in range(0, len(audio), CHUNK):
        now_ns = AT_NS + start // 48 * MS
        session.hear(audio[start : start + CHUNK], now_ns)
        for event in session.due(now_ns):
            decoded = msgspec.json.decode(event.body)
            events.append((start // 48, decoded["type"], decoded))
    return events


def instants(events: list[tuple[int, str, dict[str, object]]], name: str) -> list[int]:
    return [at_ms for at_ms, kind, _ in events if kind == name]


def test_a_silent_session_pauses_and_speech_wakes_it_up() -> None:
    events = heard(4_000, 1_500, 3_000, **STANDBY)
    (paused_ms,), (resumed_ms,) = (
        instants(events, f"session.{name}") for name in ("paused", "resumed")
    )

    assert 1_980 <= paused_ms <= 2_020
    assert 4_280 <= resumed_ms <= 4_340
    (transcript,) = [each for _, kind, each in events if kind == "session.input_transcript.delta"]
    assert isinstance(transcript["start_ms"], int)
    assert transcript["start_ms"] >= resumed_ms - 20  # earlier words were lost


def test_words_that_end_before_the_wake_up_are_not_heard() -> None:
    events = heard(4_000, 200, 1_000, **STANDBY)

    assert instants(events, "session.resumed")
    assert not instants(events, "session.input_transcript.delta")


def test_the_usage_has_the_seconds_in_standby() -> None:
    usage = [
        each["usage"]
        for _, kind, each in heard(10_000, 20, **STANDBY)
        if kind == "session.usage.updated"
    ]

    assert usage == [{"seconds": 10, "active_seconds": 3, "paused_seconds": 7}]


def test_a_session_without_a_wake_policy_never_pauses() -> None:
    assert not instants(heard(4_000, 20, idle_timeout_s=2), "session.paused")
