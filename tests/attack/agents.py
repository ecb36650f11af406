"""Misbehaviours of agents in three dialects, and the expected outcome of each.

An agent is a generator. It yields a message to send now, a time in ms to wait, a `Cue`, or a `CloseInfo`. Its caller
waits for the greeting, asks something, and interrupts the answer after 0.2 s, or does only the first of these steps.
Attacks below the level of messages are the same for all services: see `tests.system.attack.evil_server`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np

from bench.protocol.audio import G711_ULAW, PCM16_16K, AudioFormat, Samples
from bench.protocol.base import BinaryMessage
from bench.transport.interface import CloseInfo

FRAME_MS = 20


class Cue(Enum):
    """An action of an agent that is neither a message nor a wait for some time."""

    HEARD = auto()
    """Wait until the caller has finished an utterance."""
    ECHO = auto()
    """From now on, send back all audio that arrives."""


HEARD, ECHO = Cue.HEARD, Cue.ECHO
Deed = bytes | int | CloseInfo | Cue
Deeds = Iterator[Deed]


@dataclass(frozen=True)
class Mouth:
    """The audio and control messages of an agent in one dialect."""

    dialect: str
    format: AudioFormat

    def audio(self, samples: Samples) -> bytes:
        return self.payload(self.format.encode(samples))

    def payload(self, data: bytes) -> bytes:
        """Return a message with these bytes as audio."""
        if self.dialect == "pcm":
            return BinaryMessage(data)
        return self.text(base64.b64encode(data).decode())

    def text(self, payload: Any) -> bytes:
        """Return a message with `payload` in the field for base64 audio."""
        if self.dialect == "twilio":
            return dumped({"event": "media", "streamSid": "MZ", "media": {"payload": payload}})
        return dumped({"kind": "AudioData", "audioData": {"data": payload}})

    def clear(self) -> bytes:
        if self.dialect == "twilio":
            return dumped({"event": "clear", "streamSid": "MZ"})
        return dumped({"kind": "StopAudio", "stopAudio": {}})

    def mark(self, name: Any) -> bytes:
        return dumped({"event": "mark", "streamSid": "MZ", "mark": {"name": name}})

    def voice(self, ms: float, level: int = 8_000) -> Samples:
        """Return syllables: 400 Hz, 140 ms loud and 60 ms silent; a constant level would be taken for a hum."""
        places = np.arange(round(self.format.rate_hz * ms / 1_000))
        at_ms = places * 1_000 // self.format.rate_hz
        return (level * (at_ms % 200 < 140) * np.sin(2 * np.pi * 400 * places / self.format.rate_hz)).astype(np.int16)

    def spoken(self, samples: Samples, *, pace: float = 1.0) -> Deeds:
        """Yield the samples in frames, at `pace` times real time."""
        size = self.format.rate_hz * FRAME_MS // 1_000
        for begin in range(0, len(samples) - size + 1, size):
            yield self.audio(samples[begin : begin + size])
            yield round(FRAME_MS / pace)

    def says(self, ms: float = 300) -> Deeds:
        yield from self.spoken(self.voice(ms))

    def silence(self, ms: float) -> Deeds:
        yield from self.spoken(np.zeros(round(self.format.rate_hz * ms / 1_000), np.int16))


MOUTHS = {"pcm": Mouth("pcm", PCM16_16K), "twilio": Mouth("twilio", G711_ULAW), "acs": Mouth("acs", PCM16_16K)}


def dumped(message: Any) -> bytes:
    return json.dumps(message).encode()


FOR_EVER_MS = 4_000
"""Longer than each limit of the caller, except `done`, which is 1.5 times as long."""


class Hostile(NamedTuple):
    """The behaviour of an agent, its dialect, and the outcomes of its caller's turns, in order.

    `turns`: the number of turns that are run, of three.
    """

    act: Callable[[Mouth], Deeds]
    dialect: str
    outcomes: str
    turns: int


AGENTS: dict[str, Hostile] = {}
Act = Callable[[Mouth], Deeds]


def amid(message: bytes) -> Act:
    """Return an agent that greets correctly, except for one message in the middle of the greeting."""

    def act(mouth: Mouth) -> Deeds:
        yield from mouth.says(200)
        yield message
        yield from mouth.says(200)

    return act


TWILIO, ACS, PCM = MOUTHS["twilio"], MOUTHS["acs"], MOUTHS["pcm"]
DEEP = b"[" * 100_000 + b"]" * 100_000
LONG = "x" * 1_000_000
AMID = {
    # Twilio
    "twilio binary where text is due": (TWILIO, BinaryMessage(b"\xff" * 160), "protocol_error:json"),
    "twilio an empty message": (TWILIO, b"", "protocol_error:json"),
    "twilio words": (TWILIO, b"hello", "protocol_error:json"),
    "twilio a list": (TWILIO, b'["media"]', "protocol_error:json"),
    "twilio half a message": (TWILIO, TWILIO.clear()[:-3], "protocol_error:json"),
    "twilio two messages in one": (TWILIO, TWILIO.clear() * 2, "protocol_error:json"),
    "twilio deep JSON in what nobody reads": (TWILIO, b'{"event":"x","more":' + DEEP + b"}", "protocol_error:json"),
    "twilio deep JSON in audio": (
        TWILIO,
        b'{"event":"media","media":{"payload":' + DEEP + b"}}",
        "protocol_error:json",
    ),
    "twilio not a number": (TWILIO, b'{"event":"media","media":{"payload":NaN}}', "protocol_error:json"),
    "twilio an endless number": (TWILIO, b'{"event":"mark","sequenceNumber":1e999}', "ok"),
    "twilio no UTF-8 in what nobody reads": (TWILIO, b'{"event":"media","x":"\xff\xfe"}', "ok"),
    "twilio half of a character": (TWILIO, b'{"event":"media","x":"\\ud800"}', "protocol_error:json"),
    "twilio half of a character in a mark": (
        TWILIO,
        b'{"event":"mark","mark":{"name":"\\ud800"}}',
        "protocol_error:json",
    ),
    "twilio keys that stand twice": (TWILIO, b'{"event":"clear","event":"x","media":null,"media":{}}', "ok"),
    "twilio an event that is a number": (TWILIO, dumped({"event": 7}), "protocol_error:json"),
    "twilio an event that is null": (TWILIO, dumped({"event": None}), "protocol_error:json"),
    "twilio media that is a text": (TWILIO, dumped({"event": "media", "media": "x"}), "protocol_error:json"),
    "twilio media that is nothing": (TWILIO, dumped({"event": "media", "media": None}), "ok"),
    "twilio media without a payload": (TWILIO, dumped({"event": "media", "media": {}}), "ok"),
    "twilio audio that is a number": (TWILIO, TWILIO.text(5), "protocol_error:base64"),
    "twilio audio that is a table": (TWILIO, TWILIO.text({"a": [1]}), "protocol_error:base64"),
    "twilio audio that is true": (TWILIO, TWILIO.text(True), "protocol_error:base64"),
    "twilio audio that is no base64": (TWILIO, TWILIO.text("!!!!"), "protocol_error:base64"),
    "twilio base64 that is cut": (TWILIO, TWILIO.text("AAA"), "protocol_error:base64"),
    "twilio base64 of URLs": (TWILIO, TWILIO.text("__--"), "protocol_error:base64"),
    "twilio base64 with escapes": (
        TWILIO,
        TWILIO.text("AAAA").replace(b"AAAA", b"\\u0041AAA"),
        "protocol_error:base64",
    ),
    "twilio base64 in lines": (TWILIO, TWILIO.text("AAAA\nAAA"), "protocol_error:base64"),
    "twilio base64 with padding in its midst": (TWILIO, TWILIO.text("AA==AAAA"), "protocol_error:base64"),
    "twilio audio of nothing": (TWILIO, TWILIO.text(""), "ok"),
    "twilio events of the other side": (TWILIO, dumped({"event": "start", "start": {"streamSid": "MZ"}}), "ok"),
    "twilio a stop": (TWILIO, dumped({"event": "stop"}), "ok"),
    "twilio an event of a megabyte": (TWILIO, dumped({"event": LONG}), "ok"),
    "twilio a mark of a megabyte": (TWILIO, TWILIO.mark(LONG), "ok"),
    "twilio a mark without a name": (TWILIO, dumped({"event": "mark"}), "ok"),
    "twilio a mark that is a number": (TWILIO, TWILIO.mark(5), "protocol_error:json"),
    "twilio a mark that is a template": (TWILIO, TWILIO.mark("{number}{uuid}\\{uuid}"), "ok"),
    # Azure
    "acs binary where text is due": (ACS, BinaryMessage(bytes(640)), "protocol_error:json"),
    "acs a kind that is a table": (ACS, dumped({"kind": {}}), "protocol_error:json"),
    "acs two kinds": (ACS, dumped({"kind": "AudioData", "Kind": "StopAudio"}), "ok"),
    "acs audio that is a text": (ACS, dumped({"kind": "AudioData", "audioData": "AAAA"}), "protocol_error:json"),
    "acs audio that is a number": (ACS, ACS.text(5), "protocol_error:base64"),
    "acs audio that is no base64": (ACS, ACS.text("...."), "protocol_error:base64"),
    "acs audio under no name": (ACS, dumped({"kind": "AudioData"}), "ok"),
    "acs no UTF-8 in what nobody reads": (ACS, b'{"kind":"AudioData","audioData":{"x":"\xff"}}', "ok"),
    "acs deep JSON": (ACS, b'{"kind":"AudioData","audioData":{"x":' + DEEP + b"}}", "protocol_error:json"),
    "acs half a sample": (ACS, ACS.payload(b"\x01"), "ok"),
    "acs metadata of the other side": (ACS, dumped({"kind": "AudioMetadata", "audioMetadata": {}}), "ok"),
    # a plain WebSocket
    "pcm words": (PCM, b"ready", "protocol_error:json"),
    "pcm no UTF-8": (PCM, b'{"x":"\xff"}', "ok"),
    "pcm deep JSON": (PCM, b'{"x":' + DEEP + b"}", "protocol_error:json"),
    "pcm audio of nothing": (PCM, BinaryMessage(b""), "ok"),
    "pcm half a sample": (PCM, BinaryMessage(b"\x01"), "ok"),
    "pcm an odd number of bytes": (PCM, BinaryMessage(b"\x00" * 641), "ok"),
    "pcm a WAV's head": (PCM, BinaryMessage(b"RIFF$\x08\x00\x00WAVEfmt " + bytes(28)), "ok"),
    "pcm what only a log has, of another type": (PCM, dumped({"binary": 5}), "protocol_error:base64"),
    "pcm a megabyte of text": (PCM, dumped({"transcript": LONG}), "ok"),
}
for name, (mouth, message, outcome) in AMID.items():
    AGENTS[name] = Hostile(amid(message), mouth.dialect, outcome, 1)


# Agents that are defined by a complete sequence of actions.


def course(*parts: Deed | Callable[[Mouth], Iterable[Deed]]) -> Act:
    """Return an agent that executes the parts in order."""

    def act(mouth: Mouth) -> Deeds:
        for part in parts:
            if callable(part):
                yield from part(mouth)
            else:
                yield part

    return act


def says(ms: float) -> Act:
    return lambda mouth: mouth.says(ms)


def silent(ms: float) -> Act:
    return lambda mouth: mouth.silence(ms)


def spoken(samples: Callable[[Mouth], Any]) -> Act:
    """Return an agent that sends these samples in real time."""
    return lambda mouth: mouth.spoken(np.asarray(samples(mouth)).astype(np.int16))


def at_once(ms: float) -> Act:
    return course(lambda mouth: [mouth.audio(mouth.voice(ms))])


def clears(times: int = 1) -> Act:
    return course(lambda mouth: [mouth.clear()] * times)


def marks(times: int) -> Act:
    return course(lambda mouth: [mouth.mark("again")] * times)


def for_ever(*deeds: Deed) -> Act:
    return lambda mouth: cycle(deeds)


def edited(old: bytes, new: bytes) -> Act:
    """Return an agent that speaks for one second; in each of its messages `old` is replaced by `new`."""
    return course(lambda mouth: (
        deed.replace(old, new) if isinstance(deed, bytes) else deed for deed in mouth.says(1_000)))  # fmt: skip


def followed(by: Callable[[Mouth, int], Deed]) -> Act:
    """Return an agent that greets and adds `by(mouth, number)` after each action."""
    return course(lambda mouth: (
        one for number, deed in enumerate(mouth.says()) for one in (deed, by(mouth, number))))  # fmt: skip


def cut_in_two(mouth: Mouth) -> Deeds:
    data = mouth.format.encode(mouth.voice(400))
    for begin in range(0, len(data), 641):
        yield BinaryMessage(data[begin : begin + 641])
        yield 20


def clicking(mouth: Mouth) -> Samples:
    samples = np.zeros(16 * FOR_EVER_MS, np.int16)
    samples[::4_000] = 32_767
    return samples


GREETS, ASKED, LATER = Mouth.says, course(Mouth.says, HEARD), 3_600_000
PLACES = np.arange(16 * FOR_EVER_MS)
LONGER = np.arange(16 * 2 * FOR_EVER_MS)
STEADY = np.full(16 * 1_000, 2_000, np.int16)
CHORD = sum(np.sin(hz * PLACES * 2 * np.pi / 16_000) for hz in (220, 277, 330))
NO_ANSWER = "ok interrupted timeout:first_delta"
COURSES: dict[str, tuple[str, Mouth, Act]] = {
    # (outcomes, dialect, actions) Missing or invalid audio.
    "never greets": ("timeout:first_delta", PCM, course(HEARD)),
    "says all of it on another call's stream":
        ("timeout:first_delta", TWILIO, course(edited(b'"MZ"', b'"MZ2"'), HEARD)),
    "says all of it on no stream":
        ("timeout:first_delta", TWILIO, course(edited(b'"streamSid"', b'"stream_sid"'), HEARD)),
    "silence for ever": ("timeout:first_delta", PCM, silent(FOR_EVER_MS)),
    "noise for ever":
        ("timeout:first_delta", PCM, spoken(lambda _: np.random.default_rng(1).normal(0, 3_000, PLACES.size))),
    "noise that is clipped for ever":
        ("timeout:first_delta", PCM, spoken(lambda _: np.random.default_rng(1).choice([-32_768, 32_767], PLACES.size))),
    "a hum": ("ok", PCM, spoken(lambda _: 9_000 * np.sin(PLACES / 25))),
    "a chord": ("ok", PCM, spoken(lambda _: 3_000 * CHORD)),
    "music with a beat for ever":
        ("timeout:response", PCM, spoken(lambda _: 8_000 * np.sin(LONGER / 6) * (1 - LONGER % 6_400 / 6_400))),
    "a direct current for ever": ("timeout:first_delta", PCM, spoken(lambda _: np.full(PLACES.size, 20_000))),
    "a voice on a direct current":
        ("ok", PCM, spoken(lambda mouth: np.concatenate((STEADY, mouth.voice(400) + np.int16(2_000), STEADY)))),
    "whispers": ("timeout:first_delta", PCM, spoken(lambda mouth: mouth.voice(FOR_EVER_MS, level=20))),
    "clicks": ("timeout:first_delta", PCM, spoken(clicking)),
    "a voice that is clipped": ("ok", PCM, spoken(lambda mouth: np.sign(mouth.voice(400)) * np.int16(32_767))),
    "a rate that is too low": ("ok", PCM, course(silent(300), spoken(lambda mouth: mouth.voice(800)[::2]))),
    "a rate that is too high": ("ok", PCM, spoken(lambda mouth: np.repeat(mouth.voice(400), 3))),
    "mu-law for PCM":
        ("ok", PCM, course(silent(300), spoken(lambda m: np.frombuffer(G711_ULAW.encode(m.voice(800)), "<i2")))),
    "bytes in the wrong order": ("ok", PCM, spoken(lambda mouth: mouth.voice(400).byteswap())),
    "samples that are cut in two": ("ok", PCM, cut_in_two),
    "greets for ever": ("timeout:response", PCM, says(2 * FOR_EVER_MS)),
    "all at once and more than is waited for": ("timeout:response", PCM, at_once(2 * FOR_EVER_MS)),
    "a thousand times as fast as it sounds":
        ("limit_exceeded:audio", TWILIO, lambda mouth: cycle((mouth.audio(mouth.voice(20_000)), 20))),
    "half as fast as it sounds": ("ok", PCM, lambda mouth: mouth.spoken(mouth.voice(400), pace=0.5)),
    "answers an hour later": ("ok timeout:first_delta", PCM, course(ASKED, LATER, GREETS)),
    "greets an hour later": ("timeout:first_delta", PCM, course(silent(100), LATER, GREETS)),
    "frames of nothing": ("timeout:first_delta", PCM, for_ever(*[BinaryMessage(b"")] * 5, 20)),
    "frames of half a sample": ("timeout:first_delta", PCM, for_ever(*[BinaryMessage(b"\x01")] * 5, 20)),
    "one sample at a time":
        ("ok", TWILIO, course(lambda mouth: (mouth.audio(np.array([sample])) for sample in mouth.voice(200)))),
    "messages without end": ("limit_exceeded:events", PCM, for_ever(b"{}")),
    # Speech at unexpected times.
    "echoes what it is asked": ("ok ok", PCM, course(GREETS, ECHO)),
    "answers while it is asked": ("ok ok", PCM, course(GREETS, 1_700, GREETS)),
    "speaks on and on while it is asked": ("ok timeout:first_delta", PCM, course(GREETS, 900, says(1_500))),
    "answers twice": ("ok ok", PCM, course(ASKED, GREETS, 1_200, GREETS)),
    "never falls silent": (NO_ANSWER, PCM, course(ASKED, says(2_500))),
    "has said everything before it is interrupted":
        ("ok ok timeout:first_delta", PCM, course(ASKED, says(200))),
    "what was under way comes after the clear":
        (NO_ANSWER, TWILIO, course(ASKED, at_once(3_000), 700, clears(), GREETS)),
    "what was under way comes after the clear and then an answer":
        ("ok interrupted ok", TWILIO, course(ASKED, at_once(3_000), 700, clears(), GREETS, 400, GREETS)),
    "clears and answers at once in silence":
        ("ok interrupted ok", ACS, course(ASKED, at_once(3_000), 400, clears(), silent(300), GREETS)),
    "clears and goes on for ever":
        ("ok timeout:first_delta timeout:first_delta", ACS,
         course(ASKED, at_once(3_000), 400, clears(), says(FOR_EVER_MS))),
    "clears though nobody speaks": ("cancelled:turn_detected", TWILIO, course(at_once(600), 200, clears())),
    # Clears, marks, and the messages that they depend on.
    "clears before anything": ("ok", TWILIO, course(clears(3), GREETS)),
    "clears after everything": ("ok", TWILIO, course(GREETS, 100, clears(3))),
    "clears all the time": ("ok ok", ACS, course(ASKED, clears(300), GREETS, clears(300))),
    "a clear between all frames": ("cancelled:turn_detected", TWILIO, followed(lambda mouth, _: mouth.clear())),
    "marks that nothing is before": ("ok", TWILIO, course(marks(1_100), GREETS)),
    "marks that wait without end": ("limit_exceeded:marks", TWILIO, course(at_once(3_000), marks(1_100))),
    "a mark after every frame": ("ok", TWILIO, followed(lambda mouth, number: mouth.mark(f"{number}"))),
    "marks of one name that are cleared":
        ("ok", TWILIO, course(GREETS, 1_900, at_once(3_000), marks(500), clears())),
}  # fmt: skip
for name, (outcomes, mouth, act) in COURSES.items():
    AGENTS[name] = Hostile(act, mouth.dialect, outcomes, len(outcomes.split()))
AGENTS["echoes from the beginning"] = Hostile(course(ECHO), "pcm", "timeout:first_delta", 2)


# Agents that hang up.


def hangs_up(code: int, *, after: int, heard: int = 0) -> Act:
    """Return an agent that closes with this code `after` ms into its speech.

    The speech is the greeting, or the reply to the caller's utterance number `heard`.
    """

    def act(mouth: Mouth) -> Deeds:
        deeds = mouth.says() if heard else mouth.says(after)
        yield from deeds
        for _ in range(heard):
            yield HEARD
        if heard:
            yield from mouth.says(after)
        yield CloseInfo(code, "", 0)

    return act


ENDS = {
    "before it greets": ({"after": 0}, "{}"),
    "while it greets": ({"after": 200}, "{}"),
    "while it is asked": ({"after": 0, "heard": 1}, "ok {}"),
    "while it answers": ({"after": 200, "heard": 1}, "ok {}"),
    "while it is interrupted": ({"after": 400, "heard": 1}, "ok {0} {0}"),
}
for where, (when, outcomes) in ENDS.items():
    for code in (1000, 1001, 1006, 1011, 4000):
        ends = outcomes.format(f"closed:{code}")
        turns = 3 if "interrupted" in where else 2
        AGENTS[f"hangs up {where} by {code}"] = Hostile(hangs_up(code, **when), "acs", ends, turns)
