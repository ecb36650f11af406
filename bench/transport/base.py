"""What a session sees of the network: whole messages with their arrival, and nothing of sockets, TLS or frames.

A transport is connected when it is made, and is closed once. Time is what the transport says it is: the real one waits
on the process's clock, the one in memory has a virtual clock, and the session knows no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from bench.clock import Arrival, Handed

BAD_FRAME = 1002
"""The close code of a connection that we end because of an unreadable frame (RFC 6455 §7.4.1)."""


class Received(NamedTuple):
    """One text message, when it arrived, and the bytes of its frames with their headers."""

    data: bytes
    arrival: Arrival
    wire_bytes: int


class Sent(NamedTuple):
    """When a message was handed to the kernel, and the bytes of its frame."""

    handed: Handed
    wire_bytes: int


class Closed(NamedTuple):
    """The connection is gone: close code (1006: no close frame), reason, instant."""

    code: int
    reason: str
    at_ns: int


class Handshake(NamedTuple):
    """The phases of connecting, as instants of `bench.run.folder.SESSION_INSTANTS`, and the response headers."""

    instants: Mapping[str, int]
    headers: Mapping[str, str]


class Network(NamedTuple):
    """What the kernel knows of the way to the peer: smoothed and shortest round trip, segments sent again so far."""

    rtt_ns: int
    min_rtt_ns: int
    retransmits: int


class Transport(Protocol):
    """An open connection."""

    handshake: Handshake

    @property
    def closed(self) -> Closed | None:
        """Why the connection is gone; None while it is not, or while messages that came before are not handed out."""

    def now_ns(self) -> int:
        """The instant now, on the clock that the stamps are on."""

    def send(self, message: bytes) -> Sent | None:
        """Hand one text message to the kernel; None where the connection is gone (see `closed`)."""

    def receive(self, until_ns: int) -> list[Received]:
        """Wait for messages until an instant; [] when it passed or the connection is gone (see `closed`).

        Messages that were there before the connection went are handed out before `closed` is set.
        """

    def network(self) -> Network | None:
        """The way to the peer as it is now; None where the platform does not tell."""

    def close(self) -> None:
        """Say goodbye, wait a moment for the answer, and let go of the connection."""

    def abort(self) -> None:
        """Let go at once, without waiting or switching."""
