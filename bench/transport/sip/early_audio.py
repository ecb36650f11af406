"""The audio that a caller receives before the answer of a call, such as a ring tone or an announcement. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from bench.base.clock import Arrival
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.transport.datagrams import SocketAddress
from bench.transport.sip.media import AUDIO, CallMedia
from bench.transport.sip.messages import HostPort

EARLY_NS = 2 * NS_PER_S
"""The duration of the audio before the answer in which a sound may begin that continues after the answer."""
MIN_GAP_NS = 20 * NS_PER_MS

EarlyPacket = tuple[bytes, SocketAddress, Arrival]


def early_audio(packets: Iterable[EarlyPacket], media: CallMedia, answered_ns: int) -> tuple[bytes, int]:
    """Return the last audio before the answer, and the instant at which it ended."""
    frames = [
        frame
        for data, source, arrival in packets
        if answered_ns - EARLY_NS <= arrival.at_ns < answered_ns
        for frame in media.received(data, arrival, HostPort(*source[:2]))
    ]
    audio, end_ns = bytearray(), 0
    for frame in (*frames, *media.expire(answered_ns)):
        if audio and (gap_ns := frame.at_ns - end_ns) >= MIN_GAP_NS:
            audio += AUDIO.encode(np.zeros(AUDIO.rate_hz * gap_ns // NS_PER_S, np.int16))
        audio += frame.audio
        end_ns = frame.at_ns + AUDIO.duration_ns(len(frame.audio))
    return bytes(audio), end_ns
