"""The exchanges of agents, for comparison with stored ones.

`python -m tests.services.page_exchanges` prints them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from bench.services.agents import ACS, PCM, TWILIO
from bench.services.pages.dialect import PageDialect
from bench.wire.dialect import AwaitedEvent, BinaryMessage, ClientMessage, Dialect
from bench.wire.events import EventKind, ServerEvent
from bench.wire.settings import FULL_DUPLEX, SessionSettings, TurnDetection
from tests.attack.cases import unescaped

CALL_ID = "0123456789abcdef0123456789abcdef"
STREAM = f"MZ{CALL_ID}"
DUPLEX = TurnDetection(type=FULL_DUPLEX)
EXTRA = {"a": '{number}, {uuid}, %d, \0" ä', "b": "5"}
SETTINGS = {
    "twilio": [SessionSettings(turn_detection=DUPLEX, extra=extra) for extra in ({}, EXTRA)],
    "acs": [
        SessionSettings(turn_detection=DUPLEX, input_format=name, output_format=name)
        for name in (None, "pcm16")
    ],
    "pcm": [SessionSettings(turn_detection=DUPLEX, extra=extra) for extra in ({}, EXTRA)],
}
KEY = {"type": "dtmf", "digit": "#"}
FRAMES = 60 * 50 + 2
"""More than a minute of audio."""
MARKS = [
    ServerEvent(EventKind.MARKED, "mark", text=text)
    for text in ("", "said-1", "{uuid}{number}%\0", 'ä"\\')
]
TEXTS = [
    *(
        f'{{"event": "{name}", "streamSid": {stream}, {more}}}'
        for name in ("media", "mark", "clear", "x")
        for stream in (f'"{STREAM}"', '"MZ"', "null", "5")
        for more in (
            '"media": {"payload": "AAAA", "a": 1}, "mark": {"name": "m"}',
            '"media": null, "mark": null',
            '"media": {"payload": 5}, "mark": {"name": 5}',
            '"media": "x", "mark": []',
        )
    ),
    *(
        f'{{"{key}": "{name}", {more}}}'
        for key in ("kind", "Kind", "kInd")
        for name in ("AudioData", "audioData", "audiodata", "StopAudio", "stopAudio", "")
        for more in (
            '"audioData": {"data": "AQIB"}',
            '"AudioData": {"Data": "AQIB"}',
            '"audioData": {"Data": "AQIB"}, "AudioData": {"Data": "AAAA"}',
            '"audioData": null, "AudioData": {"data": "AQIB", "Data": ""}',
            '"audioData": 1',
        )
    ),
    *(
        f'{{"{key}": {value}, "x": [1]}}'
        for key in ("action", "event", "type")
        for value in ('"clear"', '"clear "', "5", "null", '{"clear": 1}', '"\\u0063lear"')
    ),
    '{"action": "x", "type": "clear"}',
    '{"kind": "x", "Kind": "AudioData"}',
    '{"binary": "AAAA"}',
    '{"binary": ""}',
    '{"binary": 5}',
    "",
    "5",
    "[]",
    "null",
    '{"event": "media", "streamSid": "\\ud800"}',
    '{"event": "' + "m" * 300 + '"}',
    "\x00",
    "{" * 9000,
]


def exchange(dialect: PageDialect) -> Iterator[str]:
    """Yield what a dialect sends and reads, in a form that can be stored."""
    for settings in SETTINGS[dialect.name]:
        codec = dialect.codec(CALL_ID)

        def sent(message: ClientMessage | AwaitedEvent | None) -> str:
            if not isinstance(message, ClientMessage):
                return "nothing"
            data = codec.encode(message.kind, message.data)  # noqa: B023
            return f"{message.kind.name} {message.name} {type(data).__name__} {data!r}"

        yield from map(sent, dialect.setup_messages(settings, "e"))
        audio = [dialect.append(bytes([number]) * 80, "e") for number in (0, 1)]
        frames = [sent(audio[number % 2]) for number in range(FRAMES)]
        yield from (*frames[:3], *frames[-3:])
        yield dialect.unsupported_event(KEY, settings)
        yield dialect.unsupported_event({"type": "x"}, settings)
        yield sent(dialect.raw(KEY, "e"))
        yield from (sent(codec.acknowledge(mark)) for mark in MARKS)
        yield sent(codec.goodbye())
        yield str(dialect.unsupported_setting(settings))
    yield str(dialect.unsupported_setting(SessionSettings(turn_detection=DUPLEX, extra={"n": 5})))
    yield repr(dialect.upgrade_headers)
    for message in [
        *(text.encode("utf-8", "surrogatepass") for text in TEXTS),
        *(BinaryMessage(unescaped(text)) for text in ("", r"\x00\x01\xff", '{"event": "clear"}')),
    ]:
        (event,) = events = dialect.decode(message)
        is_own = "" if codec.decode(events) == events else ", of another stream"
        yield f"{shown(event)}{is_own}; {stored(dialect, message)}"


def shown(event: ServerEvent) -> str:
    facts = {
        name: bytes(value).decode() if isinstance(value, msgspec.Raw) else value
        for name, value in msgspec.structs.asdict(event).items()
        if value != getattr(ServerEvent(event.kind), name)
    }
    return f"{event.kind.name} {facts}"


def stored(dialect: Dialect, message: bytes) -> str:
    try:
        without = dialect.without_audio(message)
        return "unchanged" if without is message else without.decode()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return type(error).__name__


def exchanges() -> dict[str, Any]:
    return {dialect.name: [*exchange(dialect)] for dialect in (TWILIO, ACS, PCM)}


if __name__ == "__main__":
    print(json.dumps(exchanges(), indent=0))
