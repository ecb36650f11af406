"""An agent with aiortc, in the form of its example `server`. Run as a program, it prints its
port.
"""

import asyncio
import fractions
import time

import av
import numpy as np
from aiohttp import web
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from python_talk import FRAME_S, Talker, tone

RATE_HZ = 24_000
SAMPLES = int(RATE_HZ * FRAME_S)
peers: set = set()


class Voice(MediaStreamTrack):
    """A track that is silent until its talker has something to say."""

    kind = "audio"

    def __init__(self, talker):
        super().__init__()
        self._talker, self._rest, self._number, self._start_s = (
            talker,
            np.zeros(0, np.int16),
            0,
            None,
        )

    async def recv(self):
        self._start_s = self._start_s or time.monotonic()
        await asyncio.sleep(max(0, self._start_s + self._number * FRAME_S - time.monotonic()))
        if self._talker.is_due():
            self._rest = tone(RATE_HZ)
        samples, self._rest = self._rest[:SAMPLES], self._rest[SAMPLES:]
        samples = np.pad(samples, (0, SAMPLES - len(samples)))
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = (
            RATE_HZ,
            self._number * SAMPLES,
            fractions.Fraction(1, RATE_HZ),
        )
        self._number += 1
        return frame


async def listen(track, talker):
    try:
        while True:
            talker.hear((await track.recv()).to_ndarray().reshape(-1))
    except MediaStreamError:
        pass


async def offer(request):
    body, talker, peer = await request.json(), Talker(), RTCPeerConnection()
    peers.add(peer)
    peer.on("track", lambda track: asyncio.ensure_future(listen(track, talker)))
    peer.addTrack(Voice(talker))
    await peer.setRemoteDescription(RTCSessionDescription(body["sdp"], body["type"]))
    await peer.setLocalDescription(await peer.createAnswer())
    return web.json_response({"sdp": peer.localDescription.sdp, "type": peer.localDescription.type})


async def main():
    app = web.Application()
    app.router.add_post("/api/offer", offer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
