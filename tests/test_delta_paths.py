"""A session has the same results if its deltas are decoded, if they are matched, and if they are
read from its log.
"""

from __future__ import annotations

import base64
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bench.observe import inputs
from bench.observe.inputs import SessionStart
from bench.observe.timeline import Timeline
from bench.plan.functions import ScriptFunction
from bench.plan.prepared import PreparedScript
from bench.plan.recordings import Pcm, SpeechSpan
from bench.plan.turn_plan import InterruptionKind, InterruptTrigger
from bench.plan.turns import AudioTurn
from bench.record.event_log import EventLog, LoggedTimeline, LoggedTransport, about
from bench.record.recorder import RowContext
from bench.record.replay import replay_log
from bench.session.session_io import SessionIO
from bench.wire.audio import PCM16
from bench.wire.connection import ConnectionClosed
from bench.wire.dialect import Dialect
from bench.wire.settings import FunctionTool, TurnDetection
from tests.examples import thorough
from tests.helpers import (
    FAMILIES,
    LOUD,
    MS,
    REALTIME,
    Listening,
    S,
    base64_of,
    build_script,
    committed,
    created,
    done,
    error,
    message,
    say,
    session_created,
    session_updated,
    speech_started,
    speech_stopped,
    transcribed,
    usage,
)
from tests.memory_transport import MatchingTransport, MemoryTransport, VirtualClock

TURNS = 4
ORDER = FunctionTool(name="order")
RECORDING = Pcm(Path("a.wav"), "d", bytes(48 * 500), SpeechSpan(0, 24 * 400))
LATER_MS = st.sampled_from([0, 1, *[20] * 8, *[400] * 4, 9_000, 11_000, 29_000])
"""The time in ms between two events.

The timeout of the next delta is 10 s, and the timeout of the next item is 30 s.
"""
ITEMS = st.sampled_from([*["i1"] * 5, "i2"])
SELDOM = st.sampled_from([*[False] * 9, True])
TONE = base64.b64encode(
    PCM16.encode(
        sum(
            3_000 * np.sin(2 * np.pi * hz / 24_000 * np.arange(24 * 300)) for hz in (800, 1_000)
        ).astype(np.int16)
    )
).decode()
"""300 ms of a tone that goes on in the next delta."""
AUDIO = st.sampled_from(
    [LOUD, LOUD, base64_of(4_800), base64_of(4_801), base64_of(1), "", "no base64!"]
)
WORDS = st.sampled_from(["yes ", "there ", "parcel ", "\\u00e4 ", ""])
DELTAS = st.lists(
    st.tuples(st.sampled_from(["audio", "transcript"]), st.sampled_from([20, 20, 0, 400])),
    min_size=1,
    max_size=40,
)


def delta(dialect: Dialect, kind: str, response: str, item: str, payload: str) -> bytes:
    return message(
        f"{FAMILIES[dialect][kind]}.delta", response_id=response, item_id=item, delta=payload
    )


def item(step: str, response: str, item: str, kind: str = "message", **fields: Any) -> bytes:
    return message(
        f"response.output_item.{step}",
        response_id=response,
        item={"id": item, "type": kind} | fields,
    )


def call(name: str) -> dict[str, str]:
    return {"call_id": "c1", "name": name, "arguments": "{}"}


SAYS: dict[str, Callable[[Dialect, str, str], bytes]] = {
    "created": lambda _, r, i: created(r),
    "item added": lambda _, r, i: item("added", r, i),
    "commentary": lambda _, r, i: item("added", r, i, phase="commentary"),
    "item done": lambda _, r, i: item("done", r, i),
    "call added": lambda _, r, i: item(
        "added", r, f"{i}c", "function_call", call_id="c1", name="order"
    ),
    "call done": lambda _, r, i: message(
        "response.function_call_arguments.done", response_id=r, item_id=f"{i}c", **call("order")
    ),
    "foreign call": lambda _, r, i: message(
        "response.function_call_arguments.done", response_id=r, item_id=f"{i}c", **call("other")
    ),
    "audio done": lambda d, r, i: message(f"{FAMILIES[d]['audio']}.done", response_id=r, item_id=i),
    "transcript done": lambda d, r, i: message(
        f"{FAMILIES[d]['transcript']}.done", response_id=r, item_id=i, transcript="All of it."
    ),
    "text": lambda d, r, i: delta(d, "text", r, i, "word "),
    "completed": lambda _, r, i: done(r, usage=usage(audio_out=20)),
    "cancelled": lambda _, r, i: done(r, "cancelled", reason="turn_detected"),
    "failed": lambda _, r, i: done(
        r, "failed", type="failed", error={"code": "rate_limit_exceeded", "message": "No."}
    ),
    "incomplete": lambda _, r, i: done(r, "incomplete", reason="max_output_tokens"),
    "speech started": lambda _, r, i: speech_started(f"{i}u"),
    "speech stopped": lambda _, r, i: speech_stopped(f"{i}u"),
    "committed": lambda _, r, i: committed(f"{i}u"),
    "transcribed": lambda _, r, i: transcribed(f"{i}u"),
    "cleared": lambda _, r, i: message("output_audio_buffer.cleared", response_id=r),
    "truncated": lambda _, r, i: message(
        "conversation.item.truncated", item_id=i, content_index=0, audio_end_ms=20
    ),
    "retrieved": lambda _, r, i: message(
        "conversation.item.retrieved", item={"id": i, "content": [{"type": "audio", "audio": LOUD}]}
    ),
    "error": lambda _, r, i: error("odd"),
    "throttled": lambda _, r, i: error("rate_limit_exceeded"),
    "error of a request": lambda _, r, i: error("odd", "turn-1-response"),
    "limits": lambda _, r, i: message("rate_limits.updated", rate_limits=[]),
    "unknown": lambda _, r, i: message("response.sung"),
    "no JSON": lambda _, r, i: b"{",
}
EDGES = (
    "item added",
    "item done",
    "call added",
    "call done",
    "audio done",
    "transcript done",
    "cleared",
)
"""The events that occur in most replies."""


class Copy:
    """One of three sessions that get the same inputs.

    `log` is the event log that the session writes; None for no log.
    """

    def __init__(
        self, transport: MemoryTransport, script: PreparedScript, log: EventLog | None = None
    ) -> None:
        self.transport, self.script, self.listening = transport, script, Listening()
        start = SessionStart(
            transport.now_ns(), TURNS, script.limits, service_responds=script.service_responds
        )
        if log is None:
            self.timeline = Timeline(start, script.dialect)
            self.line = SessionIO(script, transport, self.timeline, self.listening)
        else:
            labels = about("run", RowContext("w0-000001", "here", "talk", "talk"), script)
            self.timeline = LoggedTimeline(start, script.dialect, log=log, about=labels)
            self.line = SessionIO(
                script, LoggedTransport(transport, log), self.timeline, self.listening
            )
        if script.silence_chunks:
            self.line.microphone.open(transport.now_ns())

    def start_turn(self, number: int) -> None:
        turn = self.script.turns[number]
        if turn.speech and not self.script.silence_chunks:
            self.line.microphone.open(self.transport.now_ns())
        self.line.start_turn(turn)
        for sent in (
            *turn.inputs,
            *((turn.request,) if turn.request and not turn.plan.vad else ()),
        ):
            self.line.send(sent)

    def wait(self, until_ns: int, *, ends: bool) -> None:
        """Receive messages until `until_ns`. `ends` is True if the script waits for the end of
        the turn.
        """
        while self.transport.now_ns() < until_ns and self.transport.closed is None:
            turns = self.timeline.turns
            self.line.receive_until(
                until_ns,
                for_turn=not turns.are_all_over and (ends or self.line.microphone.speaking),
            )

    def end(self) -> None:
        self.timeline.apply(
            inputs.SessionFailed("unfinished", self.transport.now_ns(), "the run ended")
        )
        self.line.run_actions()

    def observed(self) -> tuple[Any, ...]:
        heard, timeline = self.listening, self.timeline
        turns, due = timeline.turns, timeline.turns.next_timeout(timeline.limits)
        events = [
            (event.kind, event.response_id, event.item_id, event.payload_bytes)
            for event in heard.events
        ]
        return (
            heard.turns,
            events,
            heard.wire_received,
            heard.paid_for,
            heard.began,
            self.transport.sent,
            timeline.next_deadline_ns,
            timeline.facts.events,
            timeline.facts.wire_bytes_received,
            timeline.is_over,
            turns.are_all_over,
            turns.is_streaming,
            turns.is_answering,
            due and due[0],
        )


class DeltaPaths(RuleBasedStateMachine):
    """Three sessions that get the same inputs.

    The first session decodes all deltas. The second session matches them. The third session matches
    them and writes a log.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.copies: list[Copy] = []
        self.turns = 0
        self.ends = True
        """True if the script waits for the end of the turn, and takes no further step within the
        turn."""
        self.last, self.reply = session_updated(), "r1"
        self.sound = LOUD
        """The audio of the current turn's deltas."""

    @initialize(
        dialect=st.sampled_from(list(REALTIME.values())),
        vad=st.booleans(),
        delay_s=st.sampled_from([0, 0.5]),
        within=SELDOM,
        waits=SELDOM,
        is_tone=st.booleans(),
    )
    def open(
        self, dialect: Dialect, vad: bool, delay_s: float, within: bool, waits: bool, is_tone: bool
    ) -> None:
        steps = [
            AudioTurn((RECORDING,), chunk_ms=100, paced=True) if vad else say()
            for _ in range(TURNS)
        ]
        session: dict[str, Any] = {"turn_detection": TurnDetection()} if vad else {}
        script = build_script(*steps, dialect=dialect, tools=(ORDER,), **session)
        script = replace(
            script, functions={"order": ScriptFunction(ORDER, ["depot"], delay=delay_s)}
        )
        self.dialect, self.log = (
            dialect,
            EventLog(self.folder / "log.jsonl", hide=str, record_audio=True),
        )
        for transport, log in (
            (MemoryTransport, None),
            (MatchingTransport, None),
            (MatchingTransport, self.log),
        ):
            greeting = [(MS, session_created()), (2 * MS, session_updated())]
            self.copies.append(Copy(transport(lambda _: (), greeting, VirtualClock()), script, log))
        self._wait(1_000 * MS)
        self.start_turn(within=within, waits=waits, is_tone=is_tone)

    @property
    def timeline(self) -> Timeline:
        return self.copies[0].timeline

    @property
    def within_turn(self) -> bool:
        """True if the script can still take a step within the current turn."""
        return not self.ends and self.timeline.turns.current is not None

    def _wait(self, later_ns: int) -> None:
        for copy in self.copies:
            copy.wait(copy.transport.now_ns() + later_ns, ends=self.ends)

    def _arrive(self, later_ms: int, *messages: tuple[int, bytes]) -> None:
        """Schedule messages in all sessions, and receive until all messages have arrived."""
        for copy in self.copies:
            copy.transport.schedule(
                [(later_ms * MS + later_ns, data) for later_ns, data in messages]
            )
        self.last = messages[-1][1]
        self._wait(later_ms * MS + messages[-1][0] + 1)

    @property
    def may_start(self) -> bool:
        return self.timeline.turns.are_all_over and not self.timeline.is_over and self.turns < TURNS

    @precondition(lambda self: self.may_start)
    @rule(within=SELDOM, waits=SELDOM, is_tone=st.booleans())
    def start_turn(self, within: bool, waits: bool, is_tone: bool) -> None:
        """Start a turn in all sessions. If `within`, the script may take a step within the turn.

        If `waits`, the reply does not begin yet.
        """
        self.sound = TONE if is_tone else LOUD
        self.ends, spoken = not within, self.copies[0].script.turns[self.turns].plan.vad
        self.turns += 1
        for copy in self.copies:
            copy.start_turn(self.turns - 1)
        if not waits:
            self.reply = f"r{self.turns}"
            detected = ("speech started", "speech stopped", "committed") if spoken else ()
            opening = [
                *(self._says(name) for name in (*detected, "created")),
                *map(self._delta, ("transcript", "audio")),
            ]
            self._arrive(600, *((number * 20 * MS, data) for number, data in enumerate(opening)))

    def _says(self, name: str, item: str = "i1") -> bytes:
        return SAYS[name](self.dialect, self.reply, f"{self.reply}-{item}")

    def _delta(self, kind: str, payload: str | None = None, item: str = "i1") -> bytes:
        payload = (self.sound if kind == "audio" else "word ") if payload is None else payload
        return delta(self.dialect, kind, self.reply, f"{self.reply}-{item}", payload)

    @rule(run=DELTAS, item=ITEMS, error_ns=st.sampled_from([0, 0, 300_000, 2 * MS]))
    def deltas(self, run: list[tuple[str, int]], item: str, error_ns: int) -> None:
        if self.may_start:
            self.start_turn(within=False, waits=False, is_tone=self.sound is TONE)
        for copy in self.copies:
            copy.transport.error_ns = error_ns
        at_ns, came = 0, []
        for kind, later_ms in run:
            at_ns += later_ms * MS
            came.append((at_ns, self._delta(kind, item=item)))
        self._arrive(0, *came)

    @rule(
        payload=st.tuples(st.just("audio"), AUDIO) | st.tuples(st.just("transcript"), WORDS),
        item=ITEMS,
    )
    def odd_delta(self, payload: tuple[str, str], item: str) -> None:
        self._arrive(20, (0, self._delta(*payload, item)))

    @rule(name=st.sampled_from([*EDGES * 6, *SAYS]), item=ITEMS, later_ms=LATER_MS, run=DELTAS)
    def event(self, name: str, item: str, later_ms: int, run: list[tuple[str, int]]) -> None:
        self._arrive(later_ms, (0, self._says(name, item)))
        self.deltas(run, item, error_ns=0)

    @rule()
    def complete(self) -> None:
        self._arrive(20, (0, self._says("completed")))

    @rule(of_turn=st.integers(1, TURNS))
    def another_reply(self, of_turn: int) -> None:
        """Let the next events belong to the reply with the number `of_turn`, until the next reply
        begins.

        This reply may belong to another turn, or may not have been requested.
        """
        self.reply = f"r{of_turn}"

    @rule(later_ms=LATER_MS)
    def duplicate(self, later_ms: int) -> None:
        self._arrive(later_ms, (0, self.last))

    @rule(later_ms=LATER_MS)
    def silence(self, later_ms: int) -> None:
        self._wait(later_ms * MS)

    @rule(kernel=st.booleans())
    def timestamps(self, kernel: bool) -> None:
        """From now on, use kernel timestamps if `kernel`; otherwise use timestamps of this
        process.
        """
        for copy in self.copies:
            copy.transport.kernel = kernel

    @precondition(lambda self: self.within_turn)
    @rule(
        event=st.sampled_from(["audio_delta", "transcript_delta", "audio_done"]),
        within_s=st.sampled_from([1, 60]),
    )
    def expect(self, event: str, within_s: int) -> None:
        self._tell(lambda now_ns: inputs.EventExpected(event, now_ns + within_s * S))

    @precondition(lambda self: self.within_turn)
    @rule(kind=st.sampled_from(["client", "speech", "noise"]), verify=st.booleans())
    def await_interruption(self, kind: InterruptionKind, verify: bool) -> None:
        self._tell(lambda _: inputs.InterruptionAwaited(kind, verify))

    @precondition(lambda self: self.within_turn and self.timeline.turns.is_interruptible)
    @rule()
    def interrupt(self) -> None:
        self._tell(inputs.ClientInterrupted)

    @precondition(lambda self: self.within_turn and self.timeline.turns.is_interruptible)
    @rule(
        cue=st.sampled_from(
            [
                InterruptTrigger(text="parcel"),
                InterruptTrigger(text="word"),
                InterruptTrigger(after_ns=150 * MS),
                InterruptTrigger(share=0.5),
            ]
        )
    )
    def cue(self, cue: InterruptTrigger) -> None:
        cues = [
            copy.timeline.turns.interrupted and copy.timeline.turns.interrupted.trigger_ns(cue)
            for copy in self.copies
        ]
        assert len(set(cues)) == 1

    @precondition(lambda self: self.within_turn)
    @rule()
    def await_end(self) -> None:
        self.ends = True

    @precondition(lambda self: self.timeline.turns.are_all_over)
    @rule()
    def give_up(self) -> None:
        self._tell(lambda _: inputs.StoppedWaiting())

    @precondition(lambda self: not self.timeline.is_over)
    @rule(code=st.sampled_from([1000, 1006, 1011]), closes=SELDOM)
    def close(self, code: int, closes: bool) -> None:
        if closes:
            for copy in self.copies:
                copy.transport.schedule([(0, ConnectionClosed(code, 0))])
            self._wait(1)

    def _tell(self, noted: Callable[[int], inputs.AnyInput]) -> None:
        for copy in self.copies:
            copy.timeline.apply(noted(copy.transport.now_ns()))
            copy.line.run_actions()

    @invariant()
    def all_sessions_are_equal(self) -> None:
        if self.copies:
            first, *others = [copy.observed() for copy in self.copies]
            for other in others:
                assert other == first

    def teardown(self) -> None:
        try:
            if self.copies:
                self._wait(12 * S)
                for copy in self.copies:
                    copy.end()
                self.all_sessions_are_equal()
                session, *others = [copy.timeline.session() for copy in self.copies]
                for other in others:
                    assert other == session
                self.log.close()
                again = replay_log(self.folder / "log.jsonl")
                assert (list(again.turns), again.session) == (
                    self.copies[0].listening.turns,
                    session,
                )
        finally:
            shutil.rmtree(self.folder)


def test_a_session_has_the_same_results_whether_deltas_are_decoded_matched_or_replayed() -> None:
    run_state_machine_as_test(DeltaPaths, settings=settings(thorough, stateful_step_count=20))
