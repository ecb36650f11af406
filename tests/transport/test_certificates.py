"""Client certificates: the certificate that the service receives, and the files that are
refused.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from bench.base.errors import UsageError
from bench.catalogue.causes import ConnectError
from bench.catalogue.timeouts import Timeouts
from bench.transport.interface import DIRECT, ConnectRequest, ConnectTimings
from bench.transport.tls import tls_context
from bench.transport.websocket import open_websocket
from rtbench_simulator.serving.certificates import loopback_tls
from tests.transport.certificates import HOUR, Files, write_client
from tests.transport.echo_server import echoed, serving

ENOUGH = Timeouts(tcp=30, tls=30, upgrade=30)


@contextmanager
def demanding(
    folder: Path, trusted: Path, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> Iterator[tuple[str, Path]]:
    """Start a service that requires a client certificate. Yield the URL of the service.

    Also yield the file of its certificate authority.
    """
    context = loopback_tls(folder / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(trusted)
    context.maximum_version = version
    with serving(context) as port:
        yield f"wss://127.0.0.1:{port}/", folder / "ca.pem"


VERSIONS = pytest.mark.parametrize(
    "version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"]
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write_client(tmp_path_factory.mktemp("client"))


@VERSIONS
@pytest.mark.parametrize("together", [True, False], ids=["one file", "two files"])
def test_a_service_that_requires_a_client_certificate_receives_ours(
    files: Files, tmp_path: Path, version: ssl.TLSVersion, together: bool
) -> None:
    own = (files.both, None) if together else (files.certificate, files.key)
    with demanding(tmp_path, files.certificate, version) as (url, ca):
        echoed(
            open_websocket(
                ConnectRequest(url, [], tls_context(ca, *own), ENOUGH, ConnectTimings(), DIRECT)
            )
        )


@VERSIONS
def test_a_client_certificate_that_the_service_does_not_trust_is_refused_with_a_remedy(
    files: Files, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    stranger = write_client(tmp_path / "stranger")
    with demanding(tmp_path, files.certificate, version) as (url, ca):
        context = tls_context(ca, stranger.both)
        with pytest.raises(ConnectError) as caught:
            open_websocket(ConnectRequest(url, [], context, ENOUGH, ConnectTimings(), DIRECT))

    assert caught.value.outcome == "connect_failed:tls"
    assert "--client-cert FILE" in caught.value.detail


def test_a_missing_client_certificate_is_refused_with_a_remedy(
    files: Files, tmp_path: Path
) -> None:
    """In TLS 1.3, the handshake ends for the client before the service has checked the client's
    certificate.
    """
    with demanding(tmp_path, files.certificate, ssl.TLSVersion.TLSv1_3) as (url, ca):
        phases = ConnectTimings()
        with pytest.raises(ConnectError) as caught:
            open_websocket(ConnectRequest(url, [], tls_context(ca), ENOUGH, phases, DIRECT))

    assert caught.value.outcome == "connect_failed:tls"
    assert "--client-cert FILE" in caught.value.detail
    assert "tls_done" in phases.instants


@pytest.mark.parametrize(
    ("begins", "ends", "host", "trusted", "remedy"),
    [
        (-HOUR, HOUR, "localhost", False, "set its certificate authority with --ca-file FILE"),
        (-2 * HOUR, -HOUR, "localhost", True, "must renew it"),
        (HOUR, 2 * HOUR, "localhost", True, "not valid yet"),
        (-HOUR, HOUR, "other.test", True, "use a host name that the certificate contains"),
    ],
    ids=["unknown", "ended", "not yet valid", "another's"],
)
def test_an_untrusted_server_certificate_is_refused_with_the_remedy_for_its_cause(
    begins: timedelta, ends: timedelta, host: str, trusted: bool, remedy: str, tmp_path: Path
) -> None:
    files = write_client(tmp_path / "server", begins, ends, host)
    server = files.server_context()
    context = tls_context(files.certificate if trusted else None)
    with serving(server) as port, pytest.raises(ConnectError) as caught:
        open_websocket(
            ConnectRequest(
                f"wss://localhost:{port}/", [], context, ENOUGH, ConnectTimings(), DIRECT
            )
        )

    assert caught.value.outcome == "connect_failed:tls"
    assert remedy in caught.value.detail
    assert ("--ca-file" in caught.value.detail) == (not trusted)


def test_an_unusable_client_certificate_is_refused_in_one_line_with_the_cause(
    files: Files, tmp_path: Path
) -> None:
    other = write_client(tmp_path / "other")
    words = tmp_path / "words.pem"
    words.write_text("no certificate at all")
    problems = {
        (files.certificate, files.locked): "the key is encrypted",
        (files.certificate, other.key): "the key belongs to another certificate",
        (files.certificate, None): "it must contain a certificate and its key, both in PEM",
        (files.certificate, words): "it must contain a certificate and its key, both in PEM",
        (words, files.key): "it must contain a certificate and its key, both in PEM",
        (tmp_path / "nowhere.pem", None): "No such file or directory",
        (files.certificate, tmp_path / "nowhere.pem"): "No such file or directory",
    }

    for own, problem in problems.items():
        with pytest.raises(UsageError, match=problem) as caught:
            tls_context(None, *own)
        assert str(own[0]) in str(caught.value)
        assert "\n" not in str(caught.value)
