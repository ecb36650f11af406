"""A caller with aiortc: `python -m … MODULE URL CODEC CALLS` speaks a turn in each call, and prints
what it heard.

Before that it sends a large event, and waits for the confirmation.

MODULE is `aiortc`, or a library with the same interface: `webrtc.aiortc` of the package wrtc has
Chrome's engine.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from contextlib import suppress
from typing import Any

import aiohttp
import numpy as np
import soundfile

from tests.simulator_process import AUDIO

LOUD, ENOUGH = 1_000, 20
"""The level of a loud frame, and the number of loud frames after which a reply was heard."""
LARGE = 200_000
"""The length of the instructions. Each session.update and its confirmation need about 180
packets."""


def speech(track: Any) -> Any:
    """Return a track that speaks a recording once, and is then silent."""
    samples, _ = soundfile.read(AUDIO / "order_number.wav", dtype="int16")
    recv, pieces = track.recv, iter(np.pad(samples, (0, -len(samples) % 160)).reshape(-1, 160))

    async def next_frame() -> Any:
        frame = await recv()
        frame.planes[0].update(next(pieces, np.zeros(160, np.int16)).tobytes())
        return frame

    track.recv = next_frame
    return track


async def call(aiortc: Any, url: str, codec: str, number: int) -> None:
    start_s = time.monotonic()
    peer, loud, is_heard, is_updated = (
        aiortc.RTCPeerConnection(),
        0,
        asyncio.Event(),
        asyncio.Event(),
    )
    instants_ms: dict[str, float] = {}

    def note(name: str) -> None:
        instants_ms.setdefault(name, round((time.monotonic() - start_s) * 1_000, 1))

    peer.addTrack(speech(aiortc.mediastreams.AudioStreamTrack()))
    codecs = aiortc.RTCRtpSender.getCapabilities("audio").codecs
    peer.getTransceivers()[0].setCodecPreferences(
        [each for each in codecs if each.mimeType == f"audio/{codec}"]
    )

    channel, events = peer.createDataChannel("oai-events"), list[dict[str, Any]]()

    def on_open() -> None:
        instructions = {
            "type": "session.update",
            "session": {"type": "realtime", "instructions": "x" * LARGE},
        }
        channel.send(json.dumps(instructions))

    def on_message(text: str) -> None:
        events.append(json.loads(text))
        if events[-1]["type"] == "session.updated":
            is_updated.set()

    channel.on("open", on_open)
    channel.on("message", on_message)

    async def listen(track: Any) -> None:
        nonlocal loud
        with suppress(aiortc.mediastreams.MediaStreamError):  # the call has ended
            while True:
                frame = await track.recv()
                note("media")
                loud += int(np.abs(frame.to_ndarray().astype(np.int32)).max() > LOUD)
                if loud >= ENOUGH:
                    is_heard.set()

    peer.on("track", lambda track: asyncio.ensure_future(listen(track)))
    peer.on("connectionstatechange", lambda: note(peer.connectionState))
    await peer.setLocalDescription(await peer.createOffer())
    note("offer")
    address = url.partition("?")[0]
    async with aiohttp.ClientSession() as client:
        offer = peer.localDescription.sdp
        headers = {"Content-Type": "application/sdp"}
        async with client.post(
            address.replace("ws", "http", 1) + "/calls", data=offer, headers=headers
        ) as response:
            assert response.status == 201, await response.text()
            answer = await response.text()
    note("answer")
    await peer.setRemoteDescription(aiortc.RTCSessionDescription(answer, "answer"))
    await asyncio.wait_for(asyncio.gather(is_heard.wait(), is_updated.wait()), 60)
    updated = next(each for each in events if each["type"] == "session.updated")
    heard = {"call": number, "loud": loud, "first": events[0]["type"], "instants_ms": instants_ms}
    print(json.dumps(heard | {"received": len(updated["session"]["instructions"])}), flush=True)
    await peer.close()


async def main(module: str, url: str, codec: str, calls: str) -> None:
    for number in range(int(calls)):
        await call(importlib.import_module(module), url, codec, number)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
