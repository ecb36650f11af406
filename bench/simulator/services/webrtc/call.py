"""One call of the simulator: its socket, ICE that only responds, DTLS, the data channel, and the audio in RTP."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Collection
from random import Random

import numpy as np
from msgspec import structs

from bench.base.clock import Arrival, SendTime, monotonic_ns, utc_ns
from bench.base.units import NEVER_NS, NS_PER_S
from bench.simulator.faults.injection import FaultInjector
from bench.simulator.server_events import ArrivalSpan, OutgoingEvent
from bench.simulator.services.telephone.call_faults import PacketPath, PathPacket
from bench.simulator.services.webrtc.event_channel import EventChannel
from bench.simulator.services.webrtc.output_buffer import OutputBuffer, OutputFrame
from bench.simulator.services.webrtc.session import CallSession
from bench.simulator.serving.connection import MAX_MESSAGE_BYTES
from bench.simulator.serving.service import AcceptedUpgrade, ServerState
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
from bench.transport.webrtc.data_channel import DataChannel
from bench.transport.webrtc.description import LocalPeer, answer_to
from bench.transport.webrtc.dtls import DtlsSession, Fingerprint, own_identity
from bench.transport.webrtc.ice import IceLogin, LiteAgent, host_priority
from bench.transport.webrtc.peer import PacketType, WebRtcPeer, packet_type
from bench.transport.webrtc.sctp import Association
from bench.transport.webrtc.sctp_packets import AbortCause

MAX_FILLED_NS = NS_PER_S
"""The longest gap in the caller's audio that is filled with silence."""
CODEC_NAMES = ((OPUS,) if opus_problem() is None else ()) + ("PCMU", "PCMA")
"""The codecs of this side."""


class SimulatedCall:
    """A call from its offer to its end. `description` is the answer.

    `faults` are the kinds of the faults of its connection. `injector` has those of its events. `token` is the number of
    the client's token; None if it used none. The constructor raises ValueError if the offer is not acceptable.
    """

    def __init__(
        self,
        shared: ServerState,
        host: str,
        offer: bytes,
        model: str,
        faults: Collection[str],
        dropped: Counter[str],
        injector: FaultInjector | None,
        token: int | None,
    ) -> None:
        self._shared, self._model, self._faults, self._dropped = shared, model, faults, dropped
        self._injector, self._token = injector, token
        self._socket = DatagramSocket(udp_socket(host))
        login, identity, now_ns = IceLogin(secrets.token_hex(4), secrets.token_hex(16)), own_identity(), monotonic_ns()
        fingerprint = identity.fingerprint
        if "bad_fingerprint" in faults:
            fingerprint = Fingerprint(fingerprint.hash, ":".join(["00"] * 32))
        address = HostPort(*self._socket.address[:2])
        local = LocalPeer(
            login, fingerprint, address, host_priority(), secrets.randbits(31), CODEC_NAMES, is_lite=True,
            max_message_bytes=MAX_MESSAGE_BYTES,
        )  # fmt: skip
        try:
            self.description, remote = answer_to(local, offer)
        except ValueError:
            self._socket.close()
            raise
        channel = DataChannel(Association(secrets.token_bytes, MAX_MESSAGE_BYTES, remote.channel.port), None)
        dtls = DtlsSession(identity, remote.own_role, remote.fingerprints)
        self._peer = WebRtcPeer(LiteAgent(login, now_ns), dtls, channel)
        codec, random = codec_of_call(remote.codec.encoding), Random(secrets.randbits(64))
        self._codec, self._random = codec, random
        self._sender = RtpSender(codec, remote.codec.payload_type, StreamNumbers.drawn(random.getrandbits))
        self._receiver = RtpReceiver(codec.clock_hz, (remote.codec.payload_type,))
        self._rtcp = RtcpSession(self._sender, self._receiver, "rtbench-simulate", utc_ns() - now_ns)
        self._encryption = PacketEncryption(None, None)
        self._report_ns = NEVER_NS
        """The instant of the next RTCP report; `NEVER_NS` until the keys are known."""
        self._buffer: OutputBuffer | None = None
        """The buffer of the audio; None until the data channel is open."""
        self._session: CallSession | None = None
        self._events: EventChannel | None = None
        self._path: PacketPath | None = None
        self._next_timestamp: int | None = None
        """The timestamp after the caller's last sample; None before the first one."""
        self.on_close: Callable[[], None] = lambda: None
        self._is_closed = False
        shared.loop.add_reader(self._socket, self._read)
        self._plan()

    def _open(self, at_ns: int) -> None:
        """Start the session of the call. Its data channel is open."""
        self._shared.new_session(AcceptedUpgrade(self._new_session, self._model, token=self._token))
        assert self._session is not None, "`_new_session` has set it"
        truth = self._shared.config.truth
        if truth and self._shared.config.authenticator.tokens:
            truth.opened(self._session.ids.session, self._token, at_ns)
        self._events = EventChannel(self._shared, self._session, self._injector, self)

    def _new_session(self, model: str, parts: SessionParts) -> CallSession:
        sent_rng, received_rng = parts.rng.spawn(2)
        self._path = PacketPath(self._shared.config.profile.rtp, sent_rng, received_rng, self._dropped)
        buffer = OutputBuffer(monotonic_ns(), self._codec.audio, self._codec.delay_ns)
        self._session = CallSession(model, parts, self._codec.audio.name, buffer)
        self._buffer = buffer
        return self._session

    # Input

    def _read(self) -> None:
        now_ns = monotonic_ns()
        for data, source, arrival in self._socket.receive():
            if not self._works():
                continue
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
                        self._hear(packet.payload, packet.timestamp, arrival.at_ns, is_kernel=arrival.is_kernel)
            self._pass_messages(arrival)
        self._advance(now_ns)

    def _pass_messages(self, arrival: Arrival) -> None:
        if self._events is None and self._peer.channel.is_open and self._peer.ending is None:
            self._open(arrival.at_ns)
        for message in self._peer.pop_messages():
            if self._events is not None:
                self._events.received(message, arrival)

    def _hear(self, payload: bytes, timestamp: int, at_ns: int, *, is_kernel: bool) -> None:
        """Pass the caller's audio to the session. Silence replaces what was lost; what comes too late is dropped."""
        if self._session is None:
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
        before_ns = self._session.next_due_ns()
        received = self._session.hear(audio, at_ns)
        if truth := self._shared.config.truth:
            truth.received(self._session.ids.session, received, ArrivalSpan(at_ns, at_ns, is_kernel))
        if self._session.next_due_ns() != before_ns:
            self._session.wake()

    # Output

    def send_due(self, now_ns: int) -> None:
        if not self._is_stalled:
            self._peer.expire(now_ns)
            self._advance(now_ns)

    @property
    def _is_stalled(self) -> bool:
        return self._events is not None and self._events.is_stalled

    def _works(self) -> bool:
        """Return whether packets are read and sent: the call has not ended, and is not stalled."""
        return not self._is_closed and not self._is_stalled

    def stall(self, for_ns: int | None) -> None:
        self._shared.plan(self, None)
        if for_ns is not None:
            self._shared.loop.remove_reader(self._socket)
            self._shared.loop.call_later(for_ns / NS_PER_S, self._end_stall)

    def _end_stall(self) -> None:
        if self._is_closed or self._events is None:
            return
        self._shared.loop.add_reader(self._socket, self._read)
        now_ns = monotonic_ns()
        self._events.end_stall(now_ns)
        self._advance(now_ns)

    def send_event(self, body: bytes, *, is_binary: bool) -> tuple[SendTime | None, int]:
        size = self._peer.channel.send(body, monotonic_ns(), is_binary=is_binary)
        sent = self._send_packets()
        return None if self._peer.channel.unsent else sent, size

    def _send_packets(self) -> SendTime | None:
        """Send the packets of the connection. Return the instant of the last one."""
        sent: SendTime | None = None
        for data, destination in self._peer.pop_packets():
            if "no_dtls" not in self._faults or packet_type(data) is not PacketType.DTLS:
                sent = self._socket.send(data, destination) or sent
        return sent

    def _advance(self, now_ns: int) -> None:
        """Send what is due, and plan the next instant."""
        if not self._works():
            return
        if self._peer.problem:
            self._send_packets()
            self.close()
            return
        if self._events is not None:
            self._events.send_due(now_ns)
            if not self._works():
                return
        self._send_packets()
        if self._peer.keys is not None and self._report_ns == NEVER_NS:
            self._encryption.use(*self._peer.keys)
            self._report_ns = now_ns + report_delay_ns(self._random.random(), is_first=True)
        self._send_frames(now_ns)
        if self._report_ns <= now_ns and self._works():
            self._report(now_ns)
        self._plan()

    def _send_frames(self, now_ns: int) -> None:
        buffer, session, path = self._buffer, self._session, self._path
        if buffer is None or session is None or path is None or self._peer.keys is None:
            return
        while buffer.next_ns <= now_ns and self._works():
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
            if self._works():
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
        if not self._works():
            return
        due_ns = min(self._peer.next_ns, self._report_ns, NEVER_NS if self._events is None else self._events.next_ns)
        if self._buffer is not None and self._path is not None and self._peer.keys is not None:
            due_ns = min(due_ns, self._buffer.next_ns, self._path.next_ns)
        self._shared.plan(self, None if due_ns == NEVER_NS else due_ns)

    def close(self, reason: str = "", *, is_reset: bool = False) -> None:
        """End the call, and report that to the peer."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._peer.keys is not None and not self._peer.problem:
            self._report(monotonic_ns(), goodbye=True)
        self._peer.close(reason, AbortCause.OUT_OF_RESOURCE if is_reset else AbortCause.USER)
        self._send_packets()
        self._shared.plan(self, None)
        self._shared.loop.remove_reader(self._socket)
        self._socket.close()
        self._shared.loop.call_soon(self._forget)  # the session may be in use by the caller of this method
        self.on_close()

    def _forget(self) -> None:
        if self._events is not None:
            self._events.end()
        self._events = self._session = None


def _event_of(frame: OutputFrame) -> OutgoingEvent:
    """Return the event of a frame, for the path and for the log."""
    return OutgoingEvent(
        frame.due_ns, "audio", b"", frame.response_id or None, len(frame.audio), audible_byte=frame.audible_byte
    )
