"""The simulated model calls the functions that a client declares, and answers their outputs."""

from __future__ import annotations

from typing import Any

import pytest

from bench.simulator.behaviour import Behaviour
from bench.simulator.conversation.items import text_tokens
from bench.simulator.profile import AnswerParts, FunctionCalls
from bench.simulator.wire import AZURE_GA, AZURE_PREVIEW, GA, WireDialect
from tests.simulator.builders import (
    AT_NS,
    CREATE,
    MS,
    all_of,
    answers,
    append,
    begun,
    build_behaviour,
    create,
    done,
    drain,
    function,
    listening,
    one,
    output,
    session_update,
    sound,
    squeezed,
    talk,
    types,
    user_text,
)
from tests.simulator.sdk_types import assert_typed

DIALECTS = (AZURE_GA, AZURE_PREVIEW)
PARCEL = function("find_parcel", number={"type": "string", "example": "RX 17"})
WEATHER = function("weather")
CALL = ["response.output_item.added", "conversation.item.added", "response.function_call_arguments.delta",
        "response.function_call_arguments.done", "conversation.item.done", "response.output_item.done"]  # fmt: skip


def with_tools(
    *tools: dict[str, Any], dialect: WireDialect = AZURE_GA, seed: int = 1, settings: Any = None, **habits: Any
) -> Behaviour:
    """A session that declares these functions; `habits` are of the profile's `functions`."""
    behaviour = build_behaviour(dialect, seed=seed, functions=FunctionCalls(**habits))
    answers(behaviour, session_update(dialect, tools=list(tools or [PARCEL]), **(settings or {})))
    return behaviour


def calls(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The calls of the one response in these events."""
    return [item for item in done(events)["output"] if item["type"] == "function_call"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_call_is_announced_written_and_closed_in_the_order_of_the_captures(dialect: WireDialect) -> None:
    events = answers(with_tools(dialect=dialect), user_text(), CREATE)

    in_ga = dialect.names is GA
    created = ["conversation.item.added", "conversation.item.done"] if in_ga else ["conversation.item.created"]
    call = CALL if in_ga else [name.replace("item.added", "item.created") if name.startswith("conversation") else name
                               for name in CALL if name != "conversation.item.done"]  # fmt: skip
    assert squeezed(types(events)) == [*created, "response.created", *call, "response.done", "rate_limits.updated"]
    assert_typed(dialect, events)


def test_the_arguments_come_in_tokens_and_whole_everywhere_else() -> None:
    behaviour = with_tools()
    events = answers(behaviour, user_text(), CREATE)

    (call,) = calls(events)
    retrieve = {"type": "conversation.item.retrieve", "item_id": call["id"]}
    kept = answers(behaviour, retrieve)[0]["item"]
    (announced, *_) = [event["item"] for event in all_of(events, "output_item.added")]
    assert "".join(event["delta"] for event in all_of(events, "arguments.delta")) == call["arguments"]
    assert one(events, "arguments.done")["arguments"] == call["arguments"] == '{"number":"RX 17"}'
    assert one(events, "arguments.done")["name"] == call["name"] == announced["name"] == "find_parcel"
    assert (announced["status"], announced["arguments"], call["status"]) == ("in_progress", "", "completed")
    assert kept == call
    assert done(events)["usage"]["output_tokens"] == len(all_of(events, "arguments.delta"))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_response_behind_the_outputs_answers_and_the_next_turn_calls_again(dialect: WireDialect) -> None:
    behaviour = with_tools(dialect=dialect)
    (call,) = calls(answers(behaviour, user_text(), CREATE))

    answer = answers(behaviour, output(call["call_id"]), CREATE)
    again = answers(behaviour, user_text(), CREATE)

    assert [item["type"] for item in done(answer)["output"]] == ["message"]
    assert calls(again)[0]["call_id"] != call["call_id"]
    assert_typed(dialect, answer)


def test_what_is_heard_by_voice_activity_is_answered_by_a_call() -> None:
    behaviour = listening()
    answers(behaviour, session_update(AZURE_GA, tools=[PARCEL]))

    events = talk(behaviour, sound(0, 300, 800, 400)) + drain(behaviour)

    assert [call["name"] for call in calls(events)] == ["find_parcel"]


def test_nobody_is_called_for_who_says_nothing_or_was_answered() -> None:
    behaviour = with_tools()

    greeting = answers(behaviour, create(instructions="Greet the caller."))
    answered = answers(behaviour, user_text(), create(tool_choice="none"))
    more = answers(behaviour, CREATE)

    assert calls(greeting) == calls(answered) == calls(more) == []


@pytest.mark.parametrize(
    ("choice", "names"),
    [("none", []), ("auto", ["find_parcel"]), ("required", ["find_parcel"]),
     ({"type": "function", "name": "weather"}, ["weather"])],
)  # fmt: skip
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_choice_of_tools_is_kept(dialect: WireDialect, choice: Any, names: list[str]) -> None:
    by_response = answers(with_tools(PARCEL, WEATHER, dialect=dialect), user_text(), create(tool_choice=choice))
    by_session = answers(
        with_tools(PARCEL, WEATHER, dialect=dialect, settings={"tool_choice": choice}), user_text(), CREATE
    )

    assert len(calls(by_response)) == len(names)
    if choice != "auto" and choice != "required":
        assert [call["name"] for call in calls(by_response)] == names
    assert calls(by_session) == calls(by_response)


def test_what_is_required_calls_even_behind_outputs() -> None:
    behaviour = with_tools()
    (call,) = calls(answers(behaviour, user_text(), CREATE))

    assert calls(answers(behaviour, output(call["call_id"]), create(tool_choice="required")))


def test_the_tools_of_a_response_are_those_that_it_may_call() -> None:
    behaviour = with_tools(PARCEL)

    other = answers(behaviour, user_text(), create(tools=[WEATHER]))
    none = answers(behaviour, user_text(), create(tools=[]))

    assert [call["name"] for call in calls(other)] == ["weather"]
    assert calls(none) == []


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        (session_update(AZURE_GA, tools=[{"type": "function"}]), "missing_required_parameter", "session.tools[0].name"),
        (session_update(AZURE_GA, tools=[{"type": "?", "name": "f"}]), "invalid_value", "session.tools[0].type"),
        (create(tool_choice={"type": "function", "name": "nobody"}), "invalid_value", "tool_choice"),
        (output("call_nobody"), "invalid_tool_call_id", None),
    ],
)
def test_a_mistake_about_functions_is_an_error(message: dict[str, Any], code: str, param: str | None) -> None:
    (error,) = answers(with_tools(), message)

    assert (error["error"]["code"], error["error"]["param"]) == (code, param)


def test_calls_in_parallel_are_written_one_after_the_other() -> None:
    events = answers(with_tools(PARCEL, WEATHER, parallel=(3, 3)), user_text(), CREATE)

    items = [event["item_id"] for event in all_of(events, "arguments.done")]
    places = [event["output_index"] for event in all_of(events, "output_item.added")]
    assert squeezed(types(events))[3:-2] == CALL * 3
    assert [call["id"] for call in calls(events)] == items
    assert places == [0, 1, 2]
    assert len({call["call_id"] for call in calls(events)}) == 3
    assert {call["name"] for call in calls(events)} == {"find_parcel", "weather"}
    assert_typed(AZURE_GA, events)


def test_a_client_may_forbid_calls_in_parallel() -> None:
    behaviour = with_tools(PARCEL, parallel=(2, 2), settings={"parallel_tool_calls": False})

    assert len(calls(answers(behaviour, user_text(), CREATE))) == 1
    assert len(calls(answers(behaviour, user_text(), create(parallel_tool_calls=True)))) == 2


def test_so_many_rounds_call_before_one_answers() -> None:
    behaviour, made = with_tools(rounds=3, parallel=(2, 2)), []
    events = answers(behaviour, user_text(), CREATE)
    while calls(events):
        made.append(len(calls(events)))
        events = answers(behaviour, *(output(call["call_id"]) for call in calls(events)), CREATE)

    assert made == [2, 2, 2]
    assert [item["type"] for item in done(events)["output"]] == ["message"]


def test_an_output_that_comes_between_two_calls_begins_no_further_round() -> None:
    behaviour = with_tools(rounds=2, parallel=(2, 2))
    events, now_ns = begun(behaviour, "arguments.done", user_text(), CREATE)

    behaviour.receive(output(one(events, "arguments.done")["call_id"]), now_ns)
    events += drain(behaviour)
    second = answers(behaviour, output(calls(events)[1]["call_id"]), CREATE)

    assert len(calls(second)) == 2


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_preamble_is_spoken_and_closed_before_the_call(dialect: WireDialect) -> None:
    behaviour = with_tools(dialect=dialect, preamble=1.0, rounds=2)
    events = answers(behaviour, user_text(), CREATE)

    spoken, named = (event["due_ns"] for event in all_of(events, "output_item.added"))
    closed = all_of(events, "output_item.done")[0]["due_ns"]
    message, call = done(events)["output"]
    places = {event["output_index"] for event in all_of(events, "arguments.delta")}
    assert (message["type"], call["type"], places) == ("message", "function_call", {1})
    assert "phase" not in message
    assert spoken < closed < named
    assert calls(answers(behaviour, output(call["call_id"]), CREATE))
    assert_typed(dialect, events)


def test_a_preamble_is_a_commentary_where_messages_tell_their_phase() -> None:
    behaviour = build_behaviour(functions=FunctionCalls(preamble=1.0), preamble=AnswerParts(share=0.5))
    answers(behaviour, session_update(AZURE_GA, tools=[PARCEL]))

    message, _ = done(answers(behaviour, user_text(), CREATE))["output"]

    assert message["phase"] == "commentary"


def test_shares_of_the_profile_are_drawn_by_the_seed() -> None:
    def drawn(seed: int) -> list[list[str]]:
        behaviour = with_tools(seed=seed, share=0.5, wrong_name=0.5, preamble=0.5)
        events = [answers(behaviour, user_text(), CREATE) for _ in range(12)]
        return [[item.get("name", "message") for item in done(turn)["output"]] for turn in events]

    outputs = drawn(1)
    assert drawn(1) == outputs != drawn(2)
    assert {len(names) for names in outputs} == {1, 2}
    assert {name for names in outputs for name in names} == {"message", "find_parcel", "undeclared_find_parcel"}


def test_wrong_arguments_do_not_have_what_is_required() -> None:
    (call,) = calls(answers(with_tools(wrong_arguments=1.0), user_text(), CREATE))

    assert call["arguments"] == '{"undeclared":true}'


def test_instants_of_a_call_follow_the_profile() -> None:
    behaviour = listening(
        None,
        delays={"function_named": 350, "response_created": 50, "response_done": 8},
        functions=FunctionCalls(arguments_tokens_per_s=100.0),
    )
    answers(behaviour, session_update(AZURE_GA, tools=[PARCEL]))
    behaviour.receive(user_text(), AT_NS)
    behaviour.receive(CREATE, AT_NS)

    events = drain(behaviour)

    at_ms = {event["type"]: (event["due_ns"] - AT_NS) / MS for event in events}
    tokens = len(all_of(events, "arguments.delta"))
    assert at_ms["response.created"] == 50
    assert at_ms["response.output_item.added"] == 350
    assert at_ms["response.function_call_arguments.done"] == pytest.approx(350 + 10 * tokens)
    assert at_ms["response.done"] == pytest.approx(350 + 10 * tokens + 8)


def test_a_cancel_closes_a_call_with_the_arguments_that_were_written() -> None:
    behaviour = with_tools()
    before, now_ns = begun(behaviour, "arguments.delta", user_text(), CREATE)

    behaviour.receive({"type": "response.cancel"}, now_ns)
    after = drain(behaviour)

    (call,) = calls(after)
    assert types(after)[0] == "response.function_call_arguments.done"
    assert call["arguments"] == "".join(event["delta"] for event in all_of(before, "arguments.delta"))
    assert (call["status"], done(after)["status"]) == ("incomplete", "cancelled")
    assert_typed(AZURE_GA, before + after)


def test_a_cancel_between_a_preamble_and_its_call_leaves_the_preamble_as_it_is() -> None:
    behaviour = with_tools(preamble=1.0)
    _, now_ns = begun(behaviour, "output_item.done", user_text(), CREATE)

    behaviour.receive({"type": "response.cancel"}, now_ns)
    after = drain(behaviour)

    assert types(after) == ["response.done", "rate_limits.updated"]
    assert [item["status"] for item in done(after)["output"]] == ["completed"]


def test_a_cap_counts_arguments_too() -> None:
    (call,) = calls(events := answers(with_tools(), user_text(), create(max_output_tokens=2)))

    assert (call["arguments"], call["status"]) == ('{"number', "incomplete")
    assert one(events, "response.done")["due_ns"] > one(events, "arguments.done")["due_ns"]
    assert (done(events)["status"], done(events)["usage"]["output_tokens"]) == ("incomplete", 2)


def test_calls_out_of_band_are_in_the_response_alone() -> None:
    behaviour = with_tools()
    aside = create(conversation="none", input=[user_text()["item"]])

    events = answers(behaviour, aside)

    (call,) = calls(events)
    assert not all_of(events, "conversation.item.added")
    (error,) = answers(behaviour, output(call["call_id"]))
    assert error["error"]["code"] == "invalid_tool_call_id"


def test_calls_and_outputs_are_input_of_what_follows() -> None:
    behaviour = with_tools()
    first = answers(behaviour, append(1000), {"type": "input_audio_buffer.commit"}, CREATE)
    (call,) = calls(first)

    second = answers(behaviour, output(call["call_id"], "x" * 400), CREATE)

    grown = done(second)["usage"]["input_tokens"] - done(first)["usage"]["input_tokens"]
    assert grown == done(first)["usage"]["output_tokens"] + text_tokens(call["call_id"]) + 100


def test_events_of_calls_tell_the_truth_log_their_item_and_call() -> None:
    behaviour = with_tools()
    behaviour.receive(user_text(), AT_NS)
    behaviour.receive(CREATE, AT_NS)

    sent = [event for event in behaviour.due(1 << 62) if "function_call" in event.type]
    call_id = sent[0].call_id or ""
    received = behaviour.receive(output(call_id), AT_NS)

    assert call_id.startswith("call_")
    assert {(event.item_id, event.call_id) for event in sent} == {(sent[0].item_id, call_id)}
    assert received.call_id == call_id
    assert received.item_id not in (None, sent[0].item_id)
