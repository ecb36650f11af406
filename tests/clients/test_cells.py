"""Each client that installs with what we pin holds each step with the simulator, unmodified."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from azure.ai.voicelive.aio import connect as connect_voice_live
from azure.core.credentials import AzureKeyCredential
from openai import AsyncAzureOpenAI, AsyncOpenAI

from bench.cli.simulate import CLIENTS, lines_for
from tests.clients.cells import PASS, ROWS, STEPS
from tests.clients.page import ADDRESS, PROGRAMS, source
from tests.clients.steps import GA, PLAYED, PREVIEW, Spelling

KEY = "a-client's-key"
Connection = AbstractAsyncContextManager[Any]


def openai(port: int, path: str) -> AsyncOpenAI:
    at = f"127.0.0.1:{port}{path}"
    return AsyncOpenAI(api_key=KEY, base_url=f"http://{at}", websocket_base_url=f"ws://{at}")


def azure(port: int) -> AsyncAzureOpenAI:
    at = f"127.0.0.1:{port}"
    version = "2025-04-01-preview"
    return AsyncAzureOpenAI(
        api_key=KEY, azure_endpoint=f"http://{at}", api_version=version, websocket_base_url=f"ws://{at}/openai"
    )


def voice_live(port: int) -> Connection:
    return connect_voice_live(
        endpoint=f"http://127.0.0.1:{port}", credential=AzureKeyCredential(KEY), model="gpt-realtime"
    )


CONNECT: dict[tuple[str, str], tuple[Callable[[int], Connection], Spelling]] = {
    ("openai (Python)", "Azure GA"): (
        lambda port: openai(port, "/openai/v1").realtime.connect(model="gpt-realtime"), GA),
    ("openai (Python)", "Azure preview"): (
        lambda port: azure(port).beta.realtime.connect(model="gpt-4o-realtime-preview"), PREVIEW),
    ("openai (Python)", "OpenAI GA"): (
        lambda port: openai(port, "/v1").realtime.connect(model="gpt-realtime"), GA),
    ("openai (Python)", "OpenAI preview"): (
        lambda port: openai(port, "/v1").beta.realtime.connect(model="gpt-4o-realtime-preview"), PREVIEW),
    ("azure-ai-voicelive", "Voice Live"): (voice_live, PREVIEW),
}  # fmt: skip

TRIED = [row for row in ROWS if row.where == "test"]


def test_every_step_and_every_client_of_the_table_is_played() -> None:
    assert list(PLAYED) == list(STEPS)
    assert [(row.client, row.dialect) for row in TRIED] == list(CONNECT)
    assert {row.outcome(step) for row in TRIED for step in STEPS} == {PASS}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_program_of_the_page_reaches_the_simulator_as_it_says_itself(name: str) -> None:
    (client,) = [client for client in CLIENTS if client.name == name]
    lines = [line.strip() for line in source(name).splitlines()]

    scheme = "wss" if client.secure else "ws"
    assert set(lines_for(client, f"{scheme}://{ADDRESS}", "any")) <= set(lines)
