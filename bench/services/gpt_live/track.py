"""GPT-Live over WebRTC: the events are messages of a data channel, and the audio is a track in both
directions. Pure.

The offer has the settings of the session, and its answer starts the session (OpenAI's reference,
"Create session" of the Live API; `LiveCreateParams` and `LiveCreateResponse` of openai-python 3.51
to 3.57). The first event on the data channel is `session.started`. The call determines the format
of the audio.
"""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from bench.files.values import object_in
from bench.services.gpt_live.dialect import APPEND, NO_STANDBY, STORED, GptLive
from bench.services.gpt_live.events import DECODERS, LiveReader, Wire
from bench.services.openai.events import failure_of
from bench.services.openai.track import AUDIO, TrackDialect, audio_of
from bench.wire.audio import G711_ULAW, by_name
from bench.wire.dialect import MessageKind
from bench.wire.events import ErrorScope, EventKind, ServerEvent, base64_bytes
from bench.wire.service import CALL_FAILED, WEBRTC_SESSION, Tracks
from bench.wire.settings import SessionSettings

UNCONNECTED = ("connect_failed", "timeout", "throttled")
"""The beginnings of the outcomes of calls that were not connected."""
BINARY_SOUND = ServerEvent(EventKind.AUDIO_DELTA, AUDIO)


def _failed(wire: Wire) -> Sequence[ServerEvent]:
    """Return the event for a call that was not connected. It ends the session."""
    failure = failure_of(object_in(wire.error))
    effect = ErrorScope.UNCONNECTED if failure.type in UNCONNECTED else ErrorScope.FATAL
    return (
        ServerEvent(
            EventKind.ERROR, CALL_FAILED, failure=msgspec.structs.replace(failure, effect=effect)
        ),
    )


class LiveTrackReader(LiveReader):
    """The decoder of one session next to a track of audio."""

    __slots__ = ()

    decoders = MappingProxyType({**DECODERS, CALL_FAILED: _failed})

    def decode(self, message: bytes) -> Sequence[ServerEvent]:
        if (audio := audio_of(message)) is not None:
            sound = msgspec.structs.replace(
                BINARY_SOUND, payload_bytes=base64_bytes(audio), payload=audio
            )
            return (sound,)
        return super().decode(message)


class GptLiveTrack(TrackDialect, GptLive):
    """GPT-Live next to a track of audio, with Opus."""

    name = "gpt-live-webrtc"
    message_kinds = MappingProxyType(
        {name: kind for name, kind in GptLive.message_kinds.items() if name != APPEND}
        | {AUDIO: MessageKind.APPEND}
    )
    binary_sound = BINARY_SOUND
    reader = LiveTrackReader
    stored = MappingProxyType(
        {keys: remedy for keys, remedy in STORED.items() if remedy is not NO_STANDBY}
    )
    prepaid_s = 15.0  # OpenAI's guide of costs, "WebRTC initialization charges", November 2026

    def _session(self, settings: SessionSettings) -> dict[str, Any]:
        """Return the settings without the format, which the offer and the answer of the call
        determine.
        """
        session = super()._session(settings)
        session["audio"].pop("format")
        return (
            session
            if session["audio"]
            else {name: value for name, value in session.items() if name != "audio"}
        )


class GptLiveNarrowTrack(GptLiveTrack):
    """GPT-Live next to a track of audio, with G.711."""

    name = "gpt-live-webrtc-g711"
    input_formats = output_formats = by_name(G711_ULAW)


LIVE_TRACKS = Tracks(WEBRTC_SESSION, {"OPUS": GptLiveTrack()}, GptLiveNarrowTrack())
