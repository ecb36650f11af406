"""The audio codecs of RTP: the duration of a payload, and its conversion to the session's audio and back. Pure.

The duration follows from the number of bytes only if the codec encodes each sample for itself, as G.711 does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.wire.audio import G711_ALAW, G711_ULAW, AudioFormat

AUDIO = G711_ULAW
"""The format of the session's audio. PCMU is the same on the network."""


@dataclass(frozen=True, slots=True)
class Codec:
    """A codec. `encode` and `decode` are None if a payload is the session's audio without a change."""

    payload_type: int
    """The payload type that this side offers."""
    clock_hz: int
    """The number of units of the timestamp (ticks) per second."""
    ticks: Callable[[bytes], int]
    """The function that returns the duration of a payload in ticks; 0 if the payload is not valid."""
    encode: Callable[[bytes], bytes] | None = None
    decode: Callable[[bytes], bytes] | None = None


def _conversion(source: AudioFormat, target: AudioFormat) -> Callable[[bytes], bytes]:
    """Return the function that converts the samples of a format, each of which is one byte."""
    table = target.encode(source.decode(bytes(range(256))))
    return lambda audio: audio.translate(table)


CODECS = {
    "PCMU": Codec(0, G711_ULAW.rate_hz, len),
    "PCMA": Codec(8, G711_ALAW.rate_hz, len, _conversion(AUDIO, G711_ALAW), _conversion(G711_ALAW, AUDIO)),
}
"""The codecs, by their names in session descriptions. All codecs of a call have the same clock."""
