"""Damaged and random messages: they raise no error, and the state that they leave is bounded."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.base.units import NEVER_NS, NS_PER_MS, NS_PER_S
from bench.protocols.sdp.sdp import parse_description
from bench.protocols.sip.call import SipCall
from bench.protocols.sip.dialog import LocalParty
from bench.protocols.sip.exchange import TelephoneExchange
from bench.protocols.sip.framing import StreamFramer
from bench.protocols.sip.messages import MAX_MESSAGE_BYTES, parse_message
from bench.wire.addresses import HostPort
from tests.examples import thorough
from tests.simulator.telephone.virtual_network import CALLED, CALLER, plan
from tests.transport.sip.scripted_peer import ANSWER, call_settings, tokens
from tests.transport.sip.signalling_pieces import LOGIN, PIECES, VALID

DAMAGE = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.sampled_from(["cut", "insert", "replace", "repeat"]),
        st.sampled_from(PIECES) | st.binary(max_size=8),
        st.integers(0, 40),
    ),
    max_size=4,
)


def damaged(data: bytes, damage: list[tuple[float, str, bytes, int]]) -> bytes:
    for share, kind, piece, length in damage:
        at = int(share * len(data))
        if kind == "repeat":
            piece = data[at : at + length] * 3
        data = (
            data[:at]
            + (b"" if kind == "cut" else piece)
            + data[at + (0 if kind == "insert" else length) :]
        )
    return data


STEPS = st.lists(
    st.tuples(
        st.sampled_from(VALID),
        DAMAGE,
        st.integers(0, 40_000),
        st.sampled_from(["", "", "", "hang up"]),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_damaged_messages_raise_no_error_and_the_call_still_ends(
    steps: list[tuple[bytes, list[tuple[float, str, bytes, int]], int, str]],
) -> None:
    call = SipCall(call_settings(login=LOGIN, session_interval_s=90), tokens())
    call.start(0)
    now_ns, sent = 0, 0
    for data, damage, wait_ms, action in [*steps, (b"", [], 0, "hang up")]:
        now_ns += wait_ms * NS_PER_MS
        call.received(damaged(data, damage), now_ns, HostPort("192.0.2.4", 5060))
        if call.next_ns <= now_ns:
            call.expire(now_ns)
        if action:
            call.hang_up(now_ns)
        for message in call.pop_messages():
            parse_message(message.data)
            assert b"correct horse" not in message.data
            sent += 1
    while call.next_ns < NEVER_NS and now_ns < 1_000 * NS_PER_S:
        now_ns = max(now_ns, call.next_ns)
        call.expire(now_ns)
        sent += len(call.pop_messages())

    assert call.ending is not None
    assert call.is_confirmed
    assert call.next_ns == NEVER_NS
    assert sent < 300
    assert len(call.dropped) < 10


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_damaged_messages_to_the_simulator_raise_no_error_and_leave_nothing_behind(
    steps: list[tuple[bytes, list[tuple[float, str, bytes, int]], int, str]],
) -> None:
    party = LocalParty(CALLED, "UDP", "sip:s@h", "simulator")
    exchange = TelephoneExchange(
        lambda _: plan(max_duration_ns=NS_PER_S), party, tokens(), max_calls=3
    )
    caller = SipCall(call_settings(), tokens())
    caller.start(0)
    invite = caller.pop_messages()[0].data
    now_ns = 0
    for data, damage, wait_ms, _ in steps:
        now_ns += wait_ms * NS_PER_MS
        exchange.received(damaged(invite if len(data) % 2 else data, damage), now_ns, CALLER)
        exchange.expire(now_ns)
        for message in exchange.pop_messages():
            parse_message(message.data)
        assert len(exchange.calls) <= 3
        assert len(exchange._due) <= 2 * len(steps) + 2
    while exchange.calls and now_ns < 2_000 * NS_PER_S:
        now_ns = max(now_ns, exchange.next_ns)
        exchange.expire(now_ns)

    assert exchange.calls == {}
    assert exchange._scheduled == {}


@thorough
@given(st.lists(st.binary(max_size=30) | st.sampled_from(PIECES), max_size=60).map(b"".join))
def test_random_bytes_raise_only_value_errors(data: bytes) -> None:
    for read in (parse_message, parse_description, StreamFramer().received):
        with suppress(ValueError):
            read(data)


@thorough
@given(DAMAGE)
def test_a_damaged_description_raises_only_value_errors(
    damage: list[tuple[float, str, bytes, int]],
) -> None:
    with suppress(ValueError):
        parse_description(damaged(ANSWER, damage))


def test_a_framer_keeps_no_more_than_one_message() -> None:
    framer = StreamFramer()
    for _ in range(100):
        framer.received(b"X: y\r\n" * 100)

    assert framer.broken
    assert len(framer._buffer) <= MAX_MESSAGE_BYTES
