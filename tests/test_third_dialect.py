"""A dialect that has nothing in common with the shipped dialects. One object is enough to run and
measure its sessions.

The dialect resembles a walkie-talkie. The service sends no greeting. A client message has one key,
which is its name. There are no IDs. One message of the service may have several meanings. Audio has
16,000 samples per second.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import pytest

from bench.base.errors import ScriptError
from bench.observe.inputs import SessionStart
from bench.observe.observation import SessionObservation, TurnObservation
from bench.plan.compiled_script import CompiledScript
from bench.plan.script import Script
from bench.plan.turns import Step
from bench.record.event_log import EventLog, LoggedTimeline, LoggedTransport, about
from bench.record.recorder import RowContext
from bench.record.replay import ReplayedSession, replay_log
from bench.services.registry import DIALECTS
from bench.session.session import Session
from bench.wire.audio import PCM16_16K, by_name
from bench.wire.dialect import AwaitedEvent, ClientMessage, Dialect, Feature, MessageKind
from bench.wire.events import EventKind, ServerEvent, base64_bytes, text_characters
from bench.wire.settings import Message, ResponseSettings, SessionSettings, UnsupportedSetting
from tests.helpers import MS, Listening, build_script, play, say
from tests.memory_transport import MemoryTransport, PeerAnswer

EMPTY = msgspec.Raw()
RATE_HZ = 16_000
PONG = b'{"pong": 1}'
"""A message that contains no information."""


class _Wire(msgspec.Struct):
    """The content of one message of the service."""

    ready: bool = False
    voice: msgspec.Raw = EMPTY
    words: msgspec.Raw = EMPTY
    over: bool = False


class Walkie(Dialect):
    """An invented dialect."""

    name = "walkie"
    expiry = 1001, "battery empty"
    message_kinds = MappingProxyType(
        {
            "tune": MessageKind.SET_UP,
            "type": MessageKind.ITEM,
            "talk": MessageKind.APPEND,
            "out": MessageKind.COMMIT,
            "scratch": MessageKind.CLEAR,
            "come in": MessageKind.REQUEST,
        }
    )
    input_formats = output_formats = by_name(PCM16_16K)

    def unsupported_setting(self, settings: SessionSettings) -> UnsupportedSetting | None:
        if settings.voice is None:
            return None
        return UnsupportedSetting(
            ("voice",), "voice is not a setting of the walkie dialect: remove it"
        )

    def setup_messages(
        self, settings: SessionSettings, event_id: str
    ) -> Sequence[ClientMessage | AwaitedEvent]:
        return self._message("tune", settings.instructions), AwaitedEvent(
            EventKind.SESSION_UPDATED, "ready"
        )

    missing_features = MappingProxyType({Feature.IMAGE: "and this is a radio"})

    def message(self, message: Message, event_id: str) -> ClientMessage:
        return self._message("type", message.text)

    def raw(self, event: Mapping[str, Any], event_id: str) -> ClientMessage:
        return ClientMessage(
            MessageKind.RAW, event["type"], msgspec.json.encode({event["type"]: None})
        )

    def append(self, audio: bytes, event_id: str) -> ClientMessage:
        return self._message("talk", base64.b64encode(audio).decode())

    def commit(self, event_id: str) -> ClientMessage:
        return self._message("out")

    def clear(self, event_id: str) -> ClientMessage:
        return self._message("scratch")

    def request(self, settings: ResponseSettings, event_id: str) -> ClientMessage:
        return self._message("come in")

    def _message(self, name: str, value: object = None) -> ClientMessage:
        return ClientMessage(self.message_kinds[name], name, msgspec.json.encode({name: value}))

    def decode(self, message: bytes) -> list[ServerEvent]:
        try:
            wire = msgspec.json.decode(message, type=_Wire)
        except msgspec.MsgspecError as error:
            return [ServerEvent(EventKind.MALFORMED, reason=str(error))]
        events = (
            [
                ServerEvent(EventKind.SESSION_CREATED, "ready"),
                ServerEvent(EventKind.SESSION_UPDATED, "ready"),
            ]
            if wire.ready
            else []
        )
        if len(wire.voice):
            size = base64_bytes(wire.voice)
            events.append(
                ServerEvent(EventKind.AUDIO_DELTA, "voice", payload_bytes=size, payload=wire.voice)
            )
        if len(wire.words):
            size = text_characters(wire.words)
            events.append(
                ServerEvent(
                    EventKind.TRANSCRIPT_DELTA, "words", payload_bytes=size, payload=wire.words
                )
            )
        return (
            [*events, ServerEvent(EventKind.RESPONSE_DONE, "over", status="completed")]
            if wire.over
            else events
        )

    def without_audio(self, message: bytes) -> bytes:
        fields = msgspec.json.decode(message)
        cut = {name: "" if name in ("talk", "voice") else value for name, value in fields.items()}
        return msgspec.json.encode(cut)


WALKIE = Walkie()
LOUD = base64.b64encode(
    (b"\xff\x7f" * (RATE_HZ // 400) + b"\x01\x80" * (RATE_HZ // 400)) * 20
).decode()
"""100 ms of a buzz of 200 Hz that is audible from its first sample."""


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DIALECTS, WALKIE.name, WALKIE)


def station(message: bytes) -> Iterable[PeerAnswer]:
    """Yield the answers of a service to a message.

    It confirms settings after 30 ms, and begins an answer after 250 ms.
    """
    match [*msgspec.json.decode(message)]:
        case ["tune"]:
            yield 30 * MS, b'{"ready": true}'
        case ["come in"]:
            yield 5 * MS, PONG
            yield 250 * MS, msgspec.json.encode({"voice": LOUD, "words": "Roger "})
            yield 280 * MS, msgspec.json.encode({"voice": LOUD, "words": "that.", "over": True})


def walked(*steps: Step, **session: Any) -> CompiledScript:
    script = build_script(*steps)
    settings = SessionSettings(**session)
    walked = Script(
        name=script.name,
        path=Path("talk.yaml"),
        digest="d1",
        session=settings,
        timeouts=script.limits,
        steps=steps,
    )
    return CompiledScript(walked, WALKIE)


def played(
    path: Path, *steps: Step
) -> tuple[SessionObservation, list[TurnObservation], MemoryTransport, Listening]:
    """Run a session over a transport without a network, and write its event log to `path`."""
    script, transport, listening = (
        walked(*steps).prepare_session(0, 0),
        MemoryTransport(station),
        Listening(),
    )
    log = EventLog(path, hide=str, record_audio=False)
    facts = about("run", RowContext("s", "here", "talk", script.name), script)
    timeline = LoggedTimeline(
        SessionStart(transport.now_ns(), len(steps), script.limits),
        script.dialect,
        log=log,
        about=facts,
    )
    Session(script, LoggedTransport(transport, log), timeline, listening, lambda: False).run()
    log.close()
    return timeline.session(), listening.turns, transport, listening


def test_speech_is_sent_at_the_sample_rate_of_the_dialect(tmp_path: Path) -> None:
    session, (turn,), transport, _ = played(tmp_path / "log.jsonl", play(250, chunk_ms=100))

    assert (session.outcome, turn.outcome) == ("ok", "ok")
    assert session.audio_bytes_sent == RATE_HZ * 2 // 4
    assert [next(iter(msgspec.json.decode(data))) for _, data in transport.sent] == [
        "tune",
        "talk",
        "talk",
        "talk",
        "out",
        "come in",
    ]
    assert turn.instants["request_sent"] - turn.start_ns == 250 * MS - 100 * MS


def test_the_log_of_an_invented_dialect_is_replayed_without_its_audio(tmp_path: Path) -> None:
    session, turns, _, listening = played(tmp_path / "log.jsonl", play())

    again: ReplayedSession = replay_log(tmp_path / "log.jsonl")
    assert (again.session, list(again.turns)) == (session, turns)
    logged = [passage for passage in again.passages if passage.event is not None]
    assert [passage.event.kind for passage in logged if passage.event] == [
        event.kind for event in listening.events
    ]
    lines = map(msgspec.json.decode, (tmp_path / "log.jsonl").read_bytes().splitlines())
    wire_bytes = sum(line["wire_bytes"] for line in lines if line["action"] == "received")
    assert wire_bytes == session.wire_bytes_received
    assert LOUD not in (tmp_path / "log.jsonl").read_text()


def test_a_setting_that_the_dialect_does_not_have_is_refused() -> None:
    with pytest.raises(
        ScriptError, match="voice is not a setting of the walkie dialect: remove it"
    ):
        walked(say(), voice="alloy")
