"""The function calls of a response and their arguments, from the profile and the seed. Pure.

If the model may choose (`tool_choice` auto), a response to the caller's turn may call functions. A
response that follows the outputs of these calls does not call functions, unless the profile has
more rounds.

Arguments are generated from the function's JSON Schema (README.md, "Function calls"). A
schema may have any content. For unsupported parts the generated value is null.
"""

# Arguments come from the schema of a client, which is untrusted: it may refer to itself, nest
# deeply, or demand huge arrays. `MAX_DEPTH` and `MAX_VALUES` bound the time of a response; beyond
# them, values are null.
#
# Only required properties get a value. Constants and examples of the schema come first, so a script
# can determine the arguments.

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np

from rtbench_simulator.conversation.items import LETTERS_PER_TEXT_TOKEN, ConversationItem
from rtbench_simulator.profile import FunctionCalls, is_drawn
from rtbench_simulator.server_events import Json, RejectedError

MAX_DEPTH = 16  # levels of nested schemas; a schema may refer to itself
MAX_VALUES = 500
MAX_LETTERS = 1000


def arguments(parameters: Any, rng: np.random.Generator) -> Json:
    """Return arguments for a function. `parameters` is the JSON Schema of the arguments; None if
    there is no schema.
    """
    schema = parameters if isinstance(parameters, dict) else {}
    return _Sample(schema, rng).object(schema, 0)


def invalid_arguments(parameters: Any, rng: np.random.Generator) -> Json:
    """Return invalid arguments: the first required argument is missing, and one argument is not
    declared.
    """
    fit = arguments(parameters, rng)
    return dict(list(fit.items())[1:]) | {"undeclared": True}


class _Sample:
    """A generator of values for the schemas within `root`. These schemas may refer to each
    other.
    """

    def __init__(self, root: Json, rng: np.random.Generator) -> None:
        self._root = root
        self._rng = rng
        self._left = MAX_VALUES

    def object(self, schema: Json, depth: int) -> Json:
        properties = schema.get("properties")
        required = schema.get("required")
        if not isinstance(properties, dict) or not isinstance(required, list):
            return {}
        names = [name for name in required if isinstance(name, str)]
        return {name: self.value(properties.get(name), depth + 1) for name in names}

    def value(self, schema: Any, depth: int) -> Any:
        self._left -= 1
        if not isinstance(schema, dict) or depth > MAX_DEPTH or self._left < 0:
            return None
        for key in ("const", "example", "default"):
            if key in schema:
                return schema[key]
        for key in ("examples", "enum"):
            if isinstance(schema.get(key), list) and schema[key]:
                return schema[key][0]
        inner = self._inner(schema)
        return self._of_type(schema, depth) if inner is None else self.value(inner, depth + 1)

    def _inner(self, schema: Json) -> Any:
        """Return the schema to which `schema` refers, or the first of its choices that is not null.

        Return None if the schema has neither a reference nor choices.
        """
        reference = schema.get("$ref")
        if isinstance(reference, str):
            target: Any = self._root
            for key in reference.removeprefix("#/").split("/"):
                target = target.get(key) if isinstance(target, dict) else None
            return target or {}
        for key in ("anyOf", "oneOf", "allOf"):
            if isinstance(schema.get(key), list):
                return next((choice for choice in schema[key] if choice != {"type": "null"}), {})
        return None

    def _of_type(self, schema: Json, depth: int) -> Any:
        types = schema.get("type")
        match (
            next((name for name in types if name != "null"), None)
            if isinstance(types, list)
            else types
        ):
            case "string":
                text = f"simulated {self._rng.integers(1000)}"
                text = text.ljust(min(_limit(schema, "minLength", 0), MAX_LETTERS), ".")
                return text[: max(_limit(schema, "maxLength", MAX_LETTERS), 0)]
            case "integer":
                return self._whole(schema)
            case "number":
                return float(self._whole(schema))
            case "boolean":
                return bool(self._rng.integers(2))
            case "array":
                count = min(max(_limit(schema, "minItems", 0), 0), self._left + 1)
                return [self.value(schema.get("items"), depth + 1) for _ in range(count)]
            case "object":
                return self.object(schema, depth)
        return None

    def _whole(self, schema: Json) -> int:
        minimum = _limit(schema, "minimum", 0)
        return minimum + int(
            self._rng.integers(max(1, _limit(schema, "maximum", minimum + 99) - minimum + 1))
        )


def _limit(schema: Json, key: str, default: int) -> int:
    value = schema.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1 << 52:
        return default
    return int(value)


class GeneratedCall(NamedTuple):
    """A function call. The `tokens`, when joined, are its arguments as JSON.

    `server` is the label of the MCP server that has the function; "" if the client has it.
    """

    name: str
    tokens: tuple[str, ...]
    server: str = ""


@dataclass(frozen=True)
class ResponseTools:
    """The functions that a response may call. `choice` is `auto`, `none` or `required`."""

    functions: Sequence[Json]
    choice: str
    parallel: bool

    @property
    def written(self) -> bytes:
        """The functions as the model reads them: as JSON; empty if there are none."""
        return msgspec.json.encode(self.functions) if self.functions else b""


def tools_of(settings: Json, mcp_tools: Sequence[Json] = ()) -> ResponseTools:
    """Return the functions of a response with these settings. `mcp_tools` are the listed tools of
    MCP servers.

    Raise RejectedError if the response must call a function, or the tool of a server, that is
    unknown.
    """
    own = [tool for tool in settings["tools"] if tool["type"] == "function"]
    labels = {tool["server_label"] for tool in settings["tools"] if tool["type"] == "mcp"}
    listed = [tool for tool in mcp_tools if tool["server_label"] in labels]
    choice = settings["tool_choice"]
    parallel = settings.get("parallel_tool_calls", True)
    if isinstance(choice, str):
        return ResponseTools([*own, *listed], choice, parallel)
    if choice["type"] == "mcp":
        return ResponseTools(_chosen_of_server(choice, labels, listed), "required", parallel)
    chosen = [function for function in (*own, *listed) if function["name"] == choice["name"]]
    if not chosen:
        raise _no_tool(choice["name"])
    return ResponseTools(chosen[:1], "required", parallel)


def _chosen_of_server(choice: Json, labels: Collection[str], listed: Sequence[Json]) -> list[Json]:
    """Return the tools of the MCP server that a choice names, or the one tool that it names.

    Return an empty list if they are not listed yet: then the response cannot call them.
    """
    label = choice["server_label"]
    name = choice.get("name")
    if label not in labels:
        raise _no_tool(label)
    tools = [tool for tool in listed if tool["server_label"] == label]
    chosen = [tool for tool in tools if name in (None, tool["name"])]
    if tools and not chosen:
        raise _no_tool(str(name))
    return chosen


def _no_tool(name: str) -> RejectedError:
    return RejectedError("invalid_value", f"'tools' has no '{name}'.", "tool_choice")


def calls_of(
    tools: ResponseTools,
    read: Sequence[ConversationItem],
    habits: FunctionCalls,
    rng: np.random.Generator,
) -> list[GeneratedCall]:
    """Return the function calls of a response that reads these items; an empty list if it
    answers the caller.
    """
    calls = tools.choice == "required"
    if tools.functions and tools.choice == "auto":
        rounds = _rounds(read)
        calls = (
            is_drawn(habits.share, rng)
            if rounds == 0
            else rounds is not None and rounds < habits.rounds
        )
    if not tools.functions or not calls:
        return []
    min_calls, max_calls = habits.parallel if tools.parallel else (1, 1)
    count = (
        min_calls
        if min_calls == max_calls
        else int(rng.integers(min_calls, max_calls, endpoint=True))
    )
    first = int(rng.integers(len(tools.functions)))
    names = {function["name"] for function in tools.functions}
    chosen = [tools.functions[(first + offset) % len(tools.functions)] for offset in range(count)]
    return [_call(function, names, habits, rng) for function in chosen]


CALLS = ("function_call", "mcp_call")


def _rounds(read: Sequence[ConversationItem]) -> int | None:
    """Return the number of responses with calls since the caller's last turn.

    None if that turn is already answered, or if there is no turn.
    """
    calling = set[str]()
    following = None
    # From the latest item back to the caller's last turn: each response that called something
    # counts as a round, and an answer in between means that the turn is over.
    for item in reversed([item for item in read if not item.filler]):
        kind = item.body["type"]
        role = item.body.get("role")
        if role == "user":
            return len(calling)
        if role == "assistant" and following not in CALLS:  # otherwise it is the preamble of a call
            return None
        if kind in CALLS:
            calling.add(item.response_id)
        following = kind
    return None


def _call(
    function: Json, declared: set[str], habits: FunctionCalls, rng: np.random.Generator
) -> GeneratedCall:
    name = function["name"]
    server = function.get("server_label", "")
    if not server and is_drawn(habits.wrong_name, rng):
        name = f"undeclared_{name}"
        while name in declared:
            name += "_"
    make = invalid_arguments if not server and is_drawn(habits.wrong_arguments, rng) else arguments
    text = msgspec.json.encode(make(function.get("parameters"), rng)).decode()
    size = LETTERS_PER_TEXT_TOKEN
    tokens = tuple(text[start : start + size] for start in range(0, len(text), size))
    return GeneratedCall(name, tokens, server)
