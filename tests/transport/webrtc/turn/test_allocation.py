"""An allocation at a TURN server in memory: what it needs, what ends it, and what it measures."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.units import NEVER_NS, NS_PER_MS, NS_PER_S
from bench.protocols.ice.stun import (
    StunAttribute,
    StunKind,
    StunMethod,
    build_message,
    parse_turn_message,
    xor_address,
)
from bench.protocols.turn.allocation import Allocation, long_term_key
from bench.protocols.turn.servers import TurnLogin
from bench.wire.addresses import HostPort
from tests.examples import thorough
from tests.transport.webrtc.turn.turn_server import LOGIN, RELAYED, FakeTurnServer

PEER, STRANGER = HostPort("192.0.2.7", 5_000), HostPort("192.0.2.8", 5_000)
DELAY_NS = 7 * NS_PER_MS
STEP_NS = 250 * NS_PER_MS


class Client:
    """An allocation and its server. `drops` returns whether a message of the client is lost."""

    def __init__(
        self,
        server: FakeTurnServer,
        login: TurnLogin = LOGIN,
        drops: Callable[[bytes], bool] = lambda data: False,
        *,
        is_stream: bool = False,
    ) -> None:
        self.server, self.now_ns, self.drops = server, 0, drops
        self.sent: list[bytes] = []
        self.allocation = Allocation(login, Random(7).randbytes, 0, is_stream=is_stream)

    @property
    def problem(self) -> str:
        return "" if self.allocation.problem is None else self.allocation.problem.text

    def pass_messages(self) -> None:
        allocation = self.allocation
        while messages := allocation.pop_messages():
            for message in messages:
                self.sent.append(message)
                allocation.note_sent(message, self.now_ns)
                if (
                    not self.drops(message)
                    and (response := self.server.received(message, self.now_ns)) is not None
                ):
                    allocation.received(response, self.now_ns + DELAY_NS)

    def run(self, duration_ns: int) -> None:
        until_ns = self.now_ns + duration_ns
        while self.now_ns < until_ns:
            self.allocation.expire(self.now_ns)
            self.pass_messages()
            self.now_ns += STEP_NS


def client(server: FakeTurnServer | None = None) -> Client:
    made = Client(server or FakeTurnServer())
    made.pass_messages()
    return made


def test_an_allocation_signs_in_and_gets_its_address() -> None:
    made = client()

    assert made.allocation.relayed == RELAYED
    assert made.server.requests[:2] == [StunMethod.ALLOCATE, StunMethod.ALLOCATE], (
        "the first one names the realm"
    )


def test_a_server_that_asks_for_no_login_relays_and_gets_none() -> None:
    made = client(FakeTurnServer(has_login=False))
    made.allocation.permit([PEER.host], 0)
    made.allocation.bind(PEER, 0)
    made.run(12 * NS_PER_S)
    made.server.received(made.allocation.wrapped(b"data", PEER), 0)

    assert (made.allocation.relayed, made.problem) == (RELAYED, "")
    assert made.server.relayed == [(b"data", PEER)]
    assert made.allocation.round_trip_ns == DELAY_NS


def test_a_server_that_asks_for_a_login_later_gets_it() -> None:
    made = client(FakeTurnServer(has_login=False))
    made.server.has_login = True
    made.run(12 * NS_PER_S)

    assert not made.problem
    assert made.server.requests[-1] is StunMethod.REFRESH


def test_a_server_that_asked_for_a_login_must_sign_its_responses() -> None:
    made = Client(FakeTurnServer())
    (message,) = made.allocation.pop_messages()
    made.allocation.received(made.server.received(message, 0) or b"", 0)
    for message in made.allocation.pop_messages():
        about: dict[int, bytes] = {
            StunAttribute.XOR_RELAYED_ADDRESS: xor_address(RELAYED, message[8:20])
        }
        method = StunMethod.ALLOCATE
        for key in (b"", b"another key"):
            made.allocation.received(
                build_message(StunKind.SUCCESS, message[8:20], about, key, method), 0
            )
    made.drops = lambda data: True
    made.run(20 * NS_PER_S)

    assert made.allocation.relayed is None
    assert made.problem == "answers without a signature by this password"
    assert not made.allocation.is_silent


@pytest.mark.parametrize("other", [HostPort("192.0.2.30", 3_479), None])
def test_a_server_that_sends_its_clients_to_another_one_names_it(other: HostPort | None) -> None:
    made = client(FakeTurnServer(forced={StunMethod.ALLOCATE: 300}, alternate=other))

    assert made.allocation.alternate == other
    assert made.problem == (
        "sends its clients to 192.0.2.30:3479 (300 Try Alternate)"
        if other
        else "refuses the allocation (300 No)"
    )


def test_the_key_is_that_of_the_example_of_the_standard() -> None:
    """RFC 8489 §9.2.2 has this example."""
    key = long_term_key(TurnLogin("user", "pass"), b"realm")

    assert key.hex() == "8493fbc53ba582fb4c044c456bdc40eb"


@pytest.mark.parametrize(
    ("login", "code", "problem"),
    [
        (TurnLogin("a-user", "wrong"), 0, "refuses the user or the password (401)"),
        (LOGIN, 486, "has no allocation left for this user (486)"),
        (LOGIN, 508, "has no capacity left (508)"),
        (LOGIN, 442, "refuses the allocation (442 No)"),
    ],
)
def test_a_server_that_refuses_is_named_with_its_reason(
    login: TurnLogin, code: int, problem: str
) -> None:
    made = Client(FakeTurnServer(forced={StunMethod.ALLOCATE: code} if code else {}), login)
    made.pass_messages()

    assert (made.allocation.relayed, made.problem) == (None, problem)
    assert made.allocation.next_ns == NEVER_NS


def test_a_server_that_never_answers_is_asked_a_few_times_over_udp_and_once_over_tcp() -> None:
    for is_stream, messages in ((False, 5), (True, 1)):
        made = Client(FakeTurnServer(), drops=lambda data: True, is_stream=is_stream)
        made.run(20 * NS_PER_S)

        assert made.problem == "does not answer"
        assert len(made.sent) == messages


def test_a_stale_nonce_is_replaced() -> None:
    made = client()
    made.server.nonce = b"second"
    made.run(12 * NS_PER_S)

    assert not made.problem
    assert made.server.requests[-1] is StunMethod.REFRESH


def test_a_server_whose_nonces_are_always_stale_is_not_asked_for_ever() -> None:
    made = client()
    for number in range(100):
        made.server.nonce = b"%d" % number
        for message in made.allocation.pop_messages():
            if (response := made.server.received(message, made.now_ns)) is not None:
                made.server.nonce += b"x"
                made.allocation.received(response, made.now_ns)
        made.now_ns += STEP_NS
        made.allocation.expire(made.now_ns)

    assert "438" in made.problem
    assert len(made.server.requests) < 12


def test_a_nonce_that_fits_into_no_request_is_a_refusal() -> None:
    made = Client(FakeTurnServer(nonce=b"n" * 65_000))
    made.pass_messages()

    assert made.problem == "refuses the user or the password (401)"


def test_a_short_lifetime_is_renewed_and_permissions_and_the_channel_are_before_they_expire() -> (
    None
):
    made = client(FakeTurnServer(lifetime_ns=3 * NS_PER_S))
    made.allocation.permit([PEER.host], 0)
    made.allocation.bind(PEER, 0)
    made.run(300 * NS_PER_S)

    assert not made.problem
    assert made.server.requests.count(StunMethod.CREATE_PERMISSION) == 2
    assert made.server.requests.count(StunMethod.CHANNEL_BIND) == 2


def test_an_allocation_that_has_expired_is_named() -> None:
    made = client()
    made.run(NS_PER_S)
    made.server.expires_ns = 0
    made.run(6 * NS_PER_S)

    assert made.problem == "has ended the allocation (437)"


def test_a_server_that_dies_is_named() -> None:
    made = client()
    made.run(NS_PER_S)
    made.drops = lambda data: True
    made.run(16 * NS_PER_S)

    assert made.problem == "does not answer"


def test_a_host_to_which_the_server_does_not_relay_is_noted() -> None:
    made = client(FakeTurnServer(forced={StunMethod.CREATE_PERMISSION: 403}))
    made.allocation.permit([PEER.host, STRANGER.host, "2001:db8::1"], 0)
    made.pass_messages()

    assert made.allocation.refused == {PEER.host: 403}
    assert made.server.permitted == {STRANGER.host}
    assert not made.problem


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("is_bound", [False, True])
def test_data_passes_in_both_directions(*, is_stream: bool, is_bound: bool) -> None:
    made = Client(FakeTurnServer(is_stream=is_stream), is_stream=is_stream)
    made.pass_messages()
    made.allocation.permit([PEER.host], 0)
    if is_bound:
        made.allocation.bind(PEER, 0)
    made.pass_messages()
    for data in (b"", b"a", b"four", b"x" * 1_200):
        made.server.received(made.allocation.wrapped(data, PEER), 0)
        message = made.server.from_peer(data, PEER)

        assert message is not None
        assert made.allocation.received(message, 0) == (data, PEER)
        assert made.server.relayed.pop() == (data, PEER)
    assert len(made.allocation.wrapped(b"four", PEER)) == (8 if is_bound else 48)


def test_the_round_trip_is_the_shortest_one_of_the_refreshes_that_were_sent_once() -> None:
    made = client()
    made.run(11 * NS_PER_S)

    assert made.allocation.round_trip_ns == DELAY_NS

    lost = client()
    lost.allocation.round_trip_ns = None
    repeated: set[bytes] = set()
    # the first one of each is lost
    lost.drops = lambda data: data not in repeated and not repeated.add(data)
    lost.run(11 * NS_PER_S)

    assert lost.allocation.round_trip_ns is None, (
        "it is unknown which of the two was answered (RFC 6298, Karn)"
    )


def test_an_allocation_is_deleted_at_its_end() -> None:
    made = client()
    made.allocation.close()
    made.pass_messages()

    assert made.server.expires_ns == 0
    assert made.allocation.next_ns == NEVER_NS


def test_a_response_that_is_not_authentic_is_ignored() -> None:
    made = Client(FakeTurnServer())
    (message,) = made.allocation.pop_messages()
    first = made.server.received(message, 0)
    assert first is not None
    made.allocation.received(first, 0)
    (message,) = made.allocation.pop_messages()
    response = bytearray(made.server.received(message, 0) or b"")
    response[30] ^= 1
    made.allocation.received(bytes(response), 0)

    assert made.allocation.relayed is None
    assert made.allocation.next_ns < NEVER_NS


@thorough
@given(st.lists(st.binary(max_size=60), max_size=20), st.randoms(use_true_random=False))
def test_any_bytes_of_a_server_change_nothing_but_the_time(
    noise: list[bytes], random: Random
) -> None:
    made = client()
    made.allocation.permit([PEER.host], 0)
    before = made.allocation.next_ns
    for data in noise:
        made.allocation.received(bytes([random.choice((0, 1, 0x40, 0x41, 0x80))]) + data, 0)

    assert made.allocation.next_ns == before
    assert not made.problem


def test_no_message_has_the_password() -> None:
    made = client()
    made.run(6 * NS_PER_S)

    assert all(LOGIN.password.encode() not in message for message in made.sent)
    assert all(parse_turn_message(message) is not None for message in made.sent)
    assert LOGIN.password not in repr(made.allocation)
    assert repr(long_term_key(LOGIN, made.server.realm)) not in repr(made.allocation)
