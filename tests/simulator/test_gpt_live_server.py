"""The simulated GPT-Live behind a socket: the log, the end of a session, and injected faults."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from bench.services.full_duplex import AUDIO_DELTA
from rtbench_simulator.faults.injection import DeliverEvent, EndResponse, FaultEntry, FaultInjector
from rtbench_simulator.faults.kinds import read_line
from rtbench_simulator.ground_truth_log import GroundTruthLog, ReceivedEvent, SentEvent, read_truth
from rtbench_simulator.profile import Profile
from rtbench_simulator.server_events import OutgoingEvent
from rtbench_simulator.services.registry import SERVICES
from rtbench_simulator.serving.credentials import Authenticator
from rtbench_simulator.serving.server import Server, listen
from rtbench_simulator.serving.service import ServerConfig, ServerWorker
from tests.simulator.builders import AT_NS, REPLY, constant, silence, sound
from tests.simulator.dialled import connect_async
from tests.simulator.live_call import RESPONSES_MODE, LiveCall, live_profile
from tests.simulator_process import GUARD_S

SPEECH = sound(600, 1000)
APPEND = "session.input_audio.append"


def serve(
    profile: Profile, client: Callable[[int], Awaitable[None]], truth: Path | None = None
) -> Server:
    """Run a client with a server in this process. The argument of the client is the port. Return
    the server.
    """

    async def run() -> Server:
        log = GroundTruthLog(truth, profile.name, 1) if truth else None
        config = ServerConfig(profile, [REPLY], 1, Authenticator(), truth=log, services=SERVICES)
        listener = listen("127.0.0.1", 0)
        server = Server(config, listener, asyncio.get_running_loop(), ServerWorker(0, 1, 0))
        await client(listener.getsockname()[1])
        await server.stop()
        if log:
            log.close()
        return server

    return asyncio.run(asyncio.wait_for(run(), GUARD_S))


async def started(port: int, **session: Any) -> ClientConnection:
    connection = await connect_async(f"ws://127.0.0.1:{port}/v1/live/sessions", max_size=None)
    settings = {"model": "gpt-live-1", **session}
    await connection.send(json.dumps({"type": "session.start", "session": settings}))
    return connection


async def rest_of(connection: ClientConnection) -> tuple[list[dict[str, Any]], int | None]:
    """Return the remaining events, and the close code."""
    events = []
    try:
        while True:
            events.append(json.loads(await connection.recv()))
    except ConnectionClosed:
        return events, connection.close_code


def quick() -> Profile:
    return live_profile(backend_ms=constant(20), answer_ms=constant(200))


async def send(connection: ClientConnection, name: str, **fields: Any) -> None:
    await connection.send(json.dumps({"type": name, **fields}))


async def hear(connection: ClientConnection, audio: bytes) -> None:
    for begin in range(0, len(audio), 4800):
        await send(connection, APPEND, audio=base64.b64encode(audio[begin : begin + 4800]).decode())


async def receive(connection: ClientConnection, name: str) -> dict[str, Any]:
    """Return the next event of a type. For an event within a response.event, return that event."""
    while True:
        event: dict[str, Any] = json.loads(await connection.recv())
        for candidate in (event, event.get("event", {})):
            if candidate.get("type") == name:
                return candidate


async def task_of_client(port: int) -> None:
    async with await started(port) as connection:
        await hear(connection, SPEECH)
        created = await receive(connection, "session.delegation.created")
        result = {"content": "Found.", "delegation_id": created["delegation"]["id"]}
        await send(connection, "session.commentary.append", **result)
        await receive(connection, "session.commentary.appended")
        await hear(connection, bytes(48 * 4000))
        await send(connection, "session.close")
        await receive(connection, "session.closed")


async def task_of_backend(port: int) -> None:
    async with await started(port, delegation=RESPONSES_MODE) as connection:
        await hear(connection, SPEECH)
        await receive(connection, "response.function_call_arguments.done")
        call = (await receive(connection, "response.output_item.done"))["item"]
        await receive(connection, "response.completed")
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "Found."}
        await send(connection, "response.item.create", item=output)
        await send(connection, "response.create")
        await receive(connection, "response.completed")
        await hear(connection, bytes(48 * 4000))
        await send(connection, "session.close")
        await receive(connection, "session.closed")


def lines_of_task(client: Callable[[int], Awaitable[None]], truth: Path) -> list[dict[str, Any]]:
    """Return the lines of the log that have the id of the only delegation."""
    serve(quick(), client, truth)
    _, *lines = read_truth(truth)
    for line in lines:
        assert msgspec.convert(
            line, SentEvent if line["direction"] == "out" else ReceivedEvent, strict=True
        )
    (delegated,) = (line for line in lines if line["type"] == "session.delegation.created")
    return [line for line in lines if line.get("delegation") == delegated["delegation"]]


def first_audible_ns(lines: list[dict[str, Any]]) -> int:
    answer = [line for line in lines if line.get("utterance") == "answer"]
    return next(
        int(line["send_start_ns"]) for line in answer if line["audible_at_byte"] is not None
    )


def test_the_log_joins_the_result_of_a_client_to_its_answer(tmp_path: Path) -> None:
    lines = lines_of_task(task_of_client, tmp_path / "truth.jsonl")

    (result,) = (line for line in lines if line["direction"] == "in")
    assert (lines[0]["type"], result["type"]) == (
        "session.delegation.created",
        "session.commentary.append",
    )
    (accepted,) = (line for line in lines if line["type"] == "session.commentary.appended")
    assert (
        lines[0]["send_start_ns"]
        < result["at_ns"]
        < accepted["send_start_ns"]
        < first_audible_ns(lines)
    )


def test_the_log_joins_the_responses_of_a_backend_to_its_answer(tmp_path: Path) -> None:
    lines = lines_of_task(task_of_backend, tmp_path / "truth.jsonl")

    item, create = (line for line in lines if line["direction"] == "in")
    assert (item["type"], create["type"]) == ("response.item.create", "response.create")
    (called,) = (
        line
        for line in lines
        if line.get("event") == "response.output_item.done" and "call" in line
    )
    assert item["call"] == called["call"]
    first, second = (line for line in lines if line.get("event") == "response.completed")
    assert (first["status"], second["status"], second["response"]) == (
        "completed",
        "completed",
        create["response"],
    )
    assert all(line["input_tokens"] > 0 and line["output_tokens"] > 0 for line in (first, second))
    text = next(line for line in lines if line.get("event") == "response.output_text.delta")
    assert (
        first["send_start_ns"] < create["at_ns"] < text["send_start_ns"] < first_audible_ns(lines)
    )


def test_the_service_closes_the_connection_after_the_session() -> None:
    received: list[Any] = []

    async def client(port: int) -> None:
        connection = await started(port)
        await connection.send(json.dumps({"type": APPEND, "audio": silence(1900)}))
        await connection.send(json.dumps({"type": "session.close"}))
        await connection.send(json.dumps({"type": APPEND, "audio": silence(1900)}))
        received.extend(await rest_of(connection))

    serve(live_profile(), client)

    events, code = received
    assert (events[-1]["type"], events[-1]["usage"], code) == (
        "session.closed",
        {"seconds": 1},
        1000,
    )


@pytest.mark.parametrize("reason", ["expired", "content", "connection_lost"])
def test_a_session_that_the_service_ends_states_the_reason(reason: str) -> None:
    received: list[Any] = []
    profile = replace(
        live_profile(), faults=(read_line(f"session_expired,at=speech,reason={reason}"),)
    )

    async def client(port: int) -> None:
        connection = await started(port)
        await hear(connection, SPEECH)
        received.extend(await rest_of(connection))

    serve(profile, client)

    events, code = received
    assert (events[-1]["type"], events[-1]["reason"], code) == ("session.closed", reason, 1000)


def test_a_connection_without_a_session_expires_with_an_error() -> None:
    received: list[Any] = []

    async def client(port: int) -> None:
        connection = await connect_async(f"ws://127.0.0.1:{port}/v1/live/sessions", max_size=None)
        received.extend(await rest_of(connection))

    serve(replace(live_profile(), max_session_s=0.05), client)

    (error,), code = received
    assert (error["error"]["code"], code) == ("session_expired", 1001)


# Faults, without a network


def finished_call() -> LiveCall:
    """Return a call with two utterances and two responses of the backend."""
    call = LiveCall(delegation=RESPONSES_MODE)
    call.speak()
    call.silent_ms(1000)
    call.answer_calls(*call.calls())
    call.send("response.create")
    call.silent_ms(4000)
    return call


def injected(*lines: str) -> tuple[LiveCall, list[Any], list[FaultEntry]]:
    """Return a call, its actions with these faults, and the injected faults."""
    call, noted = finished_call(), list[FaultEntry]()

    def rng(fault: int, response: int) -> np.random.Generator:
        return np.random.default_rng([1, fault, response])

    injector = FaultInjector([read_line(line) for line in lines], 1, AT_NS, rng, noted.append)
    injector.places = call.behaviour.fault_places
    return call, list(islice(injector.actions(call.sent, AT_NS), 5000)), noted


def delivered(actions: list[Any]) -> list[OutgoingEvent]:
    return [action.event for action in actions if isinstance(action, DeliverEvent)]


def test_faults_of_whole_responses_end_the_backend_and_leave_speech_unchanged() -> None:
    call, actions, noted = injected(
        "failed,at=next_delta,responses=2", "burst,at=first_delta", "reorder"
    )

    responses = [event["response"]["id"] for event in call.nested("response.created")]
    assert [action.response_id for action in actions if isinstance(action, EndResponse)] == [
        responses[1]
    ]
    audio = [sent.body for sent in call.sent if sent.type == AUDIO_DELTA]
    assert [sent.body for sent in delivered(actions) if sent.type == AUDIO_DELTA] == audio
    assert {fault.response for fault in noted} == set(responses)
    assert Counter(sent.nested for sent in delivered(actions)) == Counter(
        sent.nested for sent in call.sent
    )


def test_a_failed_backend_response_ends_a_delegation_without_an_answer() -> None:
    received: list[Any] = []
    profile = replace(quick(), faults=(read_line("failed,at=first_delta"),))

    async def client(port: int) -> None:
        connection = await started(port, delegation=RESPONSES_MODE)
        await connection.send(
            json.dumps({"type": APPEND, "audio": base64.b64encode(SPEECH).decode()})
        )
        while not (received and received[-1].get("event", {}).get("type") == "response.failed"):
            received.append(json.loads(await connection.recv()))
        await connection.send(json.dumps({"type": APPEND, "audio": silence(3000)}))
        await connection.send(json.dumps({"type": "response.create"}))
        await connection.send(json.dumps({"type": "session.close"}))
        received.extend((await rest_of(connection))[0])

    server = serve(profile, client)

    assert server.state.faults >= 1
    failed = next(
        event["event"]
        for event in received
        if event.get("event", {}).get("type") == "response.failed"
    )
    assert failed["response"]["error"]["code"] == "server_error"
    assert all(
        event["error"]["code"] != "function_call_outputs_required"
        for event in received
        if "error" in event
    )


@pytest.mark.parametrize(
    ("line", "number"), [("drop,at=first_delta", 0), ("drop,at=next_delta", 1)]
)
def test_a_fault_affects_each_utterance_once(line: str, number: int) -> None:
    call, actions, noted = injected(line)
    remaining = delivered(actions)

    missing = [
        sent.utterance for sent in call.sent if sent not in remaining and sent.utterance is not None
    ]
    assert missing == [1, 2]
    for utterance in missing:
        deltas = [sent for sent in call.sent if sent.utterance == utterance]
        assert deltas[number] not in remaining
    assert [fault.response is None for fault in noted].count(True) == 2
