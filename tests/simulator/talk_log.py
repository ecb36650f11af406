"""Plays the conversations of `talks`, whose form `talks/README.md` describes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.files.yaml_file import PythonValue
from bench.services.full_duplex import AUDIO_DELTA
from bench.services.openai.dialect import RATED_FORMATS
from bench.wire.audio import AudioFormatName
from bench.wire.dialect import BinaryMessage
from rtbench_simulator.behaviour import Behaviour, WireDialect
from rtbench_simulator.profile import PROFILE, Delays, Profile, quiet_profile
from rtbench_simulator.server_events import OutgoingEvent
from rtbench_simulator.services.azure import AZURE_GA, AZURE_PREVIEW
from rtbench_simulator.services.deepgram import DeepgramBehaviour
from rtbench_simulator.services.gemini.behaviour import GeminiBehaviour
from rtbench_simulator.services.gpt_live.behaviour import GptLiveBehaviour
from rtbench_simulator.services.nova_sonic.behaviour import NovaBehaviour
from rtbench_simulator.services.openai import OPENAI_GA, OPENAI_PREVIEW
from rtbench_simulator.services.translation.behaviour import TranslationBehaviour
from rtbench_simulator.services.voice_live import VOICE_LIVE
from rtbench_simulator.services.xai import XAI
from rtbench_simulator.simulated_session import SessionParts, SimulatedSession
from tests.attack.cases import unescaped
from tests.observe.talk_log import Case, Line, at_path, called, listed, value, words_of
from tests.simulator.builders import (
    AT_NS,
    constant,
    session_parts,
    session_update,
    sound,
    user_text,
)
from tests.simulator.live_call import assert_live
from tests.simulator.sdk_types import assert_typed
from tests.simulator.voice_live_types import assert_voice_live

FOLDER = Path(__file__).parent / "talks"
QUIET = "quiet"
CHUNK_MS, FIRST_AUDIO_MS = 100, 300
Message = dict[str, Any]


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def unchecked(events: list[Message]) -> None:
    """Check no type: the clients of the vendor have none, or another test has them."""


@dataclass(frozen=True)
class Service:
    """A simulated service. `check` checks its events against the types of its own client."""

    build: Callable[[SessionParts], SimulatedSession]
    setup: Callable[[Message], list[Message]]
    typed: Callable[[str], list[Message]]
    append: Callable[[bytes], Message | bytes]
    check: Callable[[list[Message]], None] = unchecked
    format: AudioFormatName = "pcm16"


def of_dialect(dialect: WireDialect) -> Service:
    def check(events: list[Message]) -> None:
        (assert_voice_live if dialect is VOICE_LIVE else partial(assert_typed, dialect))(events)

    return Service(
        lambda parts: Behaviour(dialect, "gpt-realtime", parts),
        lambda given: [session_update(dialect, **given)] if given else [],
        lambda text: [user_text(text)],
        lambda chunk: {"type": "input_audio_buffer.append", "audio": encoded(chunk)},
        check if dialect is not XAI else unchecked,
    )


def gemini_setup(given: Message) -> list[Message]:
    model = {"model": "models/gemini-3.8-live", "outputAudioTranscription": {}}
    return [{"setup": model | given}]


def deepgram_setup(given: Message) -> list[Message]:
    think = {"provider": {"type": "open_ai", "model": "gpt-4o-mini"}} | given
    return [{"type": "Settings", "audio": {}, "agent": {"think": think}}]


def nova(name: str, **fields: Any) -> Message:
    return {"event": {name: {"promptName": "p"} | fields}}


def nova_setup(given: Message) -> list[Message]:
    voice = {"sampleRateHertz": 24_000, "voiceId": "matthew"}
    heard = {"audioInputConfiguration": {"sampleRateHertz": 16_000}}
    return [
        {"event": {"sessionStart": {"inferenceConfiguration": {"maxTokens": 1024}}}},
        nova("promptStart", **{"audioOutputConfiguration": voice} | given),
        nova("contentStart", contentName="a", type="AUDIO", role="USER", **heard),
    ]


def nova_text(text: str) -> list[Message]:
    name = {"contentName": f"block-{text}"}
    return [
        nova("contentStart", **name, type="TEXT", role="USER", interactive=True),
        nova("textInput", **name, content=text),
        nova("contentEnd", **name),
    ]


def translation_setup(given: Message) -> list[Message]:
    return [{"type": "session.update", "session": given}] if given else []


DIALECTS = AZURE_GA, AZURE_PREVIEW, OPENAI_GA, OPENAI_PREVIEW, VOICE_LIVE, XAI
SERVICES = {dialect.name: of_dialect(dialect) for dialect in DIALECTS} | {
    f"{dialect.name}-transcribing": of_dialect(dialect.transcribing()) for dialect in DIALECTS[:4]
}
SERVICES |= {
    "gemini": Service(
        GeminiBehaviour,
        gemini_setup,
        lambda text: [{"realtimeInput": {"text": text}}],
        lambda chunk: {
            "realtimeInput": {"audio": {"data": encoded(chunk), "mimeType": "audio/pcm;rate=16000"}}
        },
        format="pcm16@16000",
    ),
    "deepgram": Service(
        DeepgramBehaviour,
        deepgram_setup,
        lambda text: [{"type": "InjectUserMessage", "content": text}],
        lambda chunk: chunk,
    ),
    "nova-sonic": Service(
        NovaBehaviour,
        nova_setup,
        nova_text,
        lambda chunk: nova("audioInput", contentName="a", content=encoded(chunk)),
        format="pcm16@16000",
    ),
    "translation": Service(
        partial(TranslationBehaviour, "m"),
        translation_setup,
        lambda text: [],
        lambda chunk: {"type": "session.input_audio_buffer.append", "audio": encoded(chunk)},
    ),
    "gpt-live": Service(
        GptLiveBehaviour,
        lambda given: [{"type": "session.start", "session": {"model": "gpt-live-1"} | given}],
        lambda text: [],
        lambda chunk: {"type": "session.input_audio.append", "audio": encoded(chunk)},
        assert_live,
    ),
}


def profile_of(settings: Message) -> Profile:
    """Return the profile `quiet` with constant delays of sound, and with these keys."""
    read = PROFILE.read(PythonValue("the profile", settings))
    quick = dict.fromkeys(("first_audio", "function_named"), constant(FIRST_AUDIO_MS))
    delays: Delays = replace(quiet_profile().delays, **quick | read.pop("delays_ms", {}))
    return replace(quiet_profile(), delays=delays, **read)


def body_of(event: OutgoingEvent) -> Any:
    is_json = event.body[:1] in {b"{", b"["}
    return msgspec.json.decode(event.body) if is_json else None


def fact(events: list[OutgoingEvent], name: str) -> Any:
    """Return a value of successive events of one kind."""
    first = events[0]
    match name.split(".", 1):
        case ["at"]:
            return (first.due_ns - AT_NS) / NS_PER_MS
        case ["n"]:
            return len(events)
        case ["bytes"]:
            return sum(event.audio_bytes for event in events)
        case ["words"]:
            return [body_of(event)["delta"] for event in events if not event.audio_bytes]
        case ["is_binary"]:
            return all(isinstance(event.body, BinaryMessage) for event in events)
        case ["facts", key]:
            return (first.facts or {}).get(key)
        case ["close" | "response_id" | "utterance"]:
            return getattr(first, name)
        case ["has", path]:
            return at_path(body_of(first), path) is not None
    return at_path(body_of(first), name)


def kind_of(event: OutgoingEvent) -> str:
    """Return the name of an event. Sound of GPT-Live has the kind of its utterance, and an event
    of its backend its own name.
    """
    if event.type == AUDIO_DELTA:
        return (event.facts or {}).get("utterance") or QUIET
    return event.nested or event.type


def names_of(event: OutgoingEvent) -> set[str]:
    """Return the names of an event, and the common name of all parts of streams."""
    return {kind_of(event)} | ({"deltas"} if event.type.endswith("delta") else set())


class Player:
    """A conversation that is played. `new` are the events that no line has named yet."""

    def __init__(self, case: Case, service: str, given: Message) -> None:
        self.service, setup = SERVICES[service], given.pop("setup", {})
        self.format: AudioFormatName = given.pop("format", self.service.format)
        parts = session_parts(profile_of(given.pop("profile", {})), seed=given.pop("seed", 1))
        assert not given, f"unknown settings: {given}"
        self.session = self.service.build(parts)
        self.now_ns = AT_NS if setup is None else AT_NS - NS_PER_S
        self.sent, self.new = list[OutgoingEvent](), list[OutgoingEvent]()
        self.session.open(self.now_ns)
        if setup is not None:
            self.send(*self.service.setup(setup))
            self.pass_until(AT_NS)
            self.new.clear()
        for line in case.lines:
            if line.kind == ">":
                self.act(line)
            else:
                self.pass_until(self.ns(line.at_ms))
                found = self.result(line.text)
                assert found == line.text, f"{found}, not {line.text}"
        assert self.new == [], f"the log does not name {kind_of(self.new[0])}"
        self.service.check([event for event in map(body_of, self.sent) if event])

    @staticmethod
    def ns(at_ms: float) -> int:
        return AT_NS + round(at_ms * NS_PER_MS)

    def send(self, *messages: Message | bytes) -> None:
        for message in messages:
            if isinstance(message, bytes):
                self.receipt = self.session.receive_binary(message, self.now_ns)
            else:
                data = msgspec.json.encode(message)
                self.receipt = self.session.receive_text(data, self.now_ns)

    def pass_until(self, until_ns: int) -> None:
        while (due_ns := self.session.next_due_ns()) is not None and due_ns <= until_ns:
            came = list(self.session.due(due_ns))
            self.sent += came
            self.new += [event for event in came if kind_of(event) != QUIET]
        self.now_ns = until_ns

    def act(self, line: Line) -> None:
        if self.ns(line.at_ms) > self.now_ns:
            self.pass_until(self.ns(line.at_ms))
            assert self.new == [], f"the log does not name {kind_of(self.new[0])} before {line}"
        word, _, others = line.text.partition(" ")
        match word:
            case "text":
                self.send(*self.service.typed(others))
            case "set":
                self.send(*self.service.setup(json.loads(others)))
            case "raw":
                self.receipt = self.session.receive_text(unescaped(others), self.now_ns)
            case "binary":
                self.send(unescaped(others))
            case "speak":
                audio = sound(*map(int, others.split()), name=self.format)
                size = RATED_FORMATS[self.format].bytes_per_s * CHUNK_MS // 1000
                for begin in range(0, len(audio), size):
                    self.pass_until(self.now_ns + CHUNK_MS * NS_PER_MS)
                    self.send(self.service.append(audio[begin : begin + size]))
            case "silence":
                size = RATED_FORMATS[self.format].bytes_per_s * int(others) // 1000
                self.send(self.service.append(bytes(size)))
            case "repeat":
                times, _, text = others.partition(" ")
                for _ in range(int(times)):
                    self.act(line._replace(text=text))
            case "end_response":
                _, (response_id, status, details), _ = called(line.text)
                self.session.end_response(response_id, self.now_ns, status, details)
            case "expire":
                self.new.append(self.session.expiry(self.now_ns, "It is over.", others))
            case _ if word.startswith("{"):
                self.send(json.loads(line.text))
            case _:
                name, _, named = called(line.text)
                self.send({"type": name} | named)

    def result(self, text: str) -> str:
        """Return what a line should be."""
        name, others, named = called(text)
        match name:
            case "count":
                count = sum(kind_of(event).endswith(others[1]) for event in self.sent)
                return f"count {count} {others[1]}"
            case "receipt":
                return listed(name, {key: getattr(self.receipt, key) for key in named}, [])
            case "…":
                name = others[0] if others else ""
                while self.new and kind_of(self.new[0]) != name:
                    self.new.pop(0)
                if not others:
                    return text
                return f"… {self.next(name, named)}"
        return self.next(name, named)

    def next(self, name: str, named: Message) -> str:
        """Return the line of the next event, or of successive deltas, with these facts."""
        if not self.new:
            return "nothing"
        is_part = self.new[0].type.endswith("delta")
        kind = name if name == "deltas" and is_part else kind_of(self.new[0])
        events = [self.new.pop(0)]
        while is_part and self.new and kind in names_of(self.new[0]):
            events.append(self.new.pop(0))
        return listed(kind, {key: fact(events, key) for key in named}, [])


def play(case: Case) -> None:
    """Play a conversation with each of its services."""
    given = {name: value(word) for name, word in words_of(case.settings)}
    services = given.pop("service")
    for service in services if isinstance(services, list) else [services]:
        Player(case, service, dict(given))
