"""One call of the simulator: its socket, ICE that only responds, DTLS, and the audio of both directions in RTP."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Collection
from random import Random

import numpy as np
from msgspec import structs

from bench.base.clock import SendTime, monotonic_ns, utc_ns
from bench.base.units import NEVER_NS, NS_PER_S
from bench.simulator.server_events import ArrivalSpan, OutgoingEvent
from bench.simulator.services.telephone.call_faults import PacketPath, PathPacket
from bench.simulator.services.webrtc.output_buffer import OutputBuffer, OutputFrame
from bench.simulator.services.webrtc.session import CallSession
from bench.simulator.serving.service import ServerState
from bench.simulator.simulated_session import SessionParts
from bench.transport.datagrams import DatagramSocket, udp_socket
from bench.transport.interface import HostPort
from bench.transport.media.rtcp import RtcpSession, report_delay_ns
from bench.transport.media.rtp import (
    OPUS,
    TIMESTAMPS,
    RtpReceiver,
    RtpSender,
    StreamNumbers,
    codec_of_call,
    is_report,
    opus_problem,
)
from bench.transport.media.srtp import PacketEncryption
from bench.transport.webrtc.description import LocalPeer, answer_to
from bench.transport.webrtc.dtls import DtlsSession, Fingerprint, own_identity
from bench.transport.webrtc.ice import IceLogin, LiteAgent, host_priority
from bench.transport.webrtc.peer import PacketType, WebRtcPeer, packet_type

MAX_FILLED_NS = NS_PER_S
"""The longest gap in the caller's audio that is filled with silence."""
CODEC_NAMES = ((OPUS,) if opus_problem() is None else ()) + ("PCMU", "PCMA")
"""The codecs of this side."""


class SimulatedCall:
    """A call from its offer to its end. `description` is the answer. `faults` are the kinds of its faults.

    The constructor raises ValueError if the offer is not acceptable.
    """

    def __init__(
        self,
        shared: ServerState,
        host: str,
        offer: bytes,
        model: str,
        faults: Collection[str],
        dropped: Counter[str],
    ) -> None:
        self._shared, self.model, self._faults, self._dropped = shared, model, faults, dropped
        self._socket = DatagramSocket(udp_socket(host))
        login, identity, now_ns = IceLogin(secrets.token_hex(4), secrets.token_hex(16)), own_identity(), monotonic_ns()
        fingerprint = identity.fingerprint
        if "bad_fingerprint" in faults:
            fingerprint = Fingerprint(fingerprint.hash, ":".join(["00"] * 32))
        address = HostPort(*self._socket.address[:2])
        local = LocalPeer(login, fingerprint, address, host_priority(), secrets.randbits(31), CODEC_NAMES, is_lite=True)
        try:
            self.description, remote = answer_to(local, offer)
        except ValueError:
            self._socket.close()
            raise
        self._peer = WebRtcPeer(LiteAgent(login, now_ns), DtlsSession(identity, remote.own_role, remote.fingerprints))
        codec, random = codec_of_call(remote.codec.encoding), Random(secrets.randbits(64))
        self._codec, self._random = codec, random
        self._sender = RtpSender(codec, remote.codec.payload_type, StreamNumbers.drawn(random.getrandbits))
        self._receiver = RtpReceiver(codec.clock_hz, (remote.codec.payload_type,))
        self._rtcp = RtcpSession(self._sender, self._receiver, "rtbench-simulate", utc_ns() - now_ns)
        self._encryption = PacketEncryption(None, None)
        self._report_ns = NEVER_NS
        """The instant of the next RTCP report; `NEVER_NS` until the keys are known."""
        self._buffer: OutputBuffer | None = None
        """The buffer of the audio; None until the events are connected."""
        self._session: CallSession | None = None
        self._path: PacketPath | None = None
        self._next_timestamp: int | None = None
        """The timestamp after the caller's last sample; None before the first one."""
        self.on_close: Callable[[], None] = lambda: None
        self._is_closed = False
        shared.loop.add_reader(self._socket, self._read)
        self._plan()

    @property
    def is_attached(self) -> bool:
        """Whether the WebSocket of the events is open, or was."""
        return self._session is not None

    def attach(self, model: str, parts: SessionParts) -> CallSession:
        """Return the session of the call. The connection of its events has been accepted."""
        sent_rng, received_rng = parts.rng.spawn(2)
        self._path = PacketPath(self._shared.config.profile.rtp, sent_rng, received_rng, self._dropped)
        buffer = OutputBuffer(monotonic_ns(), self._codec.audio, self._codec.delay_ns)
        self._session = CallSession(model, parts, self._codec.audio.name, buffer, self.close)
        self._buffer = buffer
        self._plan()
        return self._session

    # Input

    def _read(self) -> None:
        now_ns = monotonic_ns()
        for data, source, arrival in self._socket.receive():
            kind = packet_type(data)
            if "dead_candidate" in self._faults or (kind is PacketType.DTLS and "no_dtls" in self._faults):
                continue
            if self._peer.received(data, HostPort(*source[:2]), arrival.at_ns, now_ns):
                if is_report(data):
                    if (report := self._encryption.unprotect_report(data)) is not None:
                        self._rtcp.receive(report, arrival.at_ns)
                elif self._path is None or not self._path.drops_received():
                    plain = self._encryption.unprotect(data)
                    packet = None if plain is None else self._receiver.receive(plain, arrival)
                    if packet is not None and packet.kind == "audio":
                        span = ArrivalSpan(arrival.at_ns, arrival.at_ns, arrival.is_kernel)
                        self._hear(packet.payload, packet.timestamp, span)
        self._advance(now_ns)

    def _hear(self, payload: bytes, timestamp: int, span: ArrivalSpan) -> None:
        """Accept a packet of the caller's audio. Silence replaces what was lost; what comes too late is dropped."""
        if self._path is None:
            return
        audio = payload if self._codec.decode is None else self._codec.decode(payload)
        if self._next_timestamp is not None:
            missing = (timestamp - self._next_timestamp) % TIMESTAMPS
            if missing >= TIMESTAMPS // 2:
                return
            missing_ns = min(missing * NS_PER_S // self._codec.clock_hz, MAX_FILLED_NS)
            samples = missing_ns * self._codec.audio.rate_hz // NS_PER_S
            audio = self._codec.audio.encode(np.zeros(samples, np.int16)) + audio
        self._next_timestamp = (timestamp + self._codec.ticks(payload)) % TIMESTAMPS
        self._accept(audio, span)

    def _accept(self, audio: bytes, span: ArrivalSpan) -> None:
        """Pass the caller's audio to the session."""
        if (session := self._session) is None:
            return
        before_ns = session.next_due_ns()
        received = session.hear(audio, span.at_ns)
        if truth := self._shared.config.truth:
            truth.received(session.ids.session, received, span)
        if session.next_due_ns() != before_ns:
            session.wake()

    # Output

    def send_due(self, now_ns: int) -> None:
        self._peer.expire(now_ns)
        self._advance(now_ns)

    def _advance(self, now_ns: int) -> None:
        """Send what is due, and plan the next instant."""
        if self._is_closed:
            return
        for data, destination in self._peer.pop_packets():
            if "no_dtls" not in self._faults or packet_type(data) is not PacketType.DTLS:
                self._socket.send(data, destination)
        if self._peer.problem:
            if self._session is not None:
                self._session.hang_up(now_ns, self._peer.problem)
                self._session.wake()
            self.close()
            return
        if self._peer.keys is not None and self._report_ns == NEVER_NS:
            self._encryption.use(*self._peer.keys)
            self._report_ns = now_ns + report_delay_ns(self._random.random(), is_first=True)
        self._send_frames(now_ns)
        if self._report_ns <= now_ns:
            self._report(now_ns)
        self._plan()

    def _send_frames(self, now_ns: int) -> None:
        buffer, session, path = self._buffer, self._session, self._path
        if buffer is None or session is None or path is None or self._peer.keys is None:
            return
        while buffer.next_ns <= now_ns:
            if (due_ns := session.next_due_ns()) is not None and due_ns <= now_ns:
                session.wake()  # a delta may be due in this frame
            frame = buffer.pop_frame()
            session.report(frame)
            payload = frame.audio if self._codec.encode is None else self._codec.encode(frame.audio)
            packet = path.add(_event_of(frame), self._encryption.protect(self._sender.audio(payload)))
            if not packet.copies:
                self._log(packet, SendTime(now_ns), None)
            if frame.started or frame.stopped:
                session.wake()
        for packet in path.pop(now_ns):
            self._send(packet)

    def _send(self, packet: PathPacket) -> None:
        peer = self._peer.peer
        if peer is None or (sent := self._socket.send(packet.data, peer)) is None:
            return
        for _ in range(1, packet.copies):
            self._socket.send(packet.data, peer)
        self._shared.lateness.add(sent.at_ns - packet.departure_ns)
        self._log(packet, sent, sent.at_ns + sent.width_ns)

    def _log(self, packet: PathPacket, sent: SendTime, send_end_ns: int | None) -> None:
        truth, event = self._shared.config.truth, packet.event
        if truth and self._session is not None:
            event = structs.replace(event, facts=packet.facts)
            truth.sent(self._session.ids.session, event, sent.at_ns, send_end_ns, len(packet.data))

    def _report(self, now_ns: int, *, goodbye: bool = False) -> None:
        report = self._rtcp.report(now_ns, self._sender.timestamp, goodbye=goodbye)
        if (peer := self._peer.peer) is not None:
            self._socket.send(self._encryption.protect_report(report), peer)
        self._report_ns = now_ns + report_delay_ns(self._random.random(), is_first=False)

    def _plan(self) -> None:
        due_ns = min(self._peer.next_ns, self._report_ns)
        if self._buffer is not None and self._path is not None and self._peer.keys is not None:
            due_ns = min(due_ns, self._buffer.next_ns, self._path.next_ns)
        self._shared.plan(self, None if due_ns == NEVER_NS else due_ns)

    def close(self) -> None:
        """End the call, and report that to the peer."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._peer.keys is not None and not self._peer.problem:
            self._report(monotonic_ns(), goodbye=True)
        self._peer.close()
        for data, destination in self._peer.pop_packets():
            self._socket.send(data, destination)
        self._shared.plan(self, None)
        self._shared.loop.remove_reader(self._socket)
        self._socket.close()
        self.on_close()


def _event_of(frame: OutputFrame) -> OutgoingEvent:
    """Return the event of a frame, for the path and for the log."""
    return OutgoingEvent(
        frame.due_ns, "audio", b"", frame.response_id or None, len(frame.audio), audible_byte=frame.audible_byte
    )
