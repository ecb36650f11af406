"""An agent with aiosipua, after the example of its documentation. It prints its port."""

import asyncio
import itertools

import numpy as np
from aiosipua import SipUAS
from aiosipua.rtp_bridge import CallSession
from aiosipua.transport import UdpSipTransport
from ports import free_port
from python_talk import FRAME_S, Talker, tone
from sip_calls import HOST, RATE_HZ

SAMPLES = int(RATE_HZ * FRAME_S)
speakers: dict[str, tuple[asyncio.Task[None], CallSession]] = {}


async def on_invite(call):
    session, talker = (
        CallSession(local_ip=HOST, rtp_port=free_port(), offer=call.sdp_offer),
        Talker(),
    )
    call.ringing()
    call.accept(session.sdp_answer)
    await session.start()
    session.on_audio = lambda pcm, timestamp: talker.hear(np.frombuffer(pcm, np.int16))
    speakers[call.call_id] = asyncio.create_task(speak(session, talker)), session


async def speak(session, talker):
    loop, rest = asyncio.get_running_loop(), np.zeros(0, np.int16)
    start_s = loop.time()
    for number in itertools.count():
        await asyncio.sleep(max(0, start_s + number * FRAME_S - loop.time()))
        if talker.is_due():
            rest = tone(RATE_HZ)
        samples, rest = rest[:SAMPLES], rest[SAMPLES:]
        session.send_audio_pcm(
            np.pad(samples, (0, SAMPLES - len(samples))).tobytes(), number * SAMPLES
        )


def on_bye(call, _):
    if call.call_id in speakers:
        task, session = speakers.pop(call.call_id)
        task.cancel()
        asyncio.get_running_loop().create_task(session.close())


async def main():
    port = free_port()
    uas = SipUAS(UdpSipTransport(local_addr=(HOST, port)))
    uas.on_invite = lambda call: asyncio.get_running_loop().create_task(on_invite(call))
    uas.on_bye = on_bye
    await uas.start()
    print(port, flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
