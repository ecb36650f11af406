"""What we say of messages and responses is what the official SDK's types have words for, in both dialects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import pytest
from openai.types import realtime
from openai.types.beta import realtime as beta
from pydantic import BaseModel

from bench.protocol.base import ClientMessage, Dialect
from bench.protocol.events import FunctionCall
from bench.protocol.openai_ga import GA
from bench.protocol.openai_preview import PREVIEW
from bench.protocol.settings import FunctionOutput, Image, Message, MessageRole, ResponseSettings, SessionSettings
from tests.helpers import build_message, event_of, message

OFFICIAL: dict[Dialect, Any] = {GA: realtime, PREVIEW: beta}
IMAGE = Image(url="data:image/png;base64,iVBORw==", width=1, height=1, digest="")
INPUT = tuple(build_message("Hello", role) for role in get_args(MessageRole))


def unknown(value: Any, at: str = "") -> Iterator[str]:
    """Where something stands that the SDK's types have no name for."""
    if isinstance(value, BaseModel):
        yield from (f"{at}.{name}" for name in value.model_extra or {})
        for name in type(value).model_fields:
            yield from unknown(getattr(value, name), f"{at}.{name}")
    elif isinstance(value, list):
        for item in value:
            yield from unknown(item, at)


def read_as(model: type[BaseModel], said: ClientMessage) -> Any:
    """A message as the SDK's type reads it."""
    read = model.model_validate(msgspec.json.decode(said.data), strict=True)
    assert list(unknown(read)) == []
    return read


@pytest.mark.parametrize("dialect", OFFICIAL, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("said", INPUT, ids=lambda said: said.role)
def test_a_message_is_an_item_of_its_role(dialect: Dialect, said: Message) -> None:
    read = read_as(OFFICIAL[dialect].ConversationItemCreateEvent, dialect.message(said, "e1"))

    assert (read.item.type, read.item.role, read.item.content[0].text) == ("message", said.role, "Hello")
    assert read.item.content[0].type == {"assistant": dialect.reply_part}.get(said.role, "input_text")  # type: ignore[attr-defined]


@pytest.mark.parametrize("dialect", OFFICIAL, ids=lambda dialect: dialect.name)
def test_a_call_of_another_session_is_an_item_and_so_is_what_it_returned(dialect: Dialect) -> None:
    event = OFFICIAL[dialect].ConversationItemCreateEvent
    call = read_as(event, dialect.function_call(FunctionCall("c1", "find_parcel", '{"order": "7"}'), "e1")).item
    output = read_as(event, dialect.function_output(FunctionOutput(call_id="c1", output="here"), "e2")).item

    assert (call.type, call.call_id, call.name, call.arguments) == (
        "function_call", "c1", "find_parcel", '{"order": "7"}'
    )  # fmt: skip
    assert (output.type, output.call_id, output.output) == ("function_call_output", "c1", "here")


def test_an_image_stands_behind_the_words_that_it_goes_with() -> None:
    read = read_as(realtime.ConversationItemCreateEvent, GA.message(build_message("This?", image=IMAGE), "e1"))

    assert [(part.type, part.text or part.image_url) for part in read.item.content] == [
        ("input_text", "This?"),
        ("input_image", IMAGE.url),
    ]


@pytest.mark.parametrize("dialect", OFFICIAL, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("given", [(), INPUT], ids=["nothing", "messages"])
def test_a_response_out_of_band_has_its_input_and_its_name(dialect: Dialect, given: tuple[Message, ...]) -> None:
    settings = ResponseSettings(conversation="none", input=given, metadata={"a": "b"})
    read = read_as(OFFICIAL[dialect].ResponseCreateEvent, dialect.request(settings, "turn-1-response")).response

    assert (read.conversation, len(read.input)) == ("none", len(given))
    assert read.metadata == {"a": "b", "rtbench_request": "turn-1-response"}


@pytest.mark.parametrize("dialect", OFFICIAL, ids=lambda dialect: dialect.name)
def test_a_response_of_the_conversation_is_given_no_name(dialect: Dialect) -> None:
    said = msgspec.json.decode(dialect.request(ResponseSettings(), "e").data)

    assert said == {"type": "response.create", "event_id": "e"}


@pytest.mark.parametrize(
    "truncation",
    ["auto", "disabled", {"type": "retention_ratio", "retention_ratio": 0.8, "token_limits": {"post_instructions": 9}}],
)
def test_reasoning_and_truncation_stand_in_the_session(truncation: Any) -> None:
    settings = SessionSettings(reasoning={"effort": "low"}, truncation=truncation, max_output_tokens="inf")
    (update,) = (step for step in GA.set_up(settings, "e") if isinstance(step, ClientMessage))
    session = read_as(realtime.SessionUpdateEvent, update).session

    assert session.reasoning.effort == "low"
    assert session.max_output_tokens == "inf"
    assert session.truncation == truncation or session.truncation.model_dump(exclude_none=True) == truncation


def test_the_names_that_a_response_gives_back_are_read() -> None:
    given: list[Any] = [{"rtbench_request": "turn-1-response"}, {"rtbench_request": 7}, {}, [], None]
    bodies = [message("response.created", response={"id": "r1", "metadata": metadata}) for metadata in given]

    assert [event_of(body, GA).request for body in bodies] == ["turn-1-response", "", "", "", ""]
