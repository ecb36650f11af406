"""The encoder and the decoder of Opus, by libopus. The session's audio is PCM.

Opus delays audio by 6.5 ms (`DELAY_NS`). A listener hears this delay, so the instants of sound
contain it.
"""

import ctypes
import weakref

from opuslib_next import constants
from opuslib_next.api import ctl, decoder, encoder

from bench.protocols.rtp.opus_packets import (
    CLOCK_HZ,
    MAX_DTX_BYTES,
    MAX_TICKS,
    has_redundancy,
    packet_ticks,
)
from bench.wire.audio import PCM16, AudioFormat

BITRATE = 32_000
"""The bit rate of speech in browsers (libwebrtc's default for one channel)."""
FRAMES_MS = (2.5, 5, 10, 20)
"""The durations of a frame. A shorter piece of audio is filled with silence."""
MAX_PACKET_BYTES = 1_275


class LibraryEncoder:
    """An encoder of libopus, with the settings of browsers. In-band FEC is to repair a loss of
    `loss_percent`.
    """

    def __init__(self, loss_percent: int = 0, audio: AudioFormat = PCM16) -> None:
        self._sizes = [int(audio.bytes_per_s * ms) // 1_000 for ms in FRAMES_MS]
        self._sample_bytes = audio.sample_bytes
        self._state = encoder.create_state(audio.rate_hz, 1, constants.APPLICATION_VOIP)
        weakref.finalize(self, encoder.destroy, self._state)
        self._packet = (ctypes.c_char * MAX_PACKET_BYTES)()
        settings = {
            ctl.set_bitrate: BITRATE,
            ctl.set_packet_loss_perc: loss_percent,
            ctl.set_inband_fec: loss_percent > 0,
        }
        for setting, value in settings.items():
            encoder.encoder_ctl(self._state, setting, int(value))

    def encode(self, audio: bytes) -> bytes:
        """Return the packet of a frame of at most 20 ms."""
        size = next(size for size in self._sizes if len(audio) <= size)
        filled = audio.ljust(size, b"\0")
        samples = ctypes.cast(ctypes.c_char_p(filled), ctypes.POINTER(ctypes.c_int16))
        found = encoder.libopus_encode(
            self._state, samples, size // self._sample_bytes, self._packet, MAX_PACKET_BYTES
        )
        assert found > 0, f"libopus refused a frame of {size} bytes with {found}"
        return ctypes.string_at(self._packet, found)


class OpusDecoder:
    """The decoder of one stream."""

    def __init__(self, audio: AudioFormat = PCM16) -> None:
        self._sample_bytes = audio.sample_bytes
        self._ticks_per_sample = CLOCK_HZ // audio.rate_hz
        self._state = decoder.create_state(audio.rate_hz, 1)
        weakref.finalize(self, decoder.destroy, self._state)
        self._samples = (ctypes.c_int16 * (MAX_TICKS // self._ticks_per_sample))()

    def decode(self, payload: bytes) -> bytes:
        """Return the audio of a packet whose duration is valid; silence if it has no sound or is
        damaged.
        """
        samples = packet_ticks(payload) // self._ticks_per_sample
        if len(payload) <= MAX_DTX_BYTES:
            return bytes(samples * self._sample_bytes)
        return self._decoded(payload, samples, is_recovery=False)

    def recover(self, following: bytes, ticks: int) -> bytes | None:
        """Return the audio of a lost packet from the packet after it; None if that has no
        redundancy.
        """
        if not has_redundancy(following):
            return None
        return self._decoded(following, ticks // self._ticks_per_sample, is_recovery=True)

    def _decoded(self, payload: bytes, samples: int, *, is_recovery: bool) -> bytes:
        found = decoder.libopus_decode(
            self._state, payload, len(payload), self._samples, samples, is_recovery
        )
        size = samples * self._sample_bytes
        return ctypes.string_at(self._samples, size) if found == samples else bytes(size)
