"""Calls that only the TURN server coturn lets pass: the simulated agent answers, and each
failure is named.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.base.clock import monotonic_ns
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.catalogue.causes import ConnectError, in_words
from bench.catalogue.outcomes import remedy_of
from bench.catalogue.timeouts import Timeouts
from bench.protocols.rtp.rtp import CODECS
from bench.protocols.turn.servers import TurnLogin, TurnServer
from bench.session.dial import Dialer
from bench.target.target_settings import ServiceOptions
from bench.target.targets import resolve_targets
from bench.target.tokens import Keyring
from bench.transport.datagrams import DatagramSocket
from bench.transport.interface import ConnectTimings, Transport
from bench.transport.webrtc import call as call_module
from bench.transport.webrtc.signalling import AnsweredCall, call_agent
from bench.wire.audio import audible_position
from bench.wire.connection import ReceivedMessage, RtpMeasured
from bench.wire.dialect import BinaryMessage
from tests.coturn import LOGIN, NEEDS_COTURN, Coturn, running_coturn
from tests.simulator_process import GUARD_S, Ready, quick_simulator
from tools.peers.agents.ports import free_port

pytestmark = NEEDS_COTURN
OWN_NAME = "IP:127.0.0.1"
FRAME_NS = 20 * NS_PER_MS
AUDIO = CODECS["PCMU"].audio


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    with quick_simulator(tmp_path_factory.mktemp("simulator")) as ready:
        yield ready


@pytest.fixture(autouse=True)
def _without_direct_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop what does not go to the TURN server, as a firewall does."""
    monkeypatch.setattr(DatagramSocket, "send", lambda self, data, destination: None)


def opened(
    simulator: Ready,
    uri: str,
    login: str = LOGIN,
    limit_s: float = GUARD_S,
    ca: Path | None = None,
    call_hosts: Sequence[str] = (),
) -> Transport:
    options = ServiceOptions(
        url=simulator.urls["agent_webrtc"],
        dialect="webrtc",
        codec="PCMU",
        turn_server=uri,
        turn_login_env="LOGIN",
        ca_file=str(ca) if ca else None,
        call_hosts=tuple(call_hosts) or None,
    )
    (target,) = resolve_targets({"LOGIN": login}, options)
    return Dialer(target, Keyring([target])).open(Timeouts(upgrade=limit_s), ConnectTimings())


def listen(call: Transport, duration_ns: int, until_loud: int = 1 << 30) -> int:
    """Be silent on the call for a time, or until so many loud frames have arrived. Return their
    number.
    """
    loud, until_ns = 0, monotonic_ns() + duration_ns

    def note(message: ReceivedMessage) -> bool:
        nonlocal loud
        loud += audible_position(AUDIO.decode(message.data)) is not None
        return False

    while monotonic_ns() < until_ns and loud < until_loud and call.closed is None:
        call.send(BinaryMessage(b"\xff" * 160))
        call.receive_until(monotonic_ns() + FRAME_NS, note)
    return loud


def measured(call: Transport) -> RtpMeasured:
    network = call.network()
    assert isinstance(network, RtpMeasured)
    return network


@contextmanager
def refused(problem: str, remedy: str) -> Iterator[None]:
    """Assert that a server ends the start of a call, and that its words and its remedy are named."""
    with pytest.raises(ConnectError) as caught:
        yield
    assert caught.value.outcome == "connect_failed:relay"
    assert re.fullmatch(problem, caught.value.detail)
    assert remedy in remedy_of("connect_failed:relay", [in_words(caught.value.detail)])


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_an_agent_is_heard_through_the_server(
    simulator: Ready, tmp_path: Path, transport: str
) -> None:
    with running_coturn(tmp_path, tls_name=OWN_NAME) as server:
        call = opened(simulator, server.uri(transport), ca=server.ca)
        loud = listen(call, int(GUARD_S * NS_PER_S), until_loud=20)
        numbers = measured(call)
        call.close()

    assert loud >= 20
    assert numbers.lost == numbers.unsent == 0
    assert numbers.relay_rtt_ns is not None
    assert numbers.relay_path_rtt_ns is not None
    assert 0 < numbers.relay_rtt_ns < NS_PER_S


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_server_that_asks_for_no_login_is_used(
    simulator: Ready, tmp_path: Path, transport: str
) -> None:
    with running_coturn(tmp_path, has_login=False) as server:
        call = opened(simulator, server.uri(transport))
        loud = listen(call, int(GUARD_S * NS_PER_S), until_loud=5)
        call.close()

    assert loud >= 5


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
@pytest.mark.parametrize(("host", "call_hosts"), [("127.0.0.1", ()), ("127.0.0.2", ("127.0.0.2",))])
def test_a_redirection_to_a_named_host_is_followed(
    simulator: Ready, tmp_path: Path, transport: str, host: str, call_hosts: Sequence[str]
) -> None:
    """A certificate has the name of the server that the target names."""
    (tmp_path / "other").mkdir()
    with running_coturn(tmp_path / "other", host=host, tls_name=OWN_NAME) as other:
        port = other.tls_port if transport == "tls" else other.port
        kind = "tls-alternate-server" if transport == "tls" else "alternate-server"
        with running_coturn(tmp_path, f"--{kind}={host}:{port}", tls_name=OWN_NAME) as first:
            ca = tmp_path / "both.pem"
            assert first.ca is not None
            assert other.ca is not None
            ca.write_text(first.ca.read_text() + other.ca.read_text())
            call = opened(simulator, first.uri(transport), ca=ca, call_hosts=call_hosts)
            loud = listen(call, int(GUARD_S * NS_PER_S), until_loud=5)
            call.close()

    assert loud >= 5


def test_a_redirection_to_a_host_that_the_target_does_not_name_is_named(
    simulator: Ready, tmp_path: Path
) -> None:
    """The other server would get the login."""
    with running_coturn(tmp_path, "--alternate-server=127.0.0.2:3478") as server:
        words = f"the TURN server {server.uri()} sends its clients to 127.0.0.2:3478"
        with refused(re.escape(f"{words} (300 Try Alternate)"), "--call-hosts"):
            opened(simulator, server.uri())


def test_redirections_in_a_circle_end_the_call(simulator: Ready, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    port = free_port("127.0.0.1")
    with running_coturn(tmp_path / "other", f"--alternate-server=127.0.0.1:{port}") as other:
        option = f"--alternate-server=127.0.0.1:{other.port}"
        with (
            running_coturn(tmp_path, option, port=port) as server,
            pytest.raises(ConnectError) as caught,
        ):
            opened(simulator, server.uri())

    assert caught.value.detail == (
        f"the TURN server {other.uri()} sends its clients to 127.0.0.1:{port} (300 Try Alternate)"
    )


def test_a_call_that_needs_no_server_does_not_use_it(
    simulator: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    with running_coturn(tmp_path) as server:
        call = opened(simulator, server.uri())
        numbers = measured(call)
        call.close()

    assert (numbers.relay_rtt_ns, numbers.relay_path_rtt_ns) == (None, None)


@pytest.mark.parametrize(
    ("options", "problem", "remedy"),
    [
        ("--user-quota 1", "has no allocation left for this user (486)", "user-quota"),
        ("--min-port {0} --max-port {0}", "has no capacity left (508)", "max-port"),
    ],
)
def test_a_quota_that_is_reached_and_a_server_without_a_free_port_are_named(
    simulator: Ready, tmp_path: Path, options: str, problem: str, remedy: str
) -> None:
    with running_coturn(tmp_path, *options.format(free_port("127.0.0.1")).split()) as server:
        call = opened(simulator, server.uri())
        with refused(f".* {re.escape(problem)}", remedy):
            opened(simulator, server.uri())
        call.close()


def test_an_allocation_is_deleted_at_the_end_of_its_call(simulator: Ready, tmp_path: Path) -> None:
    """The server itself releases the quota a second later."""
    with running_coturn(tmp_path) as server:
        opened(simulator, server.uri()).close()
        while "lifetime=0" not in server.log.read_text():
            assert server.process.poll() is None


def test_an_address_to_which_the_server_does_not_relay_is_named(
    simulator: Ready, tmp_path: Path
) -> None:
    denied = running_coturn(tmp_path, "--denied-peer-ip", "127.0.0.0-127.255.255.255")
    problem = r".*refuses to relay to 127.0.0.1 \(403\).*"
    with denied as server, refused(problem, "denied-peer-ip"):
        opened(simulator, server.uri(), limit_s=3)


def test_a_server_that_does_not_answer_is_named(simulator: Ready, tmp_path: Path) -> None:
    with running_coturn(tmp_path) as server:
        server.process.send_signal(signal.SIGSTOP)
        with pytest.raises(ConnectError) as silent:
            opened(simulator, server.uri(), limit_s=1)
    with pytest.raises(ConnectError) as absent:
        opened(simulator, server.uri("tcp"))

    assert silent.value.outcome == "timeout:relay"
    assert absent.value.outcome == "connect_failed:relay"
    assert "Connection refused" in absent.value.detail
    assert "transport=tcp" in remedy_of("timeout:relay", [in_words(silent.value.detail)])


WRONG = "a-caller:not-this-password"
REFUSED = r"refuses the user or the password \(401\)"


@pytest.mark.parametrize(
    ("transport", "login", "tls_name", "is_trusted", "problem", "remedy"),
    [
        *(
            (transport, WRONG, OWN_NAME, True, REFUSED, "--turn-login-env")
            for transport in ("udp", "tcp", "tls")
        ),
        (
            "tls",
            LOGIN,
            OWN_NAME,
            False,
            "has a certificate that is not trusted: self-signed certificate.*",
            "--ca-file FILE",
        ),
        (
            "tls",
            LOGIN,
            "DNS:turn.example.org",
            True,
            "has a certificate for other names.*",
            "that its certificate contains",
        ),
    ],
)
def test_a_wrong_password_and_a_certificate_that_is_refused_are_named(
    simulator: Ready,
    tmp_path: Path,
    transport: str,
    login: str,
    tls_name: str,
    is_trusted: bool,
    problem: str,
    remedy: str,
) -> None:
    with running_coturn(tmp_path, tls_name=tls_name) as server:
        uri = server.uri(transport)
        with refused(f"the TURN server {re.escape(uri)} {problem}", remedy):
            opened(simulator, uri, login, ca=server.ca if is_trusted else None)


def test_a_port_without_tls_is_named(simulator: Ready) -> None:
    with refused(".*completes no TLS handshake.*", "turns:HOST:5349"):
        opened(simulator, f"turns:127.0.0.1:{simulator.port}")


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_a_nonce_that_becomes_stale_and_a_short_lifetime_end_no_call(
    simulator: Ready, tmp_path: Path, transport: str
) -> None:
    options = "--stale-nonce=1", "--max-allocate-lifetime=2"
    with running_coturn(tmp_path, *options, tls_name=OWN_NAME) as server:
        call = opened(simulator, server.uri(transport), ca=server.ca)
        listen(call, 5 * NS_PER_S)
        is_open, log = call.closed is None, server.log.read_text()
        call.close()

    assert is_open
    assert "Wrong nonce" in log or "Stale nonce" in log
    assert log.count("REFRESH processed, success") >= 4


def ended_in(simulator: Ready, server: Coturn, transport: str, disturbance: signal.Signals) -> str:
    """Return why a call ended after a signal to its server."""
    call = opened(simulator, server.uri(transport), ca=server.ca)
    listen(call, int(GUARD_S * NS_PER_S), until_loud=5)
    os.kill(server.process.pid, disturbance)
    listen(call, int(GUARD_S * NS_PER_S))
    closed = call.closed
    call.close()
    assert closed is not None
    assert closed.code == 1006
    return closed.reason


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_a_server_that_dies_in_a_call_is_named(
    simulator: Ready, tmp_path: Path, transport: str
) -> None:
    with running_coturn(tmp_path, tls_name=OWN_NAME) as server:
        reason = ended_in(simulator, server, transport, signal.SIGKILL)

    assert reason.startswith(f"the TURN server {server.uri(transport)} closes the connection")
    assert "the TURN server" in remedy_of("closed:1006", [in_words(reason)])


def test_an_allocation_that_expired_because_nothing_renewed_it_is_named(
    simulator: Ready, tmp_path: Path
) -> None:
    with running_coturn(tmp_path, "--max-allocate-lifetime=1") as server:
        call = opened(simulator, server.uri())
        while "reason: allocation timeout" not in server.log.read_text():
            pass  # this process does not run the call
        listen(call, int(GUARD_S * NS_PER_S))
        closed = call.closed
        call.close()

    assert closed is not None
    assert closed.reason.endswith("has ended the allocation (437)")


def test_a_server_that_the_service_names_is_used_and_its_failure_counts_only_without_a_direct_way(
    simulator: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ServiceOptions(url=simulator.urls["agent_webrtc"], dialect="webrtc", codec="PCMU")
    (target,) = resolve_targets({}, options)
    dialer, limits = Dialer(target, Keyring([target])), Timeouts(upgrade=5)

    def with_servers(*inputs: Any) -> AnsweredCall:
        return call_agent(*inputs)._replace(servers=(server,))

    monkeypatch.setattr(call_module, "call_agent", with_servers)
    with running_coturn(tmp_path) as coturn:
        login = TurnLogin(*LOGIN.split(":"))
        for server in (
            TurnServer(coturn.host, coturn.port, "udp", each)
            for each in (login, TurnLogin("a-caller", "no"))
        ):
            if server.login == login:
                call = dialer.open(limits, ConnectTimings())
                assert measured(call).relay_path_rtt_ns is not None
                call.close()
            else:
                with pytest.raises(ConnectError) as caught:
                    dialer.open(limits, ConnectTimings())
        monkeypatch.undo()
        monkeypatch.setattr(call_module, "call_agent", with_servers)
        dialer.open(limits, ConnectTimings()).close()

    assert caught.value.outcome == "connect_failed:relay"
    assert "refuses the user or the password (401); without it, no candidate" in caught.value.detail
