"""A telephone line in tests, whose peers misbehave as a test says. Each call has its own peer,
in its own thread.
"""

from __future__ import annotations

import queue
import select
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import cycle

from bench.protocols.rtp.rtp import RtpPacket, build_packet
from bench.protocols.sdp.sdp import parse_description
from bench.protocols.sip.messages import (
    SipRequest,
    SipResponse,
    parse_message,
    write_message,
    write_response,
)
from bench.transport.datagrams import media_sockets, udp_socket
from rtbench_simulator.services.telephone.agent import RTP_PORTS
from tests.attack.cases import HostileHost, PeerEndsError, serving

LOOPBACK = "127.0.0.1"
AGAIN_S = 0.05
"""The time after which a peer repeats a message that has no effect yet. A datagram may be lost
in a flood."""
FRAME_S = 0.01
"""The interval between two frames of a peer. Their media times differ by 20 ms, so no frame is
late."""
MARKER = b"\x2a" * 160
"""The frame of audio that each peer sends at the end. A call that receives it still works."""
SDP_TYPE = ("Content-Type", "application/sdp")
Header = tuple[str, str]


class HostilePeer:
    """The peer of one call. Its behaviour sends any bytes, and waits for messages of the call."""

    def __init__(self, line: HostileLine, invite: SipRequest | None = None) -> None:
        self.line = line
        self.source = ("", 0)
        self.inbox: queue.Queue[tuple[SipRequest | SipResponse, tuple[str, int]]] = queue.Queue()
        # the call sends RTCP to the port after RTP's
        self.rtp, self.rtcp = media_sockets(LOOPBACK, RTP_PORTS)
        self.stranger = udp_socket(LOOPBACK)
        self.contact = f"sip:agent@{LOOPBACK}:{line.port}"
        self.cseq = self.sequence = self.timestamp = 1_000
        self.tag = "bad"
        """The tag of this side, after the answer."""
        self.payload_type = 0
        """The payload type of the frames at the end."""
        self.invite = invite or self.first_invite()
        self.caller_rtp = described_audio(self.invite.body)

    def first_invite(self) -> SipRequest:
        """Return the INVITE of a peer that calls."""
        raise NotImplementedError

    @property
    def names(self) -> tuple[str, str]:
        """The headers From and To of the requests of this peer, without a tag of its own."""
        return self.invite.first("To"), self.invite.first("From")

    def _sockets(self) -> Sequence[socket.socket]:
        return self.rtp, self.rtcp, self.stranger

    def close(self) -> None:
        for sock in self._sockets():
            sock.close()

    # Messages

    def poll(self, wait_s: float) -> SipRequest | SipResponse | None:
        """Return the next message of the call. Return None if there is none within `wait_s`."""
        if self.line.ends.is_set():
            raise PeerEndsError
        try:
            message, self.source = self.inbox.get(timeout=wait_s)
        except queue.Empty:
            return None
        return message

    def wait_for(
        self, what: str | int, again: Callable[[], object] | None = None
    ) -> SipRequest | SipResponse:
        """Return the next request with this method, or the next response with this code. Skip the
        messages before it.

        `again` is called until the message arrives.
        """
        while True:
            message = self.poll(AGAIN_S)
            if message is None and again is not None:
                again()
            if isinstance(message, SipRequest) and message.method == what:
                return message
            if isinstance(message, SipResponse) and message.code == what:
                return message

    def wait_for_invite(self) -> None:
        """Wait for the next INVITE with another branch than the last one."""
        branch = self.invite.via.branch
        while self.invite.via.branch == branch:
            found = self.wait_for("INVITE")
            assert isinstance(found, SipRequest)
            self.invite = found

    def send(self, data: bytes) -> None:
        self.line.send(data, self.source)

    def response(
        self,
        code: int,
        *headers: Header,
        tag: str = "bad",
        body: bytes = b"",
        phrase: str = "",
        to: SipRequest | None = None,
    ) -> bytes:
        """Return a response, by default to the last INVITE."""
        added = [*headers, SDP_TYPE] if body else list(headers)
        return write_response(to or self.invite, code, tag, None, added, body, phrase).data

    def respond(
        self, code: int, *headers: Header, tag: str = "bad", body: bytes = b"", phrase: str = ""
    ) -> None:
        self.send(self.response(code, *headers, tag=tag, body=body, phrase=phrase))

    def refuse(self, code: int = 486, *headers: Header, phrase: str = "") -> None:
        """Refuse the call. Repeat the response until the call acknowledges it, or until the end
        of the test.
        """
        self.respond(code, *headers, phrase=phrase)
        self.wait_for("ACK", lambda: self.respond(code, *headers, phrase=phrase))

    def sdp(self, audio: str = "", address: str = LOOPBACK, more: str = "") -> bytes:
        """Return a description. `audio` replaces its line m=, and `address` its address."""
        line = audio or f"audio {self.rtp.getsockname()[1]} RTP/AVP 0 101"
        text = (
            f"v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP{6 if ':' in address else 4}"
            f" {address}\r\nt=0 0\r\n"
        )
        return f"{text}m={line}\r\na=rtpmap:101 telephone-event/8000\r\n{more}".encode()

    def ok(
        self,
        *headers: Header,
        tag: str = "bad",
        body: bytes | None = None,
        contact: str | None = None,
    ) -> bytes:
        """Return the 200 that answers the call."""
        contacts = [("Contact", contact or f"<{self.contact}>")]
        return self.response(
            200, *contacts, *headers, tag=tag, body=self.sdp() if body is None else body
        )

    def answer(
        self,
        *headers: Header,
        tag: str = "bad",
        body: bytes | None = None,
        contact: str | None = None,
    ) -> None:
        """Answer the call, and wait for the acknowledgement."""
        self.tag = tag
        self.settle(self.ok(*headers, tag=tag, body=body, contact=contact))

    def settle(self, data: bytes) -> None:
        """Send an answer, and wait for the acknowledgement."""
        self.send(data)
        self.wait_for("ACK", lambda: self.send(data))

    def request(
        self,
        method: str,
        *headers: Header,
        body: bytes = b"",
        cseq: int | None = None,
        tag: str | None = None,
        branch: str = "",
        own_tag: str | None = None,
    ) -> bytes:
        """Return a request in the dialog."""
        if cseq is None:
            self.cseq += 1
            cseq = self.cseq
        own, to = self.names
        if own_tag is not None:
            to = f"{to.partition(';')[0]};tag={own_tag}"
        lines = [
            (
                "Via",
                (
                    "SIP/2.0/UDP"
                    f" {LOOPBACK}:{self.line.port};branch={branch or f'z9hG4bK{cseq}{method}'}"
                ),
            ),
            ("Max-Forwards", "70"),
            ("From", f"{own};tag={tag or self.tag}"),
            ("To", to),
            ("Call-ID", self.invite.call_id),
            ("CSeq", f"{cseq} {method}"),
            ("Contact", f"<{self.contact}>"),
            *headers,
            *([SDP_TYPE] if body else []),
        ]
        return write_message(f"{method} sip:rtbench@{LOOPBACK} SIP/2.0", lines, body)

    def ask(self, code: int, method: str, *headers: Header, body: bytes = b"") -> None:
        """Send a request, and wait for the response with this code."""
        data = self.request(method, *headers, body=body)
        self.send(data)
        self.wait_for(code, lambda: self.send(data))
        if method == "INVITE":
            self.acknowledge()

    def synchronize(self) -> None:
        """Wait until the call has read everything that was sent to its port of SIP."""
        self.ask(200, "OPTIONS")

    def acknowledge(self) -> None:
        self.send(self.request("ACK", cseq=self.cseq, branch=f"z9hG4bK{self.cseq}INVITE"))

    def stay(self) -> None:
        """Send frames of MARKER, and answer BYE and CANCEL, until the call or the test ends."""
        while True:
            self.frame(MARKER, payload_type=self.payload_type)
            message = self.poll(FRAME_S)
            if isinstance(message, SipRequest) and message.method in ("BYE", "CANCEL"):
                self.send(self.response(200, to=message))

    # Media

    def frame(
        self, payload: bytes, *, payload_type: int = 0, ssrc: int = 7, samples: int = 160
    ) -> None:
        """Send an RTP packet that continues the stream."""
        self.sequence += 1
        self.timestamp += samples
        self.packet(
            RtpPacket(
                payload_type, self.sequence & 0xFFFF, self.timestamp & 0xFFFFFFFF, ssrc, payload
            )
        )

    def packet(self, packet: RtpPacket) -> None:
        self.media(build_packet(*packet))

    def media(self, data: bytes, sock: socket.socket | None = None) -> None:
        (sock or self.rtp).sendto(data, self.caller_rtp)

    def control(self, data: bytes) -> None:
        """Send a datagram to the port of RTCP."""
        self.rtcp.sendto(data, (LOOPBACK, self.caller_rtp[1] + 1))


def described_audio(body: bytes) -> tuple[str, int]:
    """Return the address of the audio of a description."""
    audio = parse_description(body).audio
    assert audio is not None
    return LOOPBACK, audio.port


Behaviour = Callable[[HostilePeer], object]


class HostileLine(HostileHost):
    """A UDP port. The first INVITE of each call starts the next behaviour."""

    def __init__(self, behaviours: Iterable[Behaviour]) -> None:
        super().__init__()
        self._behaviours = cycle(behaviours)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((LOOPBACK, 0))
        self.port = self.sock.getsockname()[1]
        self.url = f"sip:agent@{LOOPBACK}:{self.port}"
        self.heard: list[bytes] = []
        self._peers: dict[str, HostilePeer] = {}
        self.start(self._run)

    def send(self, data: bytes, to: tuple[str, int]) -> None:
        self.sock.sendto(data, to)

    def _run(self) -> None:
        while not self.ends.is_set():
            if not select.select((self.sock,), (), (), 0.01)[0]:
                continue
            data, source = self.sock.recvfrom(65_535)
            self.heard.append(data)
            self.received(parse_message(data), source)  # the call sends only valid messages

    def received(self, message: SipRequest | SipResponse, source: tuple[str, int]) -> None:
        peer = self._peers.get(message.call_id)
        if peer is not None:
            peer.inbox.put((message, source))
        elif isinstance(message, SipRequest) and message.method == "INVITE":
            peer = HostilePeer(self, message)
            peer.source = source
            self.add(message.call_id, peer)

    def add(self, call_id: str, peer: HostilePeer) -> None:
        """Let a peer play the next behaviour, and get the messages with a Call-ID."""
        self._peers[call_id] = peer
        self.start(partial(self._play, next(self._behaviours), peer))

    @staticmethod
    def _play(behaviour: Behaviour, peer: HostilePeer) -> None:
        behaviour(peer)
        peer.stay()

    def close(self) -> None:
        super().close()
        for peer in self._peers.values():
            peer.close()
        self.sock.close()


def hostile_line(*behaviours: Behaviour) -> AbstractContextManager[HostileLine]:
    return serving(HostileLine(behaviours))
