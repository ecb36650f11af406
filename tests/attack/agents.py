"""Misbehaving agents in three dialects, and the expected outcomes of a call with each agent.

An agent is a generator. It yields a message to send now, a time in ms to wait, a `Cue`, or a
`ConnectionClosed`. The caller waits for the greeting, asks something, and interrupts the answer
after 0.2 s. In some cases the caller only waits for the greeting. Attacks below the level of
messages do not depend on the dialect: see `tests.system.attack.evil_server`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import chain, cycle, repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.wire.audio import G711_ULAW, PCM16_16K, AudioFormat, Samples
from bench.wire.connection import ConnectionClosed
from bench.wire.dialect import BinaryMessage
from tests.attack.cases import hostile_cases, unescaped, worded

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


Act = Callable[[AgentVoice], Iterable[Action]]
FOREVER = np.arange(16 * FOR_EVER_MS)
LONGER = np.arange(16 * 2 * FOR_EVER_MS)
STEADY = np.full(16 * 1_000, 2_000, np.int16)
SOUNDS: dict[str, Callable[[AgentVoice], Any]] = {
    "noise": lambda _: np.random.default_rng(1).normal(0, 3_000, FOREVER.size),
    "clipped noise": lambda _: np.random.default_rng(1).choice([-32_768, 32_767], FOREVER.size),
    "hum": lambda _: 9_000 * np.sin(FOREVER / 25),
    "chord": lambda _: sum(
        3_000 * np.sin(hz * FOREVER * 2 * np.pi / 16_000) for hz in (220, 277, 330)
    ),
    "beat": lambda _: 8_000 * np.sin(LONGER / 12) * (1 - LONGER % 6_400 / 6_400),
    "direct current": lambda _: np.full(FOREVER.size, 20_000),
    "voice on a direct current": lambda voice: np.concatenate(
        (STEADY, voice.speech(400) + np.int16(2_000), STEADY)
    ),
    "whisper": lambda voice: voice.speech(FOR_EVER_MS, level=20),
    "clicks": lambda _: 32_767 * (FOREVER % 4_000 == 0),
    "clipped voice": lambda voice: np.sign(voice.speech(400)) * np.int16(32_767),
    "half the rate": lambda voice: voice.speech(800)[::2],
    "three times the rate": lambda voice: np.repeat(voice.speech(400), 3),
    "mu-law": lambda voice: np.frombuffer(G711_ULAW.encode(voice.speech(800)), "<i2"),
    "swapped bytes": lambda voice: voice.speech(400).byteswap(),
}


def amid(message: bytes) -> Act:
    """Return an agent that greets correctly, but sends `message` in the middle of the greeting."""

    def act(voice: AgentVoice) -> Actions:
        yield from voice.says(200)
        yield message
        yield from voice.says(200)

    return act


def at_once(voice: AgentVoice, ms: int) -> Actions:
    yield voice.audio(voice.speech(ms))


def edited(old: str, new: str) -> Act:
    """Return an agent that speaks for one second. In each message that the agent sends, `old` is
    replaced by `new`.
    """
    return lambda voice: (
        action.replace(old.encode(), new.encode()) if isinstance(action, bytes) else action
        for action in voice.says(1_000)
    )


def after_each(by: Callable[[AgentVoice, int], Action]) -> Act:
    """Return an agent that greets. After each action of the greeting, the agent also does
    `by(voice, number)`.
    """
    return lambda voice: (
        one for number, action in enumerate(voice.says()) for one in (action, by(voice, number))
    )


def cut_in_two(voice: AgentVoice) -> Actions:
    data = voice.format.encode(voice.speech(400))
    for begin in range(0, len(data), 641):
        yield BinaryMessage(data[begin : begin + 641])
        yield 20


def timed(act: Callable[[AgentVoice, int], Iterable[Action]]) -> Callable[[str], Act]:
    """Return the verb with a number."""
    return lambda number: lambda voice: act(voice, int(number))


VERBS: dict[str, Callable[[str], Act | int]] = {
    "text": lambda text: amid(unescaped(text)),
    "binary": lambda text: amid(BinaryMessage(unescaped(text))),
    "turns": int,
    "says": timed(AgentVoice.says),
    "silent": timed(AgentVoice.silence),
    "at_once": timed(at_once),
    "waits": timed(lambda _, ms: [ms]),
    "clears": timed(lambda voice, times: [voice.clear()] * times),
    "marks": timed(lambda voice, times: [voice.mark("again")] * times),
    "heard": lambda _: lambda _: [AFTER_UTTERANCE],
    "echoes": lambda _: lambda _: [ECHO],
    "sounds": lambda name: (
        lambda voice: voice.spoken(np.asarray(SOUNDS[name](voice)).astype(np.int16))
    ),
    "repeats": lambda text: lambda _: cycle([*[BinaryMessage(unescaped(text))] * 5, 20]),
    "repeats_at_once": lambda text: lambda _: repeat(unescaped(text)),
    "edited": worded(edited),
    "cut_in_two": lambda _: cut_in_two,
    "audio_without_end": lambda _: lambda voice: cycle((voice.audio(voice.speech(20_000)), 20)),
    "half_pace": lambda _: lambda voice: voice.spoken(voice.speech(400), pace=0.5),
    "samples": lambda _: (
        lambda voice: (voice.audio(np.array([sample])) for sample in voice.speech(200))
    ),
    "clears_after_each": lambda _: after_each(lambda voice, _: voice.clear()),
    "marks_after_each": lambda _: after_each(lambda voice, number: voice.mark(f"{number}")),
    "hangs_up": lambda code: lambda _: [ConnectionClosed(int(code), 0)],
}


def sequence(acts: Sequence[Act | int]) -> Callable[[AgentVoice], Actions]:
    """Return an agent that executes these acts one after another."""
    return lambda voice: chain.from_iterable(act(voice) for act in acts if callable(act))


AGENTS: dict[str, HostileAgent] = {}
TABLE = Path(__file__).with_name("messages.txt")
for dialect in VOICES:
    for name, case in hostile_cases(TABLE, dialect, VERBS).items():
        outcomes = f"{case.outcome} {case.detail}".strip()
        (turns,) = [act for act in case.steps if isinstance(act, int)] or [len(outcomes.split())]
        AGENTS[name if name not in AGENTS else f"{dialect} {name}"] = HostileAgent(
            sequence(case.steps), dialect, outcomes, turns
        )


# Agents that hang up: what they do before, and the outcomes.

ENDS = {
    "before it greets": ([], 2, "{}"),
    "while it greets": (["says 200"], 2, "{}"),
    "while it is asked": (["says 300", "heard"], 2, "ok {}"),
    "while it answers": (["says 300", "heard", "says 200"], 2, "ok {}"),
    "while it is interrupted": (["says 300", "heard", "says 400"], 3, "ok {0} {0}"),
}
for where, (before, turns, outcomes) in ENDS.items():
    for code in (1000, 1001, 1006, 1011, 4000):
        lines = (line.partition(" ") for line in (*before, f"hangs_up {code}"))
        AGENTS[f"hangs up {where} by {code}"] = HostileAgent(
            sequence([VERBS[verb](rest) for verb, _, rest in lines]),
            "acs",
            outcomes.format(f"closed:{code}"),
            turns,
        )
