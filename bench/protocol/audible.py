"""Finds the first audible sample of a delta: for PCM in C (`_audible.pyx`) where there was a compiler."""

from __future__ import annotations

import msgspec

from bench.measures import AUDIBLE
from bench.protocol.audio import AudioFormat
from bench.protocol.events import CutPayload, audio_payload

try:
    from bench.protocol._audible import first_audible_pcm
except ImportError:
    first_audible_pcm = None  # type: ignore[assignment]

UNREADABLE = -1


def audible_sample(payload: msgspec.Raw | CutPayload, audio: AudioFormat) -> int | None:
    """The first audible sample of a delta; None where there is none, UNREADABLE where the payload is no base64."""
    if isinstance(payload, CutPayload):
        return payload.audible
    if first_audible_pcm is None or not audio.is_pcm:
        return decoded_audible(payload, audio)
    return first_audible_pcm(payload)


def decoded_audible(payload: msgspec.Raw, audio: AudioFormat) -> int | None:
    """As `audible_sample`, for any format."""
    data = audio_payload(payload)
    if data is None:
        return UNREADABLE
    samples = audio.decode(data)
    loud = (samples >= AUDIBLE) | (samples <= -AUDIBLE)
    place = int(loud.argmax()) if loud.size else 0
    return place if loud.size and loud[place] else None
