"""The GA dialect of calls over WebRTC: the events are messages of a data channel, and the audio is
a track. Pure.

The service plays its audio in real time, and also sends silence. It reports when the audio of a
response begins (`output_audio_buffer.started`), and when all of it was sent (`.stopped`) or dropped
(`.cleared`). The source is OpenAI's reference, "Server events" (WebRTC and SIP only).
"""

import binascii
from collections.abc import Mapping, Sequence
from itertools import takewhile
from types import MappingProxyType
from typing import Any

import msgspec

from bench.catalogue.causes import Code
from bench.catalogue.outcomes import ENDS_CONNECTIONS, OutcomeRow, OwnRemedies
from bench.services.openai.dialect import NAMES, Ga
from bench.services.openai.events import EventReader
from bench.wire.audio import (
    DECODED_OPUS,
    G711_ULAW,
    PCM16,
    AudioFormat,
    audible_end,
    by_name,
    resolve_format,
)
from bench.wire.dialect import BINARY, BinaryMessage, ClientMessage, Dialect, Feature, MessageKind
from bench.wire.events import EventKind, ServerEvent, base64_bytes
from bench.wire.service import WEBRTC, Tracks
from bench.wire.settings import SessionSettings

AUDIO = "audio"
FRAME_MS = 20
STARTED, STOPPED, CLEARED = (
    f"output_audio_buffer.{end}" for end in ("started", "stopped", "cleared")
)
MAX_FADING_FRAMES = 10
"""The number of audible frames after CLEARED that may belong to the response: audio and events
have different paths."""
LOGGED_AUDIO = f'{{"{BINARY}":'.encode()
"""The start of a frame of audio in a log."""
SPEAKS = frozenset({EventKind.AUDIO_DELTA, EventKind.AUDIO_DONE, EventKind.TRANSCRIPT_DELTA})
"""The events that only a response with audio has."""
NOT_YET = (
    "which this tool does not measure over WebRTC: remove it, or use a target without `transport:"
    " webrtc`"
)
NO_CHANNEL = (
    "the service does not open the data channel of the events, or has ended it: see the message"
)
CHECK_UDP = (
    "check that no firewall or NAT on the way drops UDP between this machine and the service"
)
SAME_PARTIES = (
    "the certificate is not that of the session description: check that no proxy on the way changes"
    " the offer or the answer, and that the process which answers offers also has the audio of its"
    " calls"
)
PERMIT_SOURCE = (
    "permit the address from which the checks come in `call_hosts` of the target (--call-hosts), if"
    " it belongs to your deployment"
)
UNREACHABLE = OutcomeRow(
    remedy=f"no address of the answer can be reached: {CHECK_UDP}",
    causes={Code.CHECKS_FROM: PERMIT_SOURCE},
)
OTHER_CERTIFICATES = (
    Code.OTHER_CERTIFICATE,
    Code.UNKNOWN_CA,
    Code.BAD_CERTIFICATE,
    Code.UNKNOWN_CERTIFICATE,
    Code.DECRYPT_ERROR,
)
"""The causes with which this side, or the peer, refuses the certificate of the other side in
DTLS."""
REMEDIES = OwnRemedies(
    {
        "connect_failed:ice": UNREACHABLE,
        "timeout:ice": UNREACHABLE,
        "connect_failed:dtls": OutcomeRow(
            remedy="the encryption of the audio could not be agreed on: see the message",
            causes=dict.fromkeys(OTHER_CERTIFICATES, SAME_PARTIES),
        ),
        "timeout:dtls": OutcomeRow(
            remedy=(
                "UDP passes (ICE succeeded), but no DTLS of the service arrives: see its log, and"
                " check that no firewall on the way drops DTLS"
            )
        ),
        "connect_failed:upgrade": OutcomeRow(
            remedy="what answers is no service of calls over WebRTC: check host and path",
            causes={
                Code.NO_CHANNEL: NO_CHANNEL,
                Code.CUT_ANSWER: ENDS_CONNECTIONS,
                Code.CLOSED_WITHOUT_ANSWER: ENDS_CONNECTIONS,
                Code.CONNECTION_BROKE: ENDS_CONNECTIONS,
            },
        ),
        "timeout:upgrade": OutcomeRow(
            remedy=(
                "the service accepts the connection, and does not answer the offer in time: see its"
                " log, or raise `upgrade` among the script's `timeouts`"
            ),
            causes={Code.NO_CHANNEL: NO_CHANNEL},
        ),
        "connect_failed:media": OutcomeRow(
            remedy=(
                "the service does not accept the codec that was offered over DTLS-SRTP: name"
                " another one by `codec` of the target (--codec)"
            ),
            causes={
                Code.NO_DESCRIPTION: (
                    "the answer lacks what a call needs: see the message, and the log of the peer"
                ),
                Code.OF_CHANNEL: NO_CHANNEL,
            },
        ),
        "connect_failed:host": OutcomeRow(
            remedy=(
                "the service names an address for its audio that is not its own: permit it in"
                " `call_hosts` of the target (--call-hosts), if it belongs to your deployment"
            ),
            causes={Code.CHECKS_FROM: PERMIT_SOURCE},
        ),
    }
)


def audio_of(message: bytes) -> msgspec.Raw | None:
    """Return the audio of a received or logged frame, which is a JSON string in base64; None for
    other messages.
    """
    if isinstance(message, BinaryMessage):
        return msgspec.Raw(b'"' + binascii.b2a_base64(message, newline=False) + b'"')
    return (
        msgspec.Raw(message[len(LOGGED_AUDIO) : -1]) if message.startswith(LOGGED_AUDIO) else None
    )


# Over WebRTC, `response.done` says that the service has generated a response, not that the caller
# has heard it. `output_audio_buffer.stopped` "is emitted after the full response data has been sent
# to the client (`response.done`)", when the buffer "has been completely drained on the server"
# (OpenAI's reference). Therefore the end of a response is held back until its audio has ended
# (`_waiting`), and then passed on as if the service had sent it at that time. All rules of turns
# then hold for tracks, too.
#
# Frames have no ids. A frame belongs to the response whose audio is current (`_owner`). Packets and
# events travel apart, so an event may come some frames before or after the audio that it describes.
class TrackReader:
    """The decoder of one call. It gives the audio of the track to responses.

    The audio belongs to a response from the creation of the response, because its first audio may
    arrive before its event STARTED. It ends with STOPPED or CLEARED, and so does the response,
    whose own end may be much earlier. The audio that was sent before CLEARED may arrive after it,
    so audible frames after CLEARED belong to the response.
    """

    def __init__(self, dialect: EventReader, format: AudioFormat) -> None:
        self._dialect = dialect
        self._format = format
        self._owner = ""
        """The response to which the audio belongs; "" if there is none."""
        self._waiting: dict[str, ServerEvent | None] = {}
        """The responses that have not ended, each with its end if that was received."""
        self._started = set[str]()
        """The responses whose audio was reported to begin."""
        self._speaking = set[str]()
        """The responses with audio whose audio has not ended."""
        self._silent: dict[str, bool] = {}
        """The responses whose audio ended before they did, each with True if it was dropped."""
        self._cut = ""
        self._fading_frames = 0
        """The response whose audio was dropped, and the number of frames that may still be its
        audio."""

    def decode(self, message: bytes) -> Sequence[ServerEvent]:
        if (audio := audio_of(message)) is not None:
            return self._audio(audio)
        found: list[ServerEvent] = []
        for event in self._dialect.decode(message):
            found += self._placed(event)
        return found

    def _audio(self, payload: msgspec.Raw) -> Sequence[ServerEvent]:
        owner = self._owner
        if self._fading_frames:
            is_audible = audible_end(payload, self._format) is not None
            owner = self._cut
            self._fading_frames = self._fading_frames - 1 if is_audible else 0
        if not owner:
            return ()
        # no event reports where in the track an item of a response begins, so they are one item
        return (
            ServerEvent(EventKind.AUDIO_DELTA, AUDIO, owner, owner, base64_bytes(payload), payload),
        )

    def _placed(self, event: ServerEvent) -> Sequence[ServerEvent]:
        """Return the events in place of an event of the service."""
        kind = event.kind
        response_id = event.response_id
        if kind is EventKind.RESPONSE_CREATED:
            self._waiting[response_id] = None
            self._owner = self._owner or response_id
        elif kind in SPEAKS:
            self._speaking.add(response_id)
        elif event.name == STARTED:
            skipped = self._skipped_before(response_id)
            self._owner = response_id or self._owner
            self._fading_frames = 0
            self._speaking.add(self._owner)
            self._started.add(self._owner)
            return (*skipped, event)
        elif event.name in (STOPPED, CLEARED):
            return (event, *self._ended(response_id, is_cut=event.name == CLEARED))
        elif kind is EventKind.RESPONSE_DONE and self._has_more(event):
            self._waiting[response_id] = event
            return (ServerEvent(EventKind.NOTED, event.name, response_id),)
        elif kind is EventKind.RESPONSE_DONE:
            event = _cut_short(event) if self._silent.get(response_id) else event
            self._forget(response_id)
        if kind is EventKind.AUDIO_DELTA:  # the same audio is in the track
            return (ServerEvent(EventKind.NOTED, event.name, response_id),)
        return (event,)

    def _skipped_before(self, response_id: str) -> Sequence[ServerEvent]:
        """Return the ends of complete responses that were created before this one, and were dropped
        before they began.

        No event reports the end of audio that never began.
        """
        if response_id not in self._waiting:
            return ()
        earlier = takewhile(lambda each: each != response_id, list(self._waiting))
        skipped = [
            each
            for each in earlier
            if self._waiting[each] is not None and each not in self._started
        ]
        return [end for each in skipped for end in self._ended(each, is_cut=True)]

    def _has_more(self, done: ServerEvent) -> bool:
        """Return whether audio of a response follows its end. One that is not complete may never
        have begun to play.
        """
        response_id = done.response_id
        if response_id in self._silent:
            return False
        speaks = response_id in self._speaking and (
            done.status == "completed" or response_id in self._started
        )
        return speaks and response_id in self._waiting

    def _ended(self, response_id: str, *, is_cut: bool) -> Sequence[ServerEvent]:
        """Return the end of a response whose audio has ended; nothing if the response itself has
        not ended yet.
        """
        done = self._waiting.get(response_id)
        self._speaking.discard(response_id)
        if is_cut:
            self._cut = response_id
            self._fading_frames = MAX_FADING_FRAMES
        if done is None:
            if response_id in self._waiting:
                self._silent[response_id] = is_cut
            return ()
        self._forget(response_id)
        return (_cut_short(done) if is_cut else done,)

    def _forget(self, response_id: str) -> None:
        self._waiting.pop(response_id, None)
        self._speaking.discard(response_id)
        self._started.discard(response_id)
        self._silent.pop(response_id, None)
        if self._owner == response_id:
            self._owner = next(iter(self._waiting), "")


def _cut_short(done: ServerEvent) -> ServerEvent:
    """Return the end of a response whose audio was dropped."""
    return (
        done
        if done.status != "completed"
        else msgspec.structs.replace(done, status="cancelled", reason="turn_detected")
    )


class TrackDialect(Dialect):
    """The part of a dialect next to a track of audio, with Opus, that does not depend on the
    events.
    """

    has_track = True
    has_binary_texts = False
    frame_ms = FRAME_MS
    input_formats = by_name(PCM16)
    output_formats = by_name(DECODED_OPUS)
    remedies = REMEDIES

    def append(self, audio: bytes, event_id: str) -> ClientMessage:
        return ClientMessage(MessageKind.APPEND, AUDIO, BinaryMessage(audio))

    def without_audio(self, message: bytes) -> bytes:
        return (
            msgspec.json.encode({BINARY: ""})
            if isinstance(message, BinaryMessage)
            else super().without_audio(message)
        )


class GaTrack(TrackDialect, Ga):
    """The GA dialect next to a track of audio, with Opus."""

    name = "ga-webrtc"
    own_kinds = MappingProxyType(
        {**Ga.own_kinds, **dict.fromkeys((STARTED, STOPPED, CLEARED), EventKind.NOTED)}
    )
    message_kinds = MappingProxyType(
        {
            name: kind
            for kind, name in NAMES.items()
            if kind not in (MessageKind.APPEND, MessageKind.TRUNCATE)
        }
        | {AUDIO: MessageKind.APPEND}
    )
    missing_features: Mapping[Feature, str] = MappingProxyType(
        dict.fromkeys((Feature.CUE, Feature.CUT, Feature.SOUND, Feature.OUT_OF_BAND), NOT_YET)
    )
    transcribers = ()

    def __init__(self) -> None:
        super().__init__()
        self.session_decoder = lambda: (
            TrackReader(self, resolve_format(self.output_formats, None)).decode
        )

    def session(self, settings: SessionSettings) -> dict[str, Any]:
        """Return the settings without formats, which the offer and the answer of the call
        determine.
        """
        session = super().session(settings)
        for direction in session.get("audio", {}).values():
            direction.pop("format", None)
        return session

    def decode(self, message: bytes) -> Sequence[ServerEvent]:
        return () if isinstance(message, BinaryMessage) else super().decode(message)


class GaNarrowTrack(GaTrack):
    """The GA dialect next to a track of audio, with G.711."""

    name = "ga-webrtc-g711"
    input_formats = output_formats = by_name(G711_ULAW)


GA_TRACK = GaTrack()
GA_NARROW_TRACK = GaNarrowTrack()
GA_TRACKS = Tracks(WEBRTC, {"OPUS": GA_TRACK}, GA_NARROW_TRACK)
