"""The checks of the route to a service. Each failure has a remedy that fits it, and no failure
ends the doctor.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from bench.catalogue.outcomes import NO_PROXY
from bench.catalogue.timeouts import Timeouts
from bench.doctor.machine_checks import check_network
from bench.target.target import Target
from bench.target.target_settings import ServiceOptions
from bench.target.targets import resolve_targets
from bench.transport.interface import NetworkPath, Proxy
from bench.wire.findings import CheckFinding
from tests.system.end_to_end.proxies import running_proxy
from tests.transport.certificates import HOUR, write_client
from tests.transport.echo_server import serving
from tools.peers.agents.ports import free_port

ENOUGH = Timeouts(tcp=30, tls=30, upgrade=30)
DIRECTLY = NetworkPath()


def build_target(port: int, path: NetworkPath = DIRECTLY, *, tls: bool = False) -> Target:
    url = f"{'wss' if tls else 'ws'}://localhost:{port}/openai/v1/realtime?model=x"
    (target,) = resolve_targets({}, ServiceOptions(url=url))
    return replace(target, network_path=path)


def findings_by_name(target: Target) -> dict[str, CheckFinding]:
    return {finding.name: finding for finding in check_network(target, ENOUGH)}


UNTRIED = [("dns", "skipped")]
UNREACHED = [*UNTRIED, ("tcp", "fail"), ("tls", "skipped")]


@pytest.mark.parametrize(
    ("url", "proxy", "expected"),
    [
        ("sip:agent@127.0.0.1:{port}", None, UNTRIED),
        ("sip:agent@127.0.0.1:{port};transport=tcp", None, UNREACHED),
        ("sips:agent@127.0.0.1:{port}", None, UNREACHED),
        ("sip:a@127.0.0.1", "sip:127.0.0.1:{port};transport=tcp", UNREACHED),
        ("sips:a@127.0.0.1", "sip:127.0.0.1:{port}", UNTRIED),
    ],
)
def test_the_first_hop_of_a_telephone_call_is_tried_unless_its_transport_is_udp(
    url: str, proxy: str | None, expected: list[tuple[str, str]]
) -> None:
    port = free_port()
    options = ServiceOptions(url=url.format(port=port), proxy=proxy and proxy.format(port=port))
    (target,) = resolve_targets({}, options)

    assert [(each.name, each.result) for each in check_network(target, ENOUGH)] == expected


def test_the_certificate_of_a_telephone_is_checked(tmp_path: Path) -> None:
    files = write_client(tmp_path / "server", host="localhost")
    with serving(files.server_context()) as port:
        (target,) = resolve_targets({}, ServiceOptions(url=f"sips:agent@localhost:{port}"))
        path = NetworkPath(ca=files.certificate)
        found = findings_by_name(replace(target, network_path=path))

    assert (found["tls"].result, found["certificate"].result) == ("pass", "warning")
    assert "for localhost" in found["certificate"].message


# TLS.


def test_an_unusable_client_certificate_is_a_failed_finding(tmp_path: Path) -> None:
    own, other = write_client(tmp_path / "own"), write_client(tmp_path / "other")
    with serving() as port:
        path = NetworkPath(client_cert=own.certificate, client_key=other.key)
        found = findings_by_name(build_target(port, path, tls=True))

    assert found["tls"].result == "fail"
    assert "the key belongs to another certificate" in found["tls"].message


def test_an_expired_certificate_is_shown_with_its_remedy(tmp_path: Path) -> None:
    files = write_client(tmp_path / "server", begins=-3 * HOUR, ends=-HOUR, host="localhost")
    with serving(files.server_context()) as port:
        found = findings_by_name(build_target(port, NetworkPath(ca=files.certificate), tls=True))

    assert found["tls"].result == "fail"
    assert (
        "certificate has expired (its certificate: a caller, issued by a caller, expired 0.0 days"
        in found["tls"].message
    )
    assert "must renew it" in found["tls"].remedy


def test_a_certificate_of_an_unknown_authority_is_shown_with_its_remedy(tmp_path: Path) -> None:
    files = write_client(tmp_path / "server", host="localhost")
    with serving(files.server_context()) as port:
        found = findings_by_name(build_target(port, tls=True))

    assert "issued by a caller, 0 days left; for localhost" in found["tls"].message
    assert found["tls"].remedy.startswith("set its certificate authority with --ca-file FILE")


# Proxies.


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_an_unreachable_proxy_has_no_remedy_about_its_rules(
    scheme: Literal["http", "socks5"],
) -> None:
    with serving() as port:
        found = findings_by_name(
            build_target(port, NetworkPath(proxy=Proxy(scheme, "127.0.0.1", free_port())))
        )

    assert (found["proxy"].result, found["tls"].result) == ("fail", "skipped")
    assert "Connection refused" in found["proxy"].message
    assert found["proxy"].remedy == NO_PROXY


def test_an_unknown_name_of_a_proxy_is_a_failure_of_the_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("bench.transport.connect.getaddrinfo", fail)
    found = findings_by_name(build_target(1, NetworkPath(proxy=Proxy("http", "proxy.test", 3128))))

    assert set(found) == {"proxy", "tls"}
    assert found["proxy"].remedy == NO_PROXY


def test_a_refusal_by_a_reachable_proxy_names_the_rule_that_it_needs() -> None:
    with serving() as port, running_proxy("ann", "a-password-that-nobody-may-see") as proxy:
        found = findings_by_name(
            build_target(port, NetworkPath(proxy=Proxy("http", "127.0.0.1", proxy.port)))
        )

    assert "407" in found["proxy"].message
    assert f"allow CONNECT to port {port}" in found["proxy"].remedy
