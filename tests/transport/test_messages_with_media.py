"""A session that has messages and a track of media at once: two connections, in one order of arrival."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence

import msgspec

from bench.services.openai.dialect import Ga
from bench.services.openai.events import EventReader
from bench.transport.messages_with_media import MessagesWithMedia
from bench.wire.connection import ReceivedMessage
from bench.wire.dialect import BinaryMessage, CallCodec, ClientMessage, MessageKind
from bench.wire.events import EventKind, ServerEvent
from tests.helpers import (
    FAMILIES,
    IN_GA,
    MS,
    Service,
    build_script,
    created,
    done,
    play,
    say,
    seated,
    usage,
)
from tests.memory_transport import MemoryTransport, PeerAnswer
from tests.transport.sip.phone_line import FRAME, dial, line
from tests.transport.sip.phone_line import receive as phone_messages

QUIET, LOUD = bytes(960), b"\xff\x7f" * 480
"""20 ms of PCM16."""


class TrackCodec(CallCodec):
    """The codec of one call. The audio of the track belongs to the response that the events named last."""

    def __init__(self, call_id: str) -> None:
        super().__init__(call_id)
        self.response_id = ""

    def decode(self, events: Sequence[ServerEvent]) -> Sequence[ServerEvent]:
        return [self._placed(event) for event in events]

    def _placed(self, event: ServerEvent) -> ServerEvent:
        if event.kind is EventKind.RESPONSE_CREATED:
            self.response_id = event.response_id
        elif event.kind is EventKind.RESPONSE_DONE:
            self.response_id = ""
        elif event.kind is EventKind.AUDIO_DELTA:
            if not self.response_id:
                return ServerEvent(EventKind.NOTED, event.name)
            return msgspec.structs.replace(event, response_id=self.response_id, item_id=f"item_of_{self.response_id}")
        return event


class EventsWithTrack(Ga):
    """The events of GA as texts. The audio of both directions is a track."""

    name = "track"
    has_track, has_binary_texts, codec = True, False, TrackCodec

    def append(self, audio: bytes, event_id: str) -> ClientMessage:
        return ClientMessage(
            MessageKind.APPEND, "input_audio_buffer.append", BinaryMessage(audio), audio_bytes=len(audio)
        )

    def decode(self, message: bytes) -> Sequence[ServerEvent]:
        if not isinstance(message, BinaryMessage):
            return EventReader.decode(self, message)
        payload = msgspec.Raw(b'"' + base64.b64encode(message) + b'"')
        return (ServerEvent(EventKind.AUDIO_DELTA, "track", payload_bytes=len(message), payload=payload),)


TRACK = EventsWithTrack()
FAMILIES[TRACK] = IN_GA


def track(last_ms: int, *loud: range) -> list[PeerAnswer]:
    """Return the frames of a track, which is silent except in some times, in ms."""
    return [
        (ms * MS, BinaryMessage(LOUD if any(ms in span for span in loud) else QUIET)) for ms in range(0, last_ms, 20)
    ]


def unwatched(on_arrival: Callable[[], bool]) -> None:
    """Do nothing: the media are read each `POLL_NS`."""


def silent(message: bytes) -> Iterable[PeerAnswer]:
    return ()


def test_messages_and_media_are_passed_on_in_the_order_of_arrival() -> None:
    messages = MemoryTransport(silent, [(ms * MS, b"text") for ms in (30, 55, 90)])
    media = MemoryTransport(silent, track(100), messages.clock)
    start_ns, came = messages.now_ns(), list[tuple[int, type]]()

    def note(message: ReceivedMessage) -> bool:
        came.append(((message.arrival.at_ns - start_ns) // MS, type(message.data)))
        return False

    MessagesWithMedia(messages, media, unwatched).receive_until(start_ns + 100 * MS, note)

    assert came == [(at, bytes if at in (30, 55, 90) else BinaryMessage) for at in (0, 20, 30, 40, 55, 60, 80, 90)]


def test_a_session_measures_the_audio_of_a_track_with_the_events_of_its_messages() -> None:
    def answered(response_id: str) -> list[PeerAnswer]:
        return [(100 * MS, created(response_id)), (1_000 * MS, done(response_id, usage=usage(audio_out=20)))]

    service = Service(TRACK, turns=[answered, answered])
    messages = MemoryTransport(service, service.greeting())
    start_ns = messages.now_ns()
    media = MemoryTransport(silent, track(3_000, range(300, 500), range(1_400, 1_500)), messages.clock)
    script = build_script(play(100), say("text"), dialect=TRACK)
    session, _, listening = seated(script, MessagesWithMedia(messages, media, unwatched))
    session.run()

    audible_ms = [
        (turn.instants["first_audible"] - script.jitter_buffer_ns - start_ns) / MS for turn in listening.turns
    ]
    assert [(turn.outcome, turn.response_id) for turn in listening.turns] == [("ok", "resp_1"), ("ok", "resp_2")]
    assert audible_ms == [300, 1_400]
    assert [type(data) for _, data in media.sent] == [BinaryMessage]
    assert [type(data) for _, data in messages.sent] == [bytes] * len(messages.sent)


def test_the_packets_of_real_sockets_are_read_while_no_message_arrives() -> None:
    with line(echoes=False) as quiet, line() as called:
        transport = MessagesWithMedia(dial(quiet)[0], dial(called)[0], unwatched)
        for _ in range(3):
            transport.send(FRAME)
        came = phone_messages(transport, lambda found: len(found) == 3)
        transport.close()

    assert [message.data for message in came] == [FRAME] * 3
