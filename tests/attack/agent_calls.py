"""Calls with a misbehaving agent, on a virtual clock."""

from __future__ import annotations

import base64
import heapq
import json
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from bench.catalogue.timeouts import Timeouts
from bench.observe import inputs
from bench.observe.inputs import SessionStart
from bench.observe.observation import SessionObservation, TurnObservation
from bench.plan.recordings import Pcm, SpeechSpan
from bench.plan.steps import InterruptSettings, InterruptStep
from bench.plan.turn_plan import InterruptTrigger
from bench.plan.turns import AudioTurn, GreetingTurn, Step
from bench.record.event_log import EventLog, LoggedTimeline, LoggedTransport, about
from bench.record.recorder import RowContext
from bench.services.registry import DIALECTS
from bench.session.session import Session
from bench.wire.connection import ConnectionClosed
from bench.wire.dialect import BinaryMessage
from bench.wire.settings import FULL_DUPLEX, TurnDetection
from tests.attack.agents import AFTER_UTTERANCE, ECHO, Actions, AgentVoice
from tests.helpers import MS, Listening, build_script
from tests.memory_transport import LiveTransport, PeerAnswer

MANY = 1_000


LIMITS = Timeouts(first_delta=3, next_delta=2, response=6, turn=9)


ECHO_MS = 150


JITTER_MS = 50


MEMORY_KB = 64 * 1024
"""The maximum growth of the process's memory in KB. The calls of all tests together need less."""


def recording(name: str, ms: int) -> Pcm:
    samples = (
        8_000 * np.sin(np.arange(24 * ms) / 24) * (np.arange(24 * ms) % 4_800 < 3_600)
    ).astype("<i2")
    return Pcm(Path(name), name, samples.tobytes(), SpeechSpan(0, len(samples)))


OBJECTION = InterruptSettings(audio=(recording("no.wav", 300),), cue=InterruptTrigger(200 * MS))


STEPS: tuple[Step, ...] = (
    GreetingTurn(wait_for="greeting"),
    AudioTurn(audio=(recording("question.wav", 300),)),
    InterruptStep(interrupt=OBJECTION),
)


class Agent:
    """A `tests.memory_transport.LivePeer` whose behaviour comes from a generator."""

    def __init__(self, actions: Actions) -> None:
        self._actions, self._numbers = actions, count()
        self._due = list[tuple[int, int, bytes | ConnectionClosed | None]]()
        """Entries of (instant, number, message). The message is None if the entry only resumes
        the generator."""
        self._heard, self._awaited, self._loud = 0, 0, False
        self.echoes = False
        self.marks = list[tuple[int, str]]()
        """Each mark that the caller sent back, with the instant when the agent received it."""
        self.sent_bytes = 0

    def begin(self, at_ns: int) -> None:
        self._plan(at_ns, None)

    def _plan(self, at_ns: int, message: bytes | ConnectionClosed | None) -> None:
        heapq.heappush(self._due, (at_ns, next(self._numbers), message))

    def hear(self, message: bytes, at_ns: int) -> None:
        fields = {} if isinstance(message, BinaryMessage) else json.loads(message)
        if fields.get("event") == "mark":
            self.marks.append((at_ns, fields["mark"]["name"]))
        loud = is_loud(message, fields)
        if loud is None:
            return
        if self.echoes:
            self._plan(at_ns + ECHO_MS * MS, message)
        if self._loud and not loud:
            self._heard += 1
            if self._awaited and self._heard >= self._awaited:
                self._awaited = 0
                self._plan(at_ns, None)
        self._loud = loud

    def next_due_ns(self) -> int | None:
        return self._due[0][0] if self._due else None

    def say(self, now_ns: int) -> Iterator[PeerAnswer]:
        while self._due and self._due[0][0] <= now_ns:
            at_ns, _, message = heapq.heappop(self._due)
            if message is None:
                yield from self._go_on(at_ns)
            else:
                yield at_ns, message

    def _go_on(self, at_ns: int) -> Iterator[PeerAnswer]:
        for number, action in enumerate(self._actions, 1):
            if action is AFTER_UTTERANCE:
                self._awaited = self._heard + 1
                return
            if action is ECHO:
                self.echoes = True
            elif isinstance(action, int):
                self._plan(at_ns + action * MS, None)
                return
            elif isinstance(action, bytes | ConnectionClosed):
                self.sent_bytes += len(action) if isinstance(action, bytes) else 0
                yield at_ns, action
                if number == MANY:  # a generator may yield without end and never wait
                    self._plan(at_ns + 1, None)
                    return


def is_loud(message: bytes, fields: dict[str, Any]) -> bool | None:
    """Return whether a message of the caller contains speech; None if the message has no audio."""
    match fields:
        case {"event": "media", "media": {"payload": payload}}:
            return not set(base64.b64decode(payload)) <= {0xFF, 0x7F}
        case {"kind": "AudioData", "audioData": {"silent": silent}}:
            return not silent
    return any(message) if isinstance(message, BinaryMessage) else None


class Call(NamedTuple):
    """A call that has ended. `began_ns` is the instant when the call began."""

    session: SessionObservation
    turns: list[TurnObservation]
    agent: Agent
    began_ns: int


def play_call(
    voice: AgentVoice,
    actions: Actions,
    steps: tuple[Step, ...],
    log_path: Path,
    keys: Mapping[str, Any] = MappingProxyType({}),
    **session: Any,
) -> Call:
    script = build_script(
        *steps,
        dialect=DIALECTS[voice.dialect],
        limits=LIMITS,
        keys=keys,
        turn_detection=TurnDetection(type=FULL_DUPLEX),
        **session,
    )
    agent, listening = Agent(actions), Listening()
    transport, log = LiveTransport(agent), EventLog(log_path, hide=str, record_audio=False)
    began_ns = transport.now_ns()
    agent.begin(began_ns)
    facts = about("run", RowContext("session", "here", "talk", "talk"), script)
    timeline = LoggedTimeline(
        SessionStart(
            began_ns,
            len(script.turns),
            LIMITS,
            service_responds=True,
            reply_silence_ns=script.reply_silence_ns,
        ),
        script.dialect,
        log=log,
        about=facts,
    )
    timeline.apply(inputs.Connected({"opened": began_ns}, {}))
    Session(script, LoggedTransport(transport, log), timeline, listening, lambda: False).run()
    log.close()
    assert log.error is None
    return Call(timeline.session(), listening.turns, agent, began_ns)
