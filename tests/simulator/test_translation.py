"""Sessions with the simulated Realtime translation, without a network."""

from __future__ import annotations

import base64
import statistics
import wave
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.observe.observation import TurnObservation
from bench.plan.compiled_script import CompiledScript
from bench.plan.recordings import load_pcm
from bench.plan.script import load_script
from bench.services.translation.dialect import TRANSLATION
from bench.wire.audio import PCM16
from rtbench_simulator.profile import LatencyGrowth, quiet_profile
from rtbench_simulator.server_events import OutgoingEvent
from rtbench_simulator.services.translation.behaviour import (
    AUDIO_DELTA,
    TranslationBehaviour,
)
from tests.helpers import seated
from tests.memory_transport import LiveTransport, PeerAnswer, SimulatedPeer
from tests.simulator.builders import AT_NS, MS, constant, session_parts, sound

AUDIO = Path(__file__).parents[2] / "scenarios" / "audio" / "late_parcel.wav"
DELAY_MS = 300
STALL_MS = 433


def behaviour(growth: LatencyGrowth | None = None) -> TranslationBehaviour:
    delays = replace(quiet_profile().delays, first_audio=constant(DELAY_MS))
    profile = replace(quiet_profile(), delays=delays, growth=growth)
    return TranslationBehaviour("m", session_parts(profile))


def heard(*parts_ms: int, frame_ms: int = 200) -> list[OutgoingEvent]:
    """Send speech and silence, alternating, to an interpreter; return its events."""
    service = behaviour()
    service.open(AT_NS)
    audio = sound(*parts_ms)
    events: list[OutgoingEvent] = []
    for number, begin in enumerate(range(0, len(audio), 48 * frame_ms), 1):
        piece = base64.b64encode(audio[begin : begin + 48 * frame_ms]).decode()
        at_ns = AT_NS + number * frame_ms * MS
        service.receive({"type": "session.input_audio_buffer.append", "audio": piece}, at_ns)
        events += service.due(at_ns)
    return events


def begun_ms(events: list[OutgoingEvent]) -> list[int]:
    """Return where the translations begin, on the clock of the input."""
    slices = [event for event in events if event.type == AUDIO_DELTA]
    return [
        number * 100
        for number, event in enumerate(slices)
        if event.utterance and (number == 0 or event.utterance != slices[number - 1].utterance)
    ]


@pytest.mark.parametrize("frame_ms", [20, 100, 200, 1_000])
def test_a_segment_is_translated_one_delay_after_its_end(frame_ms: int) -> None:
    events = heard(1_000, 3_000, frame_ms=frame_ms)

    (began,) = begun_ms(events)
    # not before the end of the segment is detected
    assert 1_000 + DELAY_MS <= began <= 1_000 + 500 + frame_ms + 200


class Interpreter(SimulatedPeer[TranslationBehaviour]):
    """An interpreter that sends no silence."""

    def __init__(self, growth: LatencyGrowth | None = None) -> None:
        super().__init__(behaviour(growth))
        self.behaviour.open(AT_NS)

    def say(self, now_ns: int) -> Iterable[PeerAnswer]:
        for answer in super().say(now_ns):
            if self.said[-1].type != AUDIO_DELTA or self.said[-1].utterance:
                yield answer

    def begun(self) -> list[tuple[int, int]]:
        """Return the instant of the first delta of each translation, and the byte at which its
        segment ended.
        """
        facts = ((sent.due_ns, (sent.facts or {}).get("speech_at_byte")) for sent in self.said)
        return [(due_ns, byte) for due_ns, byte in facts if byte]

    def heard_ns(self) -> list[int]:
        """Return the instants of audible samples."""
        return [
            sent.due_ns + PCM16.duration_ns(sent.audible_byte)
            for sent in self.said
            if sent.audible_byte is not None
        ]


def test_an_interpreter_may_stop_sending_while_it_is_silent(tmp_path: Path) -> None:
    path = tmp_path / "talk.yaml"
    steps = f"steps: [audio: {AUDIO}, audio: {AUDIO}]"
    path.write_text(f"session: {{turn_detection: full_duplex}}\n{steps}\n")
    script = CompiledScript(load_script(path), TRANSLATION).prepare_session(0, 0)
    session, timeline, listening = seated(script, LiveTransport(Interpreter()))
    session.run()

    turns: list[TurnObservation] = listening.turns
    assert [turn.outcome for turn in turns] == ["ok", "ok"]
    assert all(turn.metrics_ns()["voice_to_voice"] > DELAY_MS * MS for turn in turns)
    assert timeline.session().outcome == "ok"


class StalledTransport(LiveTransport):
    """A transport that this machine does not serve for a while, at its chunk number `stalled`."""

    def __init__(self, peer: Interpreter, stalled: int) -> None:
        super().__init__(peer)
        self.left = stalled

    def _tell(self, message: bytes) -> Iterable[PeerAnswer]:
        self.left -= b"append" in message
        if self.left == 0:
            self.left = -1
            self.clock.now_ns += STALL_MS * MS
        return super()._tell(message)


def talk(tmp_path: Path, parts: int, growth: LatencyGrowth | None = None, stalled: int = 0) -> Any:
    """Translate one segment that repeats a recording; return (the turn, the peer)."""
    wav = tmp_path / "talk.wav"
    with wave.open(str(wav), "wb") as file:
        file.setparams((1, 2, 24_000, 0, "NONE", ""))
        file.writeframes((load_pcm(AUDIO).data + bytes(9_600)) * parts)
    path = tmp_path / "talk.yaml"
    path.write_text(f"session: {{turn_detection: full_duplex}}\nsteps: [audio: {wav}]\n")
    script = CompiledScript(load_script(path), TRANSLATION).prepare_session(0, 0)
    peer = Interpreter(growth)
    session, _, listening = seated(script, StalledTransport(peer, stalled or -1))
    session.run()
    (turn,) = listening.turns
    assert turn.outcome == "ok", turn.detail
    return turn, peer


def test_a_translation_that_begins_before_the_end_of_its_segment_has_a_start_offset(
    tmp_path: Path,
) -> None:
    turn, peer = talk(tmp_path, 4)
    begun_ns = turn.instants["speech_start"] + turn.start_offset_ns

    assert begun_ns == peer.heard_ns()[0] + 50 * MS  # the jitter buffer
    assert begun_ns < turn.instants["speech_end"]
    assert "voice_to_voice" not in turn.metrics_ns()
    assert turn.cut_off
    assert turn.metrics_ns()["start_offset"] == turn.start_offset_ns


@pytest.mark.parametrize("per_min", [0, 20])
def test_the_lag_of_a_long_talk_grows_as_the_delay_of_the_interpreter(
    tmp_path: Path, per_min: int
) -> None:
    growth = LatencyGrowth(per_min, 100) if per_min else None
    turn, peer = talk(tmp_path, 20, growth)
    start_ns = turn.instants["speech_start"]
    lags = [at_ns - start_ns - PCM16.duration_ns(byte) for at_ns, byte in peer.begun()]
    ends_ns = [PCM16.duration_ns(byte) for _, byte in peer.begun()]
    slope = statistics.linear_regression(ends_ns, lags).slope
    talk_ns = turn.instants["speech_end"] - start_ns
    grown_ns, error_ns = turn.transcript_lag_growth_ns, turn.transcript_lag_growth_error_ns

    assert abs(grown_ns - slope * talk_ns) <= error_ns
    assert (grown_ns > error_ns) is (per_min > 0)


@pytest.mark.parametrize(("stalled", "error_ms"), [(17, -STALL_MS), (22, STALL_MS), (30, 0)])
def test_a_late_chunk_changes_the_lag_by_at_most_its_delay_and_marks_the_turn(
    tmp_path: Path, stalled: int, error_ms: int
) -> None:
    """The service reads the stream at the pace of its arrival. So the chunk in which speech ends,
    and the one before the translation, count.
    """
    usual, _ = talk(tmp_path, 1)
    turn, _ = talk(tmp_path, 1, stalled=stalled)
    error_ns = turn.metrics_ns()["voice_to_voice"] - usual.metrics_ns()["voice_to_voice"]

    assert error_ns == error_ms * MS
    assert (usual.late_chunks, turn.late_chunks > 0) == (0, True)
