"""A call over WebRTC to an agent as a transport: an offer in JSON by HTTP, and one UDP socket for the audio."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from bench.base.clock import monotonic_ns
from bench.base.units import NEVER_NS, NS_PER_MS
from bench.catalogue.timeouts import Timeouts
from bench.transport.connect import connect
from bench.transport.event_loop import Listener
from bench.transport.interface import ConnectTimings, DeltaListener, NetworkPath, OnMessage, PacedSender
from bench.transport.webrtc.call import WebRtcMedia
from bench.transport.webrtc.signalling import call_agent
from bench.wire.connection import ReceivedMessage

READ_PERIOD_NS = 20 * NS_PER_MS
"""The maximum time between two reads of the audio. Each packet has the kernel's timestamp, so a late read loses no
information."""


def open_agent_call(
    url: str,
    headers: Iterable[tuple[str, str]],
    context: ssl.SSLContext | None,
    limits: Timeouts,
    phases: ConnectTimings,
    path: NetworkPath,
    subprotocols: Sequence[str] = (),
) -> AgentCall:
    """Call an agent. The call is open when its audio is encrypted.

    Raise ConnectError: those of `bench.transport.connect.connect` and of `call_agent`,
    `connect_failed:media|host|ice|dtls`, `timeout:ice|dtls`, `failed:load_generator`.
    """
    parts = urlsplit(url)
    port = parts.port or (80 if context is None else 443)
    stream = connect(parts.hostname or "", port, context, limits, phases, path)
    call: AgentCall | None = None
    try:
        own, agent = (str(address[0]) for address in stream.endpoints)
        call = AgentCall(own, path)
        answer = call_agent(stream, url, headers, call.offer, limits, phases)
        call.connect(answer.description, agent, path, limits, phases)
    except BaseException:  # also at the end of the run: there is no other reference to the socket
        if call is not None:
            call.close()
        raise
    finally:
        stream.close()
    phases.set_instant("opened")
    call.handshake = phases.connected(answer.headers)
    return call


class AgentCall(WebRtcMedia):
    """The audio of a call as the only connection of a session, which waits for it."""

    _listener: Listener | None = None

    def receive_until(
        self,
        until_ns: int,
        on_message: OnMessage,
        reply: DeltaListener | None = None,
        sender: PacedSender | None = None,
    ) -> None:
        """Pass on the frames until `on_message` returns True, `until_ns` passes, or the call ends."""
        is_woken, read_ns = False, 0

        def pass_on() -> bool:
            """Read what has arrived, and pass it on. Return True if the session must act."""
            nonlocal is_woken, read_ns
            super(AgentCall, self).receive_until(until_ns, note)
            read_ns = monotonic_ns() + READ_PERIOD_NS
            return is_woken or self._closed is not None

        def note(message: ReceivedMessage) -> bool:
            nonlocal is_woken
            is_woken = on_message(message)
            return is_woken

        def due_ns() -> int:
            sender_ns = sender.due_ns if sender is not None else None
            peer_ns = NEVER_NS if self._peer is None else self._peer.next_ns
            return min(sender_ns or NEVER_NS, peer_ns, self.track.next_ns, read_ns)

        def on_due() -> bool:
            must_act = pass_on()
            if sender is not None and (sender_ns := sender.due_ns) is not None and sender_ns <= monotonic_ns():
                return sender.send_due() or must_act
            return must_act

        if pass_on() or monotonic_ns() >= until_ns:
            return
        if self._listener is None:
            self._listener = Listener((self.track.rtp,))
        self._listener.listen(until_ns, lambda sock: pass_on(), due_ns, on_due, unwatched=self.track.rtp)

    def abort(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        super().abort()
