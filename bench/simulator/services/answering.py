"""What several simulated services share that answer the caller's speech with one reply at a time.
Pure.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from bench.base.units import NS_PER_MS
from bench.simulator.caller_turns import SimulatedAsr
from bench.simulator.profile import FunctionCalls, is_drawn
from bench.simulator.recorded_replies import RecordedReply
from bench.simulator.responses.function_calls import GeneratedCall, ResponseTools, calls_of
from bench.simulator.responses.response_plan import DeltaSchedule, audio_schedule
from bench.simulator.server_events import Json, OutboxStep, PlannedSeries
from bench.simulator.session.effective import InputSettings
from bench.simulator.simulated_session import ClosingSession, ReceiptFields, SessionParts
from bench.wire.audio import AudioFormatName


class SpokenReply(NamedTuple):
    """A reply to plan. It was requested at `asked_ns`, and the service begins it at `start_ns`.

    `facts` are those of its first audio in the ground-truth log.
    """

    id: str
    recorded: RecordedReply
    schedule: DeltaSchedule
    asked_ns: int
    start_ns: int
    first_ns: int
    facts: Json


def drawn_calls(
    functions: Sequence[Json], rounds: int, habits: FunctionCalls, rng: np.random.Generator
) -> list[GeneratedCall]:
    """Return the calls of a reply after `rounds` consecutive ones with calls; [] if it speaks."""
    if not functions or rounds >= habits.rounds or not is_drawn(habits.share, rng):
        return []
    return calls_of(ResponseTools(functions, "required", True), (), habits, rng)


class AnsweringSession(ClosingSession):
    """A session whose service answers speech after a silence, and speaks one reply at a time."""

    def __init__(self, parts: SessionParts, silence_ms: int) -> None:
        super().__init__(parts)
        self._turn_taking.audio.silence_ms = silence_ms
        self._asr = SimulatedAsr(self._profile.transcripts)
        self._input: InputSettings | None = None  # None until the caller's audio may begin
        self._output: AudioFormatName = "pcm16"
        self._functions: Sequence[Json] = ()
        self._reply: PlannedSeries | None = None  # what remains of the reply in progress
        self._played_ns = 0  # when a listener has played the last reply

    @property
    def _reply_id(self) -> str:
        return f"reply-{self._replies}"

    def _is_replying(self, at_ns: int) -> bool:
        return self._reply is not None or at_ns < self._played_ns

    def _end_call(self, call_id: str, at_ns: int) -> ReceiptFields:
        """Accept the output of a function. After the last one, the service speaks about them."""
        was_open = call_id in self._open_calls
        self._open_calls.discard(call_id)
        if was_open and not self._open_calls and self._reply is None:
            self._plan_reply(at_ns, {})
        return {"call": call_id}

    def _answer(self, at_ns: int, facts: Json) -> None:
        self._rounds = 0
        if self._reply is None:  # else the service speaks about the result of a function
            self._plan_reply(at_ns, facts)

    def _plan_reply(self, at_ns: int, facts: Json) -> None:
        profile = self._profile
        start_ns = self._servers.begin_ns(at_ns)
        slowness = self._turn_taking.slowness(start_ns)
        calls = drawn_calls(self._functions, self._rounds, profile.functions, self._rng)
        delay = profile.delays.function_named if calls else profile.delays.first_audio
        first_ns = start_ns + int(delay.draw_ns(self._rng) * slowness)
        self._replies += 1
        self._begin_reply(start_ns)
        if calls:
            self._rounds += 1
            self._servers.occupy(first_ns)
            self._reply = self._outbox.plan(self._call_steps(calls, first_ns))
            return
        reply = self._next_reply()
        schedule = audio_schedule(profile, reply, start_ns, first_ns, self._rng)
        self._servers.occupy(schedule.done_ns)
        self._played_ns = max(schedule.done_ns, first_ns + reply.audio_ms * NS_PER_MS)
        spoken = SpokenReply(self._reply_id, reply, schedule, at_ns, start_ns, first_ns, facts)
        self._reply = self._outbox.plan(self._reply_steps(spoken))

    def _begin_reply(self, due_ns: int) -> None:
        """Plan what the service sends before a reply."""

    @abstractmethod
    def _reply_steps(self, reply: SpokenReply) -> Iterable[OutboxStep]:
        """Return the events of a spoken reply."""

    @abstractmethod
    def _call_steps(self, calls: Sequence[GeneratedCall], due_ns: int) -> Iterable[OutboxStep]:
        """Return the events of a reply that calls functions."""
