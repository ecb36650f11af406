"""The behaviour of one call with a simulated agent: a server that listens to a caller and replies.
Pure.

README.md, "Agents", describes what it does and when. Callers use one of three protocols.
`pcm`: a plain WebSocket with audio in binary messages; the address contains the format. `twilio`:
Twilio's Media Streams. `acs`: the audio streaming of Azure Communication Services.
"""

import base64
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import cycle, islice
from typing import NamedTuple, cast

import msgspec
import numpy as np

from bench.base.units import NS_PER_MS
from bench.services.agents import SIMULATED_PATH
from bench.wire.audio import ALL_FORMATS, AudioFormat, AudioFormatName, Samples
from bench.wire.dialect import BinaryMessage
from rtbench_simulator.profile import is_drawn
from rtbench_simulator.recorded_replies import RecordedReply, audible_byte, reply_samples
from rtbench_simulator.server_events import Json, OutboxStep, OutgoingEvent, RejectedError
from rtbench_simulator.serving.service import (
    AcceptedUpgrade,
    SimulatedService,
    UpgradeRequest,
    websocket_urls,
)
from rtbench_simulator.session.effective import InputSettings
from rtbench_simulator.simulated_session import (
    EventReceipt,
    PlannedSession,
    ReceiptFields,
    SessionParts,
    receipt_of,
)
from rtbench_simulator.turn_taking import CallerSpeech, TurnTaking

NamedBody = tuple[str, bytes]
"""The type and the body of a message to send."""


class AgentInput(NamedTuple):
    """A parsed text message of the caller.

    `id` is the identifier that the message contains: for example, the id of a call, the name of a
    mark, or a DTMF key.
    """

    name: str
    id: str | None = None
    audio: bytes = b""
    opens: bool = False


# One class for each protocol of agents: how a call starts, how audio and keys arrive, and how
# audio, marks, and clearing are written. The decoders are not those of the client, which are tested
# against these.
class AgentWire(ABC):
    """The protocol of one call.

    `plain` is True if audio is in binary messages. The call then starts at once, unless `waits` is
    True: it starts with a message, which is answered. `clears` is True if the caller's line
    discards unplayed audio on request. `format` is the audio format in both
    directions. If the protocol allows several formats, the address selects one.
    """

    plain = False
    waits = False
    clears = False

    def __init__(self, format: AudioFormatName) -> None:
        self.format = ALL_FORMATS[format]

    @abstractmethod
    def read(self, event: Json) -> AgentInput:
        """Parse a text message."""

    def opened(self) -> Iterable[NamedBody]:
        """Return the messages that are sent when the call starts."""
        return ()

    @abstractmethod
    def audio_out(self, audio: bytes) -> NamedBody:
        """Return the message for one frame of the agent's audio."""

    def clear(self) -> NamedBody | None:
        """Return the message that discards all unplayed audio; None if the protocol has none."""
        return None

    def mark(self, name: str) -> NamedBody | None:
        """Return the message that requests a notice when all earlier audio is played; None if
        the protocol has none.
        """
        return None


class PcmWire(AgentWire):
    """Raw audio in binary messages. Text messages are JSON; if a message has an `id`, it is the
    name of the call.
    """

    plain = True

    def read(self, event: Json) -> AgentInput:
        return AgentInput("text", _text(event, "id"))

    def audio_out(self, audio: bytes) -> NamedBody:
        return "audio", BinaryMessage(audio)


# Twilio's reference "Media Streams: WebSocket Messages". Each message names its stream. `clear`
# empties the buffer of audio that waits to be played, and a `mark` is returned when the audio
# before it was played or cleared.
class TwilioWire(AgentWire):
    """Twilio's Media Streams.

    The agent replies on the stream that `start` names, and sends a mark after each utterance.
    """

    clears = True

    def __init__(self, format: AudioFormatName) -> None:
        super().__init__("g711_ulaw")
        self._stream: str | None = None

    def read(self, event: Json) -> AgentInput:
        name = _text(event, "event") or "invalid_event"
        match event:
            case {"event": "start", "streamSid": str(stream), "start": {"mediaFormat": dict()}}:
                self._stream = stream
                return AgentInput(name, stream, opens=True)
            case {"event": "media", "streamSid": stream, "media": {"payload": str(payload)}} if (
                stream == self._stream
            ):
                return AgentInput(name, audio=decoded(payload))
            case (
                {"event": "start", "streamSid": str(id)}
                | {"event": "mark", "mark": {"name": str(id)}}
                | {"event": "dtmf", "dtmf": {"digit": str(id)}}
            ):
                return AgentInput(name, id)
        return AgentInput(name)

    def audio_out(self, audio: bytes) -> NamedBody:
        return self._message("media", media={"payload": base64.b64encode(audio).decode()})

    def clear(self) -> NamedBody:
        return self._message("clear")

    def mark(self, name: str) -> NamedBody:
        return self._message("mark", mark={"name": name})

    def _message(self, name: str, **fields: Json) -> NamedBody:
        return name, msgspec.json.encode({"event": name, "streamSid": self._stream} | fields)


# Azure's "Audio streaming" of Call Automation: the metadata come first, and `StopAudio` discards
# what waits to be played. There are no marks.
class AcsWire(AgentWire):
    """Azure's audio streaming. `AudioMetadata` starts the call and contains the sample rate of
    its audio.
    """

    clears = True

    def __init__(self, format: AudioFormatName) -> None:
        super().__init__("pcm16@16000")

    def read(self, event: Json) -> AgentInput:
        name = _text(event, "kind") or "invalid_event"
        match event:
            case {
                "kind": "AudioMetadata",
                "audioMetadata": {"sampleRate": 16_000 | 24_000 as rate, "encoding": "PCM"},
            }:
                self.format = ALL_FORMATS["pcm16" if rate == 24_000 else "pcm16@16000"]
                return AgentInput(name, _text(event["audioMetadata"], "subscriptionId"), opens=True)
            case {"kind": "AudioData", "audioData": {"data": str(data)}}:
                return AgentInput(name, audio=decoded(data))
            case {"kind": "AudioMetadata", "audioMetadata": {"subscriptionId": str(id)}} | {
                "kind": "DtmfData",
                "dtmfData": {"data": str(id)},
            }:
                return AgentInput(name, id)
        return AgentInput(name)

    def audio_out(self, audio: bytes) -> NamedBody:
        body = {
            "kind": "AudioData",
            "audioData": {"data": base64.b64encode(audio).decode()},
            "stopAudio": None,
        }
        return "AudioData", msgspec.json.encode(body)

    def clear(self) -> NamedBody:
        return "StopAudio", msgspec.json.encode(
            {"kind": "StopAudio", "audioData": None, "stopAudio": {}}
        )


def decoded(payload: str) -> bytes:
    """Return the audio of a message; empty if it is not base64."""
    try:
        return base64.b64decode(payload, validate=True)
    except ValueError:
        return b""


def _text(fields: Json, key: str) -> str | None:
    value = fields.get(key)
    return value if isinstance(value, str) else None


class TelephoneWire(PcmWire):
    """A telephone call. Its audio is in packets, and a key is an input of its own."""

    def read(self, event: Json) -> AgentInput:
        return AgentInput("dtmf", _text(event, "digit"))


WIRES: Mapping[str, type[AgentWire]] = {"pcm": PcmWire, "twilio": TwilioWire, "acs": AcsWire}
"""The protocol class of each kind. Its argument is the format in the address."""


FRAME_MS = 20
"""The duration of a frame of the agent's audio. It is not imported from the dialects, because they
are tested against this module."""
SILENCE_MS = 500
"""The duration of the silence that ends the caller's speech."""
FILLER_MS = 600
"""The duration of a filler."""
FULL_SCALE = 32_768


class AgentFrame(NamedTuple):
    """A frame of 20 ms of the agent's speech.

    `audio` is the encoded samples without noise. `facts` are fields for the log, in the first frame
    of an utterance. `audible_byte` is the offset of the first audible sample; None if the frame has
    none.
    """

    samples: Samples
    audio: bytes
    audible_byte: int | None = None
    facts: Json | None = None
    last: bool = False


@cache
def frames_of(reply: RecordedReply, format: AudioFormat) -> tuple[AgentFrame, ...]:
    """Return the complete frames of a reply.

    They are cached, because each of hundreds of calls needs a frame every 20 ms.
    """
    return tuple(_frames(reply_samples(reply, format), format))


def _frames(samples: Samples, format: AudioFormat) -> Iterator[AgentFrame]:
    size = format.rate_hz * FRAME_MS // 1000
    pieces = (
        samples[start : start + size] for start in range(0, len(samples) // size * size, size)
    )
    for piece in pieces:
        audio = format.encode(piece)
        yield AgentFrame(piece, audio, audible_byte(audio, format))


def audible_ns(frames: Sequence[AgentFrame]) -> tuple[int, int]:
    """Return the instants at which speech begins and ends, from its start, to a frame."""
    audible = [number for number, frame in enumerate(frames) if frame.audible_byte is not None] or [
        0
    ]
    return audible[0] * FRAME_MS * NS_PER_MS, (audible[-1] + 1) * FRAME_MS * NS_PER_MS


# An agent is heard and not read: it has audio in both directions and no events about turns, so all
# that a client learns is in the sound. `_frames` is what it will say; a series of the outbox takes
# one frame every 20 ms of speech while there is something to say, or for ever with background
# noise.
#
# Where the line can discard audio (`clears`), the agent sends faster than real time, as real ones
# do, and clears on an interruption. Where it cannot, audio that was sent is heard, so it sends in
# real time.
class AgentBehaviour(PlannedSession):
    def __init__(self, wire: AgentWire, parts: SessionParts) -> None:
        super().__init__(parts)
        profile = self._profile
        self._wire = wire
        self._replies = parts.replies
        self._turn_taking = TurnTaking(profile, parts.rng, parts.servers)
        self._turn_taking.audio.silence_ms = SILENCE_MS
        self._speed = (
            profile.generation_speed if wire.clears and profile.agent.noise_dbfs is None else 1.0
        )
        self._opened = self._streaming = False
        self._frames: deque[AgentFrame] = deque()  # frames to send
        self._playing_until_ns = 0  # instant at which the caller has played all sent audio
        self._reply_count = 0
        crossed_share = profile.agent.crossed_share
        self._is_crossed = bool(crossed_share) and is_drawn(crossed_share or 0.0, self._rng)
        self._caller_audio = bytearray() if crossed_share is not None else None
        """All audio of the caller, if the agent repeats it."""
        self._speech_from = 0

    def open(self, at_ns: int) -> None:
        if self._wire.plain and not self._wire.waits:
            self._start_call(at_ns)

    def further_rngs(self, count: int) -> list[np.random.Generator]:
        """Return random generators for the line of the call. They do not change the numbers that
        the agent draws.
        """
        return self._rng.spawn(count)

    def _start_call(self, at_ns: int) -> None:
        self._opened = True
        for message in self._wire.opened():
            self._outbox.plan_step(at_ns, partial(_sent, message))
        if self._profile.agent.noise_dbfs is not None:
            self._stream(at_ns)
        if self._profile.agent.greets:
            self._plan_speech(at_ns, {"utterance": "greeting"})

    # Input

    def receive_binary(self, message: bytes, at_ns: int) -> EventReceipt:
        if not self._wire.plain:
            return receipt_of("invalid_event", {})
        return receipt_of("audio", self._on_audio(message, at_ns))

    def _reject(self, at_ns: int, rejected: RejectedError, event_id: str | None) -> None:
        """Do nothing: an agent reports no errors."""

    def _handle(self, event: Json, at_ns: int) -> ReceiptFields:
        agent_input = self._wire.read(event)
        if agent_input.opens and not self._opened:
            self._start_call(at_ns)
        audio_fields = (
            self._on_audio(agent_input.audio, at_ns) if agent_input.audio and self._opened else {}
        )
        return {"type": agent_input.name, "event_id": agent_input.id} | audio_fields

    def _on_audio(self, audio: bytes, at_ns: int) -> ReceiptFields:
        settings = InputSettings(self._wire.format)
        if self._caller_audio is not None:
            self._caller_audio += audio
        is_replying = bool(self._frames) or at_ns < self._playing_until_ns
        return self._turn_taking.append(
            audio, settings, at_ns, self._on_speech, is_replying=is_replying
        )

    def _on_speech(self, speech: CallerSpeech, at_ns: int) -> None:
        if speech.stops_reply:
            self._outbox.plan_step(speech.stop_ns, self._stop_reply)
        elif speech.edge.began:
            self._speech_from = speech.edge.byte
        elif speech.is_answered:
            if self._caller_audio is not None:
                said = bytes(self._caller_audio[self._speech_from : speech.edge.byte])
                self._servers.said[self.ids.session] = self._wire.format.decode(said)
            facts = {"utterance": "answer", "speech_at_byte": speech.edge.byte}
            self._plan_speech(self._turn_taking.answer_ns(at_ns), facts)

    def end(self) -> None:
        self._servers.said.pop(self.ids.session, None)
        super().end()

    # Utterances

    def _plan_speech(self, at_ns: int, facts: Json) -> None:
        """Plan the next recording, after the delay of first audio. A filler may precede it."""
        # A slot is occupied until the reply has been generated, which a line in real time makes
        # last as long as its speech.
        start_ns = self._servers.begin_ns(at_ns)
        slowness = self._turn_taking.slowness(start_ns)
        due_ns = start_ns + int(self._profile.delays.first_audio.draw_ns(self._rng) * slowness)
        if facts["utterance"] == "answer" and is_drawn(self._profile.agent.filler, self._rng):
            filler = partial(self._start_reply, {"utterance": "filler"}, FILLER_MS)
            self._outbox.plan_step(due_ns, filler)
            due_ns = self._outbox.after(
                due_ns + FILLER_MS * NS_PER_MS, self._profile.delays.answer_pause
            )
        self._servers.occupy(due_ns + round(self._reply.audio_ms * NS_PER_MS / self._speed))
        self._outbox.plan_step(due_ns, partial(self._start_reply, facts, None))
        if (
            facts["utterance"] == "greeting"
            and (pause := self._profile.agent.greeting_pause_ms) is not None
        ):
            (_, end_ns), (begin_ns, _) = (
                audible_ns(frames_of(reply, self._wire.format))
                for reply in islice(cycle(self._replies), 2)
            )
            second_ns = due_ns + end_ns + pause.draw_ns(self._rng) - begin_ns
            self._outbox.plan_step(second_ns, partial(self._start_reply, facts, None))

    @property
    def _reply(self) -> RecordedReply:
        """The reply that is said next."""
        return self._replies[self._reply_count % len(self._replies)]

    def _start_reply(self, facts: Json, max_ms: int | None, due_ns: int) -> OutgoingEvent | None:
        frames = list(frames_of(self._reply, self._wire.format))
        if self._caller_audio is not None and facts["utterance"] == "answer":
            own = self.ids.session
            others = [session for session in self._servers.said if session != own]
            facts["echo_of"] = others[-1] if self._is_crossed and others else own
            frames = [*_frames(self._servers.said[facts["echo_of"]], self._wire.format)]
        if max_ms is not None:
            del frames[max_ms // FRAME_MS :]
        self._reply_count += 1
        frames[0] = frames[0]._replace(facts=facts)
        frames[-1] = frames[-1]._replace(last=True)
        self._frames.extend(frames)
        self._stream(due_ns)
        return None

    def _stop_reply(self, due_ns: int) -> OutgoingEvent | None:
        if not self._frames and due_ns >= self._playing_until_ns:
            return None
        self._frames.clear()
        self._playing_until_ns = min(self._playing_until_ns, due_ns)
        clear = self._wire.clear()
        return None if clear is None else OutgoingEvent(due_ns, *clear)

    # Output stream

    def _stream(self, at_ns: int) -> None:
        if not self._streaming:
            self._streaming = True
            self._outbox.plan(self._due_frames(at_ns))

    def _due_frames(self, at_ns: int) -> Iterator[OutboxStep]:
        """Yield one step per frame while there is audio to send. If the profile has noise, the
        audio never ends.
        """
        number = 0
        while self._frames or self._profile.agent.noise_dbfs is not None:
            yield at_ns + round(number * FRAME_MS * NS_PER_MS / self._speed), self._send_frame
            number += 1
        self._streaming = False

    def _send_frame(self, due_ns: int) -> OutgoingEvent | None:
        # a barge-in cleared the frames
        if not self._frames and self._profile.agent.noise_dbfs is None:
            return None
        samples = self._wire.format.rate_hz * FRAME_MS // 1000
        frame = (
            self._frames.popleft() if self._frames else AgentFrame(np.zeros(samples, np.int16), b"")
        )
        self._playing_until_ns = max(self._playing_until_ns, due_ns) + FRAME_MS * NS_PER_MS
        if frame.last and (mark := self._wire.mark(f"said-{self._reply_count}")) is not None:
            self._outbox.plan_step(due_ns, lambda at_ns: OutgoingEvent(at_ns, *mark))
        noisy = self._profile.agent.noise_dbfs is not None
        audio = self._wire.format.encode(self._noisy(frame.samples)) if noisy else frame.audio
        name, body = self._wire.audio_out(audio)
        # audible_byte refers to the voice without the noise
        return OutgoingEvent(
            due_ns,
            name,
            body,
            audio_bytes=len(audio),
            audible_byte=frame.audible_byte,
            facts=frame.facts,
        )

    def _noisy(self, samples: Samples) -> Samples:
        level_dbfs = self._profile.agent.noise_dbfs or 0.0
        noise = self._rng.normal(0, FULL_SCALE * 10 ** (level_dbfs / 20), len(samples))
        return np.clip(samples + noise, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def _sent(message: NamedBody, due_ns: int) -> OutgoingEvent:
    return OutgoingEvent(due_ns, *message)


DEFAULT_FORMAT = "pcm16@16000"
"""The audio format of an agent, if the address does not state it."""


Wires = Mapping[str, Callable[[AudioFormatName], AgentWire]]


def answer_with(wires: Wires) -> Callable[[UpgradeRequest], AcceptedUpgrade | None]:
    """Return the function that accepts calls of these protocols."""

    def answer(request: UpgradeRequest) -> AcceptedUpgrade | None:
        kind, *_ = request.path.removeprefix(SIMULATED_PATH).split("/")
        if not request.path.startswith(SIMULATED_PATH) or kind not in wires:
            return None
        named = request.query.get("format", DEFAULT_FORMAT)
        format = cast("AudioFormatName", named if named in ALL_FORMATS else DEFAULT_FORMAT)
        return AcceptedUpgrade(
            lambda model, parts: AgentBehaviour(wires[kind](format), parts), format
        )

    return answer


TITLE = "agents"


def simulated(wires: Wires) -> SimulatedService:
    """Return the service with the agents of these protocols."""
    targets = {f"agent_{kind}": f"{SIMULATED_PATH}{kind}" for kind in wires}
    titles = dict.fromkeys(targets, TITLE)
    return SimulatedService(answer_with(wires), websocket_urls(**targets), titles=titles)


SERVICE = simulated(WIRES)
