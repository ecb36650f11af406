"""A conversation by vLLM-Omni's own client with the simulated server: spoken, interrupted, and
closed.

Only the files of the client are imported, from copies, because the package itself imports its
engine.
"""

import asyncio
import importlib.metadata
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

FILES = ("duplex.py", "utils.py")
CHUNK_MS = 100
RATE_HZ = 16_000
"""The rate of the recording, and of the client's default format."""
CHUNK_BYTES = RATE_HZ * 2 * CHUNK_MS // 1000


def copy_client(folder: Path) -> None:
    """Copy the client from the installed package to a package that has nothing else."""
    package = folder / "vllm_omni" / "clients"
    package.mkdir(parents=True)
    for name in (package.parent, package):
        (name / "__init__.py").touch()
    for name in FILES:
        shutil.copy(
            importlib.metadata.distribution("vllm-omni").locate_file(f"vllm_omni/clients/{name}"),
            package,
        )
    sys.path.insert(0, str(folder))


async def stream(client, audio: bytes) -> None:
    """Send audio at the pace of a microphone, and then silence."""
    pieces = [audio[at : at + CHUNK_BYTES] for at in range(0, len(audio), CHUNK_BYTES)]
    while True:
        await client.append_audio(pieces.pop(0) if pieces else bytes(CHUNK_BYTES))
        await asyncio.sleep(CHUNK_MS / 1000)


async def turn(client, responses, audio: bytes, *, cut_at_ms: float | None = None):
    """Speak, and return the response and its audio; with `cut_at_ms`, only the first part of the
    audio.
    """
    microphone = asyncio.create_task(stream(client, audio))
    response, heard = await anext(responses), 0
    async for chunk in response.audio():
        heard += len(chunk)
        await client.ack_playback(response.played_ms, response_id=response.response_id)
        if cut_at_ms is not None and response.played_ms >= cut_at_ms:
            break
    microphone.cancel()
    with suppress(asyncio.CancelledError):
        await microphone
    return response, heard


async def talk(port: str, wav: str) -> None:
    from vllm_omni.clients.duplex import DuplexClient, SessionConfig, read_pcm16_wav

    audio = read_pcm16_wav(Path(wav))
    config = SessionConfig(
        turn_detection={"type": "server_vad", "silence_duration_ms": 500}, ref_audio="data:,"
    )
    seen = []
    async with DuplexClient(f"ws://127.0.0.1:{port}", model="simulated", config=config) as client:
        events = asyncio.create_task(collect(client, seen))
        responses = client.responses()
        response, heard = await turn(client, responses, audio)
        check("spoken", response, heard, "completed")
        cut, _ = await turn(client, responses, audio, cut_at_ms=200)
        _, heard = await turn(client, responses, audio)
        await cut.wait(5)
        check("interrupted", cut, heard, "cancelled")
        await client.close(timeout_s=5)
        await events
    expected = {
        "input_audio_buffer.speech_started",
        "input_audio_buffer.committed",
        "playback.acknowledged",
    }
    if "error" in seen or not expected <= set(seen):
        sys.exit(f"the events are {seen}")


def check(label: str, response, heard: int, status: str) -> None:
    """Print what a turn had, and end the program if it lacks audio or words, or ended otherwise."""
    ended = response.done_event.raw["response"]["status"]
    print(label, heard, response.transcript, ended)
    if not heard or not response.transcript or ended != status:
        sys.exit(f"{label}: expected audio, words and {status}")


async def collect(client, seen: list) -> None:
    async for event in client.events():
        seen.append(event.type)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        copy_client(Path(folder))
        asyncio.run(talk(sys.argv[1], sys.argv[2]))
