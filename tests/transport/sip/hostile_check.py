"""What every call to a hostile telephone must satisfy: an expected outcome, bounded state, and
texts that are safe.
"""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

from bench.base.clock import monotonic_ns
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.catalogue.causes import ConnectError
from bench.catalogue.timeouts import Timeouts
from bench.protocols.rtp.jitter import MAX_STANDSTILL_PACKETS
from bench.protocols.sip.call import MAX_LEGS
from bench.protocols.sip.transactions import MAX_TRANSACTIONS
from bench.transport.interface import DIRECT, ConnectRequest, ConnectTimings, NetworkPath
from bench.transport.sip import telephone
from bench.transport.sip.answering import IncomingCall
from bench.transport.sip.signalling import MAX_HOPS
from bench.transport.sip.telephone import TelephoneCall, open_call
from bench.wire.connection import ReceivedMessage
from bench.wire.dialect import BinaryMessage
from tests.attack.cases import WORKS, HostileCase, assert_outcome, assert_safe
from tests.simulator_process import GUARD_S, LONGER_S
from tests.transport.sip.hostile_line import MARKER, HostileLine, hostile_line

ENOUGH = Timeouts(tcp=GUARD_S, upgrade=GUARD_S)
LONGER = tuple(Timeouts(tcp=GUARD_S, upgrade=limit_s) for limit_s in LONGER_S)
SOON = LONGER[0]
SENT = BinaryMessage(b"\x11" * 160)
MARKERS = 3
MAX_DROPPED_KINDS = 10
MAX_HELD_FRAMES = 10_000
TABLE = Path(__file__).with_name("hostile_calls.txt")


def header(line: str) -> tuple[str, str]:
    """Return the name and the value of a header."""
    name, _, value = line.partition(": ")
    return name, value


def check(
    case: HostileCase,
    headers: tuple[tuple[str, str], ...] = (),
    codecs: tuple[str, ...] = DIRECT.codecs,
) -> HostileLine:
    """Call a hostile peer with an offer of codecs, and check the outcome. Return the line."""
    line: HostileLine

    def call(limit_s: float) -> tuple[str, str]:
        nonlocal line
        limits = Timeouts(tcp=GUARD_S, upgrade=limit_s)
        # otherwise each peer that does not answer CANCEL or BYE takes a second
        with (
            hostile_line(case.steps[0]) as line,
            patch.object(telephone, "GOODBYE_NS", 200 * NS_PER_MS),
        ):
            try:
                path = NetworkPath(codecs=codecs)
                call = open_call(
                    ConnectRequest(line.url, headers, None, limits, ConnectTimings(), path)
                )
            except ConnectError as error:
                assert_safe(*error.headers.values())
                return error.outcome, error.detail
            return used(call, waits_for_end=case.outcome.startswith("ends"))

    assert_outcome(case, call)
    return line


def used(call: TelephoneCall | IncomingCall, *, waits_for_end: bool = False) -> tuple[str, str]:
    """Listen until frames of MARKER arrive or the call ends, and then close the call. Return the
    outcome and the reason of the end.
    """
    assert_safe(*call.handshake.headers.values())
    heard = 0

    def on_message(message: ReceivedMessage) -> bool:
        nonlocal heard
        assert isinstance(message.data, BinaryMessage)
        is_wide = len(message.data) > len(MARKER)
        heard += message.data == MARKER or (is_wide and any(message.data))
        return heard == MARKERS

    until_ns = monotonic_ns() + GUARD_S * NS_PER_S
    try:
        while (
            (heard < MARKERS or waits_for_end) and call.closed is None and monotonic_ns() < until_ns
        ):
            call.send(SENT)
            call.receive_until(monotonic_ns() + 20 * NS_PER_MS, on_message)
            assert_bounded(call)
        closed = call.closed
        assert call.network() is not None
    finally:
        call.close()
    assert_bounded(call)
    if closed is None:
        assert heard >= MARKERS, "the call did not work"
        return WORKS
    return f"ends:{closed.code}", closed.reason


def assert_bounded(call: TelephoneCall | IncomingCall) -> None:
    if isinstance(call, TelephoneCall):
        transactions, dropped = call._call._transactions, call._call.dropped
        assert len(call._call._legs) <= MAX_LEGS
        ways = call._signalling
        assert len(ways._addresses) + len(ways._unaddressed) <= MAX_HOPS
        assert len(ways._connections) <= MAX_HOPS
    else:
        assert call.party is not None
        transactions, dropped = call.party.transactions, call._lines.exchange.dropped
        assert len(call._lines.exchange.calls) <= MAX_LEGS
    assert len(transactions._clients) <= MAX_TRANSACTIONS
    assert len(transactions._servers) <= MAX_TRANSACTIONS
    assert len(dropped) <= MAX_DROPPED_KINDS
    assert len(call.track.frames) <= MAX_HELD_FRAMES
    assert (
        call.track.media is None
        or len(call.track.media.buffer._waiting) <= MAX_STANDSTILL_PACKETS + 1
    )
