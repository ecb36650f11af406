"""A service with aiortc: it answers offers, plays a tone into the track, and counts what it hears.

Run as a program, it prints its port. On the data channel of a call, `report` is answered with what
was heard, and other texts are repeated three times.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import aiortc
import av
import numpy as np
from aiohttp import web

calls: set[Heard] = set()


def loudest(frame: av.AudioFrame) -> int:
    return int(np.abs(frame.to_ndarray().astype(np.int32)).max())


class Tone(aiortc.mediastreams.AudioStreamTrack):
    """Frames of a loud square wave."""

    async def recv(self) -> av.AudioFrame:
        silence = await super().recv()
        wave = np.where(np.arange(silence.samples) % 20 < 10, 8_000, -8_000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(wave[np.newaxis], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = (
            silence.sample_rate,
            silence.pts,
            silence.time_base,
        )
        return frame


class Heard:
    """One call, and how many loud frames of its caller were heard."""

    def __init__(self) -> None:
        self.peer = aiortc.RTCPeerConnection()
        self.loud = 0
        self.peer.on("track", lambda track: asyncio.ensure_future(self._listen(track)))
        self.peer.on(
            "datachannel",
            lambda channel: channel.on("message", lambda text: self._answer(channel, text)),
        )

    def _answer(self, channel: aiortc.RTCDataChannel, text: str) -> None:
        if text == "close":
            channel.close()
        elif text == "stop":
            self._ending = asyncio.ensure_future(self.peer.close())
        else:
            channel.send(
                f"{self.loud} {self.peer.connectionState}" if text == "report" else text * 3
            )

    async def _listen(self, track: aiortc.MediaStreamTrack) -> None:
        with suppress(aiortc.mediastreams.MediaStreamError):  # the call has ended
            while True:
                frame = await track.recv()
                self.loud += loudest(frame) > 4_000


async def answer(request: web.Request) -> web.Response:
    form, heard = await request.post(), Heard()
    heard.peer.addTrack(Tone())
    await heard.peer.setRemoteDescription(
        aiortc.RTCSessionDescription(bytes(form["sdp"]).decode(), "offer")
    )
    await heard.peer.setLocalDescription(await heard.peer.createAnswer())
    calls.add(heard)
    return web.Response(
        status=201, text=heard.peer.localDescription.sdp, content_type="application/sdp"
    )


async def main() -> None:
    app = web.Application()
    app.add_routes([web.post("/v1/realtime/calls", answer)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
