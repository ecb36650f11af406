"""The simulated GA service accepts each form of settings that the types of the official SDK have.

The forms are read from the types, so a form that a newer SDK adds is tried as soon as it is
installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from rtbench_simulator.behaviour import Behaviour
from rtbench_simulator.services.openai import OPENAI_GA
from tests.simulator.builders import (
    answers,
    build_behaviour,
    create,
    function,
    session_update,
    types,
)

NAME = "text"
"""The sample of every string: also the name of a function, and the label and the tool of an MCP
server."""
SERVER = {
    "type": "mcp",
    "server_label": NAME,
    "server_url": "https://mcp.example.com",
    "allowed_tools": [NAME],
}
SCALARS: dict[Any, Any] = {str: NAME, int: 6_000, float: 0.5, bool: True, object: {}}
ADDRESSES = {"server_url", "connector_id", "tunnel_id"}
"""The keys of which the SDK's texts demand one. Its types have them all as optional."""
NEEDED = {"RealtimeFunctionTool": {"name": NAME}}
"""The keys that the service demands although the SDK's types have them as optional."""
OF_ITEMS = {"input", "client_secret"}
"""Keys whose values are not settings."""


def forms(kind: Any) -> Iterator[Any]:
    """Yield a value of each form that a type has."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is NoneType:
        return
    if origin is Annotated:
        yield from forms(arguments[0])
    elif origin in (Union, UnionType):
        has_names = any(get_origin(argument) is Literal for argument in arguments)
        # the names that the SDK knows, without those that are only possible
        for argument in arguments:
            yield from forms(argument) if argument is not str or not has_names else ()
    elif origin is Literal:
        yield from arguments
    elif origin is list:
        yield from ([form] for form in forms(arguments[0]))
    elif origin is dict:
        yield {NAME: next(forms(arguments[1]))}
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        yield from forms_of_model(kind)
    else:
        yield SCALARS[kind]


def forms_of_model(model: type[BaseModel]) -> Iterator[dict[str, Any]]:
    """Yield an object with only the required keys, and one for each form of each key."""
    fields = {name: field for name, field in model.model_fields.items() if name not in OF_ITEMS}
    base = {
        name: next(forms(field.annotation)) for name, field in fields.items() if field.is_required()
    }
    base |= NEEDED.get(model.__name__, {})
    address = {"server_url": SERVER["server_url"]} if fields.keys() >= ADDRESSES else {}
    yield base | address
    for name, field in fields.items():
        for form in forms(field.annotation):
            yield base | ({} if name in ADDRESSES else address) | {name: form}


def session() -> Behaviour:
    behaviour = build_behaviour(OPENAI_GA)
    answers(behaviour, session_update(OPENAI_GA, tools=[function(NAME), SERVER]))
    return behaviour


def refused(*events: dict[str, Any]) -> list[str]:
    """Return the errors that the events cause, each in a session of its own."""
    received = [event for sent in events for event in answers(session(), sent)]
    return [event["error"]["message"] for event in received if event["type"] == "error"]


def test_each_form_of_a_session_is_accepted() -> None:
    from openai.types.realtime import RealtimeSessionCreateRequest

    updates = [
        session_update(OPENAI_GA, **settings) for settings in forms(RealtimeSessionCreateRequest)
    ]

    assert len(updates) > 100
    assert refused(*updates) == []


def test_each_form_of_a_response_is_accepted() -> None:
    from openai.types.realtime import RealtimeResponseCreateParams

    requests = [create(**settings) for settings in forms(RealtimeResponseCreateParams)]

    assert len(requests) > 50
    assert refused(*requests) == []


def test_a_form_that_the_sdk_does_not_have_is_refused() -> None:
    assert types(answers(session(), create(tool_choice={"type": "web"}))) == ["error"]
