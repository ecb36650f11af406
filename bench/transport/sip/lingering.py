"""The end of a call that its peer has not confirmed: its signalling goes on in the background.

Without it, a peer that answers a cancelled call late would keep a call that no one acknowledges (RFC 3261 §9.1), and
load tests would measure a service that is busy with such calls.
"""

from __future__ import annotations

import gevent

from bench.base.clock import Arrival, monotonic_ns
from bench.transport.datagrams import DatagramSocket
from bench.transport.interface import HostPort
from bench.transport.sip.call import SipCall
from bench.transport.sip.listener import Listener
from bench.transport.sip.signalling import Signalling
from bench.transport.sip.transactions import TIMEOUT_NS

MAX_LINGERING = 64
"""The maximum number of calls of a process that linger. Further ones end without a confirmation."""
LINGER_NS = 2 * TIMEOUT_NS
"""The maximum time: until the request that ends the call has timed out, and then an INVITE that it cancels."""
_lingering: set[LingeringCall] = set()


def linger(call: SipCall, signalling: Signalling) -> None:
    """Close the signalling of a call that this side has ended, at once or when the peer has confirmed the end."""
    if call.is_confirmed or len(_lingering) >= MAX_LINGERING:
        signalling.close()
        return
    LingeringCall(call, signalling)


class LingeringCall:
    """The signalling of a call without a session. It closes itself."""

    def __init__(self, call: SipCall, signalling: Signalling) -> None:
        self._call, self._signalling = call, signalling
        signalling.listener = self
        self._listener = Listener(() if signalling.socket is None else (signalling.socket,))
        _lingering.add(self)
        gevent.spawn(self._run)

    def _run(self) -> None:
        until_ns = monotonic_ns() + LINGER_NS
        try:
            if not self._call.is_confirmed:  # the connection may have broken meanwhile
                self._listener.listen(until_ns, self._on_readable, lambda: self._call.next_ns, self._on_due)
        finally:
            _lingering.discard(self)
            self._listener.close()
            self._signalling.close()

    def _on_readable(self, sock: DatagramSocket) -> bool:
        for data, source, arrival in sock.receive():
            self._call.received(data, arrival.at_ns, HostPort(*source[:2]))
        return self._advance()

    def _on_due(self) -> bool:
        self._call.expire(monotonic_ns())
        return self._advance()

    def _advance(self) -> bool:
        """Send what is to be sent. Return True if the peer has confirmed the end."""
        for message in self._call.pop_messages():
            self._signalling.send(message)
        return self._call.is_confirmed

    # The listener of the signalling

    def on_signal(self, data: bytes, source: HostPort, arrival: Arrival) -> None:
        self._call.received(data, arrival.at_ns, source)
        if self._advance():
            self._listener.wake()

    def on_broken(self, reason: str) -> None:
        self._call.transport_failed(monotonic_ns(), reason)
        self._listener.wake()

    def on_error(self, error: BaseException) -> None:
        self._listener.wake(error)
