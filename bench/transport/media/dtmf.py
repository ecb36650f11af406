"""The keys of the phone as telephone events in RTP (RFC 4733). Pure.

A key press is a series of packets with the same timestamp: the start of the press. Each packet has the duration of the
press until now. The last packet is sent three times, because the end of the press is in no other packet.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from bench.transport.media.reception import ReceivedPacket
from bench.transport.media.rtp import TIMESTAMPS

KEYS = "0123456789*#ABCD"
"""The keys, in the order of their event codes (RFC 4733 §3.2)."""
END_PACKETS = 3
VOLUME = 10
"""The power of the tone in −dBm0. Receivers reject tones below −36 dBm0."""
MAX_DURATION_TICKS = 0xFFFF
_PAYLOAD = Struct("!BBH")
_END, _VOLUME = 0x80, 0x3F


class TelephoneEvent(NamedTuple):
    """The payload of a packet. `duration_ticks` is the time since the start, in units of the timestamp."""

    code: int
    is_end: bool
    volume: int
    duration_ticks: int


def parse_event(payload: bytes) -> TelephoneEvent | None:
    """Return the event; None if the payload is too short. Events after the first one are redundant (RFC 4733 §2.6)."""
    if len(payload) < _PAYLOAD.size:
        return None
    code, flags, duration_ticks = _PAYLOAD.unpack_from(payload)
    return TelephoneEvent(code, bool(flags & _END), flags & _VOLUME, duration_ticks)


def build_event(event: TelephoneEvent) -> bytes:
    flags = event.volume | _END if event.is_end else event.volume
    return _PAYLOAD.pack(event.code, flags, event.duration_ticks)


def key_payloads(key: str, frames: int, frame_ticks: int) -> list[bytes]:
    """Return the payloads of the packets for one key press that lasts for this number of frames.

    One is sent at the end of each frame of the press, instead of audio, and the two repetitions of the last one in the
    next two frames. All have the timestamp of the start of the press. The first one has the marker.
    """
    if frames * frame_ticks > MAX_DURATION_TICKS:
        raise ValueError(f"a key press has at most {MAX_DURATION_TICKS} ticks, and not {frames * frame_ticks}")
    code = KEYS.index(key)
    payloads = [
        build_event(TelephoneEvent(code, frame == frames, VOLUME, frame * frame_ticks))
        for frame in range(1, frames + 1)
    ]
    return payloads + payloads[-1:] * (END_PACKETS - 1)


class KeyReceiver:
    """The receiver of the keys of one stream. A key counts once, with the first packet of its press that arrives."""

    def __init__(self) -> None:
        self._source = -1
        self._pressed: int | None = None  # the timestamp of the last press

    def receive(self, packet: ReceivedPacket) -> str:
        """Return the key that a packet of kind `event` starts; "" if it starts none."""
        event = parse_event(packet.payload)
        if event is None or event.code >= len(KEYS):
            return ""
        if packet.source != self._source:
            self._source, self._pressed = packet.source, None
        if self._pressed is not None and not 0 < (packet.timestamp - self._pressed) % TIMESTAMPS < TIMESTAMPS // 2:
            return ""  # a packet of the same press, or of an earlier one
        self._pressed = packet.timestamp
        return KEYS[event.code]
