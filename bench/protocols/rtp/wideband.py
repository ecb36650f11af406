"""The codecs of telephone calls whose audio has 16 kHz: G.722 by libg722, and G.711 at this rate.

G.722 divides the audio into two bands, and joins them again, which delays audio by 22 samples
(`rtp.G722_DELAY_NS`). A listener hears this delay, so the instants of sound contain it.

If the peer of a wideband call sends G.711, its samples are interpolated. So nothing is audible
earlier than its sample, and the delay is half of a sample.
"""

import numpy as np
from G722 import G722

from bench.wire.audio import PCM16_16K as AUDIO
from bench.wire.audio import AudioFormat

BIT_RATE = 64_000
_HALF_TAPS = 15
_AT = np.arange(-_HALF_TAPS, _HALF_TAPS + 1)
LOW_PASS = np.sinc(_AT / 2) * np.hamming(len(_AT)) / 2
"""The filter that removes what 8 kHz cannot have. It delays the caller's audio by 0.9 ms."""


class G722Encoder:
    def __init__(self) -> None:
        self._library = G722(AUDIO.rate_hz, BIT_RATE)

    def encode(self, audio: bytes) -> bytes:
        return bytes(self._library.encode(AUDIO.decode(audio)))


class G722Decoder:
    """The decoder of one stream."""

    def __init__(self) -> None:
        self._library = G722(AUDIO.rate_hz, BIT_RATE)

    def decode(self, payload: bytes) -> bytes:
        return bytes(memoryview(self._library.decode(payload)))


class NarrowEncoder:
    """The encoder of G.711 from audio with 16 kHz."""

    def __init__(self, law: AudioFormat) -> None:
        self._law = law
        self._before = np.zeros(2 * _HALF_TAPS, np.int16)

    def encode(self, audio: bytes) -> bytes:
        samples = np.concatenate([self._before, AUDIO.decode(audio)])
        self._before = samples[-2 * _HALF_TAPS :]
        filtered = np.convolve(samples, LOW_PASS, "valid")[::2]
        return self._law.encode(np.clip(np.rint(filtered), -32_768, 32_767).astype(np.int16))


class NarrowDecoder:
    """The decoder of G.711 to audio with 16 kHz."""

    def __init__(self, law: AudioFormat) -> None:
        self._law = law
        self._last = 0

    def decode(self, payload: bytes) -> bytes:
        samples = self._law.decode(payload)
        before = np.concatenate([[self._last], samples[:-1]])
        self._last = int(samples[-1])
        wide = np.empty(2 * len(samples), np.int16)
        wide[::2] = (before + samples) // 2
        wide[1::2] = samples
        return wide.tobytes()
