"""The functions that a script declares to the service, and their results. Pure: the caller passes
the time.

A result is fixed, the next of a list, or that of a Python callable. As from a real client, each
call gets an output; an invalid one gets an error that the model can read.
"""

# The session executes no function at once. `call` computes the output and when it is due, and the
# session sends it when `returned` hands it out. Calls of one reply run at the same time, as in a
# client with threads, so each is due after its own delay. Outputs of a turn that is over are
# dropped: the service would answer them in the next turn.

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from bench.base.units import NEVER_NS
from bench.files.safe_io import JsonError, read_json
from bench.plan.random_choices import SessionChoices, ThinkTime
from bench.wire.events import FunctionCall
from bench.wire.settings import FunctionOutput, FunctionTool, ResponseSettings

NO_TURN = ""
Compute = Callable[..., Any]
"""A Python function that computes the result of a call. It is called with keyword arguments."""


@dataclass(frozen=True)
class ScriptFunction:
    """A function that a script declares, with the results of its calls, which are used in turn.

    `compute` is a callable that is used instead. `delay` is the duration of a call in seconds, or
    its distribution.
    """

    tool: FunctionTool
    returns: Sequence[Any] = (None,)
    compute: Compute | None = None
    delay: float | ThinkTime = 0.0

    @property
    def mean_delay_s(self) -> float:
        """The mean duration of a call in seconds."""
        return self.delay if isinstance(self.delay, float | int) else self.delay.mean_s

    def output(self, arguments: Mapping[str, Any], number: int) -> str:
        """Return the result of call `number` (from 0): a text unchanged, anything else as JSON."""
        value = (
            self.compute(**arguments) if self.compute else self.returns[number % len(self.returns)]
        )
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True)
class ExpectedFunctionCall:
    """A function call that a script expects from a turn. The call must have at least these
    arguments.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def is_met_by(self, name: str, arguments: Mapping[str, Any]) -> bool:
        return name == self.name and all(
            key in arguments and arguments[key] == value for key, value in self.arguments.items()
        )


def error_text(
    call: FunctionCall,
    functions: Mapping[str, ScriptFunction],
    expected: Sequence[ExpectedFunctionCall] | None,
) -> tuple[str, dict[str, Any] | None]:
    """Return (problem of a call; "" if it is valid, arguments; None if it cannot be executed).

    A call has no arguments if they are blank or null, as some models write them for a function
    without parameters. `expected` are the calls that the turn expects; None if any call is
    accepted.
    """
    try:
        value = read_json(call.arguments.strip() or "null", numbers=False)
    except JsonError:
        value = []
    arguments = {} if value is None else value if isinstance(value, dict) else None
    function = functions.get(call.name)
    if function is None:
        return (
            (
                f"the service called {call.name or 'a function without a name'}, which the script"
                " does not declare"
            ),
            None,
        )
    if arguments is None:
        return f"the arguments of {call.name} are not a JSON object", None
    missing = [name for name in function.tool.required if name not in arguments]
    if missing:
        return f"the call of {call.name} has no {', '.join(missing)}", None
    if expected is None or any(
        expected_call.is_met_by(call.name, arguments) for expected_call in expected
    ):
        return "", arguments
    is_expected = any(expected_call.name == call.name for expected_call in expected)
    return (
        f"the script expects {'other arguments of' if is_expected else 'no call of'} {call.name}",
        arguments,
    )


def error_of(problem: str) -> str:
    """Return the output that a client sends after an invalid call."""
    return json.dumps({"error": problem})


class FunctionResult(NamedTuple):
    """The result of a call, the instant of its return, its number in the turn (from 1), and its
    error, or "".
    """

    due_ns: int
    number: int
    output: FunctionOutput
    error: str


class FunctionRunner:
    """The runner of a session's function calls, turn by turn."""

    def __init__(self, functions: Mapping[str, ScriptFunction], choices: SessionChoices) -> None:
        self._functions = functions
        self._choices = choices
        self._made: Counter[str] = Counter()
        self._waiting: list[FunctionResult] = []
        self._expected: Sequence[ExpectedFunctionCall] | None = None
        self._response = ResponseSettings()
        self._requests = 1
        self.prefix = NO_TURN
        """The prefix of the message ids of the current turn."""
        self.called = 0
        """The number of calls that the service has made in the current turn."""
        self.outputs: dict[str, FunctionOutput] = {}
        """The returned outputs, by the id of their call. The code that uses an output removes
        it."""

    def start(
        self,
        expected: Sequence[ExpectedFunctionCall] | None,
        response: ResponseSettings,
        prefix: str,
    ) -> None:
        """Begin a turn whose message ids have this prefix. Drop outputs that the preceding turn
        still awaits.
        """
        self._waiting.clear()
        self._expected = expected
        self._response = msgspec.structs.replace(response, tool_choice=None)
        self.prefix = prefix
        self.called = 0
        self._requests = 1

    def call(self, call: FunctionCall, now_ns: int) -> None:
        """Execute a function call.

        The output is an error if the function is not declared, or if its arguments are invalid. For
        a task, execute the functions that do it, one after the other. The result is the outputs of
        all of them.
        """
        self.called += 1
        results = [*map(self._do, self._calls_for_task())] if call.is_task else [self._run(call)]
        outputs, errors, delays_ns = zip(*results, strict=True)
        output = FunctionOutput(
            call_id=call.call_id,
            name=call.name,
            output="\n".join(outputs),
            is_task=call.is_task,
        )
        error = next(filter(None, errors), "")
        self._waiting.append(FunctionResult(now_ns + sum(delays_ns), self.called, output, error))
        self._waiting.sort()

    def _run(self, call: FunctionCall) -> tuple[str, str, int]:
        """Return (output, error, delay in ns) of a call by the service."""
        error, arguments = error_text(call, self._functions, self._expected)
        function = self._functions.get(call.name)
        if function is None or arguments is None:
            return error_of(error), error, 0
        return self._output(function, arguments), error, self._choices.delay_ns(function.delay)

    def _calls_for_task(self) -> Sequence[ExpectedFunctionCall]:
        """Return the calls that do a task, of which the service reports nothing.

        They are the calls that the turn expects, or else a call of a function that is drawn at
        random.
        """
        return self._expected or [
            ExpectedFunctionCall(self._choices.one_of(sorted(self._functions)))
        ]

    def _do(self, call: ExpectedFunctionCall) -> tuple[str, str, int]:
        """Return (output, error, delay in ns) of a task's call. Only computed functions need
        arguments.
        """
        function = self._functions[call.name]
        missing = (
            [name for name in function.tool.required if name not in call.arguments]
            if function.compute
            else []
        )
        if missing:
            error = (
                f"a delegated task has no arguments: give {call.name} its {', '.join(missing)} in"
                " `expected_calls`"
            )
            return error_of(error), error, 0
        return self._output(function, call.arguments), "", self._choices.delay_ns(function.delay)

    def _output(self, function: ScriptFunction, arguments: Mapping[str, Any]) -> str:
        number = self._made[function.tool.name]
        self._made[function.tool.name] += 1
        return function.output(arguments, number)

    @property
    def due_ns(self) -> int:
        """The instant at which the next function call returns."""
        return self._waiting[0].due_ns if self._waiting else NEVER_NS

    def returned(self, now_ns: int) -> list[FunctionResult]:
        """Remove and return the results that are due at `now_ns`."""
        done = [result for result in self._waiting if result.due_ns <= now_ns]
        del self._waiting[: len(done)]
        self.outputs |= {result.output.call_id: result.output for result in done}
        return done

    def next_request(self) -> tuple[ResponseSettings, str]:
        """Return (settings without `tool_choice`, event id) of the request that continues the
        reply after a call.
        """
        self._requests += 1
        return self._response, f"{self.prefix}response-{self._requests}"
