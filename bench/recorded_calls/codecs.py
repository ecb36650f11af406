"""The errors that lossy codecs add to the starts and ends of speech. Pure.

A codec that quantizes the spectrum of a block adds noise to all of it, so speech seems to end later (post-echo), and to
start earlier (pre-echo). At 16 kbit/s, MP3 also removes a quiet first consonant. A codec for speech may raise a quiet
last syllable above the threshold. The errors were measured: calls without loss, at 8, 16 and 44.1 kHz, in silence and
in noise, were encoded with up to 8 settings of each codec, and decoded. There were 27 calls, and 25 more for MP3 and
Vorbis. The values are the maxima, rounded up. AMR, SILK, G.729, TrueSpeech and ATRAC3 were not measured, and have the
values of the most similar codec.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from bench.base.units import NS_PER_MS


class CodecErrors(NamedTuple):
    """The maximum errors of the end of the caller's speech, and of the start of the agent's speech."""

    end_ns: int
    start_ns: int


LOSSLESS = CodecErrors(0, 0)
_ADPCM, _BLOCKS, _SPEECH = (
    CodecErrors(end_ms * NS_PER_MS, start_ms * NS_PER_MS) for end_ms, start_ms in ((15, 5), (70, 75), (350, 20))
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
"""The errors of each lossy codec. G.711 is no lossy codec here, because each of its samples is exact within 3 %."""
_CODECS_OF_SUBTYPES = {
    "VORBIS": "vorbis",
    "OPUS": "opus",
    "GSM610": "gsm",
    **dict.fromkeys(("IMA_ADPCM", "MS_ADPCM", "VOX_ADPCM", "G721_32", "G723_24", "G723_40"), "adpcm"),
    **dict.fromkeys(("NMS_ADPCM_16", "NMS_ADPCM_24", "NMS_ADPCM_32"), "adpcm"),
}
_CODECS_OF_SUFFIXES = {"m4a": "aac", "mp4": "aac", "webm": "opus", "ogg": "vorbis", "mp2": "mp3"}


def lossy_codec(path: Path, subtype: str) -> str | None:
    """Return the lossy codec of a recording: of its samples, or of the file that was converted; None if none is known.

    `subtype` is the name of libsndfile for the encoding of the samples. A file that was converted has the name of its
    codec before its suffix: `call.mp3.wav`.
    """
    if subtype in _CODECS_OF_SUBTYPES:
        return _CODECS_OF_SUBTYPES[subtype]
    suffix = Path(path.stem).suffix.lstrip(".").lower()
    named = _CODECS_OF_SUFFIXES.get(suffix, suffix)
    return named if named in CODECS else None
