"""Checks the tools that clients declare, functions and servers of MCP, and which of them a response may call."""

from __future__ import annotations

from typing import Any

from bench.simulator.checks import (
    Check,
    CheckTable,
    EventPlace,
    Nullable,
    anything,
    array,
    by_type,
    choice,
    choice_or,
    flag,
    free_object,
    missing,
    shape,
    short,
    strings_by_name,
    text,
)
from bench.simulator.wire import Json

function_name: Check = short(64, "[a-zA-Z0-9_-]+")

FUNCTION = shape(
    {"type": choice("function"), "name": function_name, "description": text, "parameters": free_object},
    "name",
    type="function",
)
TOOL_FILTER = shape({"read_only": flag, "tool_names": array(text)})


def _names_or_filter(value: Any, place: EventPlace) -> Any:
    return (array(text) if isinstance(value, list) else TOOL_FILTER)(value, place)


MCP_KEYS: CheckTable = {
    "type": choice("mcp"),
    "server_label": text,
    "server_url": text,
    "server_description": text,
    "connector_id": choice(
        "connector_dropbox",
        "connector_gmail",
        "connector_googlecalendar",
        "connector_googledrive",
        "connector_microsoftteams",
        "connector_outlookcalendar",
        "connector_outlookemail",
        "connector_sharepoint",
    ),
    "tunnel_id": text,
    "authorization": text,
    "headers": Nullable(strings_by_name),
    "defer_loading": flag,
    "allowed_callers": Nullable(array(choice("direct", "programmatic"))),
    "allowed_tools": Nullable(_names_or_filter),
    "require_approval": Nullable(choice_or(shape({"always": TOOL_FILTER, "never": TOOL_FILTER}), "always", "never")),
}
WAYS_TO_A_SERVER = ("server_url", "connector_id", "tunnel_id")


def mcp_server(value: Any, place: EventPlace) -> Json:
    """A server of MCP, and the way there."""
    server: Json = shape(MCP_KEYS, "server_label")(value, place)
    if not any(way in server for way in WAYS_TO_A_SERVER):
        raise missing(place.key(WAYS_TO_A_SERVER[0]))
    return server


PREVIEW_TOOLS = array(by_type({"function": FUNCTION}, default="function"))
GA_TOOLS = array(by_type({"function": FUNCTION, "mcp": mcp_server}, default="function"))

CHOSEN_FUNCTION = shape({"type": anything, "name": text}, "name")
CHOSEN_SERVER = shape({"type": anything, "server_label": text, "name": Nullable(text)}, "server_label")
TOOL_CHOICES = ("auto", "none", "required")
PREVIEW_TOOL_CHOICE = choice_or(by_type({"function": CHOSEN_FUNCTION}), *TOOL_CHOICES)
GA_TOOL_CHOICE = choice_or(by_type({"function": CHOSEN_FUNCTION, "mcp": CHOSEN_SERVER}), *TOOL_CHOICES)
