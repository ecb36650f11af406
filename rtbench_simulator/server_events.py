"""Server events as bytes: event names in both dialects, ids, templates for frequent events, and the
outbox.

Deltas are sent hundreds of times a second. So the JSON of a delta is split once per response into
constant pieces, and only the event id and the payload are inserted for each delta. All other events
use the JSON encoder. docs/protocol.md, "Two dialects", lists the names that differ between the
dialects.

The outbox contains the events that one session will send. They are planned as series of steps, and
the outbox merges the series by due instant. Steps of a series keep their order. If two series have
steps at the same instant, all steps of the series that was added first precede those of the other.
The next step of a series is requested only after the previous step was taken. Responses to client
events keep the order of the client events.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import msgspec
import numpy as np

from bench.base.errors import UsageError
from bench.wire.audio import AudioFormatName
from bench.wire.dialect import BinaryMessage
from rtbench_simulator.delay import Delay

Json = dict[str, Any]
OBFUSCATION_LETTERS = (11, 15)


class ArrivalSpan(NamedTuple):
    """The time span in which a message arrived: from `since_ns` to `at_ns`, on CLOCK_MONOTONIC.

    `is_kernel`: True if `at_ns` is a kernel timestamp.
    """

    at_ns: int
    since_ns: int
    is_kernel: bool


class OutgoingEvent(msgspec.Struct, frozen=True, gc=False):
    """A server event and the instant (CLOCK_MONOTONIC, ns) at which the service would send it.

    Some fields are only for the ground-truth log. `item_id` and `call_id`: the ids of the event's
    item and function call. `audible_byte`: the offset, in the delta's audio, at which the item is
    first audible. `facts`: other values, by their keys in the log. `nested`: the type of the event
    within a `response.event` of GPT-Live. `utterance`: the number of the utterance in its session,
    if the event is a delta of GPT-Live's speech.

    `context_tokens`: the input tokens of the response that begins with the event. Faults may depend
    on them.

    `close`: the code and the reason with which the connection is closed after the event; None if it
    stays open. Then `body` may be empty, and nothing is sent before the close.
    """

    due_ns: int
    type: str
    body: bytes
    response_id: str | None = None
    audio_bytes: int = 0
    audible_byte: int | None = None
    item_id: str | None = None
    call_id: str | None = None
    facts: Json | None = None
    nested: str | None = None
    utterance: int | None = None
    context_tokens: int = 0
    close: tuple[int, str] | None = None


class WireNames(NamedTuple):
    """The event families whose names differ between the dialects, and the types of an assistant's
    content parts.

    `is_ga` is True if items and settings have the form of GA, under these names.
    """

    text: str
    audio: str
    transcript: str
    text_part: str
    audio_part: str
    is_ga: bool = False


PREVIEW = WireNames("response.text", "response.audio", "response.audio_transcript", "text", "audio")
GA = WireNames(
    "response.output_text",
    "response.output_audio",
    "response.output_audio_transcript",
    "output_text",
    "output_audio",
    is_ga=True,
)


GA_FORMATS: Mapping[AudioFormatName, Json] = {
    "pcm16": {"type": "audio/pcm", "rate": 24_000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
    "pcm16@8000": {"type": "audio/pcm", "rate": 8_000},
    "pcm16@16000": {"type": "audio/pcm", "rate": 16_000},
    "pcm16@48000": {"type": "audio/pcm", "rate": 48_000},
}
"""The formats in the notation of GA. The client has another table, so that a mistake in one of
them is found."""


class RejectedError(UsageError):
    """A client event that violates a rule of the service. It causes one `error` event and
    changes nothing.
    """

    def __init__(self, code: str | None, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param


class Ids:
    """The generator of the ids of one session.

    `tag` (12 letters and digits) distinguishes these ids from the ids of all other sessions.
    """

    def __init__(self, tag: str) -> None:
        self.session = f"sess_{tag}000000000"
        self._tag = tag
        self._events = 0
        self._others = 0

    def event(self) -> str:
        self._events += 1
        return f"event_{self._tag}{self._events:09d}"

    def new(self, kind: str) -> str:
        """Return the next id of `kind`, e.g. `item` → item_…000000001."""
        self._others += 1
        return f"{kind}_{self._tag}{self._others:09d}"


def error_fields(
    code: str | None, message: str, param: str | None = None, event_id: str | None = None
) -> Json:
    error = {
        "type": "invalid_request_error",
        "code": code,
        "message": message,
        "param": param,
        "event_id": event_id,
    }
    return {"error": error}


def event_bytes(event_type: str, event_id: str, fields: Json) -> bytes:
    return msgspec.json.encode({"type": event_type, "event_id": event_id, **fields})


# The ids and the family are the simulator's own, so they need no escapes. Only the payload may.
class DeltaTemplate:
    """A template for the deltas of one event family and content part. `render` inserts the event
    id and the payload.
    """

    def __init__(self, family: str, response_id: str, item_id: str, output_index: int) -> None:
        self.type = f"{family}.delta"
        self._head = f'{{"type":"{self.type}","event_id":"'.encode()
        position = f'"item_id":"{item_id}","output_index":{output_index},"content_index":0'
        self._middle = f'","response_id":"{response_id}",{position},"delta":'.encode()

    def render(self, event_id: str, payload: bytes, obfuscation: str | None = None) -> bytes:
        """Return a delta as bytes. `payload`: a JSON string with its quotes."""
        tail = b"}" if obfuscation is None else b',"obfuscation":"%s"}' % obfuscation.encode()
        return b"".join((self._head, event_id.encode(), self._middle, payload, tail))


def whole_frame(body: bytes) -> bytes:
    """Return a message as one unmasked frame (RFC 6455 §5.2). Frames of servers are not masked."""
    size = len(body)
    first = b"\x82" if type(body) is BinaryMessage else b"\x81"
    if size < 126:
        return first + size.to_bytes(1, "big") + body
    if size < 65536:
        return first + b"\x7e" + size.to_bytes(2, "big") + body
    return first + b"\x7f" + size.to_bytes(8, "big") + body


# from the due instant; None if there is nothing to send
Render = Callable[[int], OutgoingEvent | None]
OutboxStep = tuple[int, Render]


@dataclass(eq=False)
class PlannedSeries:
    """A planned series of steps. `dropped`: True if its remaining steps are cancelled."""

    number: int
    steps: Iterator[OutboxStep]
    dropped: bool = False


# The heap has one entry for each series: its next step. Ties are decided by the number of the
# series, so functions are never compared, and the order is that in which the series were planned.
#
# A step renders its event when it is sent. So an event has what was sent before it, a cancellation
# can drop the rest of a series at any time, and no event is made for a client that has gone.
class Outbox:
    """The planned events of one session. `obfuscated`: True if text deltas are padded."""

    def __init__(self, ids: Ids, rng: np.random.Generator, *, obfuscated: bool) -> None:
        self.ids = ids
        self._rng = rng
        self._obfuscated = obfuscated
        self._heap: list[tuple[int, int, Render, PlannedSeries]] = []
        self._planned = 0
        self.answered_ns = 0  # due instant of the last answer to a client event

    def next_due_ns(self) -> int | None:
        return self._heap[0][0] if self._heap else None

    def due(self, now_ns: int) -> Iterator[OutgoingEvent]:
        """Yield the due events. Each event is rendered when it is requested, so it depends on the
        events before it.

        The consumer may stop early and take the remaining events later.
        """
        while self._heap and self._heap[0][0] <= now_ns:
            due_ns, _, render, series = heapq.heappop(self._heap)
            if series.dropped:
                continue
            try:
                event = render(due_ns)
                if event is not None:
                    yield event
            finally:  # also if the consumer stops here: the rest remains planned
                self._plan_next(series)

    def plan(self, steps: Iterable[OutboxStep]) -> PlannedSeries:
        self._planned += 1
        series = PlannedSeries(self._planned, iter(steps))
        self._plan_next(series)
        return series

    def plan_step(self, due_ns: int, render: Render) -> PlannedSeries:
        """Plan a series of one step."""
        return self.plan([(due_ns, render)])

    def _plan_next(self, series: PlannedSeries) -> None:
        following = None if series.dropped else next(series.steps, None)
        if following is not None:
            heapq.heappush(self._heap, (following[0], series.number, following[1], series))

    def after(self, at_ns: int, delay: Delay) -> int:
        return at_ns + delay.draw_ns(self._rng)

    def answer_due(self, at_ns: int, delay: Delay) -> int:
        """Return the instant at which a client event is answered. `at_ns`: the time when the event
        was received.

        The instant is not before the answers to earlier client events.
        """
        return self.answer_from(self.after(at_ns, delay))

    def answer_from(self, due_ns: int) -> int:
        """Return the first instant from `due_ns` on that is not before the answers to earlier
        client events.
        """
        self.answered_ns = max(self.answered_ns, due_ns)
        return self.answered_ns

    def answer(self, at_ns: int, delay: Delay, *events: tuple[str, Json]) -> int:
        """Plan the events that answer one client event. All are due at the same instant. Return
        this instant.
        """
        due_ns = self.answer_due(at_ns, delay)
        self.plan(
            [(due_ns, partial(self.event, event_type, fields)) for event_type, fields in events]
        )
        return due_ns

    def event(
        self,
        event_type: str,
        fields: Json,
        due_ns: int,
        *,
        facts: Json | None = None,
        response_id: str | None = None,
    ) -> OutgoingEvent:
        item = fields.get("item", {})
        return OutgoingEvent(
            due_ns,
            event_type,
            event_bytes(event_type, self.ids.event(), fields),
            response_id,
            item_id=fields.get("item_id") or item.get("id"),
            call_id=fields.get("call_id") or item.get("call_id"),
            facts=facts,
        )

    def obfuscation(self) -> str | None:
        """Return the random letters with which OpenAI pads a text delta; None if deltas are not
        padded.
        """
        if not self._obfuscated:
            return None
        letters: Any = self._rng.integers(
            97, 123, self._rng.integers(*OBFUSCATION_LETTERS, endpoint=True), np.uint8
        )
        return bytes(letters).decode()

    def error(self, rejected: RejectedError, event_id: str | None, due_ns: int) -> OutgoingEvent:
        fields = error_fields(rejected.code, rejected.message, rejected.param, event_id)
        return self.event("error", fields, due_ns)
