"""The errors that lossy codecs add to the starts and ends of speech. Pure.

A codec that quantizes the spectrum of a block adds noise to all of it, so speech seems to end later
(post-echo), and to start earlier (pre-echo). At 16 kbit/s, MP3 also removes a quiet first
consonant. A codec for speech may raise a quiet last syllable above the threshold. The errors were
measured: calls without loss, at 8, 16 and 44.1 kHz, in silence and in noise, were encoded with up
to 8 settings of each codec, and decoded. There were 27 calls, and 25 more for MP3 and Vorbis. The
values are the maxima, rounded up. AMR, SILK, G.729, TrueSpeech and ATRAC3 were not measured, and
have the values of the most similar codec.

Opus was also measured live, with 2,530 recorded voices that libopus encoded with random settings:
for speech, for music and for a low delay, 8 to 128 kbit/s, packets of 10 to 60 ms, complexity 0 to
10, in silence, rooms and noise. Beyond the bound of the sound itself, starts moved by up to 10.8 ms
(with the settings of browsers 4.8 ms), and 998 of 1,000 ends by up to 10.4 ms. Below 16 kbit/s, the
codec may remove a quiet last consonant.
"""

from collections.abc import Mapping
from typing import NamedTuple

from bench.base.units import NS_PER_MS


class CodecErrors(NamedTuple):
    """The maximum errors of an end of speech, and of a start, in addition to those of the sound
    itself.
    """

    end_ns: int
    start_ns: int


LOSSLESS = CodecErrors(0, 0)
_ADPCM, _BLOCKS, _SPEECH = (
    CodecErrors(end_ms * NS_PER_MS, start_ms * NS_PER_MS)
    for end_ms, start_ms in ((15, 5), (70, 75), (350, 20))
)
CODECS: Mapping[str, CodecErrors] = {
    "mp3": CodecErrors(80 * NS_PER_MS, 140 * NS_PER_MS),
    "aac": CodecErrors(70 * NS_PER_MS, 50 * NS_PER_MS),
    "vorbis": CodecErrors(50 * NS_PER_MS, 45 * NS_PER_MS),
    "opus": CodecErrors(30 * NS_PER_MS, 15 * NS_PER_MS),
    **dict.fromkeys(("wma", "ac3", "atrac3"), _BLOCKS),
    **dict.fromkeys(("amr", "gsm", "speex", "silk", "g7231", "g729", "truespeech"), _SPEECH),
    **dict.fromkeys(("adpcm", "g722", "g726"), _ADPCM),
}
"""The errors of each lossy codec. G.711 is no lossy codec here, because each of its samples is
exact within 3 %."""
