"""The encoders of codecs with a state, whose packets are stored.

A packet depends on the audio before it. The packets of a recording are the same in all calls, so
they are encoded once: a packet is looked up by its frame and the `HISTORY` frames before it.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

HISTORY = 5
"""The number of earlier frames that determine a packet: after 100 ms, earlier audio has no
audible effect."""
MAX_PACKETS = 30_000
"""The maximum number of packets that are stored: 10 min of audio."""
_packets: dict[tuple[object, ...], bytes] = {}
"""The packets, each by its kind of encoder, its frame and the frames before it."""


class Encoder(Protocol):
    def encode(self, audio: bytes) -> bytes:
        """Return the packet of the next frame."""


class EncodedOnce:
    """The encoder of one call. `new` returns an encoder in its first state. Packets are the same
    for the same `kind`.
    """

    def __init__(self, kind: object, new: Callable[[], Encoder]) -> None:
        self._kind = kind
        self._new = new
        self._recent: deque[bytes] = deque(maxlen=HISTORY)
        self._encoder: Encoder | None = None
        """The encoder that has encoded the recent frames; None if they were looked up."""

    def encode(self, audio: bytes) -> bytes:
        """Return the packet of the next frame."""
        # The state of an encoder cannot be copied, so a frame that is not stored is encoded after
        # the last frames have been encoded again.
        key = (self._kind, *self._recent, audio)
        packet = _packets.get(key)
        if packet is not None:
            self._encoder = None
        else:
            if self._encoder is None:
                self._encoder = self._new()
                for earlier in self._recent:
                    self._encoder.encode(earlier)
            packet = self._encoder.encode(audio)
            if len(_packets) >= MAX_PACKETS:
                _packets.clear()
            _packets[key] = packet
        self._recent.append(audio)
        return packet
