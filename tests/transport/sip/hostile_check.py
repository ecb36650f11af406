"""What every call to a hostile peer must satisfy: an expected result, bounded state, and texts
that are safe.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench.base.clock import monotonic_ns
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.catalogue.causes import ConnectError
from bench.catalogue.timeouts import Timeouts
from bench.files.sanitize import escape_control
from bench.protocols.rtp.jitter import MAX_STANDSTILL_PACKETS
from bench.protocols.sip.call import MAX_LEGS
from bench.protocols.sip.transactions import MAX_TRANSACTIONS
from bench.transport.interface import ConnectRequest, ConnectTimings, NetworkPath
from bench.transport.sip import telephone
from bench.transport.sip.signalling import MAX_HOPS
from bench.transport.sip.telephone import TelephoneCall, open_call
from bench.wire.connection import ReceivedMessage
from bench.wire.dialect import BinaryMessage
from tests.attack.agents import unescaped_text
from tests.simulator_process import LONGER_S
from tests.transport.sip.hostile_line import GUARD_S, MARKER, Behaviour, HostileLine, hostile_line

ENOUGH = Timeouts(tcp=GUARD_S, upgrade=GUARD_S)
LONGER = tuple(Timeouts(tcp=GUARD_S, upgrade=limit_s) for limit_s in LONGER_S)
SOON = LONGER[0]
SENT = BinaryMessage(b"\x11" * 160)
MARKERS = 3
MAX_DROPPED_KINDS = 10
MAX_TEXT_CHARACTERS = 1_000
MAX_HELD_FRAMES = 10_000


@dataclass(frozen=True)
class Refused:
    """The call fails. `detail` is a part of the error."""

    outcome: str
    detail: str = ""


@dataclass(frozen=True)
class Ends:
    """The call is answered and ends. `reason` is a part of the stated reason."""

    code: int
    reason: str = ""


@dataclass(frozen=True)
class Goes:
    """The call is answered, and still works after all that the peer has done."""


Expected = Refused | Ends | Goes
BUSY = Refused("connect_failed:486", "SIP 486")
Cases = dict[str, tuple[Behaviour, Expected]]
TABLE = Path(__file__).with_name("hostile_calls.txt").read_text(encoding="utf-8")
ROW = re.compile(r"^(\w.*)\n    (\w+)(.*)\n    (\S+) ?(.*)$", re.MULTILINE)
WORD = re.compile(r"(?:(\w+)=)?(?:'([^']*)'|(\S+))")


def cases(section: str, verbs: Mapping[str, Callable[..., Behaviour]]) -> Cases:
    """Return the cases of a section of the table. `verbs` are its functions of a behaviour."""
    found = Cases()
    text = TABLE.partition(f"[{section}]\n")[2].partition("\n[")[0]
    for name, verb, words, outcome, detail in ROW.findall(text):
        texts, named = list[Any](), dict[str, Any]()
        for key, quoted, bare in WORD.findall(words):
            value = int(bare) if bare.isdigit() else bare or unescaped_text(quoted)
            if key:
                named[key] = value
            elif bare and not bare.isdigit() and bare.islower():
                named[bare] = True
            else:
                texts.append(value)
        expected: Expected = Refused(outcome, detail)
        if outcome == "busy":
            expected = BUSY
        elif outcome == "goes":
            expected = Goes()
        found[name] = verbs[verb](*texts, **named), expected
    return found


def header(line: str) -> tuple[str, str]:
    """Return the name and the value of a header."""
    name, _, value = line.partition(": ")
    return name, value


def check(
    behave: Behaviour, expected: Expected, headers: tuple[tuple[str, str], ...] = ()
) -> HostileLine:
    """Call a hostile peer, and check the result. Return the line."""
    is_timeout = isinstance(expected, Refused) and expected.outcome.startswith("timeout")
    # otherwise each peer that does not answer CANCEL or BYE takes a second
    with hostile_line(behave) as line, patch.object(telephone, "GOODBYE_NS", 200 * NS_PER_MS):
        result: Expected
        try:
            limits = SOON if is_timeout else ENOUGH
            call = open_call(
                ConnectRequest(line.url, headers, None, limits, ConnectTimings(), NetworkPath())
            )
        except ConnectError as error:
            assert_safe(error.outcome, error.detail, *error.headers.values())
            result = Refused(error.outcome, error.detail)
        else:
            result = used(call, waits_for_end=isinstance(expected, Ends))
    if isinstance(expected, Refused) and isinstance(result, Refused):
        assert result.outcome == expected.outcome, result
        assert expected.detail in result.detail
    elif isinstance(expected, Ends) and isinstance(result, Ends):
        assert result.code == expected.code, result
        assert expected.reason in result.reason
    else:
        assert result == expected
    return line


def used(call: TelephoneCall, *, waits_for_end: bool = False) -> Expected:
    """Listen until frames of MARKER arrive or the call ends, and then close the call."""
    assert_safe(*call.handshake.headers.values())
    heard = 0

    def on_message(message: ReceivedMessage) -> bool:
        nonlocal heard
        heard += message.data == MARKER
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
        return Goes()
    assert_safe(closed.reason)
    return Ends(closed.code, closed.reason)


def assert_bounded(call: TelephoneCall) -> None:
    signalling = call._call
    assert len(signalling._legs) <= MAX_LEGS
    assert len(signalling._transactions._clients) <= MAX_TRANSACTIONS
    assert len(signalling._transactions._servers) <= MAX_TRANSACTIONS
    assert len(signalling.dropped) <= MAX_DROPPED_KINDS
    ways = call._signalling
    assert len(ways._addresses) + len(ways._unaddressed) <= MAX_HOPS
    assert len(ways._connections) <= MAX_HOPS
    assert len(call.track.frames) <= MAX_HELD_FRAMES
    assert (
        call.track.media is None
        or len(call.track.media.buffer._waiting) <= MAX_STANDSTILL_PACKETS + 1
    )


def assert_safe(*texts: str) -> None:
    for text in texts:
        assert text == escape_control(text)
        assert len(text) <= MAX_TEXT_CHARACTERS
