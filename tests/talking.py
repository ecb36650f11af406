"""Played talks with the simulator on a virtual clock, and the truth of each."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from heapq import heappop, heappush
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from bench.catalogue.timeouts import Timeouts
from bench.observe.inputs import SessionStart
from bench.observe.observation import SessionObservation, TurnObservation
from bench.observe.timeline import Timeline
from bench.plan.compiled_script import CompiledScript
from bench.plan.conversation import History
from bench.plan.functions import ScriptFunction
from bench.plan.prepared import PreparedScript, PreparedTurn
from bench.plan.recordings import BackgroundNoise, Pcm, find_speech
from bench.plan.script import Script
from bench.plan.steps import (
    EXPECTED_EVENTS,
    ExpectSettings,
    ExpectStep,
    InterruptSettings,
    InterruptStep,
    MessageStep,
    PauseStep,
    SendStep,
    SoundSettings,
    SoundStep,
)
from bench.plan.turn_plan import SOUNDS, InterruptTrigger
from bench.plan.turns import AudioTurn, Step
from bench.services.openai.dialect import GA, OpenAIDialect
from bench.session.session import Session
from bench.transport.interface import DeltaListener, OnMessage, PacedSender
from bench.wire.connection import ConnectionClosed
from bench.wire.dialect import Dialect
from bench.wire.settings import FunctionTool, InputTranscription, SessionSettings, TurnDetection
from rtbench_simulator.behaviour import Behaviour, WireDialect
from rtbench_simulator.profile import FunctionCalls, PreambleSettings, Profile, quiet_profile
from rtbench_simulator.recorded_replies import RecordedReply, build_reply
from rtbench_simulator.server_events import OutgoingEvent
from rtbench_simulator.services.azure import AZURE_GA, AZURE_PREVIEW
from rtbench_simulator.services.qwen import QWEN
from rtbench_simulator.services.voice_live import VOICE_LIVE
from rtbench_simulator.services.xai import XAI
from tests.helpers import (
    FIRST_OF_FAMILIES,
    MS,
    Listening,
    S,
    build_message,
    committed,
    created,
    done,
    error,
    idle_timeout,
    message,
    respond,
    say,
    speech_started,
    speech_stopped,
    transcribed,
    usage,
)
from tests.memory_transport import LiveTransport, PeerAnswer, SimulatedPeer, VirtualClock
from tests.simulator.builders import session_parts

START_NS = 1_000 * S
WIRES = {wire.name: wire for wire in (XAI, QWEN)} | {
    "ga": AZURE_GA,
    "preview": AZURE_PREVIEW,
    "voice-live": VOICE_LIVE,
}


RATE_HZ = 24_000
LOUD = 3_000


def sound(
    *lengths_ms: float, level: int = LOUD, seed: int = 1
) -> np.ndarray[Any, np.dtype[np.int16]]:
    """Return samples that are silence and speech in turn. The first length is that of a silence.

    All speech has the same amplitude.
    """
    signs = np.random.default_rng(seed).choice(
        [-level, level], round(RATE_HZ * sum(lengths_ms) / 1_000)
    )
    edges = [0, *(round(RATE_HZ * ms / 1_000) for ms in accumulate(lengths_ms))]
    for begin, end in list(pairwise(edges))[::2]:
        signs[begin:end] = 0
    return signs.astype("<i2")


def recording(samples: np.ndarray[Any, np.dtype[np.int16]]) -> Pcm:
    return Pcm(
        Path("a.wav"),
        str(hash(samples.tobytes())),
        samples.tobytes(),
        find_speech(samples, RATE_HZ),
    )


def speak(
    *lengths_ms: float, chunk_ms: int = 100, paced: bool = True, level: int = LOUD
) -> AudioTurn:
    """Return a voice turn whose recording consists of the samples of `sound`."""
    return AudioTurn(
        (recording(sound(*lengths_ms, level=level)),), name="speak", chunk_ms=chunk_ms, paced=paced
    )


def voiced(*lengths_ms: float) -> np.ndarray[Any, np.dtype[np.int16]]:
    """Return samples that are silence and a buzz of 200 Hz in turn, because quiet noise is no
    reply.
    """
    samples = np.abs(sound(*lengths_ms, level=900))
    return np.where(np.arange(len(samples)) // (RATE_HZ // 400) % 2, -samples, samples)


REPLIES = [
    build_reply("long", "I would say so, yes.", voiced(170, 1_900, 60, 700)),
    build_reply("short", "No.", voiced(85, 600)),
]


class Simulator(SimulatedPeer[Behaviour]):
    """A `LivePeer` with the behaviour of one simulated session. It records the messages that it
    received and sent.

    `heard` contains the received messages, and `said` contains the sent ones.
    """

    def __init__(
        self,
        dialect: Dialect,
        profile: Profile,
        seed: int,
        at_ns: int = START_NS,
        replies: Sequence[RecordedReply] = REPLIES,
        wire: WireDialect | None = None,
    ) -> None:
        wire = wire or WIRES[dialect.name]
        parts = session_parts(profile, replies, seed=seed)
        super().__init__(Behaviour(wire, "gpt-realtime", parts))
        self.behaviour.open(at_ns)
        self.heard: list[tuple[int, dict[str, Any]]] = []

    def hear(self, message: bytes, at_ns: int) -> None:
        self.heard.append((at_ns, msgspec.json.decode(message)))
        super().hear(message, at_ns)


class PatientTransport(LiveTransport):
    """A transport that fails if a session waits more often or longer than any correct session
    does.
    """

    WAITS, NS = 20_000, 600 * S
    waits = 0

    def receive_until(
        self,
        until_ns: int,
        on_message: OnMessage,
        reply: DeltaListener | None = None,
        sender: PacedSender | None = None,
    ) -> None:
        self.waits += 1
        assert self.waits < self.WAITS, "the session waits and waits"
        super().receive_until(until_ns, on_message, reply, sender)
        assert self.clock.now_ns < START_NS + self.NS, "the session never ends"


@dataclass
class Talked:
    script: PreparedScript
    simulator: Simulator
    turns: list[TurnObservation]
    session: SessionObservation
    listening: Listening


def over_reply(turn: AudioTurn, cue: InterruptTrigger, *, verify: bool = False) -> InterruptStep:
    """Return an interruption step. The caller speaks the recording of `turn` during the reply to
    the previous turn.
    """
    return InterruptStep(
        InterruptSettings(audio=turn.audio, cue=cue, verify_truncation=verify),
        name=turn.name,
        chunk_ms=turn.chunk_ms,
    )


def build_script(
    *steps: Step,
    dialect: Dialect = GA,
    limits: Timeouts | None = None,
    background: BackgroundNoise | None = None,
    history: int = 0,
    pipelined: bool = False,
    **session: Any,
) -> PreparedScript:
    """Return a prepared script.

    `history` is the number of messages that the conversation contains before the first turn.
    """
    wanted = SessionSettings(
        **{"input_transcription": InputTranscription(model="whisper-1")} | session
    )
    before = tuple(build_message(f"Word {number}") for number in range(history))
    script = Script(
        name="talk",
        path=Path("talk.yaml"),
        digest="d1",
        session=wanted,
        timeouts=limits or Timeouts(),
        steps=steps,
        background_noise=background,
        history=History(Path("h.jsonl"), "d2", before) if before else None,
        pipelined=pipelined,
    )
    return CompiledScript(script, dialect).prepare_session(0, 0)


def talked(
    script: PreparedScript,
    simulator: Simulator,
    *,
    ends_ns: int = 1 << 62,
    listening: Listening | None = None,
    timeline: Timeline | None = None,
) -> Talked:
    transport = PatientTransport(simulator, VirtualClock(START_NS))
    responds = script.service_responds
    timeline = timeline or Timeline(
        SessionStart(
            START_NS,
            len(script.turns),
            script.limits,
            service_responds=responds,
            mcp_servers=len(script.settings.mcp_servers),
        ),
        script.dialect,
    )
    listening = listening or Listening()
    Session(
        script, transport, timeline, listening, lambda: transport.now_ns() > START_NS + ends_ns
    ).run()
    turns = sorted(listening.turns, key=lambda turn: turn.turn)
    return Talked(script, simulator, turns, timeline.session(), listening)


def converse(
    *steps: Step,
    profile: Profile | None = None,
    seed: int = 1,
    dialect: Dialect = GA,
    **session: Any,
) -> Talked:
    return talked(
        build_script(*steps, dialect=dialect, **session),
        Simulator(dialect, profile or quiet_profile(), seed),
    )


NAMES = {
    "response.created": "response_created",
    "response.text.delta": "first_text",
    "response.audio.delta": "first_audio",
    "response.audio_transcript.delta": "first_transcript",
    "response.audio.done": "audio_done",
    "response.audio_transcript.done": "transcript_done",
    "response.done": "response_done",
}
"""The name of an instant for each event type, in the preview spelling.

The instant is that of the first event of this type in a response.
"""


TRANSCRIBED = "conversation.item.input_audio_transcription.completed"
TRANSCRIPT_DELTA = "conversation.item.input_audio_transcription.delta"


Exact = Any
"""`Fraction | int`, written as Any because mypy can neither subtract nor order this type."""


class Truth:
    """The ground truth of a conversation in which every turn got one reply, in the order of the
    turns.

    `edges` contains two samples of each voice turn: the first sample of speech, and the sample
    after the last one. The key is the number of the turn.
    """

    def __init__(self, talk: Talked, edges: Mapping[int, tuple[int, int]]) -> None:
        self._said, self._heard, self._turns = (
            talk.simulator.said,
            talk.simulator.heard,
            talk.script.turns,
        )
        settings, dialect = talk.script.settings, cast("OpenAIDialect", talk.script.dialect)
        self._heard_as, self._spoken_as = (
            dialect.input_format_for(settings),
            dialect.output_format_for(settings),
        )
        self._jitter_ns, self._edges = talk.script.jitter_buffer_ns, edges
        self._responses = [
            sent.response_id for sent in self._said if sent.type == "response.created"
        ]
        self.deltas, self.played = cache(self._deltas), cache(self._played)
        self._appends = [
            each for each in self._heard if each[1]["type"] == "input_audio_buffer.append"
        ]

    def instants(self, number: int) -> dict[str, Exact]:
        """Return all instants of a turn that have occurred."""
        turn = self._turns[number - 1]
        came: dict[str, Exact] = {}
        for sent in self._answer(number):
            name = NAMES.get(
                sent.type.replace("output_text", "text").replace("output_audio", "audio")
            )
            if name is not None:
                came.setdefault(name, sent.due_ns)
        if deltas := self.deltas(number):
            heard_ns, _, _ = self.played(number)
            came |= {"last_audio": deltas[-1][0], "answer_audio": deltas[0][0]}
            came |= (
                {} if heard_ns is None else {"first_audible": heard_ns, "answer_audible": heard_ns}
            )
        asked = [
            at_ns for at_ns, event in self._heard if event["event_id"] == turn.plan.request_event_id
        ]
        came |= {"request_sent": asked[0]} if asked else {}
        came |= self._of_speech(turn) if turn.kind == "audio" else {}
        return came | {"ended": came["response_done"]}

    def _answer(self, number: int) -> list[OutgoingEvent]:
        return [sent for sent in self._said if sent.response_id == self._responses[number - 1]]

    def _of_speech(self, turn: PreparedTurn) -> dict[str, Exact]:
        place = [other.plan.number for other in self._turns if other.kind == "audio"].index(
            turn.plan.number
        )
        buffer = {
            name: [
                (sent.due_ns, decoded(sent.body)["item_id"])
                for sent in self._said
                if sent.type == f"input_audio_buffer.{name}"
            ]
            for name in ("speech_started", "speech_stopped", "committed")
        }
        came: dict[str, Exact] = {name: sent[place][0] for name, sent in buffer.items() if sent}
        item_id = buffer["committed"][place][1]
        came["input_transcribed"] = next(
            sent.due_ns
            for sent in self._said
            if sent.type == TRANSCRIBED and decoded(sent.body)["item_id"] == item_id
        )
        deltas = (
            sent.due_ns
            for sent in self._said
            if sent.type == TRANSCRIPT_DELTA and decoded(sent.body)["item_id"] == item_id
        )
        if (first_ns := next(deltas, None)) is not None:
            came["first_input_transcript"] = first_ns
        if turn.speech:
            begin, end = self._edges[turn.plan.number]
            came["speech_start"] = self.microphone(turn.plan.number, begin + 1)
            came["speech_end"] = self.microphone(turn.plan.number, end)
        return came

    def words(self, number: int) -> tuple[str, str]:
        """Return the text of the reply of a turn, and the transcript that the service made of
        the caller's speech.
        """
        said = [
            decoded(sent.body)
            for sent in self._answer(number)
            if sent.type.endswith(("text.done", "transcript.done"))
        ]
        heard = [decoded(sent.body) for sent in self._said if sent.type == TRANSCRIBED]
        place = [turn.plan.number for turn in self._turns if turn.kind == "audio"]
        understood = heard[place.index(number)]["transcript"] if number in place else ""
        return said[0].get("text") or said[0]["transcript"], understood

    def microphone(self, number: int, samples: int) -> Fraction:
        """Return the instant at which a microphone had recorded the first `samples` samples of a
        turn's recording.

        A recording has 24,000 samples per second. The instant is computed from the bytes that the
        service received, and from the instants at which they arrived.
        """
        begin = [event["event_id"] for _, event in self._appends].index(f"turn-{number}-append-1")
        wanted_s, recorded_s = Fraction(samples, RATE_HZ), Fraction(0)
        for at_ns, event in self._appends[begin:]:
            recorded_s += Fraction(
                len(base64.b64decode(event["audio"])), self._heard_as.bytes_per_s
            )
            if recorded_s >= wanted_s:
                return at_ns - (recorded_s - wanted_s) * S
        raise AssertionError("the recording was not sent to its end")

    def _deltas(self, number: int) -> list[tuple[int, bytes]]:
        """Return (instant, audio) of each audio delta of a turn's reply.

        The instant is the one at which it was sent.
        """
        return [
            (sent.due_ns, base64.b64decode(decoded(sent.body)["delta"]))
            for sent in self._answer(number)
            if sent.audio_bytes
        ]

    def _played(self, number: int) -> tuple[Fraction | None, Fraction, int]:
        """Return three values of the playback of a reply.

        They are the instant at which the first audible sample is played, the ns of stalls, and the
        number of stalls. Each delta gives an earliest start of the playback: its arrival minus the
        duration of all earlier audio. The jitter buffer gives another one. A sample is played as if
        the playback had begun at the latest of these starts, up to that of the sample's own delta.
        """
        deltas, rate = self.deltas(number), self._spoken_as.rate_hz
        samples = [self._spoken_as.decode(data).astype(int) for _, data in deltas]
        begins = [0, *accumulate(map(len, samples))]
        allowed = [
            at_ns - Fraction(begin * S, rate)
            for (at_ns, _), begin in zip(deltas, begins, strict=False)
        ]
        begun = list(accumulate(allowed, max, initial=Fraction(deltas[0][0] + self._jitter_ns)))
        audible = [
            (begin + place, at_ns)
            for begin, at_ns, delta in zip(begins, begun[1:], samples, strict=False)
            for place in np.flatnonzero(np.abs(delta) >= 104)[:1]
        ]
        heard_ns = audible[0][1] + Fraction(int(audible[0][0]) * S, rate) if audible else None
        return (
            heard_ns,
            begun[-1] - begun[0],
            sum(after > before for before, after in pairwise(begun)),
        )

    def ends_ns(self, number: int) -> Fraction:
        """Return the instant at which the last sample of a turn's reply has been played."""
        deltas = self.deltas(number)
        _, stalled_ns, _ = self.played(number)
        samples = sum(len(self._spoken_as.decode(data)) for _, data in deltas)
        return (
            deltas[0][0]
            + self._jitter_ns
            + stalled_ns
            + Fraction(samples * S, self._spoken_as.rate_hz)
        )


def decoded(data: bytes) -> dict[str, Any]:
    message: dict[str, Any] = msgspec.json.decode(data)
    return message


SPEECH = (30, 700)
"""The lengths in ms of the silence and of the speech of a turn. It has no pause that a VAD could
take for the end."""


EDGES = (30 * 24, 730 * 24)
VAD = TurnDetection(silence_duration_ms=400)
HALTING = (30, 500, 600, 500)
"""The lengths in ms of a silence, speech, a pause, and speech again."""


Trouble = str | int | bytes | ConnectionClosed
"""A fault of an event.

The event is not sent (`lost`), is sent `twice`, is delayed by a number of ns, or follows other
data.
"""


class Troubled(Simulator):
    """A simulator with faults. The key in `troubles` is the number of the event that has the fault.

    If `endless`, the simulator never sends `response.done`.
    """

    def __init__(
        self,
        dialect: Dialect,
        profile: Profile,
        seed: int,
        troubles: Mapping[int, Trouble],
        *,
        endless: bool = False,
    ) -> None:
        super().__init__(dialect, profile, seed)
        self._troubles, self._endless = troubles, endless
        self._coming: list[tuple[int, int, bytes | ConnectionClosed]] = []

    def next_due_ns(self) -> int | None:
        coming = [self._coming[0][0]] if self._coming else []
        return min(
            [due_ns for due_ns in (super().next_due_ns(), *coming) if due_ns is not None],
            default=None,
        )

    def say(self, now_ns: int) -> Iterator[PeerAnswer]:
        for due_ns, body in super().say(now_ns):
            assert isinstance(body, bytes)
            trouble = self._troubles.get(len(self.said))
            if trouble == "lost" or (self._endless and b'"response.done"' in body):
                continue
            before = (
                [trouble]
                if isinstance(trouble, bytes | ConnectionClosed)
                else [body]
                if trouble == "twice"
                else []
            )
            for said in (*before, body):
                late_ns = trouble if isinstance(trouble, int) else 0
                heappush(
                    self._coming, (due_ns + late_ns, len(self.said) * 2 + (said is body), said)
                )
        while self._coming and self._coming[0][0] <= now_ns:
            due_ns, _, said = heappop(self._coming)
            yield due_ns, said


PCMS = st.builds(
    lambda level, *ms: recording(sound(*ms, level=level)),
    st.sampled_from([LOUD, LOUD, 600]),
    st.integers(0, 100),
    st.integers(60, 900),
    st.integers(0, 700),
    st.integers(60, 600),
    st.integers(0, 300),
)


SPOKEN = st.builds(
    AudioTurn,
    st.tuples(PCMS),
    name=st.just("speak"),
    chunk_ms=st.sampled_from([50, 100, 200]),
    transcript=st.just(()),
    speech=st.just(()),
    paced=st.just(True),
)


OUT_OF_BAND = {"conversation": "none", "output": "text"}
TYPED = st.sampled_from(
    [say(), say(output="text"), respond(), respond(**OUT_OF_BAND), respond(**OUT_OF_BAND, input=())]
)


UNTRACKED_STEPS: st.SearchStrategy[Step] = st.sampled_from(
    [
        MessageStep(build_message("Be brief.", "system")),
        MessageStep(build_message("I am.", "assistant")),
        SendStep({"type": "conversation.item.retrieve", "item_id": "unknown"}),
        SendStep({"type": "response.create", "response": {"conversation": "none", "input": []}}),
    ]
)


STARTS = st.fixed_dictionaries(
    {"history": st.sampled_from([0, 0, 1, 5]), "pipelined": st.booleans()}
)
PAUSES = st.builds(PauseStep, st.sampled_from([0, 0.25, 3]))
EXPECTATIONS = st.builds(
    ExpectStep,
    st.builds(ExpectSettings, st.sampled_from(EXPECTED_EVENTS), st.sampled_from([0.05, 0.6, 3.0])),
)


CUES = st.builds(
    InterruptTrigger,
    st.sampled_from([0, 300 * MS, 2 * S]),
    st.sampled_from([None, None, 0.5]),
    st.sampled_from(["", "", "", "so", "never"]),
)


INTERRUPTIONS = st.one_of(
    st.builds(
        InterruptStep, st.builds(InterruptSettings, cue=CUES, verify_truncation=st.booleans())
    ),
    st.builds(over_reply, SPOKEN, CUES, verify=st.booleans()),
    st.builds(
        SoundStep,
        st.builds(SoundSettings, audio=PCMS, kind=st.sampled_from(sorted(SOUNDS)), cue=CUES),
    ),
)


IN_SILENCE = st.builds(
    SoundStep,
    st.builds(
        SoundSettings,
        audio=PCMS,
        kind=st.sampled_from(sorted(SOUNDS)),
        during=st.just("silence"),
        cue=st.none(),
    ),
)


DETECTIONS = st.one_of(
    st.none(),
    st.builds(
        TurnDetection,
        silence_duration_ms=st.sampled_from([100, 200, 500]),
        threshold=st.sampled_from([0.3, 0.5, 1.0]),
        create_response=st.booleans(),
        interrupt_response=st.booleans(),
    ),
    st.builds(TurnDetection, type=st.just("semantic_vad"), create_response=st.booleans()),
)


LIMITS = st.builds(
    Timeouts,
    end_of_turn=st.sampled_from([0.5, 3]),
    first_delta=st.sampled_from([0.3, 3]),
    next_delta=st.sampled_from([0.2, 1]),
    response=st.sampled_from([1, 5]),
)


def sayable(steps: list[Step], dialect: Dialect) -> bool:
    """Return whether the dialect supports all of these steps."""
    return dialect.missing_features.keys().isdisjoint(
        feature for step in steps for feature in step.features()
    )


def playable(steps: list[Step]) -> list[Step]:
    """Return the steps of a list that can be run.

    Leave out each step that belongs within a turn but does not follow a turn.
    """
    kept: list[Step] = []
    for step in steps:
        if not step.within_turn or (kept and (kept[-1].is_turn or kept[-1].within_turn)):
            kept.append(step)
    return kept


UNASKED = [
    error("rate_limit_exceeded", words="Please try again in 1.4s."),
    error("rate_limit_exceeded", "turn-1-response"),
    error("conversation_already_has_active_response"),
    error("odd"),
    error("odd", "turn-2-response"),
    error("odd", "turn-1-commit"),
    error("input_audio_buffer_commit_empty"),
    error("session_expired"),
    error("model_not_found"),
    error(None, type_="server_error"),
    error("odd", "turn-1-1-truncate"),
    error("odd", "turn-1-cancel"),
    error("odd", "turn-1-1-retrieve"),
    error("odd", "turn-1-output-1"),
    message(
        "rate_limits.updated", rate_limits=[{"name": "tokens", "limit": 6_000, "remaining": 12}]
    ),
    message("unknown.event"),
    b"{",
    b"[]",
    idle_timeout("item_x"),
    created("r_x"),
    done("r_x", usage=usage(audio_out=3)),
    committed("item_x"),
    speech_started("item_x", audio_start_ms=900),
    speech_stopped("item_x", audio_end_ms=1_500),
    transcribed("item_x"),
]
"""Messages that a service may send at any time without a request."""


CLOSURES = [
    ConnectionClosed(code, 0, reason)
    for code in (1000, 1002, 1006, 1009)
    for reason in ("", "session expired")
]


TROUBLES: st.SearchStrategy[Mapping[int, Trouble]] = st.dictionaries(
    st.integers(2, 90),
    st.sampled_from(["lost", "lost", "twice", 30 * MS, 700 * MS, 4 * S, *UNASKED, *CLOSURES]),
    max_size=3,
)


ORDER = FunctionTool(
    name="find_parcel",
    parameters={
        "type": "object",
        "properties": {"order": {"type": "string"}},
        "required": ["order"],
    },
)


CALLS = st.builds(
    FunctionCalls,
    share=st.sampled_from([0.5, 1.0]),
    parallel=st.sampled_from([(1, 1), (2, 3)]),
    rounds=st.integers(1, 3),
    preamble=st.sampled_from([0.0, 1.0]),
    wrong_name=st.sampled_from([0.0, 0.0, 0.5]),
)


@dataclass
class Conversation:
    """A conversation that has not started.

    `ends_ns` is the time at which the run ends. `responses` is the number of responses for which
    the budget is enough.
    """

    script: PreparedScript
    service: Troubled
    ends_ns: int
    responses: int


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """Draw a conversation that has steps of any type, and whose service has any faults."""
    dialect, detection = draw(st.sampled_from(FIRST_OF_FAMILIES)), draw(DETECTIONS)
    within = [INTERRUPTIONS, INTERRUPTIONS, IN_SILENCE] if detection else []
    kinds = st.one_of(SPOKEN, SPOKEN, TYPED, PAUSES, EXPECTATIONS, UNTRACKED_STEPS, *within)
    steps = playable(draw(st.lists(kinds, min_size=1, max_size=6)))
    assume(sayable(steps, dialect))
    delay_s = draw(st.sampled_from([None, None, 0.0, 0.15, 2.0]))
    start: dict[str, Any] = draw(STARTS) | {"tools": () if delay_s is None else (ORDER,)}
    script = build_script(
        *steps, dialect=dialect, limits=draw(LIMITS), turn_detection=detection, **start
    )
    script = replace(
        script,
        functions={ORDER.name: ScriptFunction(ORDER, [{"place": "depot"}], delay=delay_s or 0.0)},
    )
    profile = replace(
        quiet_profile(),
        generation_speed=draw(st.sampled_from([0.7, 4.0])),
        functions=draw(CALLS),
        preamble=PreambleSettings(share=draw(st.sampled_from([0.0, 1.0]))),
        max_session_s=draw(st.sampled_from([3_600, 3_600, 3_600, 3])),
    )
    endless = draw(st.sampled_from([False, False, False, True]))
    service = Troubled(dialect, profile, draw(st.integers(0, 999)), draw(TROUBLES), endless=endless)
    ends_ns = draw(st.sampled_from([1 << 62, 1 << 62, 2 * S]))
    return Conversation(script, service, ends_ns, draw(st.sampled_from([1 << 30, 1 << 30, 1])))
