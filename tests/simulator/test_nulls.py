"""A null is taken wherever the official SDK's types are optional, and is as if nothing had been said.

Clients that send these types whole (LiveKit's plugin does) say null for all that they leave out.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from openai.types import realtime
from openai.types.beta.realtime import ConversationItem, ConversationItemContent, response_create_event
from openai.types.beta.realtime.session_update_event import Session as PreviewSession
from openai.types.beta.realtime.session_update_event import SessionClientSecret
from openai.types.realtime.realtime_conversation_item_user_message import Content
from pydantic import BaseModel

from bench.simulator.wire import AZURE_GA, AZURE_PREVIEW, GA, OPENAI_GA, OPENAI_PREVIEW, WireDialect
from tests.simulator.builders import answers, build_behaviour, user_text

GA_TYPES = {
    "session": realtime.RealtimeSessionCreateRequest,
    "response": realtime.RealtimeResponseCreateParams,
    "call": realtime.RealtimeConversationItemFunctionCall,
    "output": realtime.RealtimeConversationItemFunctionCallOutput,
    "message": realtime.RealtimeConversationItemUserMessage,
    "part": Content,
}
PREVIEW_TYPES = {
    "session": PreviewSession,
    "response": response_create_event.Response,
    "call": ConversationItem,
    "output": ConversationItem,
    "message": ConversationItem,
    "part": ConversationItemContent,
}
DIALECTS = {dialect: GA_TYPES if dialect.names is GA else PREVIEW_TYPES
            for dialect in (AZURE_GA, OPENAI_GA, AZURE_PREVIEW, OPENAI_PREVIEW)}  # fmt: skip
UNSUPPORTED = {SessionClientSecret}
"""Objects of which no more than their null is taken."""
NEEDED: dict[str, dict[str, Any]] = {
    "call": {"type": "function_call", "name": "f", "arguments": "{}"},
    "output": {"type": "function_call_output", "call_id": "c", "output": "1"},
    "message": user_text()["item"],
    "part": {"type": "input_text", "text": "Hi"},
}
"""What the service needs of an item, whatever the types say."""


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that a field may hold; those in lists are left out."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [] if annotation in UNSUPPORTED else [annotation]
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return [model for part in get_args(annotation) for model in models_in(part)]
    return []


def is_optional(annotation: Any) -> bool:
    return type(None) in get_args(annotation)


def needed(model: type[BaseModel]) -> dict[str, Any]:
    """The fields without a default: all of those in use are a word, a share or a constant."""
    required = {name: field.annotation for name, field in model.model_fields.items() if field.is_required()}
    plain = {name: 1.0 if kind is float else "x" for name, kind in required.items()}
    return plain | {name: get_args(kind)[0] for name, kind in required.items() if get_origin(kind) is Literal}


def with_a_null(model: type[BaseModel], given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The object with one null in it, for each of its optional fields, and for those of the objects within it."""
    for name, field in model.model_fields.items():
        if name in given:
            continue
        if is_optional(field.annotation):
            yield given | {name: None}
        for inner in models_in(field.annotation):
            yield from (given | {name: part} for part in with_a_null(inner, needed(inner)))


def messages(kind: str, model: type[BaseModel]) -> Iterator[dict[str, Any]]:
    for told in with_a_null(model, NEEDED.get(kind) or needed(model)):
        if kind == "session":
            yield {"type": "session.update", "session": told}
        elif kind == "response":
            yield {"type": "response.create", "response": told}
        else:
            item = NEEDED["message"] | {"content": [told]} if kind == "part" else told
            yield {"type": "conversation.item.create", "item": item}


CASES = [
    pytest.param(dialect, message, id=f"{dialect.name} {message}")
    for dialect, types in DIALECTS.items()
    for kind, model in types.items()
    for message in messages(kind, model)
]


CALL = {"type": "conversation.item.create", "item": NEEDED["call"] | {"call_id": NEEDED["output"]["call_id"]}}


@pytest.mark.parametrize(("dialect", "message"), CASES)
def test_a_null_is_taken_wherever_the_sdk_may_send_one(dialect: WireDialect, message: dict[str, Any]) -> None:
    assert [event for event in answers(build_behaviour(dialect), CALL, message) if event["type"] == "error"] == []


def test_the_types_hold_what_is_looked_for() -> None:
    """Were the SDK laid out in another way, nothing would be tried."""
    sent = [str(case.values[1]) for case in CASES]

    assert len(sent) > 150
    for part in ("'instructions': None", "'voice': None", "'rate': None", "'idle_timeout_ms': None", "'call_id': None"):
        assert any(part in message for message in sent), part


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_null_for_a_setting_leaves_it_as_it_was(dialect: WireDialect) -> None:
    voice: dict[str, Any] = (
        {"type": "realtime", "audio": {"output": {"voice": None}, "input": None}}
        if dialect.names is GA
        else {"voice": None, "input_audio_format": None}
    )
    behaviour = build_behaviour(dialect)
    before = dict(behaviour.session)
    answers(behaviour, {"type": "session.update", "session": voice | {"instructions": None}})

    assert behaviour.session == before


def test_turn_detection_is_still_put_out_by_a_null() -> None:
    behaviour = build_behaviour(AZURE_PREVIEW)
    answers(behaviour, {"type": "session.update", "session": {"turn_detection": None}})

    assert behaviour.session["turn_detection"] is None


def test_a_null_for_a_key_that_nobody_knows_is_a_mistake_all_the_same() -> None:
    (event,) = answers(build_behaviour(OPENAI_PREVIEW), {"type": "session.update", "session": {"voise": None}})

    assert event["error"]["code"] == "unknown_parameter"
