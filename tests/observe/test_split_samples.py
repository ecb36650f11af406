"""Audio that comes in pieces with an odd number of bytes: half a sample waits for the piece that brings the rest."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bench.clock import Arrival
from bench.limits import Limits
from bench.observe import inputs
from bench.observe.inputs import SessionStart
from bench.observe.observation import TurnObservation
from bench.observe.reply_detector import SILENCE_NS, ReplyDetector
from bench.plan.turn_plan import TurnPlan
from bench.protocol.acs import ACS
from bench.protocol.audio import PCM16, PCM16_16K, Samples
from bench.protocol.base import Binary, Dialect
from bench.protocol.events import CutPayload, Event, Kind
from bench.protocol.openai_ga import GA
from bench.protocol.pcm import PCM
from bench.run.event_log import EventLog, LoggedTimeline
from bench.run.replay import replay_log
from bench.transport.received import Received
from tests.helpers import AT_NS, MS, after_ms, at

FAINT = 0x60
"""A sample that nobody hears; with its bytes in the other order it is among the loudest."""


def spoken(rate_hz: int, begin_ms: int, length_ms: int, tail_ms: int) -> Samples:
    """A tone of 1 kHz between faint samples."""
    tone = np.tile(np.repeat(np.array([3_000, -3_000], np.int16), rate_hz // 2_000), length_ms)
    faint = [np.full(rate_hz * ms // 1_000, FAINT, np.int16) for ms in (begin_ms, tail_ms)]
    return np.concatenate([faint[0], tone, faint[1]])


def pieces(data: bytes, size: int, moved: Sequence[int]) -> list[bytes]:
    """Cut bytes into pieces of a size, of which each ends so many bytes earlier or later."""
    ends = [
        min(len(data), end + (moved[number % len(moved)] if moved else 0))
        for number, end in enumerate(range(size, len(data), size))
    ]
    return [data[begin:end] for begin, end in pairwise([0, *ends, len(data)])]


def acs_message(data: bytes) -> bytes:
    return msgspec.json.encode({"kind": "AudioData", "audioData": {"data": base64.b64encode(data).decode()}})


def sounds(dialect: Dialect, messages: Sequence[bytes]) -> tuple[int, int, int]:
    """The first sample of the only reply, the last one, and the bytes of all deltas."""
    detector, places, over, total = ReplyDetector(PCM16_16K, SILENCE_NS, pauses=True), list[int](), 0, 0
    for number, message in enumerate(messages):
        arrival = Arrival(AT_NS + number * 20 * MS)
        (event,) = events = detector.listened(dialect.decode(message), arrival)
        found = [each.kind for each, _ in detector.events_in(events, arrival)]
        over += found.count(Kind.RESPONSE_DONE)
        assert isinstance(event.payload, CutPayload)
        if event.payload.audible is not None and event.payload.until is not None:
            places += [total // 2 + event.payload.audible, total // 2 + event.payload.until]
        total += event.payload_bytes
    assert over == 1
    return places[0], places[-1], total


@given(moved=st.lists(st.sampled_from([-1, 0, 1]), max_size=8), in_json=st.booleans())
def test_a_reply_is_found_in_the_samples_of_the_stream_wherever_messages_cut_it(
    moved: list[int], in_json: bool
) -> None:
    dialect: Dialect = ACS if in_json else PCM
    data = PCM16_16K.encode(spoken(16_000, 1_000, 400, 1_200))
    messages = [acs_message(piece) if in_json else Binary(piece) for piece in pieces(data, 640, moved)]

    assert sounds(dialect, messages) == (16_000, 16_000 + 400 * 16, len(data))


def test_half_a_sample_is_dropped_with_what_a_clear_drops() -> None:
    """Else all that comes behind it would be noise."""
    detector = ReplyDetector(PCM16_16K, SILENCE_NS, pauses=True)
    faint = PCM16_16K.encode(np.full(320, FAINT, np.int16))
    events = [
        *(event for _ in range(50) for event in PCM.decode(Binary(faint))),
        *PCM.decode(Binary(faint[:-1])),
        Event(Kind.CLEARED),
        *(event for _ in range(50) for event in PCM.decode(Binary(faint))),
    ]
    for number, event in enumerate(events):
        (found,) = detector.listened([event], Arrival(AT_NS + number * 20 * MS))
        assert not isinstance(found.payload, CutPayload) or found.payload.until is None


def delta(data: bytes, item: str) -> bytes:
    body = {
        "type": "response.output_audio.delta", "response_id": "r", "item_id": item, "output_index": 0,
        "content_index": 0, "delta": base64.b64encode(data).decode(),
    }  # fmt: skip
    return msgspec.json.encode(body)


def reply_in(moved: Sequence[int], log: Path, *, record_audio: bool) -> TurnObservation:
    """A turn whose reply becomes audible after 300 ms, in deltas of 100 ms that are cut elsewhere."""
    kept = EventLog(log, hide=lambda text: text, record_audio=record_audio)
    about: dict[str, Any] = {"dialect": "ga", "output_format": "pcm16"}
    timeline = LoggedTimeline(SessionStart(AT_NS, 1, Limits(), service_responds=False), GA, log=kept, about=about)
    timeline.tell(inputs.Begun(at(0), TurnPlan(1, "", "turn-1-", "turn-1-request", reply_format="pcm16")))
    timeline.tell(inputs.Sent("response.create", at(0), 9))

    def receive(at_ms: float, message: bytes) -> None:
        timeline.received(GA.decode(message), Received(message, Arrival(at(at_ms)), len(message)))

    receive(10, b'{"type":"response.created","response":{"id":"r","status":"in_progress"}}')
    for item in ("first", "second"):
        data = PCM16.encode(spoken(24_000, 300 if item == "first" else 50, 400, 100))
        for number, piece in enumerate(pieces(data, 4_800, moved)):
            receive(20 + number, delta(piece, item))
    receive(60, b'{"type":"response.done","response":{"id":"r","status":"completed","output":[]}}')
    (turn,) = timeline.take(at(60_000))
    timeline.tell(inputs.Finished(at(60_000)))
    kept.close()
    return turn


@given(moved=st.lists(st.sampled_from([-1, 0, 1]), max_size=8), record_audio=st.booleans())
def test_a_reply_in_deltas_of_an_odd_size_is_audible_where_its_samples_are(
    moved: list[int], record_audio: bool, tmp_path_factory: Any
) -> None:
    """Also as its log tells."""
    path = tmp_path_factory.mktemp("log") / "s.jsonl"
    turn = reply_in(moved, path, record_audio=record_audio)
    (again,) = replay_log(path).turns

    assert after_ms(turn, "first_audible") == 20 + TurnPlan(1, "", "", "").jitter_buffer_ns / MS + 300
    assert turn.received_audio_ns == (400 + 400 + 500 + 50) * MS
    assert again == turn
