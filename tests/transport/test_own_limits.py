"""Calls that a limit of this machine prevents: such a call was never made, so it is no failure
of the service.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Any

import gevent.socket
import pytest

from bench.catalogue.causes import in_words
from bench.catalogue.outcomes import outcome_class, remedy_of
from bench.catalogue.timeouts import Timeouts
from bench.transport.connect import connect_first, look_up
from bench.transport.datagrams import is_this_machine, media_sockets
from bench.transport.interface import ConnectRequest, ConnectTimings, NetworkPath
from bench.transport.own_limits import own_limit
from bench.transport.sip.telephone import open_call
from tests.transport.echo_server import GUARD_S
from tests.transport.refusals import refusal
from tests.transport.resolver import use_resolver

LOOPBACK, PORTS = "127.0.0.1", range(16_384, 16_484, 2)
ENOUGH = Timeouts(tcp=GUARD_S, tls=GUARD_S, upgrade=GUARD_S)
FILES, MEMORY = (errno.EMFILE, errno.ENFILE), (errno.ENOMEM, errno.ENOBUFS)


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def fail_with(*errors: Exception) -> Callable[..., Any]:
    """Return a function that raises these errors, one after the other, and then the last one
    again and again.
    """
    left = list(errors)

    def fail(*_: object, **__: object) -> Any:
        raise left.pop(0) if len(left) > 1 else left[0]

    return fail


def loopback_addresses(count: int) -> list[Any]:
    return [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (LOOPBACK, port))
        for port in range(1, count + 1)
    ]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        *((os_error(number), "exhausted:files") for number in FILES),
        *((os_error(number), "exhausted:memory") for number in MEMORY),
        (MemoryError(), "exhausted:memory"),
        (RuntimeError("can't start new thread"), "exhausted:threads"),
        *(
            (error, None)
            for error in (
                os_error(errno.ECONNREFUSED),
                RuntimeError("generator raised"),
                ValueError(),
            )
        ),
    ],
)
def test_an_error_is_a_limit_of_this_machine_or_not(error: Exception, outcome: str | None) -> None:
    limit = own_limit(error)

    assert (limit and limit.outcome) == outcome
    if limit is not None:
        assert outcome_class(limit.outcome) == "unfinished"
        assert remedy_of(limit.outcome, [in_words(limit.detail)])


@pytest.mark.parametrize("stage", ["tcp", "proxy"])
@pytest.mark.parametrize(
    ("number", "resource"),
    [
        (errno.EADDRNOTAVAIL, "ports"),
        (errno.EAGAIN, "ports"),
        (errno.EMFILE, "files"),
        (errno.ENOBUFS, "memory"),
    ],
)
def test_a_connection_that_this_machine_cannot_make_is_not_refused_by_the_peer(
    monkeypatch: pytest.MonkeyPatch, number: int, resource: str, stage: str
) -> None:
    monkeypatch.setattr(gevent.socket.socket, "connect", fail_with(os_error(number)))
    error = refusal(lambda: connect_first(loopback_addresses(1), GUARD_S, stage))

    assert error.outcome == f"exhausted:{resource}"
    assert error.detail == f"{LOOPBACK}:1: {os.strerror(number)}"


def test_an_address_without_a_route_is_no_lack_of_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel reports both by the same error, for example for ::1 on a machine without IPv6."""

    class Routeless:
        connect = staticmethod(fail_with(os_error(errno.EADDRNOTAVAIL)))

        def __enter__(self) -> Routeless:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(gevent.socket.socket, "connect", fail_with(os_error(errno.EADDRNOTAVAIL)))
    monkeypatch.setattr("bench.transport.own_limits.socket.socket", lambda *_: Routeless())
    error = refusal(lambda: connect_first(loopback_addresses(1), GUARD_S))

    assert error.outcome == "connect_failed:tcp"
    assert "no route to that address" in remedy_of(error.outcome, [in_words(error.detail)])


@pytest.mark.parametrize(
    "numbers", [(errno.EMFILE, errno.ECONNREFUSED), (errno.ECONNREFUSED, errno.EMFILE)]
)
def test_it_is_unknown_whether_an_address_would_have_answered_that_was_not_called(
    monkeypatch: pytest.MonkeyPatch, numbers: tuple[int, int]
) -> None:
    monkeypatch.setattr(gevent.socket.socket, "connect", fail_with(*map(os_error, numbers)))

    assert (
        refusal(lambda: connect_first(loopback_addresses(2), GUARD_S)).outcome == "exhausted:files"
    )


def test_a_lookup_without_a_free_file_is_no_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver of glibc reports that it cannot open a file or socket as a temporary failure
    of the DNS.
    """
    use_resolver(
        monkeypatch,
        fail_with(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")),
    )
    assert refusal(lambda: look_up("voice.test", 443, GUARD_S)).outcome == "connect_failed:dns"

    monkeypatch.setattr(
        "bench.transport.own_limits.socket.socket", fail_with(os_error(errno.EMFILE))
    )
    error = refusal(lambda: look_up("voice.test", 443, GUARD_S))
    assert (error.outcome, error.detail) == ("exhausted:files", "voice.test: Too many open files")


def test_a_lookup_without_a_thread_is_prevented_by_a_limit_of_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_resolver(monkeypatch, lambda _: None)
    monkeypatch.setattr(
        "gevent.threadpool.ThreadPool._add_thread",
        fail_with(RuntimeError("can't start new thread")),
    )

    assert refusal(lambda: look_up("voice.test", 443, GUARD_S)).outcome == "exhausted:threads"


def test_without_a_free_pair_of_ports_a_call_is_not_made() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((LOOPBACK, 0))
        port = taken.getsockname()[1]
        error = refusal(lambda: media_sockets(LOOPBACK, range(port, port + 2, 2)))

    assert error.outcome == "exhausted:ports"
    assert "--rtp-ports" in remedy_of(error.outcome, [in_words(error.detail)])


@pytest.mark.parametrize(
    ("number", "resource"), [(errno.EMFILE, "files"), (errno.ENOBUFS, "memory")]
)
@pytest.mark.parametrize(
    "use",
    [
        lambda: media_sockets(LOOPBACK, PORTS),
        lambda: is_this_machine("192.0.2.1"),
        lambda: open_call(
            ConnectRequest(
                f"sip:agent@{LOOPBACK}:5060", (), None, ENOUGH, ConnectTimings(), NetworkPath()
            )
        ),
    ],
    ids=["media", "candidate of WebRTC", "SIP over UDP"],
)
def test_datagrams_need_a_socket_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, use: Callable[[], object], number: int, resource: str
) -> None:
    monkeypatch.setattr(socket, "socket", fail_with(os_error(number)))

    assert refusal(use).outcome == f"exhausted:{resource}"
