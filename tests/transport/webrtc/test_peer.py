"""A connection to a peer: candidates are checked, one is nominated, DTLS gives the keys, and
consent is renewed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.protocols.ice.ice import Candidate
from bench.protocols.ice.stun import StunAttribute, StunKind, build_message, parse_message
from bench.protocols.rtp.srtp import PacketEncryption
from bench.protocols.webrtc.dtls import Fingerprint
from bench.protocols.webrtc.peer import PacketType, packet_type
from bench.wire.addresses import HostPort
from tests.examples import thorough
from tests.transport.webrtc.pair import (
    CALLER,
    CALLER_LOGIN,
    SERVICE,
    SERVICE_LOGIN,
    Call,
    described,
)

DEAD = Candidate(HostPort("203.0.113.9", 9_000), 2**31 - 1)
"""A candidate that has the highest priority and never answers."""
RTP = bytes.fromhex("800000010000000000000007") + b"\xff" * 160


def is_stun(data: bytes) -> bool:
    return packet_type(data) is PacketType.STUN


def test_both_sides_have_the_same_keys_after_the_handshake() -> None:
    call = Call(described())
    call.connect()
    ours, theirs = call.caller.keys, call.service.keys

    assert ours is not None
    assert theirs is not None
    assert (ours.send, ours.receive) == (theirs.receive, theirs.send)
    assert ours.send != ours.receive
    assert PacketEncryption(*theirs).unprotect(PacketEncryption(*ours).protect(RTP)) == RTP
    assert (call.caller.peer, call.service.peer) == (SERVICE, CALLER)


@pytest.mark.parametrize("is_lite", [True, False])
def test_a_candidate_that_does_not_answer_only_costs_checks(is_lite: bool) -> None:
    descriptions = described()
    call = Call(
        descriptions._replace(of_service=replace(descriptions.of_service, is_lite=is_lite)),
        lambda *_: False,
        DEAD,
    )
    call.connect()
    checks = [at_ns for at_ns, destination, _ in call.sent if destination == DEAD.address]

    assert call.caller.keys is not None
    assert 1 <= len(checks) <= 2  # none after the nomination of the other one


@thorough
@given(st.integers(0, 2**32 - 1), st.floats(0, 0.4))
def test_lost_checks_are_repeated(seed: int, loss: float) -> None:
    random = Random(seed)
    call = Call(described(), lambda data, _: is_stun(data) and random.random() < loss)
    call.run(10 * NS_PER_S, lambda: call.caller.peer is not None)

    assert call.caller.peer == SERVICE or loss > 0


@pytest.mark.parametrize("repetitions", [0, 60])
def test_a_peer_that_never_answers_is_reported_and_gets_few_packets(repetitions: int) -> None:
    """An address that an answer names several times gets no more checks than another one."""
    call = Call(
        described(), lambda *_: True, *(Candidate(SERVICE, number) for number in range(repetitions))
    )
    call.run(20 * NS_PER_S, lambda: bool(call.caller.problem))

    assert call.caller.problem == "no candidate of the peer answers"
    assert len(call.sent) == 6
    assert all(
        later - earlier >= 500 * NS_PER_MS for (earlier, *_), (later, *_) in pairwise(call.sent)
    )


def test_consent_is_renewed_each_five_seconds_and_its_end_ends_the_call() -> None:
    is_gone = False
    call = Call(described(), lambda *_: is_gone)
    call.connect()
    start_ns, before = call.now_ns, len(call.sent)
    call.run(60 * NS_PER_S)
    requests = [at_ns for at_ns, _, data in call.sent[before:] if is_stun(data)]

    assert not call.caller.problem
    assert 9 <= len(requests) <= 15
    assert all(
        4 * NS_PER_S <= later - earlier <= 6 * NS_PER_S + 10 * NS_PER_MS
        for earlier, later in pairwise(requests)
    )
    is_gone, before = True, len(call.sent)
    gone_ns = call.now_ns
    call.run(60 * NS_PER_S, lambda: bool(call.caller.problem))
    assert call.caller.problem == "the peer has not renewed its consent for 30 s"
    assert call.now_ns - gone_ns <= 36 * NS_PER_S
    assert gone_ns > start_ns


@pytest.mark.parametrize("is_of_service", [True, False])
def test_a_certificate_without_its_fingerprint_is_refused(is_of_service: bool) -> None:
    descriptions, wrong = described(), (Fingerprint("sha-256", ":".join(["00"] * 32)),)
    name = "of_service" if is_of_service else "of_caller"
    call = Call(
        descriptions._replace(**{name: replace(getattr(descriptions, name), fingerprints=wrong)})
    )
    call.run(NS_PER_S)
    refusing = call.caller if is_of_service else call.service

    assert refusing.keys is None
    assert "fingerprint" in refusing.problem


def test_the_end_of_the_peer_is_reported() -> None:
    call = Call(described())
    call.connect()
    call.service.close()
    call.run(NS_PER_S)

    assert call.caller.problem == "the peer closed the connection (DTLS close_notify)"


@thorough
@given(st.lists(st.binary(max_size=120), max_size=30), st.randoms(use_true_random=False))
def test_nothing_from_other_addresses_has_an_effect(datagrams: list[bytes], random: Random) -> None:
    """An attacker knows neither the passwords nor the address of the peer. It gets no packet."""
    attacker = HostPort("203.0.113.66", 6_666)
    call = Call(described())
    heard: list[bytes] = []
    for data in datagrams:
        shaped = bytes([random.choice((0, 1, 20, 22, 63, 128, 191))]) + data
        assert not call.caller.received(shaped, attacker, call.now_ns, call.now_ns)
        heard.append(shaped)
        call.run(20 * NS_PER_MS)
    call.connect()
    for data in heard:
        assert not call.caller.received(data, attacker, call.now_ns, call.now_ns)
        call.caller.received(data, SERVICE, call.now_ns, call.now_ns)
    call.run(NS_PER_S)

    assert {destination for _, destination, _ in call.sent} == {SERVICE}
    assert call.caller.keys is not None or call.caller.problem


def replayed(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("change", [lambda data: data, replayed(8), replayed(30), replayed(-9)])
def test_a_request_that_is_not_authentic_has_no_response(change: Callable[[bytes], bytes]) -> None:
    """The service's password is needed. Even a request of the caller itself has no response from
    the caller.
    """
    call = Call(described(), lambda *_: True)
    call.run(NS_PER_MS)
    (_, _, request), *_ = call.sent
    call.caller.received(change(request), SERVICE, call.now_ns, call.now_ns)

    assert call.caller.pop_packets() == []


@pytest.mark.parametrize(
    ("code", "key", "problem"),
    [
        (400, SERVICE_LOGIN.password, "the peer refuses the connectivity checks with 400"),
        (500, SERVICE_LOGIN.password, "the peer refuses the connectivity checks with 500"),
        (487, SERVICE_LOGIN.password, ""),  # both sides control: the next check may succeed
        (400, "another password of 22", ""),
    ],
)
def test_only_an_authentic_refusal_ends_the_checks(code: int, key: str, problem: str) -> None:
    call = Call(described(), lambda *_: True)
    call.run(NS_PER_MS)
    request = parse_message(call.sent[0][2])
    assert request is not None
    attributes: dict[int, bytes] = {
        StunAttribute.ERROR_CODE: bytes((0, 0, code // 100, code % 100))
    }
    refusal = build_message(StunKind.ERROR, request.transaction, attributes, key)
    call.caller.received(refusal, SERVICE, call.now_ns, call.now_ns)

    assert call.caller.problem == problem


OTHER = HostPort(SERVICE.host, 5_000)
"""Another port of the service's host."""
ELSEWHERE = HostPort("203.0.113.66", 6_666)


def of_service(host: str) -> bool:
    return host == SERVICE.host


def check_of(
    call: Call, number: int = 1, key: str | None = None, user: str = "caller:service"
) -> bytes:
    """Return a check of the service, as the one of a peer that is no lite one."""
    attributes: dict[int, bytes] = {
        StunAttribute.USERNAME: user.encode(),
        StunAttribute.PRIORITY: b"\x6e\0\0\1",
    }
    return build_message(
        StunKind.REQUEST, number.to_bytes(12), attributes, key or CALLER_LOGIN.password
    )


def test_a_check_has_the_priority_of_a_peer_reflexive_candidate() -> None:
    """An address that the service learns from a check ranks below a host candidate (RFC 8445
    §7.1.1).
    """
    call = Call(described())
    call.caller.expire(0)
    ((data, _),) = call.caller.pop_packets()
    check = parse_message(data)

    assert check is not None
    assert check.attributes[StunAttribute.PRIORITY][0] == 110


@pytest.mark.parametrize("is_lite", [True, False])
@pytest.mark.parametrize("answers_from_there", [True, False])
def test_an_address_that_answers_in_place_of_the_named_one_is_used(
    is_lite: bool, answers_from_there: bool
) -> None:
    """A socket that is bound to all addresses answers from another one than the candidate (RFC
    8445 §7.3.1.3).
    """
    descriptions = described()
    changed = replace(
        descriptions.of_service, is_lite=is_lite, candidates=(Candidate(DEAD.address, 1),)
    )
    call = Call(descriptions._replace(of_service=changed), permits=of_service)
    call.answered_by = {DEAD.address, SERVICE}
    if not answers_from_there:  # only the checks of the peer show its address
        call.answered_by = {SERVICE}
        call.caller.received(check_of(call), SERVICE, 0, 0)
    call.connect()

    assert call.caller.peer == SERVICE
    assert call.caller.keys is not None


def test_a_peer_without_candidates_is_found_by_its_checks() -> None:
    descriptions = described()
    changed = replace(descriptions.of_service, is_lite=False, candidates=())
    call = Call(descriptions._replace(of_service=changed), permits=of_service)
    call.run(NS_PER_S)
    assert call.sent == []
    call.caller.received(check_of(call), SERVICE, call.now_ns, call.now_ns)
    call.connect()

    assert call.caller.peer == SERVICE
    assert call.caller.keys is not None


@pytest.mark.parametrize(("is_lite", "waits_s"), [(True, 0), (False, 3)])
def test_a_peer_without_candidates_and_without_checks_has_failed(
    is_lite: bool, waits_s: int
) -> None:
    """A lite peer sends no checks, so nothing can follow."""
    descriptions = described()
    changed = replace(descriptions.of_service, is_lite=is_lite, candidates=())
    call = Call(descriptions._replace(of_service=changed), permits=of_service)
    call.run(20 * NS_PER_S, lambda: bool(call.caller.problem))

    assert call.caller.problem.startswith("the peer names no candidate that can be reached")
    assert call.now_ns // NS_PER_S == waits_s
    assert call.sent == []


def test_checks_from_a_host_without_permission_get_no_packet_and_are_named() -> None:
    call = Call(described(), lambda *_: True, permits=of_service)
    for source in (ELSEWHERE, HostPort("203.0.113.67", 1)):
        call.caller.received(check_of(call), source, 0, 0)
    call.run(20 * NS_PER_S, lambda: bool(call.caller.problem))

    assert call.caller.refused == ELSEWHERE
    assert {destination for _, destination, _ in call.sent} == {SERVICE}


@pytest.mark.parametrize(
    "check",
    [
        lambda call: check_of(call, key="another password of 22"),
        lambda call: check_of(call, user="caller:other"),
        lambda call: check_of(call)[:-9],
        lambda call: build_message(StunKind.SUCCESS, bytes(12), {}, SERVICE_LOGIN.password),
    ],
    ids=["another password", "another name", "cut", "a response to nothing"],
)
def test_only_an_authentic_message_adds_an_address(check: Callable[[Call], bytes]) -> None:
    call = Call(described(), lambda *_: True, permits=of_service)
    call.caller.received(check(call), OTHER, 0, 0)
    call.run(20 * NS_PER_S, lambda: bool(call.caller.problem))

    assert {destination for _, destination, _ in call.sent} == {SERVICE}
    assert call.caller.refused is None


def test_the_checks_of_a_peer_from_many_ports_are_bounded() -> None:
    call = Call(described(), lambda *_: True, permits=of_service)
    for number in range(1, 60_000, 599):
        call.caller.received(check_of(call, number), HostPort(SERVICE.host, number), 0, 0)
    call.run(20 * NS_PER_S, lambda: bool(call.caller.problem))

    assert len({destination for _, destination, _ in call.sent}) == 1 + 8
    assert len(call.sent) <= 8 + 6 * (1 + 8)
    assert call.caller.problem == "no candidate of the peer answers"


def test_an_address_that_is_found_after_the_nomination_is_answered_and_not_checked() -> None:
    call = Call(described(), permits=of_service)
    call.connect()
    before = len(call.sent)
    call.caller.received(check_of(call), OTHER, call.now_ns, call.now_ns)
    call.run(20 * NS_PER_S)
    kinds = [
        parse_message(data) for _, destination, data in call.sent[before:] if destination == OTHER
    ]

    assert [each and each.kind for each in kinds] == [StunKind.SUCCESS]
    assert call.caller.peer == SERVICE
