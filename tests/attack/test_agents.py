"""Calls with agents of the table, each in memory, where time takes none: one outcome each, and no figure is invented.

What holds of all of them is held against what the agent has sent, and against the event log, which tells the same.
"""

from __future__ import annotations

import base64
import heapq
import json
import resource
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest

from bench.limits import MOST_EVENTS, Limits
from bench.metrics import outcome_class
from bench.observe import inputs, timeline
from bench.observe.inputs import SessionStart
from bench.observe.observation import SessionObservation, TurnObservation
from bench.plan.recordings import Pcm, Speech
from bench.plan.steps import Interrupt, InterruptSettings, Pause
from bench.plan.turn_plan import Cue
from bench.plan.turns import HearTurn, Step, WavTurn
from bench.protocol.audio import PCM16_48K
from bench.protocol.base import Binary
from bench.protocol.dialects import DIALECTS
from bench.protocol.settings import FULL_DUPLEX, TurnDetection
from bench.run.event_log import EventLog, LoggedTimeline, LoggedTransport, about
from bench.run.recorder import Labels
from bench.run.replay import replay_log
from bench.session import Session
from bench.transport.interface import Closure
from reports.wording.validity import meaning
from tests.attack.agents import AGENTS, ECHO, HEARD, MOUTHS, Deeds, Mouth
from tests.helpers import MS, Listening, build_script
from tests.memory_transport import LiveTransport, PeerAnswer

LIMITS = Limits(first_delta=3, next_delta=2, response=6, turn=9)
ECHO_MS = 150
JITTER_MS = 50
MEMORY_KB = 64 * 1024
"""More than all of them together take."""


def recording(name: str, ms: int) -> Pcm:
    samples = (8_000 * np.sin(np.arange(24 * ms) / 8) * (np.arange(24 * ms) % 4_800 < 3_600)).astype("<i2")
    return Pcm(Path(name), name, samples.tobytes(), Speech(0, len(samples)))


OBJECTION = InterruptSettings(audio=(recording("no.wav", 300),), cue=Cue(200 * MS))
STEPS: tuple[Step, ...] = (
    HearTurn(wait_for="greeting"),
    WavTurn(audio=(recording("question.wav", 300),)),
    Interrupt(interrupt=OBJECTION),
)


class Agent:
    """A `tests.memory_transport.LivePeer` that does what a generator says."""

    def __init__(self, deeds: Deeds) -> None:
        self._deeds, self._numbers = deeds, count()
        self._due = list[tuple[int, int, bytes | Closure | None]]()
        """(instant, number, message), and with no message when it goes on."""
        self._heard, self._awaited, self._loud = 0, 0, False
        self.echoes = False
        self.marks = list[tuple[int, str]]()
        """The marks that came back, each with when it did."""
        self.sent_bytes = 0

    def begin(self, at_ns: int) -> None:
        self._plan(at_ns, None)

    def _plan(self, at_ns: int, message: bytes | Closure | None) -> None:
        heapq.heappush(self._due, (at_ns, next(self._numbers), message))

    def hear(self, message: bytes, at_ns: int) -> None:
        fields = {} if isinstance(message, Binary) else json.loads(message)
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
        for number, deed in enumerate(self._deeds, 1):
            if deed is HEARD:
                self._awaited = self._heard + 1
                return
            if deed is ECHO:
                self.echoes = True
            elif isinstance(deed, int):
                self._plan(at_ns + deed * MS, None)
                return
            elif isinstance(deed, bytes | Closure):
                self.sent_bytes += len(deed) if isinstance(deed, bytes) else 0
                yield at_ns, deed
                if number == MANY:  # it may never wait
                    self._plan(at_ns + 1, None)
                    return


MANY = 1_000


def is_loud(message: bytes, fields: dict[str, Any]) -> bool | None:
    """Whether a message of the caller's has speech; None of one without audio."""
    match fields:
        case {"event": "media", "media": {"payload": payload}}:
            return not set(base64.b64decode(payload)) <= {0xFF, 0x7F}
        case {"kind": "AudioData", "audioData": {"silent": silent}}:
            return not silent
    return any(message) if isinstance(message, Binary) else None


class Call(NamedTuple):
    """A call that is over. `began_ns`: when it began."""

    session: SessionObservation
    turns: list[TurnObservation]
    agent: Agent
    began_ns: int


def called(
    mouth: Mouth,
    deeds: Deeds,
    steps: tuple[Step, ...],
    log_path: Path,
    keys: Mapping[str, Any] = MappingProxyType({}),
    **session: Any,
) -> Call:
    script = build_script(
        *steps,
        dialect=DIALECTS[mouth.dialect],
        limits=LIMITS,
        keys=keys,
        turn_detection=TurnDetection(type=FULL_DUPLEX),
        **session,
    )
    agent, listening = Agent(deeds), Listening()
    transport, log = LiveTransport(agent), EventLog(log_path, hide=str, record_audio=False)
    began_ns = transport.now_ns()
    agent.begin(began_ns)
    facts = about("run", Labels("session", "here", "talk", "talk"), script)
    told = LoggedTimeline(
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
    told.tell(inputs.Connected({"upgrade_done": began_ns}, {}))
    Session(script, LoggedTransport(transport, log), told, listening, lambda: False).play()
    log.close()
    assert log.problem is None
    return Call(told.session(), listening.turns, agent, began_ns)


def test_there_are_so_many() -> None:
    assert len(AGENTS) >= 101


@pytest.mark.parametrize("name", AGENTS)
def test_whatever_an_agent_does_its_caller_s_turns_have_one_outcome_each_and_no_figure_is_invented(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = AGENTS[name]
    monkeypatch.setattr(timeline, "MOST_EVENTS", MOST_EVENTS // 100)
    memory_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    mouth = MOUTHS[agent.dialect]
    call = called(mouth, agent.act(mouth), STEPS[: agent.turns], tmp_path / "call.jsonl")

    session, outcomes = call.session, [turn.outcome for turn in call.turns]
    assert " ".join(outcomes) == agent.outcomes, [turn.detail for turn in call.turns]
    assert session.turns_started == session.turns_ended == len(outcomes)
    ended = next((outcome for outcome in outcomes if outcome_class(outcome) != "success"), "ok")
    assert session.outcome == (ended if ended.startswith(ENDS_CALL) else "ok")
    assert all(meaning(one) or outcome_class(one) == "success" for one in outcomes)
    for turn in call.turns:
        nothing_is_invented(turn, session)
    assert session.audio_bytes_received <= call.agent.sent_bytes or call.agent.echoes
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_kb < MEMORY_KB
    again = replay_log(tmp_path / "call.jsonl")
    assert (again.session, list(again.turns)) == (session, call.turns)


HEARD_ALONE = {
    *("voice_to_voice", "dead_air", "stall_duration", "overlap", "unplayed_audio"),
    *("barge_in_yield", "barge_in_last_audio", "barge_in_detection", "barge_in_late_audio"),
}
"""The metrics of a service that tells nothing but that it notices its caller."""
ENDS_CALL = ("timeout:", "closed:", "protocol_error:", "limit_exceeded:")


def nothing_is_invented(turn: TurnObservation, session: SessionObservation) -> None:
    """What nobody has told or heard is not there, and what is there happened in its order."""
    heard, metrics = turn.instants, turn.metrics_ns()
    assert set(metrics) <= HEARD_ALONE
    assert (turn.usage, turn.reply_text, turn.input_text, turn.response_id) == (None, "", "", "")
    is_answered = "speech_end" in heard and heard.get("first_audible", -1) >= heard["speech_end"]
    assert ("voice_to_voice" in metrics) is is_answered
    assert all(session.start_ns <= at_ns <= heard["ended"] + 2 * JITTER_MS * MS for at_ns in heard.values())
    assert all(value >= 0 for value in metrics.values())
    assert turn.cut_off or metrics.get("voice_to_voice", 0) >= 0
    assert (turn.interruption == "speech") is ("barge_in" in heard)


# What becomes of some of them.

PCM, TWILIO, ACS = (MOUTHS[name] for name in ("pcm", "twilio", "acs"))


def since_ms(call: Call, at_ns: int) -> float:
    return (at_ns - call.began_ns) / MS


def test_a_mark_comes_back_when_what_is_before_it_was_played_or_dropped_and_not_before(tmp_path: Path) -> None:
    """An agent may send a minute ahead: whoever told it at once would let it believe that all of it was heard."""

    def deeds() -> Deeds:
        yield TWILIO.mark("first")
        yield TWILIO.audio(TWILIO.voice(600))
        yield TWILIO.mark("greeting_audible")
        yield 100
        yield TWILIO.audio(TWILIO.voice(40))
        yield TWILIO.mark("more")
        yield 1_800
        yield TWILIO.audio(TWILIO.voice(2_000))
        yield TWILIO.mark("dropped")
        yield 300
        yield TWILIO.clear()
        yield TWILIO.mark("last")

    call = called(TWILIO, deeds(), STEPS[:2], tmp_path / "call.jsonl")

    assert [(since_ms(call, at_ns), name) for at_ns, name in call.agent.marks] == [
        (0, "first"), (600, "greeting_audible"), (640, "more"), (2_200, "dropped"), (2_200, "last"),
    ]  # fmt: skip


def test_what_comes_after_a_clear_is_late_audio_of_the_reply_and_no_answer(tmp_path: Path) -> None:
    agent = AGENTS["what was under way comes after the clear and then an answer"]
    call = called(TWILIO, agent.act(TWILIO), STEPS, tmp_path / "call.jsonl")
    _, question, objection = call.turns

    heard, silent = question.instants["barge_in_detected"], question.instants["barge_in_silent"]
    assert silent - heard == (300 + JITTER_MS) * MS
    assert question.late_audio_ns == 300 * MS
    assert question.unplayed_audio_ns is not None
    assert abs(question.unplayed_audio_ns - (3_000 - 700 + JITTER_MS) * MS) <= 20 * MS
    assert objection.instants["first_audible"] - silent >= 400 * MS


def test_an_agent_that_is_not_silent_within_two_seconds_has_not_yielded(tmp_path: Path) -> None:
    call = called(PCM, AGENTS["never falls silent"].act(PCM), STEPS, tmp_path / "call.jsonl")

    assert (call.turns[1].yielded, call.turns[1].outcome) == (False, "interrupted")


def test_a_greeting_in_another_format_is_heard_as_it_is_before_any_turn(tmp_path: Path) -> None:
    """Else the line would still be playing it when the first answer comes, which would be a part of it."""
    mouth = Mouth("pcm", PCM16_48K)

    def deeds() -> Deeds:
        yield from mouth.says(900)
        yield HEARD
        yield 400
        yield from mouth.says()

    steps = (Pause(1), *STEPS[1:2])
    call = called(mouth, deeds(), steps, tmp_path / "call.jsonl", output_format="pcm16@48000")

    (turn,) = call.turns
    assert turn.outcome == "ok"
    assert 0 < turn.metrics_ns()["voice_to_voice"] - (400 + JITTER_MS) * MS <= 101 * MS  # a chunk of the caller's
