"""Connections to the simulator by each client whose packages can be installed with our pinned
packages.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from tests.clients.steps import GA, PREVIEW, Json, Spelling

KEY = "a-client's-key"
Connection = AbstractAsyncContextManager[Any]

# Every worker imports this module to collect tests, and the import of the clients takes a second.
if TYPE_CHECKING:
    from openai import AsyncAzureOpenAI, AsyncOpenAI


def openai(port: int, path: str) -> AsyncOpenAI:
    from openai import AsyncOpenAI

    at = f"127.0.0.1:{port}{path}"
    return AsyncOpenAI(api_key=KEY, base_url=f"http://{at}", websocket_base_url=f"ws://{at}")


def azure(port: int) -> AsyncAzureOpenAI:
    from openai import AsyncAzureOpenAI

    at = f"127.0.0.1:{port}"
    version = "2025-04-01-preview"
    return AsyncAzureOpenAI(
        api_key=KEY,
        azure_endpoint=f"http://{at}",
        api_version=version,
        websocket_base_url=f"ws://{at}/openai",
    )


def voice_live(port: int) -> Connection:
    from azure.ai.voicelive.aio import connect as connect_voice_live
    from azure.core.credentials import AzureKeyCredential

    return connect_voice_live(
        endpoint=f"http://127.0.0.1:{port}",
        credential=AzureKeyCredential(KEY),
        model="gpt-realtime",
    )


CONNECT: dict[tuple[str, str], tuple[Callable[[int], Connection], Spelling]] = {
    ("openai (Python)", "Azure GA"): (
        lambda port: openai(port, "/openai/v1").realtime.connect(model="gpt-realtime"),
        GA,
    ),
    ("openai (Python)", "Azure preview"): (
        lambda port: azure(port).beta.realtime.connect(model="gpt-4o-realtime-preview"),
        PREVIEW,
    ),
    ("openai (Python)", "OpenAI GA"): (
        lambda port: openai(port, "/v1").realtime.connect(model="gpt-realtime"),
        GA,
    ),
    ("openai (Python)", "OpenAI preview"): (
        lambda port: openai(port, "/v1").beta.realtime.connect(model="gpt-4o-realtime-preview"),
        PREVIEW,
    ),
    ("azure-ai-voicelive", "Voice Live"): (voice_live, PREVIEW),
}


def item_of(dialect: str) -> Callable[[Json], Any]:
    """Return a function that converts an item to the type that a client requires."""
    return _voice_live_item if dialect == "Voice Live" else dict


def _voice_live_item(item: Json) -> Any:
    from azure.ai.voicelive.models import (
        FunctionCallOutputItem,
        InputTextContentPart,
        UserMessageItem,
    )

    if item["type"] == "message":
        return UserMessageItem(
            content=[InputTextContentPart(text=part["text"]) for part in item["content"]]
        )
    return FunctionCallOutputItem(call_id=item["call_id"], output=item["output"])
