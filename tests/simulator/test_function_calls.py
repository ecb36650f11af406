"""The simulated model calls the functions that a client declares, and answers their outputs."""

from __future__ import annotations

from typing import Any

import jsonschema
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtbench_simulator.behaviour import Behaviour, WireDialect
from rtbench_simulator.profile import FunctionCalls, quiet_profile
from rtbench_simulator.responses.function_calls import arguments, invalid_arguments
from rtbench_simulator.responses.lifecycle import AFTER_CALL_NS
from rtbench_simulator.services.azure import AZURE_GA, AZURE_PREVIEW
from rtbench_simulator.services.voice_live import VOICE_LIVE
from tests.simulator.builders import (
    AT_NS,
    CREATE,
    HELLO,
    JSON,
    MS,
    all_of,
    answers,
    begun,
    build_behaviour,
    constant,
    create,
    done,
    drain,
    function,
    one,
    session_update,
    user_text,
)

DIALECTS = (AZURE_GA, AZURE_PREVIEW)
PARCEL = function("find_parcel", number={"type": "string", "example": "RX 17"})
WEATHER = function("weather")


def with_tools(
    *tools: dict[str, Any],
    dialect: WireDialect = AZURE_GA,
    seed: int = 1,
    settings: Any = None,
    **habits: Any,
) -> Behaviour:
    """Return a session that declares these functions; `habits` are settings of `functions` in
    the profile.
    """
    behaviour = build_behaviour(dialect, seed=seed, functions=FunctionCalls(**habits))
    answers(behaviour, session_update(dialect, tools=list(tools or [PARCEL]), **(settings or {})))
    return behaviour


def calls(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the function calls of the one response in these events."""
    return [item for item in done(events)["output"] if item["type"] == "function_call"]


def test_arguments_are_streamed_by_token_and_complete_in_other_events() -> None:
    behaviour = with_tools()
    events = answers(behaviour, user_text(), CREATE)

    (call,) = calls(events)
    retrieve = {"type": "conversation.item.retrieve", "item_id": call["id"]}
    kept = answers(behaviour, retrieve)[0]["item"]
    announced, *_ = [event["item"] for event in all_of(events, "output_item.added")]
    assert (
        "".join(event["delta"] for event in all_of(events, "arguments.delta")) == call["arguments"]
    )
    assert one(events, "arguments.done")["arguments"] == call["arguments"] == '{"number":"RX 17"}'
    assert (
        one(events, "arguments.done")["name"] == call["name"] == announced["name"] == "find_parcel"
    )
    assert (announced["status"], announced["arguments"], call["status"]) == (
        "in_progress",
        "",
        "completed",
    )
    assert kept == call
    assert done(events)["usage"]["output_tokens"] == len(all_of(events, "arguments.delta"))


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("none", []),
        ("auto", ["find_parcel"]),
        ("required", ["find_parcel"]),
        ({"type": "function", "name": "weather"}, ["weather"]),
    ],
)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_tool_choice_determines_the_function_calls(
    dialect: WireDialect, choice: Any, names: list[str]
) -> None:
    by_response = answers(
        with_tools(PARCEL, WEATHER, dialect=dialect), user_text(), create(tool_choice=choice)
    )
    by_session = answers(
        with_tools(PARCEL, WEATHER, dialect=dialect, settings={"tool_choice": choice}),
        user_text(),
        CREATE,
    )

    assert len(calls(by_response)) == len(names)
    if choice != "auto" and choice != "required":
        assert [call["name"] for call in calls(by_response)] == names
    assert calls(by_session) == calls(by_response)


def test_a_token_limit_includes_arguments() -> None:
    (call,) = calls(events := answers(with_tools(), user_text(), create(max_output_tokens=2)))

    assert (call["arguments"], call["status"]) == ('{"number', "incomplete")
    assert one(events, "response.done")["due_ns"] > one(events, "arguments.done")["due_ns"]
    assert (done(events)["status"], done(events)["usage"]["output_tokens"]) == ("incomplete", 2)


# Answers in parts: a preamble, a pause, and the answer.


# Fillers that Azure Voice Live speaks before a late answer and during function calls, if a session
# requests them.


STATIC = {"type": "static_interim_response", "texts": ["One moment."]}


def asking(*triggers: str, first_audio_ms: float = 3_000, **setting: Any) -> Behaviour:
    """Return a session with fillers. It may call a function in each turn and answers after
    `first_audio_ms`.
    """
    delays = quiet_profile().delays
    slow = {name: constant(first_audio_ms) for name in ("first_audio", "first_text")}
    changes: dict[str, Any] = {
        "delays": delays.__class__(**vars(delays) | slow),
        "functions": FunctionCalls(share=0.0),
    }
    behaviour = build_behaviour(VOICE_LIVE, **changes)
    wanted = STATIC | {"triggers": list(triggers)} | setting
    (updated,) = answers(behaviour, session_update(VOICE_LIVE, interim_response=wanted))
    assert updated["session"]["interim_response"]["triggers"] == list(triggers)
    return behaviour


def test_a_late_answer_has_an_unmarked_filler_before_it() -> None:
    behaviour = asking("latency", latency_threshold_ms=500)

    events = answers(behaviour, user_text(), CREATE)

    audio = [event for event in events if event["type"].endswith("audio.delta")]
    filler, answer = dict.fromkeys(event["item_id"] for event in audio)
    assert audio[0]["due_ns"] == AT_NS + 500 * MS
    assert (
        next(event["due_ns"] for event in audio if event["item_id"] == answer) == AT_NS + 3_000 * MS
    )
    (response,) = (event["response"] for event in all_of(events, "response.done"))
    assert [item["id"] for item in response["output"]] == [filler, answer]
    assert all("phase" not in item for item in response["output"])


def calling(*triggers: str) -> tuple[Behaviour, list[dict[str, Any]]]:
    """Return a session that has just called a function, and the events of the call."""
    behaviour = asking(*triggers)
    tools = [function("find_parcel")]
    answers(behaviour, session_update(VOICE_LIVE, tools=tools, tool_choice="required"))
    drain(behaviour)
    return behaviour, begun(behaviour, "response.done", user_text(), CREATE)[0]


def test_a_filler_during_a_function_call_is_a_separate_and_exclusive_response() -> None:
    behaviour, called = calling("tool")
    done_ns = one(called, "response.done")["due_ns"]

    begun = drain(behaviour, done_ns + AFTER_CALL_NS)
    behaviour.receive(CREATE, done_ns + AFTER_CALL_NS)
    events = begun + drain(behaviour)

    assert one(events, "response.created")["due_ns"] == done_ns + AFTER_CALL_NS
    assert one(events, "error")["error"]["code"] == "conversation_already_has_active_response"
    response = done(events)
    assert (response["usage"]["input_tokens"], response["status"]) == (0, "completed")
    assert response["output"][0]["content"][0]["transcript"] == HELLO


def test_a_response_may_override_the_filler_setting() -> None:
    late = {"interim_response": STATIC | {"latency_threshold_ms": 100}}

    events = answers(asking("tool"), user_text(), create(**late))

    assert len(all_of(events, "output_item.added")) == 2


# The arguments of a simulated function call are valid for the schema of the function.


SIMPLE = st.one_of(
    st.just({"type": "string"}),
    st.builds(
        lambda least, more: {"type": "string", "minLength": least, "maxLength": least + more},
        st.integers(0, 40),
        st.integers(0, 20),
    ),
    st.builds(
        lambda kind, least, more: {"type": kind, "minimum": least, "maximum": least + more},
        st.sampled_from(["integer", "number"]),
        st.integers(-50, 500),
        st.integers(0, 5),
    ),
    st.just({"type": ["null", "boolean"]}),
    st.builds(lambda word: {"enum": [word, "other"]}, st.text(max_size=5)),
    st.builds(lambda word: {"const": word}, st.text(max_size=5)),
    st.builds(lambda word: {"type": "string", "default": word}, st.text(max_size=5)),
    st.just({"$ref": "#/$defs/colour"}),
)
NAMES = st.text("abc", min_size=1, max_size=3)


def object_of(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(NAMES, inner, max_size=3).flatmap(
        lambda properties: st.sets(
            st.sampled_from(sorted(properties)) if properties else st.nothing()
        ).map(
            lambda required: {
                "type": "object",
                "properties": properties,
                "required": sorted(required),
            }
        )
    )


SCHEMAS = object_of(
    st.recursive(
        SIMPLE,
        lambda inner: (
            object_of(inner)
            | st.builds(
                lambda items, least: {"type": "array", "items": items, "minItems": least},
                inner,
                st.integers(0, 2),
            )
            | st.builds(lambda choice: {"anyOf": [{"type": "null"}, choice]}, inner)
        ),
        max_leaves=6,
    )
).map(lambda schema: schema | {"$defs": {"colour": {"enum": ["red", "green"]}}})


@given(schema=SCHEMAS, seed=st.integers(0, 100))
def test_arguments_match_their_schema_with_only_the_required_properties(
    schema: dict[str, Any], seed: int
) -> None:
    values = arguments(schema, np.random.default_rng(seed))

    jsonschema.validate(values, schema)
    assert list(values) == schema["required"]
    assert arguments(schema, np.random.default_rng(seed)) == values


@given(schema=SCHEMAS)
def test_unfit_arguments_lack_a_required_property_and_have_an_undeclared_one(
    schema: dict[str, Any],
) -> None:
    values = invalid_arguments(schema, np.random.default_rng(1))

    assert values["undeclared"] is True
    assert [name for name in schema["required"] if name not in values] == schema["required"][:1]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"const": 1, "example": 2, "default": 3, "enum": [4]}, 1),
        ({"example": 2, "default": 3, "enum": [4]}, 2),
        ({"type": "integer", "default": 3, "enum": [4]}, 3),
        ({"examples": ["a", "b"], "enum": [4]}, "a"),
        ({"type": "integer", "enum": [4, 5]}, 4),
    ],
)
def test_a_value_in_the_schema_has_priority_over_its_type(
    schema: dict[str, Any], value: Any
) -> None:
    parameters = {"type": "object", "properties": {"it": schema}, "required": ["it"]}

    assert arguments(parameters, np.random.default_rng(1)) == {"it": value}


def test_a_recursive_schema_gives_finite_arguments() -> None:
    names = [str(number) for number in range(20)]
    schema = {
        "type": "object",
        "properties": {name: {"$ref": "#"} for name in names},
        "required": names,
    }

    assert len(msgspec.json.encode(arguments(schema, np.random.default_rng(1)))) < 100_000


@given(schema=JSON | st.dictionaries(st.sampled_from(["properties", "required", "type"]), JSON))
def test_any_schema_gives_arguments(schema: Any) -> None:
    assert isinstance(arguments(schema, np.random.default_rng(1)), dict)
