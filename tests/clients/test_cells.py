"""Each client that installs with what we pin holds each step with the simulator, unmodified."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from azure.ai.voicelive.aio import connect as connect_voice_live
from azure.ai.voicelive.models import FunctionCallOutputItem, InputTextContentPart, UserMessageItem
from azure.core.credentials import AzureKeyCredential
from openai import AsyncAzureOpenAI, AsyncOpenAI

from bench.simulator.clients import CLIENTS, filled
from bench.simulator.voice import load_replies
from tests.clients.cells import PASS, ROWS, STEPS, ClientRow
from tests.clients.page import ADDRESS, PROGRAMS, source
from tests.clients.steps import GA, PLAYED, PREVIEW, Spelling, Talk
from tests.simulator_process import GUARD_S, Ready, patient_simulator, quick_simulator

PATIENT = ("interruption", "cancel")
"""Steps that need a reply which is generated as slowly as it is spoken."""
KEY = "a-client's-key"
Connection = AbstractAsyncContextManager[Any]


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    with quick_simulator(tmp_path_factory.mktemp("quick"), "--key", KEY, "--strict") as ready:
        yield ready


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    with patient_simulator(tmp_path_factory.mktemp("patient"), "--key", KEY, "--strict") as ready:
        yield ready


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


def voice_live_item(item: dict[str, Any]) -> UserMessageItem | FunctionCallOutputItem:
    """Its client takes items as its own types alone."""
    if item["type"] == "message":
        return UserMessageItem(content=[InputTextContentPart(text=part["text"]) for part in item["content"]])
    return FunctionCallOutputItem(call_id=item["call_id"], output=item["output"])


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


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("row", TRIED, ids=lambda row: f"{row.client} {row.dialect}")
def test_the_client_holds_the_step(row: ClientRow, step: str, quick: Ready, patient: Ready) -> None:
    opened, spelling = CONNECT[row.client, row.dialect]
    port = (patient if step in PATIENT else quick).port

    async def play() -> None:
        async with opened(port) as connection:
            await PLAYED[step](Talk(connection, spelling, voice_live_item if row.dialect == "Voice Live" else dict))

    asyncio.run(asyncio.wait_for(play(), GUARD_S))


@pytest.mark.parametrize("name", [name for name, where in PROGRAMS.items() if where == "test"])
def test_the_program_of_the_page_prints_what_the_simulator_says(name: str, patient: Ready) -> None:
    program = source(name).replace(ADDRESS, f"127.0.0.1:{patient.port}").replace('"any"', repr(KEY))
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=GUARD_S, check=False)

    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() in {"".join(reply.tokens) for reply in load_replies()}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_program_of_the_page_reaches_the_simulator_as_it_says_itself(name: str) -> None:
    (client,) = [client for client in CLIENTS if client.name == name]
    lines = [line.strip() for line in source(name).splitlines()]

    scheme = "wss" if client.secure else "ws"
    assert set(filled(client, f"{scheme}://{ADDRESS}", "any")) <= set(lines)
