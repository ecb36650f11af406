"""The functions that a script declares to the service, and what they return when it calls them.

A function returns what is canned, one of several in turn, or what a Python callable makes of its arguments. Whatever a
call is like, it is answered, as a client would: a wrong one with an error that the model can read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.foreign import JsonError, read_json
from bench.plan.think_times import ThinkTime
from bench.protocol.events import FunctionCall
from bench.protocol.settings import FunctionTool

Compute = Callable[..., Any]
"""A function in Python; it is called with the arguments by their names."""


@dataclass(frozen=True)
class Function:
    """A function of a script. `returns`: what it returns, call by call, again and again; `compute`: instead of that.

    `delay`: how long it takes, in seconds, or how that is drawn for each call.
    """

    tool: FunctionTool
    returns: Sequence[Any] = (None,)
    compute: Compute | None = None
    delay: float | ThinkTime = 0.0

    @property
    def mean_delay_s(self) -> float:
        """How long it takes on average."""
        return self.delay if isinstance(self.delay, float | int) else self.delay.mean_s

    def output(self, arguments: Mapping[str, Any], number: int) -> str:
        """What its `number`th call (from 0) returns: a text as it is, all else as JSON."""
        value = self.compute(**arguments) if self.compute else self.returns[number % len(self.returns)]
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True)
class ExpectedCall:
    """A call that a script expects of a turn, with these arguments among others."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


def problem_of(
    call: FunctionCall, functions: Mapping[str, Function], expected: Sequence[ExpectedCall] | None
) -> tuple[str, dict[str, Any] | None]:
    """(what is wrong with a call, or "", its arguments, None where it cannot be made).

    `expected`: the calls of its turn; None where any will do.
    """
    arguments = _object(call.arguments)
    function = functions.get(call.name)
    if function is None:
        return f"the service called {call.name or 'a function without a name'}, which nobody declared", None
    if arguments is None:
        return f"the arguments of {call.name} are no JSON object", None
    missing = [name for name in function.tool.required if name not in arguments]
    if missing:
        return f"the call of {call.name} lacks {', '.join(missing)}", None
    if expected is None or any(_is_met(call.name, arguments, wanted) for wanted in expected):
        return "", arguments
    named = any(wanted.name == call.name for wanted in expected)
    return f"the script expects {'other arguments of' if named else 'no call of'} {call.name}", arguments


def error_of(problem: str) -> str:
    """What a client returns for a call that is wrong."""
    return json.dumps({"error": problem})


def _is_met(name: str, arguments: Mapping[str, Any], wanted: ExpectedCall) -> bool:
    return name == wanted.name and all(
        key in arguments and arguments[key] == value for key, value in wanted.arguments.items()
    )


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = read_json(text or "{}", numbers=False)
    except JsonError:
        return None
    return value if isinstance(value, dict) else None
