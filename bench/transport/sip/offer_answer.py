"""The audio that both sides of a telephone call agree on (offer and answer, RFC 3264). Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from bench.transport.sip.messages import HostPort
from bench.transport.sip.sdp import (
    Direction,
    MediaLine,
    RtpFormat,
    SessionDescription,
    write_description,
)

CODECS = {"PCMU": 0, "PCMA": 8}
TELEPHONE_EVENT = "TELEPHONE-EVENT"
EVENT_PAYLOAD_TYPE = 101
UNSPECIFIED = ("0.0.0.0", "::")
"""The addresses by which old programs put a call on hold (RFC 3264 §8.4)."""
_SENDS: tuple[Direction, ...] = ("sendrecv", "sendonly")
_RECEIVES: tuple[Direction, ...] = ("sendrecv", "recvonly")


@dataclass(frozen=True, slots=True)
class LocalMedia:
    """The offer of this side: the address and port of its RTP, and its codecs in the order of preference."""

    address: str
    port: int
    session_id: int
    codecs: tuple[str, ...] = ("PCMU", "PCMA")
    ptime_ms: int = 20
    rtcp_mux: bool = False


@dataclass(frozen=True, slots=True)
class AgreedMedia:
    """The audio of a call, as this side uses it."""

    address: str
    port: int
    codec: str
    send_payload_type: int
    receive_payload_type: int
    send_event_payload_type: int | None
    """The payload type of telephone events (RFC 4733), or None if the peer does not receive them."""
    receive_event_payload_type: int | None
    direction: Direction
    """The direction from this side: with sendonly, this side only sends."""
    ptime_ms: int | None
    rtcp: HostPort | None
    """The address and port at which the peer receives RTCP; None if RTCP is multiplexed with RTP."""


def audio_line(local: LocalMedia, direction: Direction = "sendrecv") -> MediaLine:
    """Return the line of audio that this side offers."""
    formats = [RtpFormat(CODECS[codec], codec) for codec in local.codecs]
    formats.append(RtpFormat(EVENT_PAYLOAD_TYPE, "telephone-event", parameters="0-15"))
    return _line(local, tuple(formats), direction, local.rtcp_mux)


def _line(local: LocalMedia, formats: tuple[RtpFormat, ...], direction: Direction, rtcp_mux: bool) -> MediaLine:
    text = " ".join(str(each.payload_type) for each in formats)
    return MediaLine(
        "audio", local.port, "RTP/AVP", text, formats, local.address, direction, local.ptime_ms, rtcp_mux=rtcp_mux
    )


def write_offer(local: LocalMedia, version: int, direction: Direction = "sendrecv") -> bytes:
    return write_description(local.session_id, version, local.address, [audio_line(local, direction)])


def answer_to(
    local: LocalMedia, offer: SessionDescription, version: int, allowed: Direction = "sendrecv"
) -> tuple[bytes, AgreedMedia]:
    """Return the answer to an offer, and the audio. Raise ValueError if the offer contains no usable audio.

    The answer contains the offer's first codec that this side has, with the payload types of the offer. All other media
    are refused with the port 0 (RFC 3264 §6).
    """
    audio = offer.audio
    if audio is None:
        raise ValueError("the peer requires SRTP" if offer.requires_srtp else "the peer offers no audio")
    codec = _narrowband(audio, local.codecs)
    if codec is None:
        raise ValueError("the peer offers no codec that is supported")
    event = _narrowband(audio, (TELEPHONE_EVENT,))
    formats = [RtpFormat(codec.payload_type, codec.encoding)]
    if event is not None:
        formats.append(RtpFormat(event.payload_type, "telephone-event", parameters=event.parameters or "0-15"))
    direction = _common(_mirrored(_direction_of(audio)), allowed)
    mux = audio.rtcp_mux and local.rtcp_mux
    answered = _line(local, tuple(formats), direction, mux)
    lines = [answered if line is audio else _refused(line) for line in offer.media]
    written = write_description(local.session_id, version, local.address, lines)
    number = None if event is None else event.payload_type
    agreed = AgreedMedia(
        audio.address, audio.port, codec.encoding, codec.payload_type, codec.payload_type, number, number,
        direction, audio.ptime_ms, _rtcp_of(audio, mux),
    )  # fmt: skip
    return written, agreed


def accepted_answer(local: LocalMedia, answer: SessionDescription, offered: Direction = "sendrecv") -> AgreedMedia:
    """Return the audio after the answer to this side's offer. Raise ValueError if the answer contains no usable audio.

    The offer had a single medium, so the answer's first one belongs to it.
    """
    audio = answer.media[0] if answer.media and answer.media[0].is_plain_audio else None
    if audio is None:
        raise ValueError("the peer requires SRTP" if answer.requires_srtp else "the peer refuses the audio")
    codec = _narrowband(audio, local.codecs)
    if codec is None:
        raise ValueError("the peer answers with a codec that was not offered")
    event = _narrowband(audio, (TELEPHONE_EVENT,))
    mux = audio.rtcp_mux and local.rtcp_mux
    return AgreedMedia(
        audio.address, audio.port, codec.encoding, codec.payload_type, CODECS[codec.encoding],
        None if event is None else event.payload_type, None if event is None else EVENT_PAYLOAD_TYPE,
        _common(_mirrored(_direction_of(audio)), offered), audio.ptime_ms, _rtcp_of(audio, mux),
    )  # fmt: skip


def _narrowband(audio: MediaLine, encodings: Collection[str]) -> RtpFormat | None:
    """Return the first format of the peer with one of these encodings, at 8 kHz and mono; None if there is none."""
    for each in audio.formats:
        if each.encoding in encodings and each.clock_hz == 8_000 and each.channels == 1:
            return each
    return None


def _direction_of(audio: MediaLine) -> Direction:
    """Return the direction of the peer. The unspecified address means that the peer receives nothing."""
    return _common(audio.direction, "sendonly") if audio.address in UNSPECIFIED else audio.direction


def _mirrored(direction: Direction) -> Direction:
    return {"sendonly": "recvonly", "recvonly": "sendonly"}.get(direction, direction)  # type: ignore[return-value]


def _common(one: Direction, other: Direction) -> Direction:
    """Return the direction that contains what both contain."""
    sends = one in _SENDS and other in _SENDS
    receives = one in _RECEIVES and other in _RECEIVES
    if sends:
        return "sendrecv" if receives else "sendonly"
    return "recvonly" if receives else "inactive"


def _refused(line: MediaLine) -> MediaLine:
    return MediaLine(line.kind, 0, line.protocol, line.format_text)


def _rtcp_of(audio: MediaLine, mux: bool) -> HostPort | None:
    if mux:
        return None
    return audio.rtcp or HostPort(audio.address, min(audio.port + 1, 65_535))
