"""The telephone line of the simulator: SIP on the server's port, over UDP, TCP and TLS, and RTP for each call.

Each answered call has an agent. Its frames are sent as RTP packets when they are due.
"""

from __future__ import annotations

import errno
import secrets
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from random import Random

from msgspec import structs

from bench.clock import SendTime, monotonic_ns, utc_ns
from bench.errors import ConnectError
from bench.protocol.base import SIMULATOR_HEADER
from bench.simulator.agent_behaviour import AgentBehaviour, AgentWire, TelephoneWire
from bench.simulator.faults.injection import StallConnection
from bench.simulator.refusals import RefusedUpgrade
from bench.simulator.server_events import ArrivalSpan
from bench.simulator.serving.connection import ServerState
from bench.simulator.telephone.answer_plan import AnswerPlan, LoginDemand
from bench.simulator.telephone.called_party import CalledParty
from bench.simulator.telephone.exchange import TelephoneExchange
from bench.simulator.telephone.packet_path import PacketPath, PathPacket
from bench.transport.interface import bracketed
from bench.transport.sip.address import media_sockets
from bench.transport.sip.datagrams import DatagramSocket
from bench.transport.sip.dialog import LocalParty
from bench.transport.sip.digest import DigestLogin
from bench.transport.sip.dtmf import KeyReceiver
from bench.transport.sip.framing import PONG, StreamFramer
from bench.transport.sip.messages import DEFAULT_PORTS, HostPort, Outgoing, SipRequest
from bench.transport.sip.offer_answer import LocalMedia
from bench.transport.sip.reception import RtpReceiver
from bench.transport.sip.rtcp import RtcpSession, report_delay_ns
from bench.transport.sip.rtp import FIRST_SEQUENCE_BITS, TIMESTAMPS, RtpSender
from bench.transport.sip.sdes import new_keys
from bench.transport.sip.srtp import PacketEncryption
from bench.units import NEVER_NS, NS_PER_S

USER = "agent"
"""The user of the digest authentication. The password is the key of the simulator."""
RTP_PORTS = range(10_000, 16_384, 2)
"""The ports of the simulator's RTP. A caller on the same machine uses other ports by default."""
ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, slots=True)
class UnansweredCall:
    """A call that is not answered yet, and its sockets."""

    plan: AnswerPlan
    rtp: DatagramSocket
    rtcp: DatagramSocket

    def close(self) -> None:
        self.rtp.close()
        self.rtcp.close()


class TelephoneLine:
    """The calls of one server. With several workers there is no telephone line, because a call has several sockets."""

    def __init__(
        self,
        shared: ServerState,
        address: tuple[str, int],
        family: int,
        workers: int,
        new_agent: Callable[[AgentWire], AgentBehaviour],
    ) -> None:
        self._shared, self._new_agent = shared, new_agent
        self._host = ANY.get(address[0], address[0])
        self._calls: dict[str, TelephoneAgent] = {}
        self.rtp_dropped = Counter[str]()
        """The numbers of RTP packets that the paths of all calls dropped, by their direction."""
        self._planned: dict[str, UnansweredCall] = {}
        """The calls that are not answered yet, by the Call-ID."""
        self._sock: DatagramSocket | None = None
        self._connections: dict[HostPort, CallerConnection] = {}
        """The TCP and TLS connections, by the address of the caller."""
        if workers > 1:
            return
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.bind(address)
        except OSError as error:
            sock.close()
            if error.errno != errno.EADDRINUSE:
                raise
            return
        self._sock = DatagramSocket(sock)
        sent_by = HostPort(bracketed(self._host), address[1])
        party = LocalParty(sent_by, "UDP", f"sip:agent@{sent_by}", "rtbench-simulate")
        self._exchange = TelephoneExchange(self._plan_of, party, lambda: secrets.token_hex(8))
        shared.loop.add_reader(self._sock, self._read)

    def _plan_of(self, request: SipRequest) -> AnswerPlan:
        """Plan a call. A caller that signs in sends INVITE twice, and gets the same plan."""
        if request.call_id not in self._planned:
            try:
                rtp, rtcp = map(DatagramSocket, media_sockets(self._host, RTP_PORTS))
            except ConnectError:  # no ports are free
                return AnswerPlan(LocalMedia(self._host, 0, 0), code=503, retry_after_s=1)
            media = LocalMedia(self._host, rtp.address[1], secrets.randbits(31), keys=new_keys(secrets.token_bytes))
            self._planned[request.call_id] = UnansweredCall(self._with_faults(self._answer_plan(media)), rtp, rtcp)
        return self._planned[request.call_id].plan

    def _answer_plan(self, media: LocalMedia) -> AnswerPlan:
        key = self._shared.config.authenticator.key
        demand = None if key is None else LoginDemand(DigestLogin(USER, key))
        return AnswerPlan(media, ringing_ns=0, headers=((SIMULATOR_HEADER, "1"),), demand=demand)

    def _with_faults(self, plan: AnswerPlan) -> AnswerPlan:
        """Return the plan with the faults at the place `upgrade`: a refusal, or a time of ringing."""
        if (injector := self._shared.injector()) is None:
            return plan
        now_ns = monotonic_ns()
        for action in injector.at("upgrade", now_ns):
            if isinstance(action, StallConnection):
                plan = replace(plan, final_ns=action.for_ns)
        refusal = injector.refusal("telephone", now_ns)
        if not isinstance(refusal, RefusedUpgrade):
            return plan
        self._shared.refused(refusal, now_ns)
        code = HTTPStatus.SERVICE_UNAVAILABLE if refusal.status == HTTPStatus.TOO_MANY_REQUESTS else refusal.status
        return replace(plan, code=int(code), retry_after_s=-(-refusal.wait_ns // NS_PER_S) or None)

    def _read(self) -> None:
        assert self._sock is not None, "the line is open"
        for data, source, arrival in self._sock.receive():
            self._exchange.received(data, arrival.at_ns, HostPort(*source[:2]))
        self._advance(monotonic_ns())

    def connect(self, caller: HostPort, write: Callable[[bytes], bool]) -> CallerConnection | None:
        """Return a new connection for SIP messages, which sends with `write`. Return None if there is no line."""
        if self._sock is None:
            return None
        connection = self._connections[caller] = CallerConnection(self, caller, write)
        return connection

    def disconnected(self, caller: HostPort) -> None:
        self._connections.pop(caller, None)

    def receive(self, messages: list[bytes], caller: HostPort, at_ns: int) -> None:
        """Accept the messages of a connection."""
        for data in messages:
            self._exchange.received(data, at_ns, caller)
        self._advance(monotonic_ns())

    def _send(self, message: Outgoing) -> None:
        assert self._sock is not None, "the line is open"
        data, to, transport = message
        to = HostPort(to.host.strip("[]"), to.port or DEFAULT_PORTS[transport])
        if transport == "UDP":
            self._sock.send(data, to)  # if the kernel does not accept a message, the timers of SIP send it again
            return
        # A caller may name the port at which it accepts connections. Its own connection leads to it as well.
        of_host = (each for address, each in self._connections.items() if address.host == to.host)
        if connection := self._connections.get(to) or next(of_host, None):
            connection.write(data)

    def send_due(self, now_ns: int) -> None:
        self._exchange.expire(now_ns)
        self._advance(now_ns)

    def _advance(self, now_ns: int) -> None:
        """Send the messages, and start and end the agents of calls that were answered or have ended."""
        for message in self._exchange.pop_messages():
            self._send(message)
        for call_id, planned in list(self._planned.items()):
            party = self._exchange.calls.get(call_id)
            if party is None or party.ended_ns is not None:
                del self._planned[call_id]
                planned.close()
            elif party.answered_ns is not None and party.media is not None:
                del self._planned[call_id]
                self._calls[call_id] = TelephoneAgent(self._shared, party, planned, self._new_agent, self.rtp_dropped)
                if truth := self._shared.config.truth:
                    truth.opened(self._calls[call_id].session_id, None, party.answered_ns, call_id)
        for call_id, call in list(self._calls.items()):
            if call.party.ended_ns is not None:
                self._calls.pop(call_id).close()
            else:
                call.follow_keys()
        due_ns = self._exchange.next_ns
        self._shared.plan(self, None if due_ns == NEVER_NS else due_ns)

    def close(self) -> None:
        if self._sock is None:
            return
        for call_id in list(self._calls):
            self._exchange.hang_up(call_id, monotonic_ns())
        self._advance(monotonic_ns())
        for call in self._calls.values():
            call.close()
        for planned in self._planned.values():
            planned.close()
        self._shared.loop.remove_reader(self._sock)
        self._sock.close()
        self._shared.plan(self, None)


class CallerConnection:
    """A TCP or TLS connection with SIP messages."""

    def __init__(self, line: TelephoneLine, caller: HostPort, write: Callable[[bytes], bool]) -> None:
        self._line, self._caller, self.write = line, caller, write
        self._framer = StreamFramer()

    def received(self, data: bytes, at_ns: int) -> bool:
        """Accept bytes. Return False if they are not SIP, and the connection must be closed."""
        self._line.receive(self._framer.received(data), self._caller, at_ns)
        for _ in range(self._framer.pings):
            self.write(PONG)
        self._framer.pings = 0
        return not self._framer.broken

    def ended(self) -> None:
        self._line.disconnected(self._caller)


class TelephoneAgent:
    """The agent of one answered call."""

    def __init__(
        self,
        shared: ServerState,
        party: CalledParty,
        planned: UnansweredCall,
        new_agent: Callable[[AgentWire], AgentBehaviour],
        dropped: Counter[str],
    ) -> None:
        media = party.media
        assert media is not None, "the call is answered"
        self.party, self._shared, self._media = party, shared, media
        self._rtp, self._rtcp_socket = planned.rtp, planned.rtcp
        wire = TelephoneWire("g711_alaw" if media.codec == "PCMA" else "g711_ulaw")
        self._behaviour = new_agent(wire)
        self.session_id = self._behaviour.ids.session
        audio, self._random = wire.format, Random(self.session_id)
        self._sender = RtpSender(
            audio,
            media.send_payload_type,
            ssrc=self._random.getrandbits(32),
            sequence_number=self._random.getrandbits(FIRST_SEQUENCE_BITS),
            timestamp=self._random.getrandbits(32),
        )
        self._rate_hz = audio.rate_hz
        self._first_due_ns: int | None = None
        """The instant of the first frame, at which media time starts."""
        self._sent_ticks = 0
        """The media time at the end of the last frame."""
        self._receiver = RtpReceiver(audio.rate_hz, dict(media.receive_codecs), media.receive_event_payload_type)
        self._encryption = PacketEncryption(media.send_key, media.receive_key)
        self._keys = KeyReceiver()
        sent_rng, received_rng = self._behaviour.further_rngs(2)
        self._path = PacketPath(shared.config.profile.rtp, sent_rng, received_rng, dropped)
        now_ns = monotonic_ns()
        cname = f"{self._random.getrandbits(48):012x}@rtbench-simulate"
        self._rtcp = RtcpSession(self._sender, self._receiver, cname, utc_ns() - now_ns)
        self._report_ns = now_ns + report_delay_ns(self._random.random(), is_first=True)
        self._behaviour.open(now_ns)
        shared.loop.add_reader(self._rtp, self._read)
        shared.loop.add_reader(self._rtcp_socket, self._read_rtcp)
        self._plan_next()

    def follow_keys(self) -> None:
        """Use the SRTP keys of the last agreement."""
        if (media := self.party.media) is not None:
            self._encryption.use(media.send_key, media.receive_key)

    def _read(self) -> None:
        truth = self._shared.config.truth
        for data, _, arrival in self._rtp.receive():
            if self._path.drops_received():
                continue
            plain = self._encryption.unprotect(data)
            packet = None if plain is None else self._receiver.receive(plain, arrival)
            if packet is None:
                continue
            if packet.kind == "event":
                if not (key := self._keys.receive(packet)):
                    continue
                received = self._behaviour.receive({"type": "dtmf", "digit": key}, arrival.at_ns)
            elif packet.kind == "audio":
                received = self._behaviour.receive_binary(packet.payload, arrival.at_ns)
            else:
                continue
            if truth:
                truth.received(self.session_id, received, ArrivalSpan(arrival.at_ns, arrival.at_ns, arrival.is_kernel))
        self.send_due(monotonic_ns())

    def _read_rtcp(self) -> None:
        for data, _, arrival in self._rtcp_socket.receive():
            if (report := self._encryption.unprotect_report(data)) is not None:
                self._rtcp.receive(report, arrival.at_ns)

    def send_due(self, now_ns: int) -> None:
        """Send the due frames. The timestamps of RTP also count the silence between two utterances."""
        for event in self._behaviour.due(now_ns):
            if (silent_ticks := self._silent_ticks(event.due_ns)) > 0:
                self._sender.pause(silent_ticks)
                self._sent_ticks += silent_ticks
            self._sent_ticks += len(event.body)  # one byte is one sample
            packet = self._path.add(event, self._encryption.protect(self._sender.audio(event.body)))
            if not packet.copies:
                self._log(packet, SendTime(now_ns), None)
        for packet in self._path.pop(now_ns):
            self._send(packet)
        if self._report_ns <= now_ns:
            self._report(now_ns)
        self._plan_next()

    def _silent_ticks(self, at_ns: int) -> int:
        """Return the media time from the end of the last frame to an instant. It is negative if the frame is longer.

        It counts from the first frame, so that rounding errors do not add up.
        """
        if self._first_due_ns is None:
            self._first_due_ns = at_ns
        return (at_ns - self._first_due_ns) * self._rate_hz // NS_PER_S - self._sent_ticks

    def _report(self, now_ns: int, *, goodbye: bool = False) -> None:
        """Send an RTCP report. Its timestamp also counts the silence after the last frame."""
        silent_ticks = 0 if self._first_due_ns is None else self._silent_ticks(now_ns)
        report = self._rtcp.report(now_ns, (self._sender.timestamp + silent_ticks) % TIMESTAMPS, goodbye=goodbye)
        peer = self._media.rtcp or HostPort(self._media.address, self._media.port)
        self._rtcp_socket.send(self._encryption.protect_report(report), (peer.host, peer.port or self._media.port + 1))
        self._report_ns = now_ns + report_delay_ns(self._random.random(), is_first=False)

    def _send(self, packet: PathPacket) -> None:
        peer = self._media.address, self._media.port
        sent = self._rtp.send(packet.data, peer)
        if sent is None:
            return
        for _ in range(1, packet.copies):
            self._rtp.send(packet.data, peer)
        self._shared.lateness.add(sent.at_ns - packet.departure_ns)
        self._log(packet, sent, sent.at_ns + sent.width_ns)

    def _log(self, packet: PathPacket, sent: SendTime, send_end_ns: int | None) -> None:
        if truth := self._shared.config.truth:
            event = structs.replace(packet.event, facts=(packet.event.facts or {}) | packet.facts)
            truth.sent(self.session_id, event, sent.at_ns, send_end_ns, len(packet.data))

    def _plan_next(self) -> None:
        due_ns = min(self._path.next_ns, self._report_ns)
        if (agent_ns := self._behaviour.next_due_ns()) is not None:
            due_ns = min(due_ns, agent_ns)
        self._shared.plan(self, due_ns)

    def close(self) -> None:
        self._report(monotonic_ns(), goodbye=True)
        self._shared.plan(self, None)
        for sock in (self._rtp, self._rtcp_socket):
            self._shared.loop.remove_reader(sock)
            sock.close()
        self._behaviour.end()
