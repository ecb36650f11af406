"""Decides whether a response calls functions, which, and with which arguments: as the profile says, by the seed. Pure.

Where the model may choose (`tool_choice` auto) it calls in a response that answers the caller, and in none that follows
the outputs of its calls, unless the profile has further rounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np

from bench.simulator.arguments import arguments, unfit_arguments
from bench.simulator.conversation_item import LETTERS_PER_TEXT_TOKEN, ConversationItem
from bench.simulator.mcp import mcp_tools
from bench.simulator.profile import FunctionCalls, drawn
from bench.simulator.wire import Json, RejectedError

CALLS = ("function_call", "mcp_call", "mcp_approval_request")


class ModelCall(NamedTuple):
    """Holds the content of a function call: `tokens` join to its arguments, which are JSON.

    `server`: of MCP, that has the tool; None for a function. `approval`: whether the client is to be asked first.
    """

    name: str
    tokens: tuple[str, ...]
    server: str | None = None
    approval: bool = False


@dataclass(frozen=True)
class ResponseTools:
    """Holds the functions that a response may call. `choice`: auto, none, or required."""

    functions: Sequence[Json]
    choice: str
    parallel: bool

    @property
    def written(self) -> bytes:
        """What the model reads of them: JSON, or nothing."""
        return msgspec.json.encode(self.functions) if self.functions else b""


def tools_of(settings: Json, listed: Mapping[str, Sequence[Json]]) -> ResponseTools:
    """The tools of a response with these settings, those that servers of MCP have `listed` included.

    Raises RejectedError where it must call one that is unknown.
    """
    functions = [
        function
        for tool in settings["tools"]
        for function in ([tool] if tool["type"] == "function" else mcp_tools(tool, listed))
    ]
    choice = settings["tool_choice"]
    parallel = settings.get("parallel_tool_calls", True)
    if isinstance(choice, str):
        return ResponseTools(functions, choice, parallel)
    chosen = [function for function in functions if _is_chosen(function, choice)]
    if not chosen and any(_is_server(tool, choice) for tool in settings["tools"]):  # its tools are not listed yet
        return ResponseTools(functions, "none", parallel)
    if not chosen:
        wanted = choice.get("name") or choice.get("server_label")
        problem = f"Tool choice '{wanted}' not found in 'tools' parameter."
        raise RejectedError("invalid_value", problem, "tool_choice")
    return ResponseTools(chosen if choice["type"] == "mcp" else chosen[:1], "required", parallel)


def _is_server(tool: Json, choice: Json) -> bool:
    return bool(choice["type"] == tool["type"] == "mcp" and tool["server_label"] == choice["server_label"])


def _is_chosen(function: Json, choice: Json) -> bool:
    if choice["type"] != function["type"]:
        return False
    return all(function[key] == choice[key] for key in ("server_label", "name") if choice.get(key) is not None)


def calls_of(
    tools: ResponseTools, read: Sequence[ConversationItem], habits: FunctionCalls, rng: np.random.Generator
) -> list[ModelCall]:
    """The calls of a response that reads these items; none where it answers by itself."""
    if not tools.functions or not _calls(tools.choice, read, habits, rng):
        return []
    least, most = habits.parallel if tools.parallel else (1, 1)
    count = least if least == most else int(rng.integers(least, most, endpoint=True))
    first = int(rng.integers(len(tools.functions)))
    names = {function["name"] for function in tools.functions}
    chosen = [tools.functions[(first + place) % len(tools.functions)] for place in range(count)]
    return [_call(function, names, habits, rng) for function in chosen]


def _calls(choice: str, read: Sequence[ConversationItem], habits: FunctionCalls, rng: np.random.Generator) -> bool:
    if choice != "auto":
        return choice == "required"
    rounds = _rounds(read)
    return drawn(habits.share, rng) if rounds == 0 else rounds is not None and rounds < habits.rounds


def _rounds(read: Sequence[ConversationItem]) -> int | None:
    """How many responses have called since the caller spoke; None where nobody spoke, or was answered."""
    calling, following = set[str](), None
    for item in reversed([item for item in read if not item.filler]):
        kind, role = item.body["type"], item.body.get("role")
        if role == "user":
            return len(calling)
        if role == "assistant" and following not in CALLS:  # else it is the preamble of a call
            return None
        if kind in CALLS:
            calling.add(item.response_id)
        following = kind
    return None


def _call(function: Json, declared: set[str], habits: FunctionCalls, rng: np.random.Generator) -> ModelCall:
    name = function["name"]
    if function["type"] == "function" and drawn(habits.wrong_name, rng):
        name = f"undeclared_{name}"
        while name in declared:
            name += "_"
    make = unfit_arguments if drawn(habits.wrong_arguments, rng) else arguments
    text = msgspec.json.encode(make(function.get("parameters"), rng)).decode()
    size = LETTERS_PER_TEXT_TOKEN
    tokens = tuple(text[begin : begin + size] for begin in range(0, len(text), size))
    return ModelCall(name, tokens, function.get("server_label"), function.get("approval", False))
