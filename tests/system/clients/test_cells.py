"""Each client that can be installed with our pinned packages passes each step with the simulator.
The clients are unmodified.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import pytest

from rtbench_simulator.recorded_replies import load_replies
from tests.clients.cells import IN_TESTS, STEPS
from tests.clients.connect import CONNECT, KEY, item_of, openai
from tests.clients.sources import ADDRESS, source
from tests.clients.steps import GA, PLAYED, Talk
from tests.simulator_process import GUARD_S, Ready, patient_simulator, quick_simulator

PATIENT = ("interruption", "cancel")
"""The steps that need a reply that the simulator generates at the speed of speech."""


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    with quick_simulator(tmp_path_factory.mktemp("quick"), "--key", KEY) as ready:
        yield ready


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    with patient_simulator(tmp_path_factory.mktemp("patient"), "--key", KEY) as ready:
        yield ready


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(("client", "dialect"), CONNECT)
def test_each_client_passes_each_step(
    client: str, dialect: str, step: str, quick: Ready, patient: Ready
) -> None:
    opened, spelling = CONNECT[client, dialect]
    port = (patient if step in PATIENT else quick).port

    async def play() -> None:
        async with opened(port) as connection:
            await PLAYED[step](Talk(connection, spelling, item_of(dialect)))

    asyncio.run(asyncio.wait_for(play(), GUARD_S))


def test_the_sdk_transcribes_audio_in_a_transcription_session(quick: Ready) -> None:
    input_settings = {"transcription": {"model": "gpt-4o-transcribe"}, "turn_detection": None}

    async def play() -> None:
        asked = openai(quick.port, "/v1").realtime.connect(extra_query={"intent": "transcription"})
        async with asked as connection:
            talk = Talk(connection, GA)
            await talk.settle({"type": "transcription", "audio": {"input": input_settings}})
            await talk.speak(1000)
            await connection.input_audio_buffer.commit()
            events = await talk.until("conversation.item.input_audio_transcription.completed")
        words = "".join(
            event["delta"] for event in events if event["type"].endswith("transcription.delta")
        )
        assert events[-1]["transcript"] == words != ""

    asyncio.run(asyncio.wait_for(play(), GUARD_S))


@pytest.mark.parametrize("name", IN_TESTS)
def test_each_program_of_the_page_prints_a_reply_of_the_simulator(
    name: str, patient: Ready
) -> None:
    program = source(name).replace(ADDRESS, f"127.0.0.1:{patient.port}").replace('"any"', repr(KEY))
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=GUARD_S,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() in {"".join(reply.tokens) for reply in load_replies()}
