"""Answers the function calls of one session: what each returns, and when. Pure; whoever sends brings the clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from bench.plan.frames import PreparedScript, PreparedTurn
from bench.plan.functions import ExpectedCall, error_of, problem_of
from bench.protocol.events import FunctionCall
from bench.protocol.messages import FunctionOutput
from bench.protocol.settings import ResponseSettings

NEVER = 1 << 62
NO_TURN = ""


class Returned(NamedTuple):
    """What a call returns at an instant. `number`: of the call in its turn, from 1; `wrong`: what is wrong with it."""

    due_ns: int
    number: int
    said: FunctionOutput
    wrong: str


class CallHandler:
    """The calls of a session's turns, one turn after another."""

    def __init__(self, script: PreparedScript) -> None:
        self._functions, self._choices = script.functions, script.choices
        self._made: Counter[str] = Counter()
        self._waiting: list[Returned] = []
        self._expected: Sequence[ExpectedCall] | None = None
        self._response = ResponseSettings()
        self._requests = 1
        self.prefix = NO_TURN
        """How ids of messages of the turn begin."""
        self.called = 0
        """How many calls of the turn were made."""
        self.outputs: dict[str, FunctionOutput] = {}
        """What was returned, by the ids of the calls, until somebody takes it out."""

    def begin(self, turn: PreparedTurn) -> None:
        """A turn begins: what is still due belongs to one that is over."""
        self._waiting.clear()
        self._expected, self._response = turn.calls, msgspec.structs.replace(turn.response, tool_choice=None)
        self.prefix, self.called, self._requests = turn.event_prefix, 0, 1

    def call(self, call: FunctionCall, now_ns: int) -> None:
        """Call a function: one that is declared with its arguments, else an error is what is returned."""
        self.called += 1
        wrong, arguments = problem_of(call, self._functions, self._expected)
        function = self._functions.get(call.name)
        if function is None or arguments is None:
            output, delay_ns = error_of(wrong), 0
        else:
            output = function.output(arguments, self._made[call.name])
            delay_ns = self._choices.delay_ns(function.delay)
        self._made[call.name] += 1
        said = FunctionOutput(call_id=call.call_id, output=output)
        self._waiting.append(Returned(now_ns + delay_ns, self.called, said, wrong))
        self._waiting.sort()

    @property
    def due_ns(self) -> int:
        """When the next function returns."""
        return self._waiting[0].due_ns if self._waiting else NEVER

    def returned(self, now_ns: int) -> list[Returned]:
        """Take what has been returned by now, each once."""
        done = [returned for returned in self._waiting if returned.due_ns <= now_ns]
        del self._waiting[: len(done)]
        self.outputs |= {returned.said.call_id: returned.said for returned in done}
        return done

    def next_request(self) -> tuple[ResponseSettings, str]:
        """(settings, event id) of the next request for a response that goes on: no function is chosen for it."""
        self._requests += 1
        return self._response, f"{self.prefix}response-{self._requests}"
