"""Telephone calls that an agent makes to this tool: the lines of a SIP address, and the calls that
they answer. The engine is `bench.protocols.sip.exchange`.
"""

# A process has one socket for each SIP address. A greenlet of its own reads it and passes the
# messages to a `TelephoneExchange`, which is the engine that the simulator answers with. A session
# opens a line and waits. The next call gets the line that has waited longest, since an agent may
# call one number only. A call that finds no line gets 486.
#
# Nothing is sent to a host that only a message names: the exchange answers the source of the
# INVITE, and the audio goes to its host.
#
# The call is open when its caller acknowledges the answer. `opened` is the send of the answer.

from __future__ import annotations

import os
import secrets
import shlex
import signal
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import gevent
from gevent.event import Event
from gevent.subprocess import DEVNULL, Popen
from msgspec.structs import replace as replace_struct

from bench.base.clock import monotonic_ns
from bench.base.installation import tool_version
from bench.base.units import NEVER_NS, NS_PER_S
from bench.catalogue.causes import Cause, Code, ConnectError
from bench.catalogue.outcomes import BUSY
from bench.protocols.rtp.rtp import telephone_audio
from bench.protocols.rtp.srtp import new_keys
from bench.protocols.sdp.offer_answer import AgreedMedia, LocalMedia
from bench.protocols.sip.answer_plan import AnswerPlan
from bench.protocols.sip.call_record import own_hang_up
from bench.protocols.sip.called_party import CalledParty
from bench.protocols.sip.dialog import LocalParty
from bench.protocols.sip.exchange import TelephoneExchange
from bench.protocols.sip.hops import call_address
from bench.protocols.sip.messages import SipRequest
from bench.transport.datagrams import DatagramSocket, host_of, is_this_machine, udp_socket
from bench.transport.event_loop import Listener
from bench.transport.interface import ConnectRequest, NetworkPath
from bench.transport.own_limits import own_limit
from bench.transport.rtp_track import RtpTrack
from bench.transport.sip.call_setup import stored_headers
from bench.transport.sip.signalling import LISTEN_NS
from bench.transport.sip.telephone import GOODBYE_NS, TelephoneAudio
from bench.wire.addresses import HostPort, bracketed
from bench.wire.connection import ABNORMAL, NORMAL, ConnectionClosed, RtpMeasured
from bench.wire.findings import CheckFinding

BUSY_HERE = 486
CALLEE = "{callee}"
"""The placeholder for the address of the line in the command that lets the agent dial."""
_REFUSED = {
    487: "the agent cancelled its call while it rang",
    488: "the agent offers no audio that this tool can use",
}
"""Why an INVITE was refused, by the status."""
END_S = 5.0
"""The time after a call in which the command that started it may end by itself."""
_lines: dict[HostPort, Lines] = {}


def open_answer(request: ConnectRequest) -> IncomingCall:
    """Open a line, let the agent dial, and answer its call. The call is open when the agent
    acknowledges the answer.

    Raise ConnectError: `busy`, `connect_failed:<status>`, `connect_failed:dial|media|sip`,
    `timeout:upgrade`, or a limit of this machine.
    """
    path = request.path
    call = IncomingCall(_lines_at(HostPort(*call_address(request.url)[:2])), path)
    try:
        if path.dial:
            call.dial(path.dial.replace(CALLEE, shlex.quote(request.url)))
        call.answer(request)
    except BaseException:
        call.abort()
        raise
    return call


def _lines_at(own: HostPort) -> Lines:
    if own not in _lines:
        try:
            _lines[own] = Lines(DatagramSocket(udp_socket(own.host, own.port or 0)))
        except OSError as error:
            problem = f"cannot listen on {own}: {error.strerror or error}"
            raise own_limit(error, str(own)) or ConnectError(
                "connect_failed:sip", problem
            ) from None
    return _lines[own]


class Lines:
    """The lines of one SIP address of this machine."""

    def __init__(self, socket: DatagramSocket) -> None:
        self._socket = socket
        self.host = host_of(socket.address)
        own = HostPort(bracketed(self.host.partition("%")[0]), socket.address[1])
        product = f"rtbench/{tool_version()}"
        self.exchange = TelephoneExchange(
            self._plan_of,
            LocalParty(own, "UDP", f"sip:rtbench@{own}", product),
            lambda: secrets.token_hex(8),
            is_own=is_this_machine,
        )
        self.waiting: deque[IncomingCall] = deque()
        self._calls: dict[str, IncomingCall] = {}
        self._without_line = 0
        """The number of calls that were refused because no line was free, and that no session has
        counted yet."""
        self.exchange.refused = self._refused
        self._listener = Listener((socket,))
        gevent.spawn(self._run)

    def _plan_of(self, request: SipRequest) -> AnswerPlan:
        call = self._calls.get(request.call_id)
        if call is None and self.waiting:
            call = self._calls[request.call_id] = self.waiting.popleft()
            call.called(request)
        if call is not None:
            return call.plan
        self._without_line += 1
        return AnswerPlan(LocalMedia(self.host, 0, 0), code=BUSY_HERE)

    def _refused(self, now_ns: int) -> None:
        self._without_line += 1

    def pop_without_line(self) -> int:
        count, self._without_line = self._without_line, 0
        return count

    def _run(self) -> None:
        while True:
            until_ns = monotonic_ns() + LISTEN_NS
            self._listener.listen(until_ns, self._read, lambda: self.exchange.next_ns, self._expire)

    def _read(self, sock: DatagramSocket) -> bool:
        for data, source, arrival in sock.receive():
            self.exchange.received(data, arrival.at_ns, HostPort(*source[:2]))
        self.advance()
        return False

    def _expire(self) -> bool:
        self.exchange.expire(monotonic_ns())
        self.advance()
        return False

    def advance(self) -> None:
        """Send the messages, and let each call note what has changed."""
        for message in self.exchange.pop_messages():
            if message.transport == "UDP":  # the timers of SIP repeat what is not accepted
                self._socket.send(message.data, message.hop)
        for call_id in self.exchange.pop_changed():
            call = self._calls.get(call_id)
            # a finished call is no longer in the exchange
            if call is not None and (party := self.exchange.calls.get(call_id, call.party)):
                call.follow(party)

    def forget(self, call: IncomingCall) -> None:
        """Give a call no further messages."""
        if call in self.waiting:
            self.waiting.remove(call)
        self._calls.pop(call.call_id, None)

    def hang_up(self, call: IncomingCall, now_ns: int) -> None:
        self.exchange.hang_up(call.call_id, now_ns)
        self.advance()
        self._listener.wake()  # its next instant may be earlier now


class IncomingCall(TelephoneAudio):
    """A line, and the call that it answers. `plan` is how it is answered."""

    def __init__(self, lines: Lines, path: NetworkPath) -> None:
        super().__init__(RtpTrack(lines.host, path.rtp_ports, telephone_audio(path.codecs)))
        self._lines = lines
        self._listener = Listener((self.track.rtp, self.track.rtcp))
        host, port = lines.host.partition("%")[0], self.track.rtp.address[1]
        keys = new_keys(secrets.token_bytes)
        media = LocalMedia(host, port, secrets.randbits(31), path.codecs, keys=keys)
        code = BUSY_HERE if path.is_busy else 200
        self.plan = AnswerPlan(media, None, ringing_ns=0, final_ns=path.ring_ns, code=code)
        self.party: CalledParty | None = None
        self._invite: SipRequest | None = None
        self._agreed: AgreedMedia | None = None
        self._other_hosts = ""
        self._without_line = 0
        self._open_ns = monotonic_ns()
        self._opened_ns = 0
        """The instant after the answer was sent; 0 before."""
        self._dialing: Popen | None = None
        self._dial_status: int | None = None
        self._changed = Event()
        lines.waiting.append(self)

    @property
    def call_id(self) -> str:
        return "" if self._invite is None else self._invite.call_id

    # Answering

    def dial(self, command: str) -> None:
        """Run the command that lets the agent dial."""
        try:
            self._dialing = Popen(
                ["/bin/sh", "-c", command],
                stdin=DEVNULL,
                stdout=DEVNULL,
                stderr=DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise own_limit(error, "dial") or ConnectError(
                "connect_failed:dial", f"no shell could be started: {error.strerror}"
            ) from None
        gevent.spawn(self._await_command, self._dialing)

    def _await_command(self, process: Popen) -> None:
        self._dial_status = process.wait()
        self._changed.set()

    def called(self, invite: SipRequest) -> None:
        """Note the INVITE of the call."""
        self._invite = invite

    def follow(self, party: CalledParty) -> None:
        """Do what a change of the call requires."""
        self.party = party
        if party.answered_ns is not None and not self._opened_ns:
            self._opened_ns = monotonic_ns()
        self._changed.set()
        if self._agreed is not None and self._closed is None:
            is_agreed_again = party.media is not self._agreed
            self._use(party)
            if self._has_ended() or is_agreed_again:
                self._listener.wake()

    def _use(self, party: CalledParty) -> None:
        """Use the audio that was agreed last. An agent on this machine may name only this
        machine.
        """
        agreed = party.media
        if agreed is None or agreed is self._agreed:
            return
        self._agreed = agreed
        caller = "" if party.caller is None else party.caller.host
        if is_this_machine(caller):
            peer, rtcp = map(party.audio_address, (agreed.peer, agreed.peer_rtcp))
            agreed = replace(agreed, address=peer.host, rtcp=agreed.rtcp and rtcp)
        elif agreed.address != caller:
            self._other_hosts = agreed.address
        self.track.use(agreed, party.answered_ns or 0)

    def answer(self, request: ConnectRequest) -> None:
        """Wait for the call, and until it is answered or has ended."""
        limit_s = request.limits.upgrade
        until_ns = monotonic_ns() + int(limit_s * NS_PER_S)
        while self._invite is None and not self._dial_status and monotonic_ns() < until_ns:
            self._changed.wait((until_ns - monotonic_ns()) / NS_PER_S)
            self._changed.clear()
        if self._invite is None:
            if self._dial_status:
                status = f"the command of `dial` ended with status {self._dial_status}"
                raise ConnectError("connect_failed:dial", status)
            raise ConnectError("timeout:upgrade", Cause(Code.NO_CALL, {"limit_s": f"{limit_s:g}"}))
        party = self.party
        while party is None or (party.ended_ns is None and party.acknowledged_ns is None):
            self._changed.wait()
            self._changed.clear()
            party = self.party
        headers = stored_headers(self.call_id, self._invite)
        # ACK and BYE may have been read at once
        if party.acknowledged_ns is None or party.media is None:
            raise self._failure(party, headers)
        # the INVITE may have waited in the socket
        invited_ns = max(party.invited_ns or 0, self._open_ns)
        answered_ns = party.answered_ns or 0
        request.phases.set_arrival("ringing", invited_ns, 0)
        request.phases.set_arrival("opened", self._opened_ns, self._opened_ns - answered_ns)
        self._use(party)
        self.handshake = request.phases.connected(headers)

    def _failure(self, party: CalledParty, headers: dict[str, str]) -> ConnectError:
        if self.plan.code == BUSY_HERE == party.code:
            return ConnectError(BUSY, "", headers)
        if party.answered_ns is None:
            why = _REFUSED.get(party.code or 0, "")
            return ConnectError(f"connect_failed:{party.code}", why, headers)
        ended = "" if party.ending is None else f": {party.ending.text}"
        is_described = party.media is not None or party.acknowledged_ns is None
        stage = "sip" if is_described else "media"
        return ConnectError(f"connect_failed:{stage}", f"ended at its answer{ended}", headers)

    # The open call

    def _hang_up_now(self) -> None:
        if self.party is not None and self.party.ended_ns is None:
            self._lines.hang_up(self, monotonic_ns())

    def _own_ns(self) -> int:
        return NEVER_NS

    def _on_readable(self, sock: DatagramSocket) -> bool:
        if sock is self.track.rtp:
            self.track.read_audio()
            return self.track.pass_frames(self._on_message)
        self.track.read_reports()
        return False

    def _read_all(self) -> None:
        self.track.read_audio()
        self.track.read_reports()

    def _on_due(self) -> bool:
        now_ns = monotonic_ns()
        if self.track.next_ns <= now_ns:
            self.track.expire(now_ns)
        return self._has_ended() or self.track.pass_frames(self._on_message)

    def _has_ended(self) -> bool:
        party = self.party
        leg = None if party is None else party.leg
        if party is None or leg is None or not (party.ended_ns is not None or leg.end_cause):
            return self._closed is not None
        if self._closed is None and self._agreed is not None:
            self.track.read_audio()
            ending = party.ending
            by_agent = ending is not None and ending.by == "peer"
            # the agent may never answer a BYE that this side has sent
            reason = own_hang_up(leg.end_cause) if ending is None else ending.text
            at_ns = party.ended_ns or monotonic_ns()
            self._closed = ConnectionClosed(NORMAL, at_ns, reason, ours=not by_agent)
        return True

    def network(self) -> RtpMeasured | None:
        if measured := self.track.measured(self._other_hosts):
            self._without_line += self._lines.pop_without_line()
            measured = replace_struct(measured, calls_without_line=self._without_line)
        return measured

    def check_answer(self) -> Iterator[CheckFinding]:
        yield from ()

    check_media = check_answer

    # The end

    def close(self) -> None:
        """Hang up, wait a short time for the answer, and close the sockets."""
        party = self.party
        if party is not None and party.ended_ns is None:
            self.track.say_goodbye()
            self._hang_up_now()
            until_ns = monotonic_ns() + GOODBYE_NS
            while party.ended_ns is None and (left_ns := until_ns - monotonic_ns()) > 0:
                self._changed.wait(left_ns / NS_PER_S)
                self._changed.clear()
        self._release()

    def abort(self) -> None:
        if self._closed is None:
            self._closed = ConnectionClosed(
                ABNORMAL, monotonic_ns(), "closed by this tool", ours=True
            )
            self._hang_up_now()
        self._release()

    def _release(self) -> None:
        if self.track.rtp.fileno() < 0:
            return
        self._lines.forget(self)
        self._listener.close()
        self.track.close()
        if self._dialing is not None and self._dial_status is None:
            gevent.spawn_later(END_S, _end, self._dialing)


def _end(process: Popen) -> None:
    """End a command, and what it has started."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
