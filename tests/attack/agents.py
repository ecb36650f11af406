"""What agents may do that no agent should, in three dialects, and the outcome that each comes to.

An agent is a generator: what it yields is a message that it sends now, a time in ms that it waits, a `Cue`, or a
`Closure`. Its caller lets it greet, asks something, and interrupts the answer after 0.2 s, or does the first of that
alone. What is on the wire below messages is the same for all services: `tests.system.attack.evil_server` has that.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, NamedTuple

import numpy as np

from bench.protocol.audio import G711_ULAW, PCM16_16K, AudioFormat, Samples
from bench.protocol.base import Binary
from bench.transport.interface import Closure

FRAME_MS = 20


class Cue(Enum):
    """What an agent does that is neither a message nor a wait for some time."""

    HEARD = auto()
    """Waits until its caller has said something."""
    ECHO = auto()
    """Sends back from now on whatever comes."""


HEARD, ECHO = Cue.HEARD, Cue.ECHO
Deed = bytes | int | Closure | Cue
Deeds = Iterator[Deed]


@dataclass(frozen=True)
class Mouth:
    """How an agent speaks in one dialect."""

    dialect: str
    format: AudioFormat

    def audio(self, samples: Samples) -> bytes:
        return self.payload(self.format.encode(samples))

    def payload(self, data: bytes) -> bytes:
        """A message with these bytes as audio."""
        if self.dialect == "pcm":
            return Binary(data)
        return self.text(base64.b64encode(data).decode())

    def text(self, payload: Any) -> bytes:
        """A message with this as what should be base64."""
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
        """Syllables: 400 Hz, 140 ms loud and 60 ms silent; a sound that does not swell is heard as a hum."""
        places = np.arange(round(self.format.rate_hz * ms / 1_000))
        at_ms = places * 1_000 // self.format.rate_hz
        return (level * (at_ms % 200 < 140) * np.sin(2 * np.pi * 400 * places / self.format.rate_hz)).astype(np.int16)

    def spoken(self, samples: Samples, *, pace: float = 1.0) -> Deeds:
        """Samples in frames, `pace` times as fast as they sound."""
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
"""Longer than any limit of the caller's but `done`, which is half as long again."""


class Hostile(NamedTuple):
    """What an agent does, by which dialect, and the outcomes of its caller's turns, in their order.

    `turns`: how many of the three there are.
    """

    act: Callable[[Mouth], Deeds]
    dialect: str
    outcomes: str
    turns: int


AGENTS: dict[str, Hostile] = {}
Act = Callable[[Mouth], Deeds]


def hostile(outcomes: str, dialect: str = "pcm", turns: int | None = None) -> Callable[[Act], Act]:
    """Enter a behaviour in the table by its name."""

    def entered(act: Act) -> Act:
        AGENTS[act.__name__] = Hostile(act, dialect, outcomes, turns or len(outcomes.split()))
        return act

    return entered


def amid(message: bytes) -> Act:
    """An agent that greets well, but for one message in the midst of it."""

    def act(mouth: Mouth) -> Deeds:
        yield from mouth.says(200)
        yield message
        yield from mouth.says(200)

    return act


TWILIO, ACS, PCM = MOUTHS["twilio"], MOUTHS["acs"], MOUTHS["pcm"]
DEEP = b"[" * 100_000 + b"]" * 100_000
LONG = "x" * 1_000_000
AMID = {
    # Twilio's
    "twilio binary where text is due": (TWILIO, Binary(b"\xff" * 160), "protocol:json"),
    "twilio an empty message": (TWILIO, b"", "protocol:json"),
    "twilio words": (TWILIO, b"hello", "protocol:json"),
    "twilio a list": (TWILIO, b'["media"]', "protocol:json"),
    "twilio half a message": (TWILIO, TWILIO.clear()[:-3], "protocol:json"),
    "twilio two messages in one": (TWILIO, TWILIO.clear() * 2, "protocol:json"),
    "twilio deep JSON in what nobody reads": (TWILIO, b'{"event":"x","more":' + DEEP + b"}", "protocol:json"),
    "twilio deep JSON in audio": (TWILIO, b'{"event":"media","media":{"payload":' + DEEP + b"}}", "protocol:json"),
    "twilio not a number": (TWILIO, b'{"event":"media","media":{"payload":NaN}}', "protocol:json"),
    "twilio an endless number": (TWILIO, b'{"event":"mark","sequenceNumber":1e999}', "ok"),
    "twilio no UTF-8 in what nobody reads": (TWILIO, b'{"event":"media","x":"\xff\xfe"}', "ok"),
    "twilio half of a character": (TWILIO, b'{"event":"media","x":"\\ud800"}', "protocol:json"),
    "twilio half of a character in a mark": (TWILIO, b'{"event":"mark","mark":{"name":"\\ud800"}}', "protocol:json"),
    "twilio keys that stand twice": (TWILIO, b'{"event":"clear","event":"x","media":null,"media":{}}', "ok"),
    "twilio an event that is a number": (TWILIO, dumped({"event": 7}), "protocol:json"),
    "twilio an event that is null": (TWILIO, dumped({"event": None}), "protocol:json"),
    "twilio media that is a text": (TWILIO, dumped({"event": "media", "media": "x"}), "protocol:json"),
    "twilio media that is nothing": (TWILIO, dumped({"event": "media", "media": None}), "ok"),
    "twilio media without a payload": (TWILIO, dumped({"event": "media", "media": {}}), "ok"),
    "twilio audio that is a number": (TWILIO, TWILIO.text(5), "protocol:base64"),
    "twilio audio that is a table": (TWILIO, TWILIO.text({"a": [1]}), "protocol:base64"),
    "twilio audio that is true": (TWILIO, TWILIO.text(True), "protocol:base64"),
    "twilio audio that is no base64": (TWILIO, TWILIO.text("!!!!"), "protocol:base64"),
    "twilio base64 that is cut": (TWILIO, TWILIO.text("AAA"), "protocol:base64"),
    "twilio base64 of URLs": (TWILIO, TWILIO.text("__--"), "protocol:base64"),
    "twilio base64 with escapes": (TWILIO, TWILIO.text("AAAA").replace(b"AAAA", b"\\u0041AAA"), "protocol:base64"),
    "twilio base64 in lines": (TWILIO, TWILIO.text("AAAA\nAAA"), "protocol:base64"),
    "twilio base64 with padding in its midst": (TWILIO, TWILIO.text("AA==AAAA"), "protocol:base64"),
    "twilio audio of nothing": (TWILIO, TWILIO.text(""), "ok"),
    "twilio events of the other side": (TWILIO, dumped({"event": "start", "start": {"streamSid": "MZ"}}), "ok"),
    "twilio a stop": (TWILIO, dumped({"event": "stop"}), "ok"),
    "twilio an event of a megabyte": (TWILIO, dumped({"event": LONG}), "ok"),
    "twilio a mark of a megabyte": (TWILIO, TWILIO.mark(LONG), "ok"),
    "twilio a mark without a name": (TWILIO, dumped({"event": "mark"}), "ok"),
    "twilio a mark that is a number": (TWILIO, TWILIO.mark(5), "protocol:json"),
    "twilio a mark that is a template": (TWILIO, TWILIO.mark("{number}{uuid}\\{uuid}"), "ok"),
    # Azure's
    "acs binary where text is due": (ACS, Binary(bytes(640)), "protocol:json"),
    "acs a kind that is a table": (ACS, dumped({"kind": {}}), "protocol:json"),
    "acs two kinds": (ACS, dumped({"kind": "AudioData", "Kind": "StopAudio"}), "ok"),
    "acs audio that is a text": (ACS, dumped({"kind": "AudioData", "audioData": "AAAA"}), "protocol:json"),
    "acs audio that is a number": (ACS, ACS.text(5), "protocol:base64"),
    "acs audio that is no base64": (ACS, ACS.text("...."), "protocol:base64"),
    "acs audio under no name": (ACS, dumped({"kind": "AudioData"}), "ok"),
    "acs no UTF-8 in what nobody reads": (ACS, b'{"kind":"AudioData","audioData":{"x":"\xff"}}', "ok"),
    "acs deep JSON": (ACS, b'{"kind":"AudioData","audioData":{"x":' + DEEP + b"}}", "protocol:json"),
    "acs half a sample": (ACS, ACS.payload(b"\x01"), "ok"),
    "acs metadata of the other side": (ACS, dumped({"kind": "AudioMetadata", "audioMetadata": {}}), "ok"),
    # A plain WebSocket's
    "pcm words": (PCM, b"ready", "protocol:json"),
    "pcm no UTF-8": (PCM, b'{"x":"\xff"}', "ok"),
    "pcm deep JSON": (PCM, b'{"x":' + DEEP + b"}", "protocol:json"),
    "pcm audio of nothing": (PCM, Binary(b""), "ok"),
    "pcm half a sample": (PCM, Binary(b"\x01"), "ok"),
    "pcm an odd number of bytes": (PCM, Binary(b"\x00" * 641), "ok"),
    "pcm a WAV's head": (PCM, Binary(b"RIFF$\x08\x00\x00WAVEfmt " + bytes(28)), "ok"),
    "pcm what only a log has, of another type": (PCM, dumped({"binary": 5}), "protocol:base64"),
    "pcm a megabyte of text": (PCM, dumped({"transcript": LONG}), "ok"),
}
for name, (mouth, message, outcome) in AMID.items():
    AGENTS[name] = Hostile(amid(message), mouth.dialect, outcome, 1)


# Audio that is none, or is not what it should be.


@hostile("timeout:first_delta")
def never_greets(mouth: Mouth) -> Deeds:
    yield HEARD


@hostile("timeout:first_delta", "twilio")
def says_all_of_it_on_another_call_s_stream(mouth: Mouth) -> Deeds:
    for deed in mouth.says(1_000):
        yield deed.replace(b'"MZ"', b'"MZ2"') if isinstance(deed, bytes) else deed
    yield HEARD


@hostile("timeout:first_delta", "twilio")
def says_all_of_it_on_no_stream(mouth: Mouth) -> Deeds:
    for deed in mouth.says(1_000):
        yield deed.replace(b'"streamSid"', b'"stream_sid"') if isinstance(deed, bytes) else deed
    yield HEARD


@hostile("timeout:first_delta")
def silence_for_ever(mouth: Mouth) -> Deeds:
    yield from mouth.silence(FOR_EVER_MS)


@hostile("timeout:first_delta")
def noise_for_ever(mouth: Mouth) -> Deeds:
    noise = np.random.default_rng(1).normal(0, 3_000, 16 * FOR_EVER_MS)
    yield from mouth.spoken(noise.astype(np.int16))


@hostile("timeout:first_delta")
def noise_that_is_clipped_for_ever(mouth: Mouth) -> Deeds:
    loudest = np.array([-32_768, 32_767], np.int16)
    yield from mouth.spoken(np.random.default_rng(1).choice(loudest, 16 * FOR_EVER_MS))


@hostile("timeout:first_delta")
def a_hum_for_ever(mouth: Mouth) -> Deeds:
    yield from mouth.spoken((9_000 * np.sin(np.arange(16 * FOR_EVER_MS) / 25)).astype(np.int16))


@hostile("timeout:first_delta")
def a_chord_for_ever(mouth: Mouth) -> Deeds:
    places = np.arange(16 * FOR_EVER_MS) * 2 * np.pi / 16_000
    chord = np.sin(220 * places) + np.sin(277 * places) + np.sin(330 * places)
    yield from mouth.spoken((3_000 * chord).astype(np.int16))


@hostile("timeout:done")
def music_with_a_beat_for_ever(mouth: Mouth) -> Deeds:
    places = np.arange(16 * 2 * FOR_EVER_MS)
    yield from mouth.spoken((8_000 * np.sin(places / 6) * (1 - places % 6_400 / 6_400)).astype(np.int16))


@hostile("timeout:first_delta")
def a_direct_current_for_ever(mouth: Mouth) -> Deeds:
    yield from mouth.spoken(np.full(16 * FOR_EVER_MS, 20_000, np.int16))


@hostile("ok")
def a_voice_on_a_direct_current(mouth: Mouth) -> Deeds:
    steady = np.full(16 * 1_000, 2_000, np.int16)
    yield from mouth.spoken(np.concatenate((steady, mouth.voice(400) + np.int16(2_000), steady)))


@hostile("timeout:first_delta")
def whispers(mouth: Mouth) -> Deeds:
    yield from mouth.spoken(mouth.voice(FOR_EVER_MS, level=20))


@hostile("timeout:first_delta")
def clicks(mouth: Mouth) -> Deeds:
    samples = np.zeros(16 * FOR_EVER_MS, np.int16)
    samples[::4_000] = 32_767
    yield from mouth.spoken(samples)


@hostile("ok")
def a_voice_that_is_clipped(mouth: Mouth) -> Deeds:
    yield from mouth.spoken(np.sign(mouth.voice(400)) * np.int16(32_767))


@hostile("ok")
def a_rate_that_is_too_low(mouth: Mouth) -> Deeds:
    yield from mouth.silence(300)
    yield from mouth.spoken(mouth.voice(800)[::2])


@hostile("ok")
def a_rate_that_is_too_high(mouth: Mouth) -> Deeds:
    yield from mouth.spoken(np.repeat(mouth.voice(400), 3))


@hostile("ok")
def mu_law_for_pcm(mouth: Mouth) -> Deeds:
    yield from mouth.silence(300)
    yield from mouth.spoken(np.frombuffer(G711_ULAW.encode(mouth.voice(800)), "<i2"))


@hostile("ok")
def bytes_in_the_wrong_order(mouth: Mouth) -> Deeds:
    yield from mouth.spoken(mouth.voice(400).byteswap())


@hostile("ok")
def samples_that_are_cut_in_two(mouth: Mouth) -> Deeds:
    data = mouth.format.encode(mouth.voice(400))
    for begin in range(0, len(data), 641):
        yield Binary(data[begin : begin + 641])
        yield 20


@hostile("timeout:done")
def greets_for_ever(mouth: Mouth) -> Deeds:
    yield from mouth.says(2 * FOR_EVER_MS)


@hostile("timeout:done")
def all_at_once_and_more_than_is_waited_for(mouth: Mouth) -> Deeds:
    yield mouth.audio(mouth.voice(2 * FOR_EVER_MS))


@hostile("endless:audio", "twilio")
def a_thousand_times_as_fast_as_it_sounds(mouth: Mouth) -> Deeds:
    message = mouth.audio(mouth.voice(20_000))
    while True:
        yield message
        yield 20


@hostile("ok")
def half_as_fast_as_it_sounds(mouth: Mouth) -> Deeds:
    yield from mouth.spoken(mouth.voice(400), pace=0.5)


@hostile("ok timeout:first_delta")
def answers_an_hour_later(mouth: Mouth) -> Deeds:
    yield from mouth.says()
    yield HEARD
    yield 3_600_000
    yield from mouth.says()


@hostile("timeout:first_delta")
def greets_an_hour_later(mouth: Mouth) -> Deeds:
    yield from mouth.silence(100)
    yield 3_600_000
    yield from mouth.says()


@hostile("timeout:first_delta")
def frames_of_nothing(mouth: Mouth) -> Deeds:
    while True:
        yield from [Binary(b"")] * 5
        yield 20


@hostile("timeout:first_delta")
def frames_of_half_a_sample(mouth: Mouth) -> Deeds:
    while True:
        yield from [Binary(b"\x01")] * 5
        yield 20


@hostile("ok", "twilio")
def one_sample_at_a_time(mouth: Mouth) -> Deeds:
    for sample in mouth.voice(200):
        yield mouth.audio(np.array([sample]))


@hostile("endless:events")
def messages_without_end(mouth: Mouth) -> Deeds:
    while True:
        yield b"{}"


# Whoever speaks when nobody should.


@hostile("timeout:first_delta", turns=2)
def echoes_from_the_beginning(mouth: Mouth) -> Deeds:
    yield ECHO


@hostile("ok ok")
def echoes_what_it_is_asked(mouth: Mouth) -> Deeds:
    yield from mouth.says()
    yield ECHO


@hostile("ok ok")
def answers_while_it_is_asked(mouth: Mouth) -> Deeds:
    yield from mouth.says()
    yield 1_000
    yield from mouth.says()


@hostile("ok timeout:first_delta")
def speaks_on_and_on_while_it_is_asked(mouth: Mouth) -> Deeds:
    yield from mouth.says()
    yield 900
    yield from mouth.says(1_500)


@hostile("ok ok")
def answers_twice(mouth: Mouth) -> Deeds:
    yield from mouth.says()
    yield HEARD
    yield from mouth.says()
    yield 1_200
    yield from mouth.says()


@hostile("ok interrupted timeout:first_delta")
def never_falls_silent(mouth: Mouth) -> Deeds:
    yield from mouth.says()
    yield HEARD
    yield from mouth.says(2_500)


@hostile("ok ok timeout:first_delta")
def has_said_everything_before_it_is_interrupted(mouth: Mouth) -> Deeds:
    yield from mouth.says()
    yield HEARD
    yield from mouth.says(200)


@hostile("ok interrupted timeout:first_delta", "twilio")
def what_was_under_way_comes_after_the_clear(mouth: Mouth) -> Deeds:
    yield from mouth.says()
    yield HEARD
    yield mouth.audio(mouth.voice(3_000))
    yield 700
    yield mouth.clear()
    yield from mouth.says()


@hostile("ok interrupted ok", "twilio")
def what_was_under_way_comes_after_the_clear_and_then_an_answer(mouth: Mouth) -> Deeds:
    yield from mouth.says()
    yield HEARD
    yield mouth.audio(mouth.voice(3_000))
    yield 700
    yield mouth.clear()
    yield from mouth.says()
    yield 400
    yield from mouth.says()


@hostile("ok interrupted ok", "acs")
def clears_and_answers_at_once_in_silence(mouth: Mouth) -> Deeds:
    yield from mouth.says()
    yield HEARD
    yield mouth.audio(mouth.voice(3_000))
    yield 400
    yield mouth.clear()
    yield from mouth.silence(300)
    yield from mouth.says()


@hostile("ok timeout:first_delta timeout:first_delta", "acs")
def clears_and_goes_on_for_ever(mouth: Mouth) -> Deeds:
    yield from mouth.says()
    yield HEARD
    yield mouth.audio(mouth.voice(3_000))
    yield 400
    yield mouth.clear()
    yield from mouth.says(FOR_EVER_MS)


@hostile("cancelled:turn_detected", "twilio")
def clears_though_nobody_speaks(mouth: Mouth) -> Deeds:
    yield mouth.audio(mouth.voice(600))
    yield 200
    yield mouth.clear()


# Clears, marks, and what they wait for.


@hostile("ok", "twilio")
def clears_before_anything(mouth: Mouth) -> Deeds:
    yield from [mouth.clear()] * 3
    yield from mouth.says()


@hostile("ok", "twilio")
def clears_after_everything(mouth: Mouth) -> Deeds:
    yield from mouth.says()
    yield 100
    yield from [mouth.clear()] * 3


@hostile("ok ok", "acs")
def clears_all_the_time(mouth: Mouth) -> Deeds:
    yield from mouth.says()
    yield HEARD
    yield from [mouth.clear()] * 300
    yield from mouth.says()
    yield from [mouth.clear()] * 300


@hostile("cancelled:turn_detected", "twilio")
def a_clear_between_all_frames(mouth: Mouth) -> Deeds:
    for deed in mouth.says():
        yield deed
        yield mouth.clear()


@hostile("ok", "twilio")
def marks_that_nothing_is_before(mouth: Mouth) -> Deeds:
    yield from [mouth.mark("again")] * 1_100
    yield from mouth.says()


@hostile("endless:marks", "twilio")
def marks_that_wait_without_end(mouth: Mouth) -> Deeds:
    yield mouth.audio(mouth.voice(3_000))
    yield from [mouth.mark("again")] * 1_100


@hostile("ok", "twilio")
def a_mark_after_every_frame(mouth: Mouth) -> Deeds:
    for number, deed in enumerate(mouth.says()):
        yield deed
        yield mouth.mark(f"{number}")


@hostile("ok", "twilio")
def marks_of_one_name_that_are_cleared(mouth: Mouth) -> Deeds:
    yield from mouth.says()
    yield 1_200
    yield mouth.audio(mouth.voice(3_000))
    yield from [mouth.mark("again")] * 500
    yield mouth.clear()


# Whoever hangs up.


def hangs_up(code: int, *, after: int, heard: int = 0) -> Act:
    """An agent that closes by this code so many ms after its caller has said so much, or after it began to greet."""

    def act(mouth: Mouth) -> Deeds:
        deeds = mouth.says() if heard else mouth.says(after)
        yield from deeds
        for _ in range(heard):
            yield HEARD
        if heard:
            yield from mouth.says(after)
        yield Closure(code, "", 0)

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
