"""Builders for tests of the code that measures: server events, turns, scripts, a service, and
observations.
"""

from __future__ import annotations

import base64
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from bench.base.clock import Arrival
from bench.catalogue.timeouts import REPLY_SILENCE_MS, Timeouts
from bench.load.execution.progress import DESIGN, TARGET_COUNTS, Failures, LiveMetricKey
from bench.observe import inputs
from bench.observe.inputs import DeliverTurn, SessionStart
from bench.observe.observation import SessionObservation, TurnObservation
from bench.observe.timeline import Timeline
from bench.plan.compiled_script import CompiledScript
from bench.plan.prepared import PreparedScript
from bench.plan.recordings import Pcm, SpeechSpan
from bench.plan.script import Script
from bench.plan.turn_plan import TurnPlan
from bench.plan.turns import AudioTurn, RequestTurn, Step, TextTurn
from bench.record.rows import IDENTITY, TextSanitizer, turn_columns, turn_row
from bench.services.openai.dialect import GA, OpenAIDialect
from bench.services.openai.preview import PREVIEW
from bench.services.registry import DIALECTS
from bench.session.session import Session
from bench.session.session_io import SessionListener
from bench.target.target import Target
from bench.target.target_settings import ServiceOptions
from bench.target.targets import resolve_targets
from bench.transport.interface import DeltaListener, OnMessage, PacedSender, Transport
from bench.wire.audio import AudioFormatName, resolve_format
from bench.wire.connection import (
    ConnectionClosed,
    MatchedDelta,
    ReceivedMessage,
    RtpMeasured,
    SendReceipt,
)
from bench.wire.dialect import Dialect, Feature, decoder_of
from bench.wire.events import ServerEvent, TokenUsage
from bench.wire.settings import (
    Image,
    InputTranscription,
    Message,
    MessageRole,
    ResponseSettings,
    SessionSettings,
)
from tests.memory_transport import MemoryTransport, PeerAnswer

MS = 1_000_000
S = 1_000_000_000
AT_NS = 1_000 * S
"""The instant at which the session starts in tests that have a virtual clock."""

REALTIME: dict[str, Dialect] = {
    name: dialect
    for name, dialect in DIALECTS.items()
    if isinstance(dialect, OpenAIDialect)
    and not dialect.has_track
    and Feature.TYPED not in dialect.missing_features
}
"""The dialects that use the events of the Realtime API, in the spelling of GA or of the preview,
also for audio, and whose services answer texts."""
FIRST_OF_FAMILIES: list[Dialect] = [
    dialect
    for dialect in DIALECTS.values()
    if isinstance(dialect, OpenAIDialect) and dialect.family == dialect.name
]
"""One dialect of each family: the dialect that gives the family its name."""


def _spelt_as(first: str) -> dict[str, str]:
    return {
        "text": f"{first}text",
        "audio": f"{first}audio",
        "transcript": f"{first}audio_transcript",
    }


# Each dialect has three families of deltas. These are their names.
IN_GA, IN_PREVIEW = _spelt_as("response.output_"), _spelt_as("response.")
FAMILIES: dict[Dialect, dict[str, str]] = {
    dialect: IN_GA if f"{IN_GA['text']}.delta" in dialect.kinds else IN_PREVIEW
    for dialect in REALTIME.values()
    if isinstance(dialect, OpenAIDialect)
}
OTHER: dict[Dialect, Dialect] = {
    dialect: PREVIEW if families is IN_GA else GA for dialect, families in FAMILIES.items()
}

# The messages that a service sends.


def message(type_: str, **fields: Any) -> bytes:
    """Return a server event as it is sent on the wire."""
    return msgspec.json.encode({"type": type_, "event_id": "event_1"} | fields)


def event_of(data: bytes, dialect: Dialect) -> ServerEvent:
    """Return the only event of a message."""
    (event,) = dialect.decode(data)
    return event


def loud_pcm(count: int) -> bytes:
    """Return this number of bytes of PCM16 at 24 kHz, a buzz of 250 Hz that is audible from its
    first sample.
    """
    period = b"\x80\x3e" * 48 + b"\x80\xc1" * 48
    return (period * (count // len(period) + 1))[:count]


def base64_of(count: int) -> str:
    """Return this number of bytes of audible audio in base64."""
    return base64.b64encode(loud_pcm(count)).decode("ascii")


LOUD = base64_of(4_800)
"""100 ms of PCM16 that is audible from its first sample."""
SILENCE = base64.b64encode(bytes(4_800)).decode()
"""100 ms of PCM16."""


def delta(dialect: Dialect, kind: str, response_id: str, payload: str | None = None) -> bytes:
    """Return a delta. `kind` is `text`, `audio` or `transcript`.

    If no `payload` is given, the delta contains 100 ms of audio or one word.
    """
    if payload is None:
        payload = LOUD if kind == "audio" else "word "
    ids = {
        "response_id": response_id,
        "item_id": f"item_of_{response_id}",
        "output_index": 0,
        "content_index": 0,
    }
    return message(f"{FAMILIES[dialect][kind]}.delta", **ids, delta=payload)


def part_done(dialect: Dialect, kind: str, response_id: str) -> bytes:
    return message(
        f"{FAMILIES[dialect][kind]}.done", response_id=response_id, item_id=f"item_of_{response_id}"
    )


def created(response_id: str, **metadata: str) -> bytes:
    response = {
        "id": response_id,
        "status": "in_progress",
        "status_details": None,
        "metadata": metadata or None,
    }
    return message("response.created", response=response)


def done(
    response_id: str, status: str = "completed", *, usage: Any = None, **details: Any
) -> bytes:
    """Return a `response.done` event. Its field `status_details` contains `details`."""
    response = {
        "id": response_id,
        "status": status,
        "status_details": details or None,
        "usage": usage,
    }
    return message("response.done", response=response)


def usage(*, audio_out: int) -> dict[str, Any]:
    cached = {"text_tokens": 3, "audio_tokens": 2}
    came = {
        "text_tokens": 11,
        "audio_tokens": 12,
        "cached_tokens": 5,
        "cached_tokens_details": cached,
    }
    return {
        "input_token_details": came,
        "output_token_details": {"text_tokens": 13, "audio_tokens": audio_out},
    }


USAGE = TokenUsage(
    text_in=11,
    audio_in=12,
    cached_in=5,
    cached_text_in=3,
    cached_audio_in=2,
    text_out=13,
    audio_out=20,
)
"""The token counts that `usage(audio_out=20)` contains."""


def error(
    code: str | None,
    event_id: str | None = None,
    type_: str = "invalid_request_error",
    words: str = "No.",
) -> bytes:
    inner = {"type": type_, "code": code, "message": words, "param": None, "event_id": event_id}
    return message("error", error=inner)


def transcribed(item_id: str, words: str = "Hello") -> bytes:
    name = "conversation.item.input_audio_transcription.completed"
    return message(name, item_id=item_id, content_index=0, transcript=words)


def not_transcribed(item_id: str) -> bytes:
    name = "conversation.item.input_audio_transcription.failed"
    return message(
        name, item_id=item_id, content_index=0, error={"type": "server_error", "message": "No."}
    )


def committed(item_id: str) -> bytes:
    return message("input_audio_buffer.committed", previous_item_id=None, item_id=item_id)


def speech_started(item_id: str, **audio: int) -> bytes:
    return message("input_audio_buffer.speech_started", item_id=item_id, **audio)


def speech_stopped(item_id: str, **audio: int) -> bytes:
    """Return a `speech_stopped` event.

    Pass `audio_end_ms`, the position of the end of speech, unless the service reports none.
    """
    return message("input_audio_buffer.speech_stopped", item_id=item_id, **audio)


def idle_timeout(item_id: str) -> bytes:
    return message(
        "input_audio_buffer.timeout_triggered", audio_start_ms=0, audio_end_ms=0, item_id=item_id
    )


def session_created() -> bytes:
    return message("session.created", session={"id": "sess_1", "model": "gpt-realtime"})


def session_updated() -> bytes:
    return message(
        "session.updated", session={"id": "sess_1", "model": "gpt-realtime", "voice": "alloy"}
    )


def reply(
    dialect: Dialect, response_id: str, output: str = "audio", deltas: int = 3
) -> list[bytes]:
    """Return all events of a successful response."""
    kinds = ("transcript", "audio") if output == "audio" else ("text",)
    return [
        created(response_id),
        message(
            "response.output_item.added",
            response_id=response_id,
            item={"id": f"item_of_{response_id}"},
        ),
        *(delta(dialect, kind, response_id) for _ in range(deltas) for kind in kinds),
        *(part_done(dialect, kind, response_id) for kind in kinds),
        done(response_id, usage=usage(audio_out=20 if output == "audio" else 0)),
        message("rate_limits.updated", rate_limits=[]),
    ]


# A timeline and its inputs. Instants are in ms after `AT_NS`.


def request_name(dialect: Dialect, event_id: str) -> dict[str, Any]:
    """Return the settings of a response request that name it, if requests of this dialect have a
    name.
    """
    return {"metadata": {"rtbench_request": event_id}} if dialect.names_requests else {}


def build_turn(number: int = 1, **changes: Any) -> TurnPlan:
    prefix = f"turn-{number}-"
    values: dict[str, Any] = {
        "number": number,
        "step": f"step_{number}",
        "event_prefix": prefix,
        "request_event_id": f"{prefix}response",
    }
    return TurnPlan(**values | changes)


Task = TypeVar("Task")


class Talk:
    """A timeline with an open session. Its methods take instants in ms after the session's start.

    If `service_responds`, the service creates a response when its VAD detects the end of speech.
    """

    def __init__(
        self,
        dialect: Dialect = GA,
        wanted: int = 2,
        *,
        ready: bool = True,
        service_responds: bool = False,
        renewable: bool = False,
        mcp_servers: int = 0,
        reply_format: AudioFormatName | None = None,
        reply_silence_ms: float = REPLY_SILENCE_MS,
        **limits: float,
    ) -> None:
        self.dialect, self.service_responds = dialect, service_responds
        self.format = resolve_format(dialect.output_formats, reply_format)
        self._decode = decoder_of(dialect)
        self.timeline = Timeline(
            SessionStart(
                AT_NS,
                wanted,
                Timeouts(**limits),
                service_responds=service_responds,
                renewable=renewable,
                mcp_servers=mcp_servers,
                reply_silence_ns=round(reply_silence_ms * MS),
            ),
            dialect,
            reply_format=reply_format,
        )
        self.taken: list[TurnObservation] = []
        if ready:
            self.hear(0, session_created(), session_updated())

    def ask(self, at_ms: float, number: int = 1, *, audio_bytes: int = 0, **changes: Any) -> None:
        """Start a turn and send all its messages at the same instant."""
        self.begin(at_ms, number, **changes)
        if audio_bytes:
            self.send(at_ms, "input_audio_buffer.append", audio_bytes=audio_bytes)
            self.send(at_ms, "input_audio_buffer.commit")
        self.send(at_ms, "response.create")

    def begin(self, at_ms: float, number: int = 1, **changes: Any) -> None:
        self.timeline.apply(inputs.TurnStarted(at(at_ms), build_turn(number, **changes)))

    def begin_speech(self, at_ms: float, number: int = 1, **changes: Any) -> None:
        """Start a VAD turn. Send its first chunk, whose last sample is the first sample of
        speech.
        """
        self.begin(
            at_ms, number, **{"vad": True, "service_responds": self.service_responds} | changes
        )
        self.send(
            at_ms, "input_audio_buffer.append", audio_bytes=4_800, instants={"speech_start": 0}
        )

    def end_speech(self, at_ms: float, *, after_ms: float = 0, ticket: int = 0) -> None:
        """Send a chunk. Its last sample is `after_ms` later than the last sample of speech."""
        moments = {"speech_end": round(after_ms * MS)}
        self.send(
            at_ms, "input_audio_buffer.append", ticket=ticket, audio_bytes=4_800, instants=moments
        )

    def send(self, at_ms: float, name: str, *, ticket: int = 0, **counts: Any) -> None:
        self.timeline.apply(
            inputs.Sent(
                name, at(at_ms), uncertainty_ns=7, ticket=ticket, **{"wire_bytes": 100} | counts
            )
        )

    def transmit(self, at_ms: float, ticket: int, *, acknowledged: bool = False) -> None:
        """Apply the kernel's transmit timestamp of the message that has this ticket."""
        self.timeline.apply(inputs.Transmitted(ticket, at(at_ms), acknowledged))

    def hear(self, at_ms: float, *messages: bytes, error_ns: int = 0, kernel: bool = True) -> None:
        for data in messages:
            arrived = ReceivedMessage(data, Arrival(at(at_ms), error_ns, kernel), len(data))
            self.timeline.apply(inputs.Received(self._decode(data), arrived))

    def take(self, at_ms: float) -> list[TurnObservation]:
        taken = self.timeline.pop_turns(at(at_ms))
        self.taken += taken
        return taken

    def work(self, at_ms: float, kind: type[Task]) -> list[Task]:
        """Take all tasks of the session that are due at this instant. Return those of type `kind`.

        If a task delivers a turn, append the turn to `taken`.
        """
        works = due_actions(self.timeline, at(at_ms))
        self.taken += [work.turn for work in works if isinstance(work, DeliverTurn)]
        return [work for work in works if isinstance(work, kind)]

    def deadline(self) -> tuple[int, str, str] | None:
        """Return (instant, outcome, detail): when and how an open turn times out if no further
        message arrives.

        Return None if no timeout is set.
        """
        due = self.timeline.turns.next_timeout(self.timeline.limits)
        return None if due is None else (*due[0][:2], due[0][2].text)

    def only(self, at_ms: float = 100_000_000) -> TurnObservation:
        """Return the observation of the only turn. The turn must have ended by this instant."""
        (turn,) = self.take(at_ms)
        return turn


def due_actions(timeline: Timeline, now_ns: int) -> list[inputs.Action]:
    """Take all actions that are due, and execute none of them."""
    timeline.expire(now_ns)
    return list(chain.from_iterable(timeline.due_actions(now_ns)))


def hears(talk: Talk, at_ms: float, item_id: str = "item_1", **audio: int) -> None:
    """Receive the end of speech, which the service's VAD detects at this instant. Receive the
    commit 5 ms later.
    """
    talk.hear(at_ms, speech_stopped(item_id, **audio))
    talk.hear(at_ms + 5, committed(item_id))


def answers(talk: Talk, at_ms: float, response_id: str = "r1") -> None:
    """Receive a complete response that is created at this instant.

    Its audio arrives 300 ms after its creation, and it is done 100 ms after its audio.
    """
    talk.hear(at_ms, created(response_id))
    talk.hear(at_ms + 300, delta(talk.dialect, "audio", response_id, LOUD))
    talk.hear(at_ms + 400, done(response_id))


def at(ms: float) -> int:
    return AT_NS + round(ms * MS)


def after_ms(turn: TurnObservation, instant: str) -> float | None:
    """Return the time in ms from `AT_NS` to an instant of a turn; None if the turn does not have
    this instant.
    """
    at_ns = turn.instants.get(instant)
    return None if at_ns is None else (at_ns - AT_NS) / MS


def live_audio(data: bytes) -> bytes:
    """Return GPT-Live's message with this piece of its audio."""
    delta = base64.b64encode(data).decode()
    return msgspec.json.encode({"type": "session.output_audio.delta", "delta": delta})


# Parts of client messages.


def build_message(text: str, role: MessageRole = "user", image: Image | None = None) -> Message:
    return Message(role=role, text=text, image=image)


def png(width: int, height: int) -> bytes:
    """Return a file that is accepted as a PNG of this size. It contains only what is needed for
    this.
    """
    head = b"IHDR" + width.to_bytes(4) + height.to_bytes(4) + b"\x08\x00\x00\x00\x00"
    chunks = b"".join(
        len(chunk[4:]).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4)
        for chunk in (head, b"IEND")
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


# Scripts.


def say(label: str = "say", **response: Any) -> TextTurn:
    return TextTurn("Hello", name=label, response=ResponseSettings(**response))


def respond(label: str = "respond", **response: Any) -> RequestTurn:
    return RequestTurn(ResponseSettings(**response), name=label)


def play(
    audio_ms: int = 250, *, chunk_ms: int = 100, paced: bool = True, label: str = "play"
) -> AudioTurn:
    pcm = Pcm(Path("a.wav"), str(audio_ms), bytes(48 * audio_ms), SpeechSpan(0, 24 * audio_ms))
    return AudioTurn((pcm,), name=label, chunk_ms=chunk_ms, paced=paced)


def build_script(
    *steps: Step,
    dialect: Dialect = GA,
    limits: Timeouts | None = None,
    keys: Mapping[str, Any] = MappingProxyType({}),
    **session: Any,
) -> PreparedScript:
    """Return a prepared script with these steps. `session` contains the session settings.

    `keys` contains the script's other keys.
    """
    if isinstance(model := session.get("input_transcription"), str):
        session["input_transcription"] = InputTranscription(model=model)
    settings, within = SessionSettings(**session), limits or Timeouts()
    script = Script(
        name="talk",
        path=Path("talk.yaml"),
        digest="d1",
        session=settings,
        timeouts=within,
        steps=steps,
        **keys,
    )
    return CompiledScript(script, dialect).prepare_session(0, 0)


# A service for `MemoryTransport`.

Turn = Callable[[str], Iterable[PeerAnswer]]
"""A function of a response ID. It returns the messages that answer the `response.create` event
of this response."""


def spoken(
    messages: Iterable[bytes], first_ns: int = 300 * MS, gap_ns: int = 20 * MS
) -> list[PeerAnswer]:
    """Return each message with its delay: `first_ns` for the first one, and `gap_ns` more for
    each further one.
    """
    return [(first_ns + place * gap_ns, data) for place, data in enumerate(messages)]


@dataclass
class Service:
    """A service that answers one session.

    Each entry of `turns` answers one `response.create` event. When all entries are used, every
    further event gets a successful response.

    The service confirms settings unless `settings_ns` is None. It confirms items if `acknowledges`.
    It confirms commits if `acknowledges`, or if `transcript_ns` is not None.
    """

    dialect: Dialect = GA
    turns: list[Turn] = field(default_factory=list)
    greeting_ns: int | None = 10 * MS
    settings_ns: int | None = 30 * MS
    acknowledges: bool = False
    transcript_ns: int | None = None
    """The time from a commit to the transcript of the caller's speech; None if the service sends
    no transcript."""
    requests: int = 0
    commits: int = 0

    def greeting(self) -> list[PeerAnswer]:
        return [] if self.greeting_ns is None else [(self.greeting_ns, session_created())]

    def __call__(self, data: bytes) -> Iterable[PeerAnswer]:
        match msgspec.json.decode(data)["type"]:
            case "session.update":
                if self.settings_ns is not None:
                    yield self.settings_ns, session_updated()
            case "conversation.item.create" if self.acknowledges:
                name = "added" if FAMILIES[self.dialect] is IN_GA else "created"
                yield 5 * MS, message(f"conversation.item.{name}", item={"id": "item_text"})
            case "input_audio_buffer.commit":
                yield from self._committed()
            case "response.create":
                self.requests += 1
                response_id = f"resp_{self.requests}"
                if self.requests <= len(self.turns):
                    yield from self.turns[self.requests - 1](response_id)
                else:
                    yield from spoken(reply(self.dialect, response_id))

    def _committed(self) -> Iterator[PeerAnswer]:
        self.commits += 1
        item_id = f"item_{self.commits}"
        if self.acknowledges or self.transcript_ns is not None:
            yield 5 * MS, committed(item_id)
        if self.transcript_ns is not None:
            yield self.transcript_ns, transcribed(item_id)


class GuardedTransport(MemoryTransport):
    """A transport that detects a busy loop of the session.

    A busy loop is a sequence of `SPINS` waits in which no message arrives and no time passes.
    """

    SPINS = 50

    def __init__(self, service: Service) -> None:
        super().__init__(service, service.greeting())
        self._spins = 0

    def receive_until(
        self,
        until_ns: int,
        on_message: OnMessage,
        reply: DeltaListener | None = None,
        sender: PacedSender | None = None,
    ) -> None:
        before_ns, came = self.clock.now_ns, list[ReceivedMessage]()
        super().receive_until(until_ns, noting(came, on_message), reply, sender)
        idle = not came and self.clock.now_ns == before_ns
        self._spins = self._spins + 1 if idle else 0
        assert self._spins < self.SPINS, f"the session spins, waiting until {until_ns} which is now"


def noting(came: list[ReceivedMessage], take: OnMessage = lambda _: True) -> OnMessage:
    """Return a callback that appends each message to `came` and then calls `take`."""

    def noted(message: ReceivedMessage) -> bool:
        came.append(message)
        return take(message)

    return noted


def receive(transport: Transport, until_ns: int) -> list[ReceivedMessage]:
    """Return all messages that arrive before this instant, or at it."""
    came: list[ReceivedMessage] = []
    transport.receive_until(until_ns, noting(came))
    return came


def interrupt_after(transport: MemoryTransport, moments: int) -> None:
    """Simulate Ctrl-C at the moment with the number `moments`, counted from 1.

    A moment is the start of a wait, the arrival of a message, or the instant when a chunk is due.
    """
    whole, offer, left = transport.receive_until, transport.try_send, moments

    def a_moment_passes() -> None:
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt

    def listen(
        until_ns: int,
        on_message: OnMessage,
        reply: DeltaListener | None = None,
        sender: PacedSender | None = None,
    ) -> None:
        def take_unless_interrupted(message: ReceivedMessage) -> bool:
            a_moment_passes()
            return on_message(message)

        a_moment_passes()
        whole(until_ns, take_unless_interrupted, None, sender)

    def offer_unless_interrupted(message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        a_moment_passes()
        return offer(message, stamped=stamped)

    transport.receive_until, transport.try_send = listen, offer_unless_interrupted  # type: ignore[method-assign]


@dataclass
class Listening(SessionListener):
    """A listener of a session that records all callbacks."""

    turns: list[TurnObservation] = field(default_factory=list)
    events: list[ServerEvent] = field(default_factory=list)
    lags_ns: list[int | None] = field(default_factory=list)
    wire_sent: int = 0
    wire_received: int = 0
    audio_sent: int = 0
    began: int = 0
    paid_for: list[TokenUsage] = field(default_factory=list)
    spent_after: int = 1 << 30
    """The number of responses with a cost after which the budget is spent. Then no further turn
    starts."""
    on_turn: Callable[[TurnObservation], None] = lambda turn: None

    def received(
        self, events: Sequence[ServerEvent], message: ReceivedMessage, handled_ns: int
    ) -> None:
        self.events += events
        self.wire_received += message.wire_bytes

    def received_deltas(self, deltas: Sequence[MatchedDelta]) -> None:
        self.events += [
            msgspec.structs.replace(delta.event, payload_bytes=delta.payload_bytes)
            for delta in deltas
        ]
        self.wire_received += sum(delta.wire_bytes for delta in deltas)

    def sent(self, wire_bytes: int, audio_bytes: int, lags_ns: Sequence[int | None]) -> None:
        self.wire_sent += wire_bytes
        self.audio_sent += audio_bytes
        self.lags_ns += lags_ns

    def turn_started(self) -> None:
        self.began += 1

    def turn_ended(self, turn: TurnObservation) -> None:
        self.turns.append(turn)
        self.on_turn(turn)

    def usage_reported(self, usage: TokenUsage) -> None:
        self.paid_for.append(usage)

    def may_request(self) -> bool:
        return len(self.paid_for) < self.spent_after


GREETED_NS = 40 * MS
"""The time in ns after the session's start when a `Service` has sent its greeting and confirmed
the settings."""


def seated(
    script: PreparedScript,
    transport: Any,
    listening: Listening | None = None,
    ending: Callable[[], bool] = lambda: False,
) -> tuple[Session, Timeline, Listening]:
    """Return a session on this transport that has not started, its timeline, and its listener."""
    listening = listening or Listening()
    start = SessionStart(
        transport.now_ns(),
        len(script.turns),
        script.limits,
        service_responds=script.service_responds,
        mcp_servers=len(script.settings.mcp_servers),
    )
    timeline = Timeline(start, script.dialect)
    return Session(script, transport, timeline, listening, ending), timeline, listening


class Played:
    """A session that has run to its end, with all that it sent and recorded."""

    def __init__(
        self,
        script: PreparedScript,
        service: Service | None = None,
        ending: Callable[[int], bool] = lambda ns: False,
    ) -> None:
        self.service = service or Service(script.dialect)
        self.transport = GuardedTransport(self.service)
        self.start_ns = self.transport.now_ns()
        self.session, self.timeline, self.listening = seated(
            script, self.transport, ending=lambda: ending(self.now_ns)
        )
        self.session.run()

    @property
    def now_ns(self) -> int:
        """The current time in ns after the session's start."""
        return self.transport.now_ns() - self.start_ns

    @property
    def turns(self) -> list[TurnObservation]:
        return self.listening.turns

    @property
    def outcomes(self) -> list[str]:
        return [turn.outcome for turn in self.turns]

    @property
    def observation(self) -> SessionObservation:
        return self.timeline.session()

    def after_ns(self, turn: int, instant: str) -> int:
        return self.turns[turn - 1].instants[instant] - self.start_ns

    @property
    def sent(self) -> list[tuple[int, dict[str, Any]]]:
        return [
            (at_ns - self.start_ns, msgspec.json.decode(data))
            for at_ns, data in self.transport.sent
        ]

    def sent_at(self, type_: str) -> list[int]:
        return [at_ns for at_ns, event in self.sent if event["type"] == type_]


def closing(delay_ns: int, code: int, reason: str = "") -> PeerAnswer:
    return delay_ns, ConnectionClosed(code, 0, reason)


# Targets.


def resolve_target(environ: Mapping[str, str], **service_options: Any) -> Target:
    """Return the target that a URL or the environment defines. Fail if there are several."""
    (target,) = resolve_targets(environ, ServiceOptions(**service_options))
    return target


# Observations.


def build_observation(**changes: Any) -> TurnObservation:
    """Return a successful turn.

    The request is sent 1 ms after `AT_NS`. The first audio arrives 500 ms after the request, and
    the turn is done 1 s later.
    """
    instants = {
        "request_sent": at(1),
        "response_created": at(101),
        "first_transcript": at(400),
        "first_audio": at(501),
        "last_audio": at(1_001),
        "audio_done": at(1_400),
        "transcript_done": at(1_450),
        "response_done": at(1_501),
        "ended": at(1_501),
    }
    values: dict[str, Any] = {
        "turn": 1,
        "step": "greeting",
        "outcome": "ok",
        "start_ns": AT_NS,
        "instants": instants,
        "response_id": "resp_1",
        "item_id": "item_1",
        "audio": "",
        "stall_duration_ns": 0,
        "stall_count": 0,
        "stall_duration_uncertainty_ns": 21_000,
        "vad_splits": None,
        "network_rtt_ns": 2 * MS,
        "network_rtt_smoothed_ns": 3 * MS,
        "retransmits": 1,
        "reply_text": "Hello.",
        "input_text": "",
        "widths_ns": {"request_sent": 9_000},
        "uncertainties_ns": {"first_audio": 21_000},
        "timestamp_uncertainty_max_ns": 900_000,
        "kernel_stamps": 30,
        "user_stamps": 0,
        "audio_bytes_sent": 12_000,
        "audio_bytes_received": 96_000,
        "audio_speed": 3.8,
        "wire_bytes_sent": 17_000,
        "wire_bytes_received": 140_000,
        "events": 30,
        "audio_deltas": 20,
        "text_deltas": 1,
        "transcript_deltas": 6,
        "unknown_events": 2,
        "late_chunks": 3,
        "gaps_ns": tuple(n * MS for n in range(20, 0, -1)),
        "uncertain_gaps": 4,
        "usage": USAGE,
        "rtt_scope": "service",
        "send_timestamp_source": "kernel",
        "transmit_delay_ns": 11_000,
    }
    return TurnObservation(**values | changes)


def build_session(**changes: Any) -> SessionObservation:
    """Return a successful session of one turn. The session ends two seconds after the WebSocket
    upgrade.
    """
    instants = {
        "call_arrival": at(-4),
        "previous_reply_end": at(-39),
        "dropped": at(-30),
        "last_heard": at(-35),
        "heard_again": at(561),
        "connect_start": AT_NS,
        "dns_done": at(1),
        "tcp_done": at(3),
        "tls_done": at(8),
        "relay_allocated": at(9),
        "offer_answered": at(10),
        "ice_connected": at(11),
        "dtls_done": at(12),
        "ringing": at(15),
        "opened": at(20),
        "session_created": at(40),
        "update_sent": at(41),
        "session_updated": at(61),
        "mcp_listed": at(66),
        "history_start": at(61),
        "history_acked": at(71),
        "first_reply": at(461),
        "first_audible": at(561),
        "greeting_audible": at(261),
        "idle_prompt_due": at(1_900),
        "idle_prompt_received": at(1_910),
        "ended": at(2_020),
    }
    values: dict[str, Any] = {
        "outcome": "ok",
        "start_ns": AT_NS,
        "instants": instants,
        "service_session_id": "sess_1",
        "turns_planned": 1,
        "turns_started": 1,
        "turns_ended": 1,
        "turns_succeeded": 1,
        "attempt": 2,
        "turns_repeated": 1,
        "gave_up": "within",
        "audio_bytes_sent": 12_000,
        "interruptions_planned": 3,
        "interruptions_missed": 2,
        "sounds_planned": 2,
        "sounds_missed": 1,
        "expectations_planned": 4,
        "expectations_missed": 0,
        "audio_bytes_received": 96_000,
        "wire_bytes_sent": 17_400,
        "wire_bytes_received": 140_900,
        "events": 34,
        "unknown_events": Counter({"x.y": 2, "z": 1}),
        "service_errors": 1,
        "timestamp_fallbacks": 2,
        "unrequested_responses": 1,
        "answers_uncertain": True,
        "close_code": 1000,
        "caller_time_ns": 100 * MS,
        "close_reason": "bye",
        "billed_ns": 2 * S,
        "paused_ns": 0,
        "rtp": RtpMeasured(
            100,
            2,
            1,
            3 * MS,
            90,
            80,
            4,
            2 * MS,
            unsent=3,
            other_hosts="192.0.2.9 (audio)",
            uncounted_pauses=5,
            restarts=1,
            dropped=0,
            relay_rtt_ns=6 * MS,
            relay_path_rtt_ns=9 * MS,
            transfers=1,
            transfer_silence_ns=800 * MS,
            transfer_silence_uncertainty_ns=20 * MS,
        ),
        "headers": {"x-ms-region": "Sweden Central", "apim-request-id": "r1"},
        "effective_settings": {"model": "gpt-realtime", "voice": "alloy"},
    }
    return SessionObservation(**values | changes)


NO_IDENTITY = ("", "", None, "", None, None, None, "", "", 0, "", True, False)


def row_of(turn: TurnObservation, utc_offset_ns: int = 0) -> dict[str, Any]:
    """Return the row of a turn, without the columns that identify the turn."""
    columns = turn_columns([turn_row(NO_IDENTITY, turn, utc_offset_ns)], TextSanitizer(str))
    return {name: value for name, (value,) in columns.items() if name not in IDENTITY}


def present(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a row whose value is not None."""
    return {name: value for name, value in row.items() if value is not None}


def designs(
    times: Mapping[str, Mapping[LiveMetricKey, list[int]]], failures: Failures
) -> dict[str, dict[str, float]]:
    """Return the counts that a worker reports for each target that has these turns. Each turn
    counts as one session.
    """
    turns = {
        arm: (
            max([0, *(len(of) for of in times.get(arm, {}).values())])
            + sum(n for _, n in failures.get(arm, ()))
        )
        for arm in times.keys() | failures.keys()
    }
    return {
        arm: dict.fromkeys(TARGET_COUNTS, 0.0) | dict.fromkeys(DESIGN, float(n))
        for arm, n in turns.items()
    }
