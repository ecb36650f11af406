"""A caller with aiortc: `python -m … URL CALLS` calls a service, and prints the audible frames of each call."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress

import aiohttp
import aiortc
import numpy as np


class Silence(aiortc.mediastreams.AudioStreamTrack):
    """Frames of silence."""


async def call(url: str, number: int) -> None:
    peer, loud, is_heard = aiortc.RTCPeerConnection(), 0, asyncio.Event()
    peer.addTrack(Silence())

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
            answer, call_id = await response.text(), response.headers["Location"].rpartition("/")[2]
        await peer.setRemoteDescription(aiortc.RTCSessionDescription(answer, "answer"))
        async with client.ws_connect(f"{address}?call_id={call_id}") as socket:
            await socket.send_str(json.dumps({"type": "response.create"}))
            await asyncio.wait_for(is_heard.wait(), 60)
    print(json.dumps({"call": number, "loud": loud}), flush=True)
    await peer.close()


async def main(url: str, calls: int) -> None:
    for number in range(calls):
        await call(url, number)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
