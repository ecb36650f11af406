"""The audio that both sides of a telephone call agree on (offer and answer, RFC 3264). Pure."""

# `write_offer` and `accepted_answer` are the offerer's side, `answer_to` is the answerer's. All of
# them agree on one codec, and on at most one format of telephone events.
#
# The directions are those of the side that writes them. So the direction of the peer is mirrored
# before it is compared with the own one: "sendonly" of the peer is "recvonly" here, which is how a
# peer holds a call (RFC 3264 §8.4).
#
# Plain audio is no fallback for encrypted audio: a target that demands SRTP would otherwise speak
# in the clear if its agent is configured wrongly.

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from bench.catalogue.causes import Cause, Code
from bench.protocols.rtp.rtp import CODECS
from bench.protocols.rtp.srtp import CryptoAttribute, SrtpKey
from bench.protocols.sdp.sdp import (
    Direction,
    MediaLine,
    RtpFormat,
    SessionDescription,
    write_description,
)
from bench.wire.addresses import UNSPECIFIED, HostPort

EVENT = "telephone-event"
EVENT_PAYLOAD_TYPES = {8_000: 101, 48_000: 102}
"""The payload types of telephone events, by their clock: that of the audio (RFC 4733 §2.1)."""
_RATES = {name: ((codec.clock_hz, codec.channels),) for name, codec in CODECS.items()} | {
    EVENT.upper(): tuple((clock_hz, 1) for clock_hz in EVENT_PAYLOAD_TYPES)
}
"""The clock rates of each encoding, each with the number of channels."""
_SENDS: tuple[Direction, ...] = ("sendrecv", "sendonly")
_RECEIVES: tuple[Direction, ...] = ("sendrecv", "recvonly")


@dataclass(frozen=True, slots=True)
class LocalMedia:
    """The offer of this side: the address and port of its RTP, and its codecs in the order of
    preference.
    """

    address: str
    port: int
    session_id: int
    codecs: tuple[str, ...] = ("PCMU", "PCMA")
    ptime_ms: int = 20
    rtcp_mux: bool = False
    keys: tuple[SrtpKey, ...] = ()
    """The SRTP keys of this side, one for each suite, in the order of preference. With keys, the
    audio must be encrypted. Without keys, it must not be."""
    check_host: Callable[[str], None] = lambda host: None
    """The function that raises ValueError if the audio may not go to a host that the peer names."""


@dataclass(frozen=True, slots=True)
class AgreedMedia:
    """The audio of a call, as this side uses it."""

    address: str
    port: int
    codec: str
    send_payload_type: int
    receive_codecs: tuple[tuple[int, str], ...]
    """The payload types that the peer may send, with their codecs, which have the same clock."""
    send_event_payload_type: int | None
    """The payload type of telephone events (RFC 4733), or None if the peer does not receive
    them."""
    receive_event_payload_type: int | None
    direction: Direction
    """The direction from this side: with sendonly, this side only sends."""
    rtcp: HostPort | None
    """The address and port at which the peer receives RTCP; None if RTCP is multiplexed with
    RTP."""
    send_key: SrtpKey | None = None
    """The SRTP key of this side; None if the audio is not encrypted."""
    receive_key: SrtpKey | None = None
    """The SRTP key of the peer."""
    event_clock_hz: int = 8_000
    """The clock of telephone events. Peers may have that of G.711 next to another codec."""

    @property
    def peer(self) -> HostPort:
        """The address that receives RTP, as the peer names it."""
        return HostPort(self.address, self.port)

    @property
    def peer_rtcp(self) -> HostPort:
        """The address that receives RTCP."""
        return self.rtcp or self.peer

    @property
    def sends(self) -> bool:
        """Whether the peer wants audio. It wants none while it holds the call."""
        return self.direction in _SENDS


def _offered_keys(local: LocalMedia) -> dict[int, CryptoAttribute]:
    """Return the keys that this side offers, by their tags."""
    return {tag: CryptoAttribute(tag, key) for tag, key in enumerate(local.keys, 1)}


def _line(
    local: LocalMedia,
    protocol: str,
    formats: tuple[RtpFormat, ...],
    direction: Direction,
    rtcp_mux: bool,
    crypto: tuple[CryptoAttribute, ...],
) -> MediaLine:
    text = " ".join(str(each.payload_type) for each in formats)
    return MediaLine(
        "audio",
        local.port,
        protocol,
        text,
        formats,
        local.address,
        direction,
        local.ptime_ms,
        rtcp_mux=rtcp_mux,
        crypto=crypto,
    )


def write_offer(local: LocalMedia, version: int, direction: Direction = "sendrecv") -> bytes:
    formats = [*map(offered_format, local.codecs)]
    clocks = dict.fromkeys(each.clock_hz for each in formats)
    formats += (
        RtpFormat(EVENT_PAYLOAD_TYPES[clock_hz], EVENT, clock_hz, parameters="0-15")
        for clock_hz in clocks
    )
    protocol = "RTP/SAVP" if local.keys else "RTP/AVP"
    keys = tuple(_offered_keys(local).values())
    line = _line(local, protocol, tuple(formats), direction, local.rtcp_mux, keys)
    return write_description(local.session_id, version, local.address, [line])


def answer_to(
    local: LocalMedia, offer: SessionDescription, version: int, allowed: Direction = "sendrecv"
) -> tuple[bytes, AgreedMedia]:
    """Return the answer to an offer, and the audio. Raise ValueError if the offer contains no
    usable audio.

    The answer contains the offer's first codec that this side has, with the payload types of the
    offer, and the key of this side for the offer's first suite. All other media are refused with
    the port 0 (RFC 3264 §6).
    """
    audio = offer.sdes_audio if local.keys else offer.audio
    if audio is None:
        raise ValueError(_other_encryption(local, offer.media) or "the peer offers no audio")
    codec, event = _formats(local, audio, "the peer offers no codec that is supported")
    formats = [replace(codec, parameters=CODECS[codec.encoding].parameters)]
    if event is not None:
        formats.append(replace(event, encoding=EVENT, parameters=event.parameters or "0-15"))
    direction = _common(_mirrored(_direction_of(audio)), allowed)
    mux = audio.rtcp_mux and local.rtcp_mux
    send_key, receive_key, crypto = _selected_key(local, audio)
    answered = _line(local, audio.protocol, tuple(formats), direction, mux, crypto)
    lines = [answered if line is audio else _refused(line) for line in offer.media]
    written = write_description(local.session_id, version, local.address, lines)
    number = None if event is None else event.payload_type
    agreed = AgreedMedia(
        audio.address,
        audio.port,
        codec.encoding,
        codec.payload_type,
        ((codec.payload_type, codec.encoding),),
        number,
        number,
        direction,
        _rtcp_of(audio, mux),
        send_key,
        receive_key,
        8_000 if event is None else event.clock_hz,
    )
    return written, agreed


def accepted_answer(
    local: LocalMedia, answer: SessionDescription, offered: Direction = "sendrecv"
) -> AgreedMedia:
    """Return the audio after the answer to this side's offer. Raise ValueError if the answer
    contains no usable audio.

    The offer had a single medium, so the answer's first one belongs to it.
    """
    audio = answer.media[0] if answer.media else None
    if audio is None or not (audio.is_sdes_audio if local.keys else audio.is_plain_audio):
        raise ValueError(_other_encryption(local, answer.media[:1]) or "the peer refuses the audio")
    codec, event = _formats(local, audio, Cause(Code.OTHER_CODEC).text)
    mux = audio.rtcp_mux and local.rtcp_mux
    send_key, receive_key = _answered_keys(local, audio)
    return AgreedMedia(
        audio.address,
        audio.port,
        codec.encoding,
        codec.payload_type,
        # Each format of the offer is still accepted, whichever one the answer names: RFC 3264 §7
        # permits the offerer to stop listening to the others, and some peers do not wait for that.
        tuple(
            (CODECS[offered_codec].payload_type, offered_codec)
            for offered_codec in local.codecs
            if CODECS[offered_codec].clock_hz == codec.clock_hz
        ),
        None if event is None else event.payload_type,
        None if event is None else EVENT_PAYLOAD_TYPES[event.clock_hz],
        _common(_mirrored(_direction_of(audio)), offered),
        _rtcp_of(audio, mux),
        send_key,
        receive_key,
        8_000 if event is None else event.clock_hz,
    )


def _selected_key(
    local: LocalMedia, audio: MediaLine
) -> tuple[SrtpKey | None, SrtpKey | None, tuple[CryptoAttribute, ...]]:
    """Return the keys of (this side, the peer) for an offer's first suite, and the attribute of
    the answer.
    """
    if not local.keys:
        return None, None, ()
    own_keys = {key.suite: key for key in local.keys}
    for offered in audio.crypto:
        if own := own_keys.get(offered.key.suite):
            return own, offered.key, (CryptoAttribute(offered.tag, own),)
    raise ValueError(Cause(Code.NO_SRTP_KEY).text)


def _answered_keys(local: LocalMedia, audio: MediaLine) -> tuple[SrtpKey | None, SrtpKey | None]:
    """Return the keys of (this side, the peer) after an answer, which selects one tag of the
    offer.
    """
    if not local.keys:
        return None, None
    if len(audio.crypto) == 1:
        answered = audio.crypto[0]
        offered = _offered_keys(local).get(answered.tag)
        if offered is not None and offered.key.suite == answered.key.suite:
            return offered.key, answered.key
    raise ValueError(Cause(Code.NO_SRTP_KEY).text)


def _other_encryption(local: LocalMedia, media: Sequence[MediaLine]) -> str:
    """Return why the encryption of the peer's audio is not that of this side; "" if there is no
    audio.
    """
    if local.keys and any(line.is_sdes_audio for line in media):
        return Cause(Code.NO_SRTP_KEY).text
    if local.keys and any(line.is_plain_audio for line in media):
        return Cause(Code.WITHOUT_SRTP).text
    if any(line.is_sdes_audio for line in media):
        return Cause(Code.REQUIRES_SRTP).text
    return (
        Cause(Code.REQUIRES_DTLS_SRTP).text
        if any(line.is_encrypted_audio for line in media)
        else ""
    )


def _check_address(local: LocalMedia, audio: MediaLine) -> None:
    """Raise ValueError if this side can or may send nothing to the address of the audio, or of
    its reports.
    """
    for host in dict.fromkeys((audio.address, audio.rtcp.host if audio.rtcp else audio.address)):
        local.check_host(host)
    own, other = (6 if ":" in address else 4 for address in (local.address, audio.address))
    if own != other and audio.address not in UNSPECIFIED:
        raise ValueError(f"the audio of the peer has an IPv{other} address, in an IPv{own} call")


def _formats(
    local: LocalMedia, audio: MediaLine, problem: str
) -> tuple[RtpFormat, RtpFormat | None]:
    """Return the formats of audio and of telephone events. Raise ValueError if audio is not
    possible.
    """
    _check_address(local, audio)
    codec = common_format(audio, local.codecs)
    if codec is None:
        raise ValueError(problem)
    return codec, common_format(audio, (EVENT.upper(),), codec.clock_hz)


def offered_format(encoding: str) -> RtpFormat:
    """Return the format of a codec that this side offers."""
    codec = CODECS[encoding]
    return RtpFormat(codec.payload_type, encoding, codec.clock_hz, codec.channels, codec.parameters)


def common_format(
    audio: MediaLine, encodings: Collection[str], clock_hz: int = 0
) -> RtpFormat | None:
    """Return the first format of the peer with one of these encodings, and a clock rate of it;
    None if there is none. Those with the rate `clock_hz` precede others.
    """
    found = [
        each
        for each in audio.formats
        if each.encoding in encodings and (each.clock_hz, each.channels) in _RATES[each.encoding]
    ]
    return min(found, key=lambda each: each.clock_hz != clock_hz, default=None)


def _direction_of(audio: MediaLine) -> Direction:
    """Return the direction of the peer. By the unspecified address, old programs hold a call
    (RFC 3264 §8.4).
    """
    return _common(audio.direction, "sendonly") if audio.address in UNSPECIFIED else audio.direction


def _mirrored(direction: Direction) -> Direction:
    mirrored = {"sendonly": "recvonly", "recvonly": "sendonly"}
    return mirrored.get(direction, direction)  # type: ignore[return-value]


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
    # The next higher port, unless the description names another one (RFC 3550 §11, RFC 3605).
    return audio.rtcp or HostPort(audio.address, min(audio.port + 1, 65_535))
