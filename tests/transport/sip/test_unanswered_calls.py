"""Calls that fail or that lose packets on this machine: the texts name what was received, and
what was not sent.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

import pytest

from bench.catalogue.causes import ConnectError, in_words
from bench.catalogue.outcomes import remedy_of
from bench.catalogue.timeouts import Timeouts
from bench.services.telephone import REMEDIES
from bench.transport.datagrams import DatagramSocket, own_addresses
from bench.transport.interface import DIRECT, ConnectRequest, ConnectTimings, NetworkPath
from bench.transport.sip.telephone import TelephoneCall, open_call
from tests.transport.sip.hostile_check import ENOUGH, LONGER, SENT, SOON
from tests.transport.sip.hostile_line import LOOPBACK, Behaviour, HostilePeer, hostile_line

BROADCAST = "255.255.255.255"


def failure(
    behave: Behaviour, limits: Timeouts = ENOUGH, path: NetworkPath = DIRECT
) -> ConnectError:
    with hostile_line(behave) as line, pytest.raises(ConnectError) as caught:
        open_call(ConnectRequest(line.url, (), None, limits, ConnectTimings(), path)).close()
    return caught.value


def unanswered(behave: Behaviour, detail: str, path: NetworkPath = DIRECT) -> ConnectError:
    """Return the first failure at one of the limits that has this detail, else the last one."""
    for limits in LONGER:
        error = failure(behave, limits, path)
        if detail in error.detail:
            break
    return error


def sends(*make: Callable[[HostilePeer], bytes]) -> Behaviour:
    return lambda peer: [peer.send(each(peer)) for each in make]


MALFORMED = b"SIP/2.0 2OO OK\r\n\r\n"


@pytest.mark.parametrize(
    ("behave", "detail", "remedy"),
    [
        (sends(), "there was no response to INVITE", "no SIP server responds"),
        (
            sends(lambda _: MALFORMED),
            "1 malformed message was ignored",
            "what responds does not send valid SIP",
        ),
        (
            sends(*[lambda _: MALFORMED] * 3),
            "3 malformed messages were ignored",
            "does not send valid SIP",
        ),
        (
            sends(lambda peer: peer.ok().replace(b"branch=z9hG4bK", b"branch=z9hG4bKx")),
            "1 response to no request was ignored",
            "does not send valid SIP",
        ),
        (
            sends(lambda peer: peer.ok().replace(b"Call-ID: ", b"Call-ID: x")),
            "1 message of no call was ignored",
            "does not send valid SIP",
        ),
        (
            sends(lambda peer: peer.response(100)),
            "the last response was SIP 100 Trying",
            "the SIP server answers",
        ),
        (
            sends(lambda peer: peer.response(182, phrase="Queued"), lambda _: MALFORMED),
            "the last response was SIP 182 Queued, and 1 malformed message was ignored",
            "does not send valid SIP",
        ),
        (
            sends(
                lambda peer: peer.response(180),
                *[lambda peer: peer.ok().replace(b"To: ", b'To: "')] * 2,
            ),
            "it only rang, and 2 malformed messages were ignored",
            "its answer may have been ignored",
        ),
        (sends(lambda peer: peer.response(180)), "it only rang", "the telephone rings"),
    ],
)
def test_a_call_that_no_one_answers_names_what_was_received(
    behave: Behaviour, detail: str, remedy: str
) -> None:
    error = unanswered(behave, f"s: {detail}")

    assert error.outcome == "timeout:upgrade"
    assert error.detail.endswith(f"s: {detail}")
    assert remedy in remedy_of(error.outcome, [in_words(error.detail)], REMEDIES)


def test_a_redirection_that_does_not_answer_is_named() -> None:
    def redirect(peer: HostilePeer) -> None:
        peer.refuse(302, ("Contact", f"<sip:x@{LOOPBACK}:{port}>"))

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((LOOPBACK, 0))
        port = silent.getsockname()[1]
        path = NetworkPath(call_hosts=((LOOPBACK, port),))
        error = unanswered(redirect, "which did not answer", path)
        unnamed = failure(redirect)
    assert error.outcome == "timeout:upgrade"
    assert f"the call was redirected to {LOOPBACK}:{port}, which did not answer" in error.detail
    assert "the host to which the agent redirects calls" in remedy_of(
        error.outcome, [in_words(error.detail)], REMEDIES
    )

    assert unnamed.outcome == "connect_failed:302"
    assert (
        f"the call was redirected to {LOOPBACK}:{port}, which the target does not name"
        in unnamed.detail
    )
    assert "call_hosts" in remedy_of(unnamed.outcome, [in_words(unnamed.detail)], REMEDIES)

    refused = failure(redirect, path=path)
    assert (refused.outcome, refused.detail) == (
        "connect_failed:sip",
        f"the call was redirected to {LOOPBACK}:{port}: {LOOPBACK}:{port}: Connection refused",
    )


@pytest.mark.parametrize("address", [BROADCAST, "192.0.2.7"])
def test_a_call_to_this_machine_whose_answer_names_another_host_is_refused(address: str) -> None:
    error = failure(lambda peer: peer.answer(body=peer.sdp(address=address)))

    assert error.outcome == "connect_failed:host"
    assert (
        error.detail
        == f"the peer names {address} for its audio, but the called host is on this machine, and"
        " this one is not"
    )
    assert "--call-hosts" in remedy_of(error.outcome, [in_words(error.detail)], REMEDIES)


@pytest.mark.parametrize("address", own_addresses(socket.AF_INET))
def test_an_agent_on_this_machine_may_name_each_address_of_this_machine(address: str) -> None:
    """PBXs and SIP stacks name the address of an interface by default."""
    with hostile_line(lambda peer: peer.answer(body=peer.sdp(address=address))) as line:
        call = open_call(ConnectRequest(line.url, (), None, ENOUGH, ConnectTimings(), DIRECT))
        assert isinstance(call, TelephoneCall)
        call.close()


def opened(line_url: str, *hosts: str) -> TelephoneCall:
    path = NetworkPath(call_hosts=tuple((host, None) for host in hosts))
    return open_call(ConnectRequest(line_url, (), None, ENOUGH, ConnectTimings(), path))


def test_packets_that_the_kernel_refuses_are_not_counted_as_sent() -> None:
    with hostile_line(lambda peer: peer.answer(body=peer.sdp(address=BROADCAST))) as line:
        call = opened(line.url, BROADCAST)
        receipts = [call.send(SENT) for _ in range(3)]
        network = call.network()
        call.close()

    assert [receipt and (receipt.unsent, receipt.wire_bytes) for receipt in receipts] == [
        ("this machine could not send the packets: Permission denied", 0)
    ] * 3
    assert network is not None
    assert (network.sent, network.unsent, network.other_hosts) == (0, 3, f"{BROADCAST} (audio)")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        *((number, "connect_failed:sip") for number in (errno.ENETUNREACH, errno.EPERM)),
        (errno.EAGAIN, "timeout:upgrade"),
        *((number, "exhausted:memory") for number in (errno.ENOBUFS, errno.ENOMEM)),
    ],
)
def test_a_request_that_the_kernel_refuses_ends_the_call_unless_a_repetition_may_be_sent(
    monkeypatch: pytest.MonkeyPatch, error: int, outcome: str
) -> None:
    def refuse(sock: DatagramSocket, data: bytes, destination: object) -> None:
        sock.refusal = error

    monkeypatch.setattr(DatagramSocket, "send", refuse)
    with pytest.raises(ConnectError) as caught:
        open_call(
            ConnectRequest(f"sip:a@{LOOPBACK}:9", (), None, SOON, ConnectTimings(), NetworkPath())
        )

    assert caught.value.outcome == outcome
    text = f"this machine could not send to {LOOPBACK} port 9: {os.strerror(error)}"
    assert (text in caught.value.detail) is (outcome == "connect_failed:sip")
