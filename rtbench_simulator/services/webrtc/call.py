"""What all calls of the simulator over WebRTC have: a socket, ICE that only responds, DTLS, and
audio in RTP.
"""

# The order of a call: the offer makes ICE, DTLS and the answer; the caller's checks select its
# address; the handshake gives the keys; then `SimulatedCall` has media, and its subclasses a
# session or an agent. After each read and each timer, `_advance` sends what the connection, the
# events, the frames, and the reports have due, and plans the next instant.
#
# Faults of a call are checked where they act: `dead_candidate` and `no_dtls` drop packets, and
# `bad_fingerprint` is a wrong line of the answer, so a client fails as it would with a real peer.

import secrets
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from http import HTTPStatus
from random import Random
from typing import NamedTuple

import numpy as np

from bench.base.clock import Arrival, SendTime, monotonic_ns
from bench.base.units import NEVER_NS, NS_PER_S
from bench.protocols.ice.ice import IceLogin, LiteAgent
from bench.protocols.rtp.rtp import (
    OPUS,
    TIMESTAMPS,
    RtpReceiver,
    RtpSender,
    StreamNumbers,
    codec_of_call,
    is_report,
)
from bench.protocols.rtp.srtp import PacketEncryption
from bench.protocols.sctp.data_channel import DataChannel
from bench.protocols.sctp.sctp import Association
from bench.protocols.sctp.sctp_packets import AbortCause
from bench.protocols.webrtc.description import LocalPeer, answer_to
from bench.protocols.webrtc.dtls import DtlsSession, Fingerprint, own_identity
from bench.protocols.webrtc.peer import PacketType, WebRtcPeer, packet_type
from bench.wire.addresses import HostPort
from rtbench_simulator.faults.injection import FaultInjector
from rtbench_simulator.server_events import ArrivalSpan
from rtbench_simulator.services.telephone.call_audio import CallAudio
from rtbench_simulator.serving.connection import MAX_MESSAGE_BYTES
from rtbench_simulator.serving.datagram_socket import DatagramSocket
from rtbench_simulator.serving.service import ServerState

MAX_FILLED_NS = NS_PER_S
"""The longest gap in the caller's audio that is filled with silence."""
CODEC_NAMES = (OPUS, "PCMU", "PCMA")
"""The codecs of this side."""
CNAME = "rtbench-simulate"


class CallRequest(NamedTuple):
    """The request of a call. `offer` is the description of the caller, or the body that has it.

    `faults` are the kinds of faults of the call, and `injector` has those of its events. `dropped`
    counts the packets that the paths of all calls drop. `token` is the number of the client's
    token; None if it used none.
    """

    shared: ServerState
    host: str
    offer: bytes
    faults: Collection[str]
    dropped: Counter[str]
    injector: FaultInjector | None
    token: int | None


class SimulatedCall:
    """A call from its offer to its end. `description` is the answer.

    If `needs_channel` is True, the offer must have a data channel. The constructor raises
    ValueError if the offer is not acceptable.
    """

    def __init__(self, request: CallRequest, *, needs_channel: bool = False) -> None:
        shared = self._shared = request.shared
        faults = self._faults = request.faults
        self._dropped = request.dropped
        self._socket = DatagramSocket(request.host)
        login = IceLogin(secrets.token_hex(4), secrets.token_hex(16))
        identity = own_identity()
        now_ns = monotonic_ns()
        fingerprint = identity.fingerprint
        if "bad_fingerprint" in faults:
            fingerprint = Fingerprint(fingerprint.hash, ":".join(["00"] * 32))
        address = HostPort(*self._socket.address[:2])
        random = Random(secrets.randbits(64))
        numbers = StreamNumbers.drawn(random.getrandbits)
        local = LocalPeer(
            login,
            fingerprint,
            (address,),
            numbers.ssrc,
            CNAME,
            secrets.randbits(31),
            CODEC_NAMES,
            is_lite=True,
            max_message_bytes=MAX_MESSAGE_BYTES,
            needs_channel=needs_channel,
        )
        try:
            self.description, remote = answer_to(local, request.offer)
        except ValueError:
            self._socket.close()
            raise
        dtls = DtlsSession(identity, remote.own_role, remote.fingerprints)
        end = remote.channel
        channel = end and DataChannel(
            Association(secrets.token_bytes, MAX_MESSAGE_BYTES, end.port), None
        )
        self._peer = WebRtcPeer(
            LiteAgent(login, now_ns), dtls, channel, needs_channel=needs_channel
        )
        codec = self._codec = codec_of_call(remote.codec.encoding)
        self._audio = CallAudio(
            shared,
            RtpSender(codec, remote.codec.payload_type, numbers),
            RtpReceiver(codec.clock_hz, (remote.codec.payload_type,)),
            PacketEncryption(None, None),
            CNAME,
            random,
        )
        """The audio. Its reports begin when the keys are known."""
        self._next_timestamp: int | None = None
        """The timestamp after the caller's last sample; None before the first one."""
        self.on_close: Callable[[], None] = lambda: None
        self._is_closed = False
        shared.loop.add_reader(self._socket, self._read)
        self._shared.plan(self, self._peer.next_ns)

    def response(self, call_id: str) -> tuple[HTTPStatus, bytes, Mapping[str, str]]:
        """Return (status, body, headers) of the response to the offer."""
        raise NotImplementedError

    # Input

    def _read(self) -> None:
        now_ns = monotonic_ns()
        for data, source, arrival in self._socket.receive():
            if not self._works():
                continue
            kind = packet_type(data)
            if "dead_candidate" in self._faults or (
                kind is PacketType.DTLS and "no_dtls" in self._faults
            ):
                continue
            if self._peer.received(data, HostPort(*source[:2]), arrival.at_ns, now_ns):
                audio = self._audio
                if is_report(data):
                    audio.received_report(data, arrival.at_ns)
                elif audio.path is None or not audio.path.drops_received():
                    packet = audio.received(data, arrival)
                    if packet is not None and packet.kind == "audio":
                        span = ArrivalSpan(arrival.at_ns, arrival.at_ns, arrival.is_kernel)
                        self._hear(packet.payload, packet.timestamp, span)
            self._pass_messages(arrival)
        self._advance(now_ns)

    def _pass_messages(self, arrival: Arrival) -> None:
        """Pass on the messages of the data channel that arrived with a packet. An agent ignores
        them.
        """
        self._peer.pop_messages()

    def _hear(self, payload: bytes, timestamp: int, span: ArrivalSpan) -> None:
        """Accept a packet of the caller's audio. Silence replaces what was lost; what comes too
        late is dropped.
        """
        if self._audio.path is None:
            return
        audio = payload if self._codec.decode is None else self._codec.decode(payload)
        if self._next_timestamp is not None:
            # Timestamps wrap around, so more than half of the range means that the packet is late.
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
        raise NotImplementedError

    # Output

    def send_due(self, now_ns: int) -> None:
        if self._works():
            self._peer.expire(now_ns)
            self._advance(now_ns)

    def _works(self) -> bool:
        """Return whether packets are read and sent."""
        return not self._is_closed

    def _send_packets(self) -> SendTime | None:
        """Send the packets of the connection. Return the instant of the last one."""
        sent = None
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
        self._send_events(now_ns)
        if not self._works():
            return
        self._send_packets()
        audio = self._audio
        if self._peer.keys is not None and audio.report_ns == NEVER_NS:
            audio.encryption.use(*self._peer.keys)
            audio.begin_reports(now_ns)
        if self._peer.keys is not None and audio.path is not None:
            self._send_frames(now_ns)
            if (peer := self._peer.peer) is not None and self._works():
                audio.send(now_ns, self._socket, peer)
        if audio.report_ns <= now_ns and self._works():
            self._report(now_ns)
        self._plan()

    def _send_events(self, now_ns: int) -> None:
        """Send the due events on the data channel."""

    def _send_frames(self, now_ns: int) -> None:
        """Send the due audio of the session on the path."""
        raise NotImplementedError

    def _report(self, now_ns: int, *, goodbye: bool = False) -> None:
        report = self._audio.report(now_ns, goodbye=goodbye)
        if (peer := self._peer.peer) is not None:
            self._socket.send(report, peer)

    def _plan(self) -> None:
        if self._works():
            due_ns = self._next_ns
            self._shared.plan(self, None if due_ns == NEVER_NS else due_ns)

    @property
    def _next_ns(self) -> int:
        return min(self._peer.next_ns, self._audio.next_ns)

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
        # the session may be in use by the caller of this method, such as a fault of its events
        self._shared.loop.call_soon(self._end_session)
        self.on_close()

    def _end_session(self) -> None:
        raise NotImplementedError
