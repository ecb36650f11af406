"""The fuzzing of telephone calls: the caller's signalling and media, the simulator's signalling,
and byte streams.

A peer answers with valid messages, and damages most of them. It knows the last requests of the
call, so that a message with little damage still belongs to the call. The state that it leaves is
bounded, and each call ends.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from random import Random
from typing import Protocol

from pylibsrtp import Error

from bench.base.clock import Arrival
from bench.base.units import NEVER_NS, NS_PER_MS, NS_PER_S
from bench.protocols.call_media import CallMedia
from bench.protocols.rtp.jitter import MAX_CONCEALED_FRAMES, MAX_WAITING, Frame
from bench.protocols.rtp.rtcp import (
    Goodbye,
    Report,
    ReportBlock,
    SenderInfo,
    SourceDescription,
    build_compound,
)
from bench.protocols.rtp.rtp import CODECS, OPUS, RtpPacket, StreamNumbers, build_packet
from bench.protocols.rtp.srtp import PacketEncryption, new_keys
from bench.protocols.sdp.offer_answer import AgreedMedia
from bench.protocols.sip.call import MAX_LEGS, SipCall
from bench.protocols.sip.dialog import LocalParty
from bench.protocols.sip.exchange import TelephoneExchange
from bench.protocols.sip.framing import StreamFramer
from bench.protocols.sip.messages import (
    MAX_MESSAGE_BYTES,
    SipRequest,
    parse_message,
    write_message,
    write_response,
)
from bench.protocols.sip.transactions import MAX_TRANSACTIONS
from bench.wire.addresses import HostPort
from bench.wire.audio import PCM16
from tests.simulator.telephone.virtual_network import CALLED, CALLER, plan
from tests.transport.sip.scripted_peer import ANSWER, call_settings, tokens
from tests.transport.sip.signalling_pieces import LOGIN, PIECES
from tools.fuzz.damage import damaged_bytes

DATAGRAMS = 25
"""The number of datagrams in a case."""
KNOWN = 8
MAX_DROPPED_KINDS = 12
MAX_SENT = 64
"""The maximum number of messages that one received message or instant causes."""
END_NS = 100_000 * NS_PER_S
METHODS = (
    "INVITE",
    "ACK",
    "UPDATE",
    "OPTIONS",
    "INFO",
    "NOTIFY",
    "CANCEL",
    "BYE",
    "REFER",
    "EXPLODE",
)
CODES = (100, 180, 183, 200, 200, 200, 302, 401, 407, 422, 481, 486, 491, 500, 503, 603)
HEADERS = (
    ("WWW-Authenticate", 'Digest realm="r", nonce="{}", qop="auth", stale=true'),
    ("Proxy-Authenticate", 'Digest realm="r", nonce="n{}", algorithm=SHA-256'),
    ("Contact", '"B" <sip:b{}@c>;q=0.5'),
    ("Contact", "<sip:b@192.0.2.4:{}>"),
    ("Min-SE", "9{}"),
    ("Session-Expires", "{};refresher=uac"),
    ("Session-Expires", "9{};refresher=uas"),
    ("Supported", "timer"),
    ("Record-Route", "<sip:p{};lr>, <sip:q>"),
    ("Allow", "UPDATE"),
    ("Require", "x{}"),
    ("Retry-After", "{}"),
    ("Reason", "Q.850;cause={}"),
)
AGREED = AgreedMedia(
    "192.0.2.4",
    50_000,
    "PCMU",
    0,
    ((0, "PCMU"),),
    101,
    101,
    "sendrecv",
    HostPort("192.0.2.4", 50_001),
)


def damaged(random: Random, data: bytes, share: float = 0.6) -> bytes:
    return damaged_bytes(random, data, tuple(PIECES)) if random.random() < share else data


class Timed(Protocol):
    """A state machine with a virtual clock."""

    @property
    def next_ns(self) -> int: ...

    def expire(self, now_ns: int) -> None: ...


class ClockedPeer(ABC):
    """A peer of a state machine, and their clock."""

    def __init__(self, machine: Timed) -> None:
        self._machine = machine
        self.now_ns = 0

    @abstractmethod
    def _collect(self) -> None:
        """Receive what the state machine sends."""

    def wait(self, until_ns: int) -> None:
        """Advance the clock to an instant. Each call of `expire` must do what is due."""
        machine = self._machine
        while machine.next_ns <= until_ns:
            self.now_ns = max(self.now_ns, machine.next_ns)
            machine.expire(self.now_ns)
            assert machine.next_ns > self.now_ns, "the same thing is due again"
            self._collect()
        self.now_ns = max(self.now_ns, min(until_ns, END_NS))


class SignallingPeer(ClockedPeer):
    """The peer of a call of the load generator."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.call = SipCall(
            call_settings(login=LOGIN, session_interval_s=90), tokens(str(random.random()))
        )
        super().__init__(self.call)
        self.sent = 0
        self._requests: list[SipRequest] = []
        self._datagrams = [b""]
        self._cseq = 1
        self.call.start(0)
        self._collect()
        self._invite = self._requests[0]

    def _collect(self) -> None:
        messages = self.call.pop_messages()
        assert len(messages) <= MAX_SENT
        for message in messages:
            parsed = parse_message(message.data)
            assert b"correct horse" not in message.data
            if isinstance(parsed, SipRequest):
                self._requests = [*self._requests, parsed][-KNOWN:]
        self.sent += len(messages)

    def step(self) -> None:
        """Send one datagram, after a random time."""
        random = self._random
        self.wait(self.now_ns + random.choice((0, 1, 20, 500, 5_000, 40_000)) * NS_PER_MS)
        kind = random.random()
        if kind < 0.1:
            data = random.choice(self._datagrams)
        else:
            data = damaged(random, self._response() if kind < 0.6 else self._request())
            self._datagrams = [*self._datagrams, data][-KNOWN:]
        self.call.received(data, self.now_ns, HostPort("192.0.2.4", random.choice((5060, 5061))))
        self._collect()
        call = self.call
        assert len(call._legs) <= MAX_LEGS
        assert len(call._transactions._clients) <= MAX_TRANSACTIONS
        assert len(call._transactions._servers) <= MAX_TRANSACTIONS
        assert len(call.dropped) <= MAX_DROPPED_KINDS

    def end(self) -> None:
        """Hang up, and wait until the call is finished."""
        self.call.hang_up(self.now_ns)
        self._collect()
        self.wait(min(self.now_ns + 1_000 * NS_PER_S, NEVER_NS - 1))
        assert self.call.ending is not None
        assert self.call.is_confirmed

    def _headers(self) -> list[tuple[str, str]]:
        random = self._random
        number = str(random.randint(0, 3) if random.random() < 0.5 else random.randint(0, 10**9))
        chosen = random.sample(HEADERS, random.randint(0, 4))
        return [(name, value.replace("{}", number)) for name, value in chosen]

    def _body(self) -> tuple[bytes, list[tuple[str, str]]]:
        if self._random.random() < 0.4:
            return b"", []
        return damaged(self._random, ANSWER, 0.3), [("Content-Type", "application/sdp")]

    def _response(self) -> bytes:
        random = self._random
        body, typed = self._body()
        tag = random.choice(("bob", "bob", "bob", f"fork{random.randint(0, 40)}"))
        request = random.choice(self._requests)
        return write_response(
            request, random.choice(CODES), tag, None, [*self._headers(), *typed], body
        ).data

    def _request(self) -> bytes:
        random = self._random
        method = random.choice(METHODS)
        self._cseq += 1
        body, typed = self._body() if method in ("INVITE", "ACK", "UPDATE", "INFO") else (b"", [])
        cseq = random.choice((self._cseq, self._cseq, 1, 2**31 - 1 if random.random() < 0.1 else 2))
        lines = [
            ("Via", f"SIP/2.0/UDP 192.0.2.4:5060;branch=z9hG4bK{random.randint(0, 10**6)}"),
            ("From", f"{self._invite.first('To')};tag=bob"),
            ("To", self._invite.first("From")),
            ("Call-ID", self.call.call_id),
            ("CSeq", f"{cseq} {method}"),
            *self._headers(),
            *typed,
        ]
        return write_message(f"{method} sip:alice@192.0.2.1 SIP/2.0", lines, body)


def telephone_call(random: Random) -> None:
    peer = SignallingPeer(random)
    for _ in range(DATAGRAMS):
        peer.step()
        if random.random() < 0.02:
            peer.call.hang_up(peer.now_ns)
    peer.end()


def protected(protect: Callable[[bytes], bytes], packet: bytes) -> bytes:
    """Return an encrypted packet. One with an old number, or that is too long, stays as it is."""
    try:
        return protect(packet)
    except (Error, ValueError):
        return packet


@cache
def opus_payloads() -> tuple[bytes, ...]:
    """Return payloads of Opus: noise and tones with FEC, and a packet without sound (DTX)."""
    from bench.protocols.rtp.opus import LibraryEncoder  # its package is optional

    random, encoder = Random(1), LibraryEncoder(20)
    frames = [random.randbytes(size) for size in (960, 480, 240)] + [b"\x00\x20\x00\xe0" * 240] * 4
    return (*map(encoder.encode, frames), b"\xf8", b"\xff\xc2" + bytes(40))


class MediaPeer:
    """The peer of the media of a call."""

    def __init__(self, random: Random, codec: str = "PCMU") -> None:
        self._random, self._codec = random, CODECS[codec]
        self.now_ns = NS_PER_S
        own, key = (
            new_keys(random.randbytes)
            if random.random() < (0.9 if codec == OPUS else 0.3)
            else (None, None)
        )
        kind = self._codec.payload_type
        agreed = replace(
            AGREED,
            codec=codec,
            send_payload_type=kind,
            receive_codecs=((kind, codec),),
            send_key=own,
            receive_key=key,
        )
        self.media = CallMedia(agreed, StreamNumbers(1, 2, 3), "me", self.now_ns, 0, random.random)
        self._encryption = PacketEncryption(key, own)
        self.datagrams = self.frames = 0
        self._ssrc = self._sequence = self._timestamp = 5
        self._last_ns = 0

    def step(self) -> None:
        """Send one datagram, after a random time."""
        random, media = self._random, self.media
        self.now_ns += random.choice((0, 1, 20, 20, 20, 200, 3_000)) * NS_PER_MS
        self._released(media.expire(self.now_ns))
        assert media.buffer.next_ns > self.now_ns, "the same frame is due again"
        if media.report_ns <= self.now_ns:
            media.report(self.now_ns, goodbye=random.random() < 0.1)
        self.datagrams += 1
        if random.random() < 0.2:
            report = protected(self._encryption.protect_report, self._control())
            media.received_report(damaged(random, report), self.now_ns)
        else:
            packet = damaged(random, protected(self._encryption.protect, self._packet()), 0.3)
            source = random.choice((media.peer, media.peer, HostPort("192.0.2.9", 4_000)))
            arrival = Arrival(self.now_ns, random.choice((0, 0, NS_PER_MS)))
            self._released(media.received(packet, arrival, source))
        if random.random() < 0.2:
            self._encryption.unprotect(media.send_audio(bytes(160)))
        assert len(media.buffer._waiting) <= MAX_WAITING
        # The packets that wait may release the concealed frames of a gap each.
        assert self.frames <= (MAX_CONCEALED_FRAMES + 3) * self.datagrams

    def _released(self, frames: list[Frame]) -> None:
        self.frames += len(frames)
        for frame in frames:
            assert frame.at_ns >= self._last_ns
            assert frame.uncertainty_ns >= 0
            self._last_ns = frame.at_ns

    def end(self) -> None:
        self._released(self.media.buffer.expire(NEVER_NS))
        counts, played = self.media.receiver.counts, self.media.buffer.counts
        assert counts.received - counts.duplicates == (
            played.played + played.late + played.without_audio + played.bad_audio
        )

    def _packet(self) -> bytes:
        random = self._random
        jump = random.random()
        self._sequence += (
            1 if jump < 0.7 else random.choice((0, -1, 2, 5, 2_999, 3_000, 40_000, -99))
        )
        ticks = 160 if jump < 0.7 else random.choice((0, -160, 1, 800, 2_999, 1 << 31, -8_000))
        self._timestamp += ticks * self._codec.clock_hz // 8_000
        if random.random() < 0.03:
            self._ssrc = random.randint(0, 3)
        payload = b"\x11" * (
            160 if random.random() < 0.8 else random.choice((0, 1, 4, 480, 1_600, 2_036))
        )
        if self._codec.audio is PCM16:
            payload = damaged(random, random.choice(opus_payloads()), 0.5)[
                : 1_500 if random.random() < 0.9 else 3
            ]
        kind = (
            self._codec.payload_type
            if random.random() < 0.8
            else random.choice((0, 8, 13, 101, 127))
        )
        sequence, timestamp = self._sequence & 0xFFFF, self._timestamp & 0xFFFFFFFF
        return build_packet(
            *RtpPacket(kind, sequence, timestamp, self._ssrc, payload, random.random() < 0.1)
        )

    def _control(self) -> bytes:
        random = self._random

        def number(bits: int = 32) -> int:
            return random.choice((0, 1, (1 << bits) - 1, random.getrandbits(bits)))

        blocks = tuple(
            ReportBlock(
                random.choice((1, 9)), number(8), number(23), number(), number(), number(), number()
            )
            for _ in range(random.randint(0, 31))
        )
        info = (
            SenderInfo(number(64), number(), number(), number()) if random.random() < 0.5 else None
        )
        more = (SourceDescription(5, "x\x1b"), Goodbye((5,), "bye"), Goodbye(()))[
            random.randint(0, 3) :
        ]
        return build_compound(Report(self._ssrc, blocks, info), *more)


def call_media(random: Random, codec: str) -> None:
    peer = MediaPeer(random, codec)
    for _ in range(DATAGRAMS):
        peer.step()
    peer.end()


class ExchangePeer(ClockedPeer):
    """Callers of the simulator. They share a few Call-IDs and branches."""

    MAX_CALLS = 5

    def __init__(self, random: Random) -> None:
        self._random = random
        party = LocalParty(CALLED, "UDP", "sip:s@h", "simulator")
        self.exchange = TelephoneExchange(
            lambda _: plan(
                max_duration_ns=60 * NS_PER_S,
                ringing_ns=0,
                code=503 if random.random() < 0.1 else 200,
            ),
            party,
            tokens(str(random.random())),
            self.MAX_CALLS,
        )
        super().__init__(self.exchange)
        self._tags = [""]

    def step(self) -> None:
        random, exchange = self._random, self.exchange
        self.wait(self.now_ns + random.choice((0, 1, 20, 500, 5_000)) * NS_PER_MS)
        exchange.received(damaged(random, self._message(), 0.5), self.now_ns, CALLER)
        self._collect()
        assert sum(call.is_playing for call in exchange.calls.values()) <= self.MAX_CALLS
        assert len(exchange._scheduled) <= self.MAX_CALLS
        assert len(exchange.dropped) <= MAX_DROPPED_KINDS

    def _collect(self) -> None:
        messages = self.exchange.pop_messages()
        assert len(messages) <= MAX_SENT * self.MAX_CALLS
        for message in messages:
            parsed = parse_message(message.data)
            tag = parsed.caller.tag if isinstance(parsed, SipRequest) else parsed.callee.tag
            self._tags = [*self._tags, tag][-KNOWN:]

    def end(self) -> None:
        """Wait until all calls have ended."""
        while self.exchange.calls:
            assert self.exchange.next_ns < NEVER_NS, "a call never ends"
            self.wait(self.exchange.next_ns)
        assert self.exchange._scheduled == {}

    def _message(self) -> bytes:
        random = self._random
        method = random.choice(("INVITE", *METHODS))
        cseq = random.randint(1, 9)
        call = random.randint(0, 9)
        tag = random.choice((*self._tags, ""))
        lines = [
            (
                "Via",
                f"SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK{call}b{random.randint(0, 30)}",
            ),
            ("From", "<sip:alice@a>;tag=a"),
            ("To", "<sip:bob@b>" + (f";tag={tag}" if tag and method != "INVITE" else "")),
            ("Call-ID", f"call{call}"),
            ("CSeq", f"{cseq} {method}"),
            ("Contact", "<sip:alice@192.0.2.1>"),
            *(
                ("Session-Expires", str(random.randint(0, 200)))
                for _ in range(random.randint(0, 1))
            ),
        ]
        body = damaged(random, ANSWER, 0.2) if random.random() < 0.7 else b""
        lines += [("Content-Type", "application/sdp")] if body else []
        line = (
            f"SIP/2.0 {random.choice(CODES)} X"
            if random.random() < 0.2
            else f"{method} sip:bob@b SIP/2.0"
        )
        return write_message(line, lines, body)


def telephone_exchange(random: Random) -> None:
    peer = ExchangePeer(random)
    for _ in range(DATAGRAMS):
        peer.step()
    peer.end()


def telephone_stream(random: Random) -> None:
    """Receive the messages of a stream in pieces. The framer keeps no more than a message."""
    message = write_message(
        "OPTIONS sip:a@b SIP/2.0", [("Via", "SIP/2.0/TCP h;branch=z9hG4bKx")], bytes(50)
    )
    stream = b"".join(
        damaged(random, message, 0.1) + b"\r\n" * random.randint(0, 9) for _ in range(DATAGRAMS)
    )
    framer = StreamFramer()
    at = 0
    while at < len(stream):
        size = random.choice((1, 7, 400, 5_000))
        for found in framer.received(stream[at : at + size]):
            assert len(found) <= MAX_MESSAGE_BYTES
        assert len(framer._buffer) <= MAX_MESSAGE_BYTES + size
        at += size
