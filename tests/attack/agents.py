"""Misbehaving agents in three dialects, and the expected outcomes of a call with each agent.

An agent is a generator. It yields a message to send now, a time in ms to wait, a `Cue`, or a
`ConnectionClosed`. The caller waits for the greeting, asks something, and interrupts the answer
after 0.2 s. In some cases the caller only waits for the greeting. Attacks below the level of
messages do not depend on the dialect: see `tests.system.attack.evil_server`.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.wire.audio import G711_ULAW, PCM16_16K, AudioFormat, Samples
from bench.wire.connection import ConnectionClosed
from bench.wire.dialect import BinaryMessage

FRAME_MS = 20


class Cue(Enum):
    """An action of an agent other than to send a message, to wait for a fixed time, or to close
    the connection.
    """

    AFTER_UTTERANCE = auto()
    """Wait until the caller has finished an utterance."""
    ECHO = auto()
    """From now on, send back all audio that arrives."""


AFTER_UTTERANCE, ECHO = Cue.AFTER_UTTERANCE, Cue.ECHO
Action = bytes | int | ConnectionClosed | Cue
Actions = Iterator[Action]


@dataclass(frozen=True)
class AgentVoice:
    """The audio and control messages of an agent in one dialect."""

    dialect: str
    format: AudioFormat

    def audio(self, samples: Samples) -> bytes:
        return self.payload(self.format.encode(samples))

    def payload(self, data: bytes) -> bytes:
        """Return a message that contains `data` as its audio."""
        if self.dialect == "pcm":
            return BinaryMessage(data)
        return self.text(base64.b64encode(data).decode())

    def text(self, payload: Any) -> bytes:
        """Return a message whose field for base64 audio contains `payload`."""
        if self.dialect == "twilio":
            return dumped({"event": "media", "streamSid": "MZ", "media": {"payload": payload}})
        return dumped({"kind": "AudioData", "audioData": {"data": payload}})

    def clear(self) -> bytes:
        if self.dialect == "twilio":
            return dumped({"event": "clear", "streamSid": "MZ"})
        return dumped({"kind": "StopAudio", "stopAudio": {}})

    def mark(self, name: Any) -> bytes:
        return dumped({"event": "mark", "streamSid": "MZ", "mark": {"name": name}})

    def speech(self, ms: float, level: int = 8_000) -> Samples:
        """Return syllables with two harmonics, each 140 ms loud and 60 ms silent.

        A tone of constant level would be classified as a hum.
        """
        places = np.arange(round(self.format.rate_hz * ms / 1_000))
        at_ms = places * 1_000 // self.format.rate_hz
        phases = 2 * np.pi * 200 * places / self.format.rate_hz
        return (
            level * (at_ms % 200 < 140) * (np.sin(phases) + np.sin(2 * phases) / 2) / 1.3
        ).astype(np.int16)

    def spoken(self, samples: Samples, *, pace: float = 1.0) -> Actions:
        """Yield the samples in frames. `pace` is the speed as a multiple of real time."""
        size = self.format.rate_hz * FRAME_MS // 1_000
        for begin in range(0, len(samples) - size + 1, size):
            yield self.audio(samples[begin : begin + size])
            yield round(FRAME_MS / pace)

    def says(self, ms: float = 300) -> Actions:
        yield from self.spoken(self.speech(ms))

    def silence(self, ms: float) -> Actions:
        yield from self.spoken(np.zeros(round(self.format.rate_hz * ms / 1_000), np.int16))


VOICES = {
    "pcm": AgentVoice("pcm", PCM16_16K),
    "twilio": AgentVoice("twilio", G711_ULAW),
    "acs": AgentVoice("acs", PCM16_16K),
}


def dumped(message: Any) -> bytes:
    return json.dumps(message).encode()


FOR_EVER_MS = 4_000
"""A duration longer than every time limit of the caller except `done`, which is 1.5 times this
duration."""


class HostileAgent(NamedTuple):
    """A misbehaving agent.

    `act` is its behaviour. `outcomes` contains the outcomes of the caller's turns, in the order of
    the turns. `turns` is the number of turns that are run; the script has three.
    """

    act: Callable[[AgentVoice], Actions]
    dialect: str
    outcomes: str
    turns: int


AGENTS: dict[str, HostileAgent] = {}
Act = Callable[[AgentVoice], Actions]


def amid(message: bytes) -> Act:
    """Return an agent that greets correctly, but sends `message` in the middle of the greeting."""

    def act(voice: AgentVoice) -> Actions:
        yield from voice.says(200)
        yield message
        yield from voice.says(200)

    return act


TABLE = Path(__file__).with_name("messages.txt").read_text(encoding="utf-8")
ROW = re.compile(r"^(\w+) +(\S+) +(.+)\n    (text|binary) ?(.*)$", re.MULTILINE)


def unescaped_text(text: str) -> str:
    """Return a text of a table, whose characters are at most those of Latin-1 or escaped."""
    for repeated in (r"\(([^()]*)\)\{(\d+)\}", r"(\\x..|[^\\])\{(\d+)\}"):
        text = re.sub(repeated, lambda found: found[1] * int(found[2]), text)
    return text.encode("ascii").decode("unicode_escape")


def unescaped(text: str) -> bytes:
    """Return the bytes of a message of a table."""
    return unescaped_text(text).encode("latin-1")


for dialect, outcome, name, form, text in ROW.findall(TABLE):
    message = unescaped(text)
    sent = BinaryMessage(message) if form == "binary" else message
    AGENTS[f"{dialect} {name}"] = HostileAgent(amid(sent), dialect, outcome, 1)


# Agents that are defined by a complete sequence of actions.


def sequence(*parts: Action | Callable[[AgentVoice], Iterable[Action]]) -> Act:
    """Return an agent that executes these actions one after another. A callable part returns
    several actions.
    """

    def act(voice: AgentVoice) -> Actions:
        for part in parts:
            if callable(part):
                yield from part(voice)
            else:
                yield part

    return act


def says(ms: float) -> Act:
    return lambda voice: voice.says(ms)


def silent(ms: float) -> Act:
    return lambda voice: voice.silence(ms)


def spoken(samples: Callable[[AgentVoice], Any]) -> Act:
    """Return an agent that sends these samples in real time."""
    return lambda voice: voice.spoken(np.asarray(samples(voice)).astype(np.int16))


def at_once(ms: float) -> Act:
    return sequence(lambda voice: [voice.audio(voice.speech(ms))])


def clears(times: int = 1) -> Act:
    return sequence(lambda voice: [voice.clear()] * times)


def marks(times: int) -> Act:
    return sequence(lambda voice: [voice.mark("again")] * times)


def repeated(*actions: Action) -> Act:
    return lambda voice: cycle(actions)


def edited(old: bytes, new: bytes) -> Act:
    """Return an agent that speaks for one second. In each message that the agent sends, `old` is
    replaced by `new`.
    """
    return sequence(
        lambda voice: (
            action.replace(old, new) if isinstance(action, bytes) else action
            for action in voice.says(1_000)
        )
    )


def followed(by: Callable[[AgentVoice, int], Action]) -> Act:
    """Return an agent that greets. After each action of the greeting, the agent also does
    `by(voice, number)`.
    """
    return sequence(
        lambda voice: (
            one for number, action in enumerate(voice.says()) for one in (action, by(voice, number))
        )
    )


def cut_in_two(voice: AgentVoice) -> Actions:
    data = voice.format.encode(voice.speech(400))
    for begin in range(0, len(data), 641):
        yield BinaryMessage(data[begin : begin + 641])
        yield 20


def clicking(voice: AgentVoice) -> Samples:
    samples = np.zeros(16 * FOR_EVER_MS, np.int16)
    samples[::4_000] = 32_767
    return samples


TWILIO, ACS, PCM = VOICES["twilio"], VOICES["acs"], VOICES["pcm"]
GREETS, ASKED, LATER = AgentVoice.says, sequence(AgentVoice.says, AFTER_UTTERANCE), 3_600_000
PLACES = np.arange(16 * FOR_EVER_MS)
LONGER = np.arange(16 * 2 * FOR_EVER_MS)
STEADY = np.full(16 * 1_000, 2_000, np.int16)
CHORD = sum(np.sin(hz * PLACES * 2 * np.pi / 16_000) for hz in (220, 277, 330))
NO_ANSWER = "ok interrupted timeout:first_delta"
SEQUENCES: dict[str, tuple[str, AgentVoice, Act]] = {
    # (outcomes, dialect, actions) Missing or invalid audio.
    "never greets": ("timeout:first_delta", PCM, sequence(AFTER_UTTERANCE)),
    "speaks on the stream of another call": (
        "timeout:first_delta",
        TWILIO,
        sequence(edited(b'"MZ"', b'"MZ2"'), AFTER_UTTERANCE),
    ),
    "speaks on no stream": (
        "timeout:first_delta",
        TWILIO,
        sequence(edited(b'"streamSid"', b'"stream_sid"'), AFTER_UTTERANCE),
    ),
    "endless silence": ("timeout:first_delta", PCM, silent(FOR_EVER_MS)),
    "endless noise": (
        "timeout:first_delta",
        PCM,
        spoken(lambda _: np.random.default_rng(1).normal(0, 3_000, PLACES.size)),
    ),
    "endless clipped noise": (
        "timeout:first_delta",
        PCM,
        spoken(lambda _: np.random.default_rng(1).choice([-32_768, 32_767], PLACES.size)),
    ),
    "a hum": ("ok", PCM, spoken(lambda _: 9_000 * np.sin(PLACES / 25))),
    "a chord": ("ok", PCM, spoken(lambda _: 3_000 * CHORD)),
    "endless music with a beat": (
        "timeout:response",
        PCM,
        spoken(lambda _: 8_000 * np.sin(LONGER / 12) * (1 - LONGER % 6_400 / 6_400)),
    ),
    "endless direct current": (
        "timeout:first_delta",
        PCM,
        spoken(lambda _: np.full(PLACES.size, 20_000)),
    ),
    "a voice on a direct current": (
        "ok",
        PCM,
        spoken(lambda voice: np.concatenate((STEADY, voice.speech(400) + np.int16(2_000), STEADY))),
    ),
    "whispers": (
        "timeout:first_delta",
        PCM,
        spoken(lambda voice: voice.speech(FOR_EVER_MS, level=20)),
    ),
    "clicks": ("timeout:first_delta", PCM, spoken(clicking)),
    "a voice that is clipped": (
        "ok",
        PCM,
        spoken(lambda voice: np.sign(voice.speech(400)) * np.int16(32_767)),
    ),
    "a sample rate that is too low": (
        "ok",
        PCM,
        sequence(silent(300), spoken(lambda voice: voice.speech(800)[::2])),
    ),
    "a sample rate that is too high": (
        "ok",
        PCM,
        spoken(lambda voice: np.repeat(voice.speech(400), 3)),
    ),
    "mu-law for PCM": (
        "ok",
        PCM,
        sequence(
            silent(300), spoken(lambda m: np.frombuffer(G711_ULAW.encode(m.speech(800)), "<i2"))
        ),
    ),
    "bytes in the wrong order": ("ok", PCM, spoken(lambda voice: voice.speech(400).byteswap())),
    "samples that are cut in two": ("ok", PCM, cut_in_two),
    "an endless greeting": ("timeout:response", PCM, says(2 * FOR_EVER_MS)),
    "more audio at once than the response limit": (
        "timeout:response",
        PCM,
        at_once(2 * FOR_EVER_MS),
    ),
    "audio at a thousand times real time": (
        "limit_exceeded:audio",
        TWILIO,
        lambda voice: cycle((voice.audio(voice.speech(20_000)), 20)),
    ),
    "audio at half real time": ("ok", PCM, lambda voice: voice.spoken(voice.speech(400), pace=0.5)),
    "answers an hour later": ("ok timeout:first_delta", PCM, sequence(ASKED, LATER, GREETS)),
    "greets an hour later": ("timeout:first_delta", PCM, sequence(silent(100), LATER, GREETS)),
    "empty frames": ("timeout:first_delta", PCM, repeated(*[BinaryMessage(b"")] * 5, 20)),
    "frames of half a sample": (
        "timeout:first_delta",
        PCM,
        repeated(*[BinaryMessage(b"\x01")] * 5, 20),
    ),
    "one sample at a time": (
        "ok",
        TWILIO,
        sequence(lambda voice: (voice.audio(np.array([sample])) for sample in voice.speech(200))),
    ),
    "endless messages": ("limit_exceeded:events", PCM, repeated(b"{}")),
    # Speech at unexpected times.
    "echoes what it is asked": ("ok ok", PCM, sequence(GREETS, ECHO)),
    "answers while it is asked": ("ok ok", PCM, sequence(GREETS, 1_700, GREETS)),
    "keeps speaking while it is asked": (
        "ok timeout:first_delta",
        PCM,
        sequence(GREETS, 900, says(1_500)),
    ),
    "answers twice": ("ok ok", PCM, sequence(ASKED, GREETS, 1_200, GREETS)),
    "never falls silent": (NO_ANSWER, PCM, sequence(ASKED, says(2_500))),
    "ends before it is interrupted": ("ok ok timeout:first_delta", PCM, sequence(ASKED, says(200))),
    "late audio after the clear": (
        NO_ANSWER,
        TWILIO,
        sequence(ASKED, at_once(3_000), 700, clears(), GREETS),
    ),
    "late audio after the clear and then an answer": (
        "ok interrupted ok",
        TWILIO,
        sequence(ASKED, at_once(3_000), 700, clears(), GREETS, 400, GREETS),
    ),
    "clears and answers at once in silence": (
        "ok interrupted ok",
        ACS,
        sequence(ASKED, at_once(3_000), 400, clears(), silent(300), GREETS),
    ),
    "clears and speaks endlessly": (
        "ok timeout:first_delta timeout:first_delta",
        ACS,
        sequence(ASKED, at_once(3_000), 400, clears(), says(FOR_EVER_MS)),
    ),
    "clears without an interruption": (
        "cancelled:turn_detected",
        TWILIO,
        sequence(at_once(600), 200, clears()),
    ),
    # Clears, marks, and the messages that they depend on.
    "clears before anything": ("ok", TWILIO, sequence(clears(3), GREETS)),
    "clears after everything": ("ok", TWILIO, sequence(GREETS, 100, clears(3))),
    "clears all the time": ("ok ok", ACS, sequence(ASKED, clears(300), GREETS, clears(300))),
    "a clear between all frames": (
        "cancelled:turn_detected",
        TWILIO,
        followed(lambda voice, _: voice.clear()),
    ),
    "marks before any audio": ("ok", TWILIO, sequence(marks(1_100), GREETS)),
    "more marks than the limit": (
        "limit_exceeded:marks",
        TWILIO,
        sequence(at_once(3_000), marks(1_100)),
    ),
    "a mark after every frame": (
        "ok",
        TWILIO,
        followed(lambda voice, number: voice.mark(f"{number}")),
    ),
    "marks of one name that are cleared": (
        "ok",
        TWILIO,
        sequence(GREETS, 1_900, at_once(3_000), marks(500), clears()),
    ),
}
for name, (outcomes, voice, act) in SEQUENCES.items():
    AGENTS[name] = HostileAgent(act, voice.dialect, outcomes, len(outcomes.split()))
AGENTS["echoes from the beginning"] = HostileAgent(sequence(ECHO), "pcm", "timeout:first_delta", 2)


# Agents that hang up.


def hangs_up(code: int, *, after: int, heard: int = 0) -> Act:
    """Return an agent that closes the connection with this code after it has spoken for `after` ms.

    If `heard` is 0, the agent closes during its greeting. Otherwise it closes during its reply to
    the caller's utterance number `heard`.
    """

    def act(voice: AgentVoice) -> Actions:
        actions = voice.says() if heard else voice.says(after)
        yield from actions
        for _ in range(heard):
            yield AFTER_UTTERANCE
        if heard:
            yield from voice.says(after)
        yield ConnectionClosed(code, 0)

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
        AGENTS[f"hangs up {where} by {code}"] = HostileAgent(
            hangs_up(code, **when), "acs", ends, turns
        )
