"""The media of one call: the packets to send, and the frames of the received stream. Pure.

The codecs convert the session's audio, which has the same format in the whole call, whichever codec
the peer sends.

A pressed key is a series of packets with the same timestamp, the start of the press, in the place
of audio (telephone events of RFC 4733). Each packet has the duration of the press until now. The
last packet is sent three times, because the end of the press is in no other packet.

RTCP reports are sent while the call is open. If
the call has SRTP keys, packets and reports are encrypted last, and decrypted first.
"""

from collections import deque
from collections.abc import Callable, Iterable
from struct import Struct
from typing import NamedTuple

import numpy as np

from bench.base.clock import Arrival
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.catalogue.metrics import JITTER_BUFFER_MS
from bench.protocols.rtp.jitter import Frame, JitterBuffer
from bench.protocols.rtp.packets import AudioPackets, UsualPackets
from bench.protocols.rtp.rtcp import RtcpSession, report_delay_ns
from bench.protocols.rtp.rtp import (
    CODECS,
    HEADER_BYTES,
    TIMESTAMPS,
    Codec,
    ReceivedPacket,
    RtpReceiver,
    RtpSender,
    StreamNumbers,
    codec_of_call,
)
from bench.protocols.rtp.srtp import PacketEncryption
from bench.protocols.sdp.offer_answer import AgreedMedia
from bench.wire.addresses import HostPort
from bench.wire.audio import AudioFormat
from bench.wire.connection import Datagram, SocketAddress

KEYS = "0123456789*#ABCD"
"""The keys, in the order of their event codes (RFC 4733 §3.2)."""
END_PACKETS = 3
VOLUME = 10
"""The power of the tone in −dBm0. Receivers reject tones below −36 dBm0."""
MAX_DURATION_TICKS = 0xFFFF
_PAYLOAD = Struct("!BBH")
_END = 0x80
_VOLUME = 0x3F


class TelephoneEvent(NamedTuple):
    """The payload of a packet. `duration_ticks` is the time since the start, in units of the
    timestamp.
    """

    code: int
    is_end: bool
    volume: int
    duration_ticks: int


def parse_event(payload: bytes) -> TelephoneEvent | None:
    """Return the event; None if the payload is too short. Events after the first one are
    redundant (RFC 4733 §2.6).
    """
    if len(payload) < _PAYLOAD.size:
        return None
    code, flags, duration_ticks = _PAYLOAD.unpack_from(payload)
    return TelephoneEvent(code, bool(flags & _END), flags & _VOLUME, duration_ticks)


def build_event(event: TelephoneEvent) -> bytes:
    flags = event.volume | _END if event.is_end else event.volume
    return _PAYLOAD.pack(event.code, flags, event.duration_ticks)


def key_payloads(key: str, frames: int, frame_ticks: int) -> list[bytes]:
    """Return the payloads of the packets for one key press that lasts for this number of frames.

    One is sent at the end of each frame of the press, instead of audio, and the two repetitions of
    the last one in the next two frames. All have the timestamp of the start of the press. The first
    one has the marker.
    """
    if frames * frame_ticks > MAX_DURATION_TICKS:
        raise ValueError(
            f"a key press has at most {MAX_DURATION_TICKS} ticks, and not {frames * frame_ticks}"
        )
    code = KEYS.index(key)
    payloads = [
        build_event(TelephoneEvent(code, frame == frames, VOLUME, frame * frame_ticks))
        for frame in range(1, frames + 1)
    ]
    return payloads + payloads[-1:] * (END_PACKETS - 1)


class KeyReceiver:
    """The receiver of the keys of one stream. A key counts once, with the first packet of its
    press that arrives.
    """

    def __init__(self) -> None:
        self._source = -1
        self._pressed: int | None = None  # the timestamp of the last press

    def receive(self, packet: ReceivedPacket) -> str:
        """Return the key that a packet of kind `event` starts; "" if it starts none."""
        event = parse_event(packet.payload)
        if event is None or event.code >= len(KEYS):
            return ""
        if packet.source != self._source:
            self._source = packet.source
            self._pressed = None
        if (
            self._pressed is not None
            and not 0 < (packet.timestamp - self._pressed) % TIMESTAMPS < TIMESTAMPS // 2
        ):
            return ""  # a packet of the same press, or of an earlier one
        self._pressed = packet.timestamp
        return KEYS[event.code]


EARLY_NS = 2 * NS_PER_S
"""The duration of the audio before the answer in which a sound may begin that continues after
the answer."""
MIN_GAP_NS = 20 * NS_PER_MS
HOLD_NS = JITTER_BUFFER_MS * NS_PER_MS
"""How long the jitter buffer waits for a packet."""
KEY_FRAMES = 6
"""The duration of a pressed key: 120 ms."""


class CallMedia:
    """The media of one call.

    `random_share` returns a random number from 0 to 1. `utc_offset_ns` is UTC minus the monotonic
    clock. `audio` is the format of the session's audio; None: that of the agreed codec.
    """

    def __init__(
        self,
        agreed: AgreedMedia,
        numbers: StreamNumbers,
        cname: str,
        now_ns: int,
        utc_offset_ns: int,
        random_share: Callable[[], float],
        audio: AudioFormat | None = None,
    ) -> None:
        self.agreed = agreed
        self._random_share = random_share
        self._codecs: dict[str, Codec] = {}
        self.audio = audio or CODECS[agreed.codec].audio
        codec = self._codec(agreed.codec)
        self.clock_hz = codec.clock_hz
        """The number of units of the timestamps per second."""
        self.sender = RtpSender(codec, agreed.send_payload_type, numbers)
        self.receiver = RtpReceiver(self.clock_hz, ())
        self.buffer = JitterBuffer(self.clock_hz, self.audio, HOLD_NS)
        self.usual = UsualPackets(self.receiver, self.buffer)
        """What accepts most of the received packets, with less work than `received`."""
        self.audio_packets = AudioPackets(self.sender)
        """The packets of the caller's audio."""
        self.rtcp = RtcpSession(self.sender, self.receiver, cname, utc_offset_ns)
        self._encryption = PacketEncryption(agreed.send_key, agreed.receive_key)
        self._keys: deque[tuple[bytes, bool]] = deque()
        """The payloads of pressed keys, and whether each is the first one of its press."""
        self._key_timestamp = 0
        self._left: HostPort | None = None
        """The earlier address of the peer, if it has another one now."""
        self._has_moved = False
        """True if audio has come from the other one."""
        self.peer = self.peer_rtcp = HostPort("")
        """The addresses that receive RTP and RTCP, as the peer names them."""
        self.report_ns = now_ns + report_delay_ns(random_share(), is_first=True)
        """The instant of the next RTCP report."""
        self.change(agreed)

    @property
    def next_ns(self) -> int:
        """The instant at which `expire` or a report is due."""
        return min(self.buffer.next_ns, self.report_ns)

    @property
    def overhead_bytes(self) -> int:
        """The number of bytes by which a received packet is longer than its audio."""
        return HEADER_BYTES + self._encryption.tag_bytes

    def change(self, agreed: AgreedMedia) -> list[Frame]:
        """Use the addresses, the codec, the payload types and the SRTP keys of an agreement from
        now on. Return the frames that another clock of the codec releases.
        """
        self.agreed = agreed
        codec = self._codec(agreed.codec)
        frames = self.buffer.change_clock(codec.clock_hz)
        if codec.clock_hz != self.clock_hz:
            self.clock_hz = codec.clock_hz
            self.receiver.change_clock(codec.clock_hz)
        # The peer may restart its stream at the new address, even with the same SSRC.
        if agreed.peer != self.peer:
            self.receiver.rename()
            self._left = self.peer if self.peer.host else None
            self._has_moved = False
        self.peer = agreed.peer
        self.peer_rtcp = agreed.peer_rtcp
        self.sender.codec = codec
        self.sender.payload_type = agreed.send_payload_type
        codecs = {payload_type: self._codec(name) for payload_type, name in agreed.receive_codecs}
        self.receiver.accept(codecs, agreed.receive_event_payload_type)
        self.buffer.accept(codecs)
        self._encryption.use(agreed.send_key, agreed.receive_key)
        self.audio_packets.use(None if agreed.send_key is None else self._encryption.protect)
        unprotect = None if agreed.receive_key is None else self._encryption.unprotect
        self.usual.use(agreed.peer, unprotect, self.overhead_bytes)
        return frames

    def _codec(self, name: str) -> Codec:
        if name not in self._codecs:
            self._codecs[name] = codec_of_call(name, self.audio)
        return self._codecs[name]

    def skip_audio(self, payload: bytes) -> None:
        """Let media time pass for a frame that is not sent."""
        self.sender.pause(self._ticks(payload))

    def _ticks(self, audio: bytes) -> int:
        """Return the duration of a piece of the session's audio, in units of the timestamp."""
        return self.audio.duration_ns(len(audio)) * self.clock_hz // NS_PER_S

    # A key takes the place of audio, so the pace of packets stays the same, and media time passes
    # for the frames that are not sent. The marker of the first packet of a press tells receivers
    # that it starts here (RFC 4733 §2.2.2).
    def send_audio(self, payload: bytes) -> bytes:
        """Return the packet for one frame of the caller's audio, or for the key that is pressed
        instead.
        """
        if not self._keys:
            return self.audio_packets.next(payload)
        key_payload, is_first = self._keys.popleft()
        if is_first:
            self._key_timestamp = self.sender.timestamp
        event_type = self.agreed.send_event_payload_type
        assert event_type is not None, "a key was accepted without a payload type"
        packet = self.sender.packet(event_type, self._key_timestamp, key_payload, marker=is_first)
        self.sender.pause(self._ticks(payload))
        return self._encryption.protect(packet)

    @property
    def sends_audio(self) -> bool:
        """True if the next packet is one of `audio_packets`: the peer does not hold the call,
        and no key is pressed.
        """
        return self.agreed.sends and not self._keys

    def press(self, key: str) -> bool:
        """Press a key. Return False if the peer does not receive telephone events."""
        if self.agreed.send_event_payload_type is None:
            return False
        # A key is sent as packets of 20 ms, as audio is.
        payloads = key_payloads(key, KEY_FRAMES, self.agreed.event_clock_hz // 50)
        self._keys += ((payload, number == 0) for number, payload in enumerate(payloads))
        return True

    def admitted(self, datagrams: list[Datagram]) -> list[Datagram]:
        """Return received datagrams without those of a peer that another one has replaced, even
        with the same SSRC.
        """
        if self._left is None:
            return datagrams
        kept = []
        for datagram in datagrams:
            source = datagram[1][:2]
            self._has_moved |= source == self.peer
            if self._has_moved and source == self._left:
                self.receiver.counts.strays += 1
            else:
                kept.append(datagram)
        return kept

    def received(self, data: bytes, arrival: Arrival, source: SocketAddress) -> list[Frame]:
        """Return the frames that a packet releases. `source` is the host and port from which it
        comes.
        """
        plain = self._encryption.unprotect(data)
        # After a silence, the packets of an agent that has restarted look like a replay to SRTP.
        # While the source is heard, they are one.
        if plain is None and self.receiver.is_silent(arrival.at_ns):
            plain = self._encryption.unprotect_again(data)
        if plain is None:
            self.receiver.counts.rejected += 1
            return []
        packet = self.receiver.receive(plain, arrival, is_named=source == self.peer)
        return [] if packet is None else self.buffer.add(packet)

    def received_report(self, data: bytes, at_ns: int) -> None:
        """Accept an RTCP packet of the peer."""
        report = self._encryption.unprotect_report(data)
        if report is None:
            self.rtcp.rejected += 1
        else:
            self.rtcp.receive(report, at_ns)

    def expire(self, now_ns: int) -> list[Frame]:
        """Return the frames that are released because earlier packets are missing."""
        return self.buffer.expire(now_ns) if self.buffer.next_ns <= now_ns else []

    def report(self, now_ns: int, *, goodbye: bool = False) -> bytes:
        """Return an RTCP report, and plan the next one."""
        self.report_ns = now_ns + report_delay_ns(self._random_share(), is_first=False)
        return self._encryption.protect_report(
            self.rtcp.report(now_ns, self.sender.timestamp, goodbye=goodbye)
        )


# The packets before the answer go through media of their own: the state of a jitter buffer must not
# reach from the ring tone into the call.
def early_audio(
    packets: Iterable[Datagram], media: CallMedia, answered_ns: int
) -> tuple[bytes, int]:
    """Return the last audio before the answer, and the instant at which it ended."""
    frames = [
        frame
        for data, source, arrival in packets
        if answered_ns - EARLY_NS <= arrival.at_ns < answered_ns
        for frame in media.received(data, arrival, source[:2])
    ]
    audio = bytearray()
    end_ns = 0
    for frame in (*frames, *media.expire(answered_ns)):
        if audio and (gap_ns := frame.at_ns - end_ns) >= MIN_GAP_NS:
            silent = np.zeros(media.audio.rate_hz * gap_ns // NS_PER_S, np.int16)
            audio += media.audio.encode(silent)
        audio += frame.audio
        end_ns = frame.at_ns + media.audio.duration_ns(len(frame.audio))
    return bytes(audio), end_ns
