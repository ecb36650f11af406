"""A null is taken for whatever may be left out, and is as if nothing had been said; strictly, only where the official
SDK has one: in its types, or in what their texts say.

Clients that send these types whole (LiveKit's plugin does) say null for all that they leave out.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from types import UnionType
from typing import Any, Literal, Required, Union, get_args, get_origin

import pytest
from openai.types import realtime
from openai.types.beta.realtime import ConversationItemContentParam, ConversationItemParam
from openai.types.beta.realtime import conversation_item_create_event_param as preview_items
from openai.types.beta.realtime import conversation_item_with_reference_param as preview_input
from openai.types.beta.realtime import response_create_event_param as preview_responses
from openai.types.beta.realtime import session_update_event_param as preview_sessions
from openai.types.beta.realtime import transcription_session_update_param as preview_transcriptions
from openai.types.realtime import conversation_item_create_event_param as ga_items
from openai.types.realtime import realtime_conversation_item_assistant_message_param as assistant_messages
from openai.types.realtime import realtime_conversation_item_system_message_param as system_messages
from openai.types.realtime import realtime_conversation_item_user_message_param as ga_messages
from openai.types.realtime import response_create_event_param as ga_responses
from openai.types.realtime import session_update_event_param as ga_sessions
from typing_extensions import get_type_hints, is_typeddict

from bench.simulator.wire import AZURE_GA, AZURE_PREVIEW, GA, OPENAI_GA, OPENAI_PREVIEW, WireDialect
from tests.simulator.builders import answers, build_behaviour, user_text

EVENTS: dict[bool, dict[str, Any]] = {
    True: {
        "session.update": ga_sessions.SessionUpdateEventParam,
        "response.create": ga_responses.ResponseCreateEventParam,
        "conversation.item.create": ga_items.ConversationItemCreateEventParam,
    },
    False: {
        "session.update": preview_sessions.SessionUpdateEventParam,
        "response.create": preview_responses.ResponseCreateEventParam,
        "conversation.item.create": preview_items.ConversationItemCreateEventParam,
    },
}
DIALECTS = (AZURE_GA, OPENAI_GA, AZURE_PREVIEW, OPENAI_PREVIEW)
UNSUPPORTED = {
    preview_sessions.SessionClientSecret,
    preview_transcriptions.SessionClientSecret,
    realtime.RealtimeTranscriptionSessionCreateRequestParam,  # of another kind of session
    realtime.RealtimeConversationItemFunctionCallOutputParam,  # of another item
}
"""Objects of which no more than their null is taken here, as of all that is of servers of MCP."""
TEXT = {"type": "input_text", "text": "Hi"}
MESSAGE = user_text()["item"]
NEEDED: dict[Any, dict[str, Any]] = {
    ga_messages.Content: TEXT,
    system_messages.Content: TEXT,
    assistant_messages.Content: {"type": "output_text", "text": "Hi"},
    realtime.RealtimeConversationItemUserMessageParam: MESSAGE,
    realtime.RealtimeConversationItemSystemMessageParam: MESSAGE | {"role": "system"},
    realtime.RealtimeConversationItemAssistantMessageParam: {"content": [{"type": "output_text", "text": "Hi"}]},
    realtime.RealtimeFunctionToolParam: {"name": "f"},
    preview_sessions.SessionTool: {"name": "f"},
    preview_responses.ResponseTool: {"name": "f"},
    ConversationItemParam: MESSAGE,
    preview_input.ConversationItemWithReferenceParam: MESSAGE,
    preview_input.Content: TEXT,
    ConversationItemContentParam: TEXT,
}
"""What the service needs of an object, whatever the types say."""


def branches(annotation: Any) -> list[Any]:
    """The types of a union; of any other type itself."""
    if get_origin(annotation) in (Union, UnionType):
        return [branch for part in get_args(annotation) for branch in branches(part)]
    return [annotation]


def objects_in(annotation: Any) -> list[tuple[Any, bool]]:
    """The objects that a field may hold, each with whether it is in an array."""
    found = [(branch, False) for branch in branches(annotation) if is_typeddict(branch)]
    for branch in branches(annotation):
        if get_origin(branch) not in (None, dict, Literal) and get_args(branch):
            found += [(entry, True) for entry in branches(get_args(branch)[0]) if is_typeddict(entry)]
    return [entry for entry in found if entry[0] not in UNSUPPORTED and "Mcp" not in entry[0].__name__]


@cache
def texts(kind: Any) -> dict[str, str]:
    """What the SDK says of each field."""
    tree = ast.parse(inspect.getsource(sys.modules[kind.__module__]))
    (body,) = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__]
    return {
        field.target.id: ast.literal_eval(text.value)
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }


def says_null(kind: Any, key: str) -> bool:
    """Whether the SDK has a null for this field."""
    in_type = type(None) in branches(get_type_hints(kind)[key])
    return in_type or re.search(r"[Ss]et to\s+`?null", texts(kind).get(key, "")) is not None


def plain(annotation: Any) -> Any:
    (first, *_) = branches(annotation)
    if is_typeddict(first):
        return least(first)
    if get_origin(first) is Literal:
        return get_args(first)[0]
    return {str: "x", int: 1, float: 0.5, bool: True}.get(first, [] if get_origin(first) else {})


def least(kind: Any) -> dict[str, Any]:
    """An object with no more than it must have."""
    required = [key for key, hint in get_type_hints(kind, include_extras=True).items() if get_origin(hint) is Required]
    hints = get_type_hints(kind)
    return {key: plain(hints[key]) for key in required} | NEEDED.get(kind, {})


def with_a_null(kind: Any) -> Iterator[tuple[dict[str, Any], bool]]:
    """The object with one null in it, wherever in it something may be left out; and whether the SDK has that null."""
    given = least(kind)
    for key, annotation in get_type_hints(kind).items():
        if key not in given:
            yield given | {key: None}, says_null(kind, key)
        for inner, listed in objects_in(annotation):
            for part, said in with_a_null(inner):
                yield given | {key: [part] if listed else part}, said


def transcriptions(dialect: WireDialect) -> Iterator[tuple[dict[str, Any], bool]]:
    """The same for the update of a session that only transcribes, which GA has no type of event for."""
    if dialect.names is not GA:
        yield from with_a_null(preview_transcriptions.TranscriptionSessionUpdateParam)
        return
    for session, said in with_a_null(realtime.RealtimeTranscriptionSessionCreateRequestParam):
        yield {"type": "session.update", "session": session}, said


NULLS = {
    (dialect, name): list(with_a_null(kind))
    for dialect in DIALECTS
    for name, kind in EVENTS[dialect.names is GA].items()
} | {(dialect.transcribing(), "transcription"): list(transcriptions(dialect)) for dialect in DIALECTS}


def errors(dialect: WireDialect, event: dict[str, Any]) -> list[str]:
    return [answer["error"]["code"] for answer in answers(build_behaviour(dialect), event) if answer["type"] == "error"]


@pytest.mark.parametrize(("dialect", "name"), NULLS)
def test_a_null_is_taken_wherever_something_may_be_left_out(dialect: WireDialect, name: str) -> None:
    refused = [(event, codes) for event, _ in NULLS[dialect, name] if (codes := errors(dialect, event))]

    assert refused == []


@pytest.mark.parametrize(("dialect", "name"), NULLS)
def test_strictly_a_null_is_taken_only_where_the_sdk_has_one(dialect: WireDialect, name: str) -> None:
    strict = dialect.read_strictly()
    verdicts = [(event, said, errors(strict, event)) for event, said in NULLS[dialect, name]]

    assert [verdict for verdict in verdicts if verdict[2] != ([] if verdict[1] else ["invalid_type"])] == []


def test_the_types_hold_what_is_looked_for() -> None:
    """Were the SDK laid out in another way, nothing would be tried."""
    told = [(str(event), said) for nulls in NULLS.values() for event, said in nulls]

    assert len(told) > 250
    for key in ("instructions", "voice", "rate", "call_id", "description", "transcript", "event_id"):
        assert any(f"'{key}': None" in event and not said for event, said in told), key
    for key in ("idle_timeout_ms", "transcription", "turn_detection", "tracing"):
        assert any(f"'{key}': None" in event and said for event, said in told), key


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_null_for_a_setting_leaves_it_as_it_was(dialect: WireDialect) -> None:
    voice: dict[str, Any] = (
        {"type": "realtime", "audio": {"output": {"voice": None}, "input": None}}
        if dialect.names is GA
        else {"voice": None, "input_audio_format": None}
    )
    behaviour = build_behaviour(dialect)
    before = dict(behaviour.session.shown)
    answers(behaviour, {"type": "session.update", "session": voice | {"instructions": None}})

    assert behaviour.session.shown == before


def test_turn_detection_is_still_put_out_by_a_null() -> None:
    behaviour = build_behaviour(AZURE_PREVIEW)
    answers(behaviour, {"type": "session.update", "session": {"turn_detection": None}})

    assert behaviour.session.shown["turn_detection"] is None


def test_a_null_for_a_key_that_nobody_knows_is_a_mistake_all_the_same() -> None:
    (event,) = answers(build_behaviour(OPENAI_PREVIEW), {"type": "session.update", "session": {"voise": None}})

    assert event["error"]["code"] == "unknown_parameter"


def test_strictly_what_only_legacy_clients_send_is_refused() -> None:
    legacy = {"type": "response.create", "response": {"cancel_previous": True}}

    assert errors(AZURE_PREVIEW, legacy) == []
    assert errors(AZURE_PREVIEW.read_strictly(), legacy) == ["unknown_parameter"]
