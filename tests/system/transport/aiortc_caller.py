"""A caller with aiortc: `python -m … URL CALLS` calls a service, and prints what each call has heard and received."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from typing import Any

import aiohttp
import aiortc
import numpy as np

LARGE = 200_000
"""The length of the instructions. Each session.update and its confirmation need about 180 packets."""


class Silence(aiortc.mediastreams.AudioStreamTrack):
    """Frames of silence."""


async def call(url: str, number: int) -> None:
    peer, loud, is_heard, is_updated = aiortc.RTCPeerConnection(), 0, asyncio.Event(), asyncio.Event()
    peer.addTrack(Silence())
    channel, events = peer.createDataChannel("oai-events"), list[dict[str, Any]]()

    def on_open() -> None:
        instructions = {"type": "session.update", "session": {"type": "realtime", "instructions": "x" * LARGE}}
        channel.send(json.dumps(instructions))
        channel.send(json.dumps({"type": "response.create"}))

    def on_message(text: str) -> None:
        events.append(json.loads(text))
        if events[-1]["type"] == "session.updated":
            is_updated.set()

    channel.on("open", on_open)
    channel.on("message", on_message)

    async def listen(track: aiortc.MediaStreamTrack) -> None:
        nonlocal loud
        with suppress(aiortc.mediastreams.MediaStreamError):  # the call has ended
            while True:
                frame = await track.recv()
                loud += int(np.abs(frame.to_ndarray().astype(np.int32)).max() > 500)
                if loud >= 20:
                    is_heard.set()

    peer.on("track", lambda track: asyncio.ensure_future(listen(track)))
    await peer.setLocalDescription(await peer.createOffer())
    address = url.partition("?")[0]
    async with aiohttp.ClientSession() as client:
        offer = peer.localDescription.sdp
        headers = {"Content-Type": "application/sdp"}
        async with client.post(address.replace("ws", "http", 1) + "/calls", data=offer, headers=headers) as response:
            assert response.status == 201, await response.text()
            answer = await response.text()
    await peer.setRemoteDescription(aiortc.RTCSessionDescription(answer, "answer"))
    await asyncio.wait_for(asyncio.gather(is_heard.wait(), is_updated.wait()), 60)
    updated = next(each for each in events if each["type"] == "session.updated")
    received = len(updated["session"]["instructions"])
    print(json.dumps({"call": number, "loud": loud, "first": events[0]["type"], "received": received}), flush=True)
    await peer.close()


async def main(url: str, calls: int) -> None:
    for number in range(calls):
        await call(url, number)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
