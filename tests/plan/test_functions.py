"""The problem of a function call, and the result of a delegated task."""

from __future__ import annotations

import pytest

from bench.plan.functions import ExpectedFunctionCall, FunctionRunner, ScriptFunction, error_text
from bench.plan.random_choices import SessionChoices
from bench.wire.events import FunctionCall
from bench.wire.settings import FunctionTool, ResponseSettings

PARAMETERS = {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]}
FIND = ScriptFunction(
    FunctionTool(name="find", parameters=PARAMETERS), compute=lambda order: f"found {order}"
)
COUNT = ScriptFunction(FunctionTool(name="count"), ["3"], delay=0.5)
FUNCTIONS = {"find": FIND, "count": COUNT}


@pytest.mark.parametrize(
    ("name", "arguments", "problem"),
    [
        ("count", "", ""),
        ("count", " ", ""),
        ("count", "\n\t", ""),
        ("count", "null", ""),
        ("count", " null\n", ""),
        ("count", "None", "the arguments of count are not a JSON object"),
        ("count", '"{}"', "the arguments of count are not a JSON object"),
        ("find", "null", "the call of find has no order"),
        (
            "",
            "{}",
            "the service called a function without a name, which the script does not declare",
        ),
        ("find", "[1]", "the arguments of find are not a JSON object"),
        ("find", "{", "the arguments of find are not a JSON object"),
        ("find", "{}", "the call of find has no order"),
    ],
)
def test_an_invalid_call_has_its_problem(name: str, arguments: str, problem: str) -> None:
    assert error_text(FunctionCall("c", name, arguments), FUNCTIONS, None)[0] == problem


def test_a_call_that_is_not_expected_is_named() -> None:
    expected = [ExpectedFunctionCall("find", {"order": "1"})]

    assert error_text(FunctionCall("c", "find", '{"order": "1"}'), FUNCTIONS, expected) == (
        "",
        {"order": "1"},
    )
    other = error_text(FunctionCall("c", "find", '{"order": "2"}'), FUNCTIONS, expected)
    assert other == ("the script expects other arguments of find", {"order": "2"})
    assert (
        error_text(FunctionCall("c", "count"), FUNCTIONS, expected)[0]
        == "the script expects no call of count"
    )


@pytest.mark.parametrize(
    ("expected", "output", "error"),
    [
        (
            [ExpectedFunctionCall("find", {"order": "7"}), ExpectedFunctionCall("count")],
            "found 7\n3",
            "",
        ),
        (
            [ExpectedFunctionCall("find")],
            '{"error": "a delegated task has no arguments: give find',
            "order",
        ),
        (None, "3", ""),
    ],
)
def test_a_delegated_task_is_done_by_the_expected_functions(
    expected: list[ExpectedFunctionCall] | None, output: str, error: str
) -> None:
    functions = FUNCTIONS if expected else {"count": COUNT}
    runner = FunctionRunner(functions, SessionChoices(0, 0))
    runner.start(expected, ResponseSettings(), "turn-1-")
    runner.call(FunctionCall("task", is_task=True), 0)
    (result,) = runner.returned(1_000_000_000)

    assert result.output.output.startswith(output)
    assert error in result.error
