"""Opus packets (RFC 6716 §3), as RTP carries them (RFC 7587): what their first bytes state.
Pure.
"""

CLOCK_HZ = 48_000
"""The clock of the timestamps, at any sampling rate."""
MAX_TICKS = CLOCK_HZ * 120 // 1_000
"""The longest duration of a packet: 120 ms (RFC 6716 §3.2.5)."""
DELAY_NS = 6_500_000
"""The delay of the encoder of libopus for speech, which decoded audio has
(`OPUS_GET_LOOKAHEAD`)."""
MAX_DTX_BYTES = 2
"""The maximum size of a packet that only keeps a silent stream alive. It has no sound
(discontinuous transmission)."""
_SILK = (480, 960, 1_920, 2_880)
_HYBRID = (480, 960)
_CELT = (120, 240, 480, 960)
_FRAME_TICKS = (*_SILK * 3, *_HYBRID * 2, *_CELT * 4)
"""The duration of a frame, by the configuration in the first byte (RFC 6716 §3.1)."""
_FIRST_CELT = len(_SILK) * 3 + len(_HYBRID) * 2
_COUNT = 0x03
_STEREO = 0x04
_FRAMES = 0x3F


def packet_ticks(payload: bytes) -> int:
    """Return the duration of a packet; 0 if it is not valid."""
    if not payload:
        return 0
    code = payload[0] & _COUNT
    frames = (1, 2, 2, payload[1] & _FRAMES if len(payload) > 1 else 0)[code]
    ticks = frames * _FRAME_TICKS[payload[0] >> 3]
    return ticks if ticks <= MAX_TICKS else 0


def has_redundancy(payload: bytes) -> bool:
    """Return whether a packet also has the audio before it (in-band FEC), by the flag of RFC 6716
    §4.2.3.

    Only packets with one frame are read, which are the usual ones.
    """
    if len(payload) <= MAX_DTX_BYTES or payload[0] & _COUNT or payload[0] >> 3 >= _FIRST_CELT:
        return False
    # a flag for each 20 ms precedes it, for each channel
    parts = max(1, _FRAME_TICKS[payload[0] >> 3] // 960)
    flags = payload[1] >> 7 - parts & 1
    return bool(flags or (payload[0] & _STEREO and payload[1] >> 6 - 2 * parts & 1))
