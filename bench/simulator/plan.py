"""Plans what a response is made of, and when: messages and function calls, one after the other.

    an answer                     [answer]
    an answer in parts            [commentary, answer]       a pause between them
    a response that calls         [calls]
    the same with a preamble      [commentary, calls]
    an answer that is late        [filler, answer]           where a session speaks fillers
    what is said during calls     [filler]

What reasoning takes is spent behind the commentary, ahead of what the response is for. The delays of an answer's first
events are drawn, and multiplied by the drift at the instant that asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from bench.simulator.delay import Delay
from bench.simulator.functions import ModelCall
from bench.simulator.profile import Profile
from bench.simulator.schedule import Schedule, audio_schedule, call_schedule, text_schedule
from bench.simulator.voice import RecordedReply
from bench.units import NS_PER_S

COMMENTARY, FINAL_ANSWER = "commentary", "final_answer"


class Asked(NamedTuple):
    """Says when a response was asked for, before when nothing of it may be due, and what it takes."""

    at_ns: int
    earliest_ns: int
    reading_ns: int = 0
    reasoning_ns: int = 0
    slowness: float = 1.0
    """What its delays are multiplied by."""
    late_ns: int | None = None
    """After so long a filler is said; None where none is."""


class ResponseContent(NamedTuple):
    """Says what a response consists of: in audio or in text, perhaps a commentary, then the calls or the answer.

    `filler`: what is said ahead if that is late.
    """

    audio: bool
    commentary: RecordedReply | None
    answer: RecordedReply
    calls: Sequence[ModelCall] = ()
    filler: RecordedReply | None = None


@dataclass(frozen=True)
class PlannedMessage:
    """Holds a message to be. `phase` is None where messages do not tell theirs. `filler`: it is said during calls."""

    reply: RecordedReply
    schedule: Schedule
    phase: str | None = None
    filler: bool = False


@dataclass(frozen=True)
class PlannedCall:
    """Holds a function call to be."""

    call: ModelCall
    schedule: Schedule


PlannedPart = PlannedMessage | PlannedCall


@dataclass(frozen=True)
class ResponsePlan:
    """Holds a response to be, its instants in order. `cut`: whether the cap ends it in its last part (`cap.py`)."""

    created_ns: int
    parts: Sequence[PlannedPart]
    done_ns: int
    cut: bool = False


class Planner:
    """Makes plans, with delays that are drawn from the profile."""

    def __init__(self, profile: Profile, rng: np.random.Generator) -> None:
        self._profile, self._delays, self._rng = profile, profile.delays, rng

    def response(self, content: ResponseContent, asked: Asked) -> ResponsePlan:
        first_ns = self._first_ns(content, asked)
        if asked.late_ns is not None and first_ns > asked.at_ns + asked.late_ns and content.commentary is None:
            return self._filled(content, asked, first_ns)
        created_ns = self._created_ns(asked, first_ns)
        if content.commentary is None:
            return self._completed(content, created_ns, [], created_ns, first_ns)
        commentary = self._message(content.audio, content.commentary, COMMENTARY, created_ns, first_ns)
        closed_ns = commentary.schedule.done_ns
        pause = self._delays.function_named if content.calls else self._delays.answer_pause
        first_ns = closed_ns + self._drawn_ns(pause, asked, asked.reasoning_ns)
        return self._completed(content, created_ns, [commentary], closed_ns, first_ns)

    def _filled(self, content: ResponseContent, asked: Asked, first_ns: int) -> ResponsePlan:
        """The plan of a response that is late, with a filler ahead, which does not say what it is."""
        filler_ns = max(asked.earliest_ns, asked.at_ns + (asked.late_ns or 0))
        created_ns = self._created_ns(asked, filler_ns)
        filler = self._filler(content.filler or content.answer, created_ns, filler_ns)
        closed_ns = filler.schedule.done_ns
        return self._completed(content, created_ns, [filler], closed_ns, max(first_ns, closed_ns))

    def filler(self, reply: RecordedReply, at_ns: int) -> ResponsePlan:
        """The plan of what is said during calls."""
        filler = replace(self._filler(reply, at_ns, at_ns), filler=True)
        return ResponsePlan(at_ns, [filler], filler.schedule.done_ns)

    def _filler(self, reply: RecordedReply, after_ns: int, first_ns: int) -> PlannedMessage:
        return PlannedMessage(reply, audio_schedule(self._profile, reply, after_ns, first_ns, self._rng))

    def failure(self, asked: Asked) -> ResponsePlan:
        """The plan of a response that fails as soon as it was created."""
        created_ns = max(asked.earliest_ns, asked.at_ns + self._drawn_ns(self._delays.response_created, asked))
        return ResponsePlan(created_ns, (), created_ns + self._delays.response_done.draw_ns(self._rng))

    def _first_ns(self, content: ResponseContent, asked: Asked) -> int:
        """When its first delta is due, or its first call."""
        if content.commentary is None and content.calls:
            delay = self._delays.function_named
        else:
            delay = self._delays.first_audio if content.audio else self._delays.first_text
        thinking_ns = asked.reading_ns + (asked.reasoning_ns if content.commentary is None else 0)
        return max(asked.earliest_ns, asked.at_ns + self._drawn_ns(delay, asked, thinking_ns))

    def _created_ns(self, asked: Asked, first_ns: int) -> int:
        drawn_ns = self._drawn_ns(self._delays.response_created, asked)
        return max(asked.earliest_ns, min(first_ns, asked.at_ns + drawn_ns))

    def _completed(
        self, content: ResponseContent, created_ns: int, ahead: list[PlannedPart], after_ns: int, first_ns: int
    ) -> ResponsePlan:
        """The plan with the parts `ahead`, and then the calls or the answer."""
        if content.calls:
            calls = self._calls(content.calls, first_ns)
            done_ns = calls[-1].schedule.done_ns + self._delays.response_done.draw_ns(self._rng)
            return ResponsePlan(created_ns, [*ahead, *calls], done_ns)
        answer = self._message(content.audio, content.answer, FINAL_ANSWER, after_ns, first_ns)
        return ResponsePlan(created_ns, [*ahead, answer], answer.schedule.done_ns)

    def _drawn_ns(self, delay: Delay, asked: Asked, further_ns: int = 0) -> int:
        return int((delay.draw_ns(self._rng) + further_ns) * asked.slowness)

    def _message(self, audio: bool, reply: RecordedReply, phase: str, after_ns: int, first_ns: int) -> PlannedMessage:
        schedule = audio_schedule if audio else text_schedule
        due = schedule(self._profile, reply, after_ns, first_ns, self._rng)
        return PlannedMessage(reply, due, phase if self._profile.parts.tell_phases else None)

    def _calls(self, calls: Sequence[ModelCall], named_ns: int) -> list[PlannedCall]:
        """Plan calls one after the other; the name of each takes as long as a token."""
        planned = []
        for call in calls:
            planned.append(PlannedCall(call, call_schedule(self._profile, call.tokens, named_ns)))
            token_ns = int(NS_PER_S / self._profile.functions.arguments_tokens_per_s)
            named_ns = planned[-1].schedule.done_ns + token_ns
        return planned
