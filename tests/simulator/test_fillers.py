"""Fillers, as Azure Voice Live speaks them where a session asks for them: ahead of a late answer, and during calls."""

from __future__ import annotations

from typing import Any

import pytest

from bench.simulator.answering.responses import AFTER_CALL_NS
from bench.simulator.behaviour import Behaviour
from bench.simulator.delay import LogNormal
from bench.simulator.profile import FunctionCalls, default_profile
from bench.simulator.wire import AZURE_GA, AZURE_PREVIEW, VOICE_LIVE, WireDialect
from tests.simulator.builders import (
    AT_NS,
    CREATE,
    HELLO,
    MS,
    all_of,
    answers,
    begun,
    build_behaviour,
    create,
    done,
    drain,
    function,
    one,
    output,
    session_update,
    types,
    user_text,
)

STATIC = {"type": "static_interim_response", "texts": ["One moment."]}


def asking(*triggers: str, first_audio_ms: float = 3_000, **setting: Any) -> Behaviour:
    """A session that asks for fillers, may call a function in each turn, and answers after so long."""
    delays = default_profile().delays
    slow = {name: LogNormal(first_audio_ms, first_audio_ms) for name in ("first_audio", "first_text")}
    changes: dict[str, Any] = {"delays": delays.__class__(**vars(delays) | slow), "functions": FunctionCalls(share=0.0)}
    behaviour = build_behaviour(VOICE_LIVE, **changes)
    wanted = STATIC | {"triggers": list(triggers)} | setting
    (updated,) = answers(behaviour, session_update(VOICE_LIVE, interim_response=wanted))
    assert updated["session"]["interim_response"]["triggers"] == list(triggers)
    return behaviour


def test_an_answer_that_is_late_has_a_filler_ahead_which_does_not_say_what_it_is() -> None:
    behaviour = asking("latency", latency_threshold_ms=500)

    events = answers(behaviour, user_text(), CREATE)

    audio = [event for event in events if event["type"].endswith("audio.delta")]
    filler, answer = dict.fromkeys(event["item_id"] for event in audio)
    assert audio[0]["due_ns"] == AT_NS + 500 * MS
    assert next(event["due_ns"] for event in audio if event["item_id"] == answer) == AT_NS + 3_000 * MS
    (response,) = (event["response"] for event in all_of(events, "response.done"))
    assert [item["id"] for item in response["output"]] == [filler, answer]
    assert all("phase" not in item for item in response["output"])


@pytest.mark.parametrize(("first_audio_ms", "threshold_ms"), [(400, 500), (500, 500), (1_900, None)])
def test_an_answer_in_time_has_none(first_audio_ms: float, threshold_ms: int | None) -> None:
    threshold = {} if threshold_ms is None else {"latency_threshold_ms": threshold_ms}
    behaviour = asking("latency", first_audio_ms=first_audio_ms, **threshold)

    assert len(all_of(answers(behaviour, user_text(), CREATE), "output_item.added")) == 1


def test_an_answer_in_text_or_of_a_session_that_asks_for_fillers_during_calls_alone_has_none() -> None:
    written = {"type": "response.create", "response": {"modalities": ["text"]}}

    assert len(all_of(answers(asking("latency"), user_text(), written), "output_item.added")) == 1
    assert len(all_of(answers(asking("tool"), user_text(), CREATE), "output_item.added")) == 1


def calling(*triggers: str) -> tuple[Behaviour, list[dict[str, Any]]]:
    """A session in which a function was just called, and what was said of that."""
    behaviour = asking(*triggers)
    tools = [function("find_parcel")]
    answers(behaviour, session_update(VOICE_LIVE, tools=tools, tool_choice="required"))
    drain(behaviour)
    return behaviour, begun(behaviour, "response.done", user_text(), CREATE)[0]


def test_while_a_function_runs_a_filler_is_a_response_of_its_own_and_no_other_is_taken_meanwhile() -> None:
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


def test_the_model_goes_on_behind_a_filler_as_if_there_was_none() -> None:
    behaviour, called = calling("tool")
    call_id = one(called, "function_call_arguments.done")["call_id"]
    now_ns = drain(behaviour)[-1]["due_ns"]
    plain = session_update(VOICE_LIVE, tool_choice="auto")

    for event in (plain, output(call_id), CREATE):
        behaviour.receive(event, now_ns)
    (response,) = (event["response"] for event in all_of(drain(behaviour), "response.done"))

    assert [item["type"] for item in response["output"]] == ["message"]


def test_a_function_that_returns_at_once_leaves_no_time_for_a_filler() -> None:
    behaviour, called = calling("tool")
    done_ns = one(called, "response.done")["due_ns"]
    returned = output(one(called, "function_call_arguments.done")["call_id"])
    for event in (session_update(VOICE_LIVE, tool_choice="auto"), returned, CREATE):
        behaviour.receive(event, done_ns + 1)

    events = drain(behaviour)

    assert len(all_of(events, "response.created")) == 1
    assert "error" not in types(events)


def test_a_response_may_have_a_setting_of_its_own() -> None:
    late = {"interim_response": STATIC | {"latency_threshold_ms": 100}}

    events = answers(asking("tool"), user_text(), create(**late))

    assert len(all_of(events, "output_item.added")) == 2


@pytest.mark.parametrize("dialect", [AZURE_GA, AZURE_PREVIEW])
def test_no_other_service_takes_the_setting(dialect: WireDialect) -> None:
    refused = answers(build_behaviour(dialect), session_update(dialect, interim_response=STATIC))

    assert one(refused, "error")["error"]["code"] == "unknown_parameter"
