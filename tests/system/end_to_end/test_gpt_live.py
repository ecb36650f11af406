"""GPT-Live: only audible events are measured, and the official SDK completes a session with the
simulator.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.base.units import NS_PER_MS
from bench.plan.recordings import load_pcm
from bench.record.replay import WireTransfer
from bench.services.full_duplex import AUDIO_DELTA
from bench.services.gpt_live.dialect import APPEND
from bench.wire.audio import PCM16
from rtbench_simulator.conversation.input_audio import FRAME_MS
from rtbench_simulator.ground_truth_log import read_truth
from tests.helpers import resolve_target
from tests.played_session import GUARD_S
from tests.simulator_process import Ready, quick_simulator
from tests.system.end_to_end.spoken_calls import WAV, Call, play_call

pytestmark = pytest.mark.usefixtures("hang_guard")

EDGE_NS = 2 * FRAME_MS * NS_PER_MS
"""The maximum distance between the end of speech that the simulator detected and the one that
was found offline."""
JITTER_NS = 50 * NS_PER_MS


def passages(call: Call, name: str) -> list[WireTransfer]:
    return [passage for passage in call.replay.passages if passage.name == name]


def lines(call: Call, name: str) -> list[dict[str, Any]]:
    return [line for line in call.truth if line["type"] == name]


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Call:
    """Run a call of one turn; return it with the simulator's log."""
    folder = tmp_path_factory.mktemp("simulator")
    truth = folder / "truth.jsonl"
    with quick_simulator(folder, "--ground-truth", str(truth)) as simulator:
        target = resolve_target({}, url=simulator.urls["gpt_live"])
        reported = play_call(target, folder / "call", turn_detection="full_duplex")
    known = [
        line
        for line in read_truth(truth)
        if line.get("session") == reported.session.service_session_id
    ]
    return Call(PCM16, reported, known)


def test_first_audible_equals_the_truth(call: Call) -> None:
    """The truth is the first audible sample, in any delta, that was sent after the end of the
    caller's speech.
    """
    (turn,) = call.replay.turns
    assert turn.outcome == "ok", turn.detail

    (ended,) = lines(call, "session.input_transcript.delta")
    appends, sent = lines(call, APPEND), passages(call, APPEND)
    place = next(
        number
        for number, line in enumerate(appends)
        if line["from_byte"] < ended["speech_at_byte"] <= line["to_byte"]
    )
    behind_ns = call.format.duration_ns(appends[place]["to_byte"] - ended["speech_at_byte"])
    assert turn.instants["speech_end"] == pytest.approx(sent[place].at_ns - behind_ns, abs=EDGE_NS)

    deltas, came = lines(call, AUDIO_DELTA), passages(call, AUDIO_DELTA)
    first = next(
        number for number, line in enumerate(deltas) if line["audible_at_byte"] is not None
    )
    assert deltas[first]["send_start_ns"] >= ended["send_start_ns"]
    assert came[first].at_ns >= deltas[first]["send_start_ns"]
    heard_ns = (
        came[first].at_ns + JITTER_NS + call.format.duration_ns(deltas[first]["audible_at_byte"])
    )
    assert turn.instants["first_audible"] == heard_ns
    assert turn.metrics_ns()["voice_to_voice"] == heard_ns - turn.instants["speech_end"]


# The official SDK.


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    with quick_simulator(tmp_path_factory.mktemp("live"), "--key", "a-live-key") as ready:
        yield ready


async def conversation(simulator: Ready, key: str) -> list[Any]:
    from openai import AsyncOpenAI  # takes a second, and every worker imports this module

    audio = WAV_BYTES + bytes(48_000 * 6)
    events: list[Any] = []
    client = AsyncOpenAI(
        api_key=key, base_url=f"http://127.0.0.1:{simulator.port}/v1", max_retries=0
    )
    async with client.live.connect() as connection:
        await connection.session.start(
            session={"model": "gpt-live-1", "audio": {"output": {"voice": "cedar"}}}
        )
        events.append(await connection.recv())
        for begin in range(0, len(audio), 4_800):
            piece = base64.b64encode(audio[begin : begin + 4_800]).decode()
            await connection.session.input_audio.append(audio=piece)
        await connection.session.close()
        while events[-1].type != "session.closed":
            events.append(await connection.recv())
    return events


WAV_BYTES = load_pcm(WAV).data


def test_the_sdk_completes_a_gpt_live_session(simulator: Ready) -> None:
    started, *events = asyncio.run(asyncio.wait_for(conversation(simulator, "a-live-key"), GUARD_S))

    assert (started.type, started.session.model, started.session.audio.output.voice) == (
        "session.started",
        "gpt-live-1",
        "cedar",
    )
    audio = b"".join(base64.b64decode(event.delta) for event in events if event.type == AUDIO_DELTA)
    words = "".join(
        event.delta for event in events if event.type == "session.output_transcript.delta"
    )
    assert any(audio)
    assert words
    assert events[-1].reason == "close_requested"
    assert events[-1].usage.seconds == len(audio) // 48_000
    json.dumps([event.to_dict() for event in events])


DELEGATING = """
delegates: 1
delegation: {backend_ms: 50, answer_ms: 200}
"""
FUNCTION = {
    "type": "function",
    "name": "find_parcel",
    "parameters": {"type": "object", "properties": {}},
}


async def delegated_task(port: int, delegation: Any) -> list[Any]:
    """Hold a call in which the official SDK does a delegated task. Return its events."""
    from openai import AsyncOpenAI

    events: list[Any] = []
    client = AsyncOpenAI(api_key="any", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0)
    async with client.live.connect() as connection:

        async def receive(name: str) -> Any:
            while True:
                events.append(await connection.recv())
                if name in (events[-1].type, getattr(events[-1], "event", {}).get("type")):
                    return events[-1]

        async def hear(audio: bytes) -> None:
            for begin in range(0, len(audio), 4_800):
                piece = base64.b64encode(audio[begin : begin + 4_800]).decode()
                await connection.session.input_audio.append(audio=piece)

        await connection.session.start(session={"model": "gpt-live-1", "delegation": delegation})
        await hear(WAV_BYTES + bytes(48_000 * 2))
        created = await receive("session.delegation.created")
        if created.delegation.target == "client":
            await connection.session.commentary.append(
                content="Found.", delegation_id=created.delegation.id
            )
            await receive("session.commentary.appended")
        else:
            await receive("response.function_call_arguments.done")
            call = (await receive("response.output_item.done")).event["item"]
            await receive("response.completed")
            output: Any = {
                "type": "function_call_output",
                "call_id": call["call_id"],
                "output": "Found.",
            }
            await connection.response.item.create(item=output)
            await connection.response.create()
            await receive("response.completed")
        await hear(bytes(48_000 * 5))
        await connection.session.close()
        await receive("session.closed")
    return events


@pytest.mark.parametrize(
    "delegation",
    [
        {"type": "client"},
        {"type": "responses", "responses": {"model": "gpt-5.5", "tools": [FUNCTION]}},
    ],
)
def test_the_sdk_does_a_task_that_gpt_live_delegates(delegation: Any, tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    with quick_simulator(tmp_path, "--ground-truth", str(truth), more=DELEGATING) as simulator:
        events = asyncio.run(asyncio.wait_for(delegated_task(simulator.port, delegation), GUARD_S))

    (created,) = (event for event in events if event.type == "session.delegation.created")
    answer = [line for line in read_truth(truth) if line.get("utterance") == "answer"]
    assert {line["delegation"] for line in answer} == {created.delegation.id}
    assert any(line["audible_at_byte"] is not None for line in answer)
    assert all(event.type != "error" for event in events)
