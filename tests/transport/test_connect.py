"""Connections through a proxy, to a chosen address, over IPv6, and with the user's own
certificate authorities.
"""

from __future__ import annotations

import itertools
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.clock import SendTime, monotonic_ns
from bench.base.units import NEVER_NS
from bench.catalogue.causes import ConnectError, in_words
from bench.catalogue.outcomes import remedy_of
from bench.catalogue.timeouts import Timeouts
from bench.target.target import redacted
from bench.transport import connect
from bench.transport.connect import tunnel
from bench.transport.interface import DIRECT, ConnectRequest, ConnectTimings, NetworkPath, Proxy
from bench.transport.parser import SocketRead
from bench.transport.tls import tls_context
from bench.transport.websocket import WebSocket, open_websocket
from bench.wire.addresses import authority
from tests.examples import thorough
from tests.helpers import MS
from tests.system.end_to_end.proxies import Asked, RunningProxy, running_proxy
from tests.transport.certificates import Certificate
from tests.transport.echo_server import GUARD_S, echoed, serving
from tests.transport.refusals import refusal

ENOUGH = Timeouts(tcp=GUARD_S, tls=GUARD_S, upgrade=GUARD_S)
SOON = Timeouts(tcp=0.05, tls=GUARD_S, upgrade=GUARD_S)
PASSWORD = "a-password-that-nobody-may-see"
SCHEMES = pytest.mark.parametrize("scheme", ["http", "socks4", "socks5"])


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


IPV6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return a dictionary from host names to addresses. A test adds the names that a lookup finds.

    A lookup finds addresses too, but no other name.
    """
    known: dict[str, str] = {}
    real = connect.getaddrinfo

    def look_up(host: str, *rest: object, **named: object) -> object:
        if host not in known and not host.replace(".", "").isdigit() and ":" not in host:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(known.get(host, host), *rest, **named)

    monkeypatch.setattr(connect, "getaddrinfo", look_up)
    return known


def opened(
    url: str,
    path: NetworkPath,
    context: ssl.SSLContext | None = None,
    phases: ConnectTimings | None = None,
    limits: Timeouts = ENOUGH,
) -> WebSocket:
    return open_websocket(
        ConnectRequest(url, [], context, limits, phases or ConnectTimings(), path)
    )


def point(
    proxy: RunningProxy, scheme: str, *, remote_dns: bool = True, password: str | None = None
) -> Proxy:
    user = None if password is None else "ann"
    return Proxy(scheme, "127.0.0.1", proxy.port, user, password, remote_dns)  # type: ignore[arg-type]


# Proxies.


LED: list[Any] = [
    # (scheme, host of the URL, its address for the proxy, its address for us, a chosen address,
    # host requested of the proxy)
    *(
        pytest.param(
            scheme,
            "service.test",
            "127.0.0.1",
            None,
            None,
            "service.test",
            id=f"a {scheme} proxy looks the name up",
        )
        for scheme in ("http", "socks4", "socks5")
    ),
    *(
        pytest.param(
            scheme,
            "service.test",
            None,
            "127.0.0.1",
            None,
            "127.0.0.1",
            id=f"this process looks the name up for a {scheme} proxy",
        )
        for scheme in ("socks4", "socks5")
    ),
    pytest.param(
        "http",
        "service.test",
        None,
        None,
        "127.0.0.1",
        "127.0.0.1",
        id="the proxy is asked for the chosen address",
    ),
    *(
        pytest.param(scheme, "[::1]", None, None, None, "::1", id=f"IPv6, {scheme}", marks=IPV6)
        for scheme in ("http", "socks5")
    ),
]


@pytest.mark.parametrize(("scheme", "host", "theirs", "ours", "address", "asked"), LED)
def test_a_proxy_connects_to_the_service_by_name_or_address(
    scheme: str,
    host: str,
    theirs: str | None,
    ours: str | None,
    address: str | None,
    asked: str,
    names: dict[str, str],
) -> None:
    names |= {host: ours} if ours else {}
    with (
        serving(host="::1" if asked == "::1" else "127.0.0.1") as port,
        running_proxy(names={host: theirs} if theirs else {}) as proxy,
    ):
        way = NetworkPath(point(proxy, scheme, remote_dns=ours is None), address=address)
        echoed(opened(f"ws://{host}:{port}/", way))

    assert proxy.asked == [Asked(scheme, asked, port)]


@pytest.mark.parametrize("where", ["proxy", pytest.param("tcp", marks=IPV6)])
def test_a_refused_connection_names_the_address_with_ipv6_in_brackets(where: str) -> None:
    host, family = ("127.0.0.1", socket.AF_INET) if where == "proxy" else ("::1", socket.AF_INET6)
    with socket.create_server((host, 0), family=family) as listening:
        port = listening.getsockname()[1]
    url, way = (
        ("ws://127.0.0.1:1/", NetworkPath(Proxy("http", host, port)))
        if where == "proxy"
        else (f"ws://[::1]:{port}/", DIRECT)
    )
    error = refusal(lambda: opened(url, way))

    assert (error.outcome, error.detail) == (
        f"connect_failed:{where}",
        f"{authority(host, port)}: Connection refused",
    )


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_proxy_accepts_a_valid_user_and_password(scheme: str) -> None:
    with serving() as port, running_proxy("ann", PASSWORD) as proxy:
        echoed(
            opened(f"ws://127.0.0.1:{port}/", NetworkPath(point(proxy, scheme, password=PASSWORD)))
        )

    assert len(proxy.asked) == proxy.connections == 1


@pytest.mark.parametrize(
    ("scheme", "password", "words"),
    [
        (
            "http",
            None,
            (
                "407 Proxy Authentication Required; it requires a user and a password:"
                " http://USER:PASSWORD@"
            ),
        ),
        (
            "http",
            "wrong-" + PASSWORD,
            "407 Proxy Authentication Required; it does not accept this user and password",
        ),
        ("socks5", None, "it requires a user and a password: socks5://USER:PASSWORD@HOST:PORT"),
        ("socks5", "wrong-" + PASSWORD, "Username and password authentication failure"),
        ("socks5", "ä-" + PASSWORD, "socks5 cannot encode"),
        ("socks5", "x" * 300, "socks5 cannot encode"),
    ],
)
def test_a_proxy_that_rejects_the_user_is_an_error_without_the_password(
    scheme: str, password: str, words: str
) -> None:
    with running_proxy("ann", PASSWORD) as proxy:
        phases = ConnectTimings()
        path = NetworkPath(point(proxy, scheme, password=password))
        error = refusal(lambda: opened("ws://127.0.0.1:1/", path, phases=phases))

    assert error.outcome == "connect_failed:proxy"
    assert words in error.detail
    assert f"127.0.0.1:{proxy.port}" in error.detail
    assert password is None or password not in f"{error} {error.detail} {path!r}"
    assert list(phases.instants) == ["connect_start", "dns_done"]


@pytest.mark.parametrize(
    ("scheme", "words"),
    [
        ("http", "502 Bad Gateway"),
        ("socks4", "Request rejected or failed"),
        ("socks5", "Connection refused by destination host"),
    ],
)
def test_a_proxy_that_cannot_reach_the_service_is_reported_with_its_message(
    scheme: str, words: str
) -> None:
    with running_proxy() as proxy:
        error = refusal(lambda: opened("ws://127.0.0.1:1/", NetworkPath(point(proxy, scheme))))

    assert error.outcome == "connect_failed:proxy"
    assert words in error.detail


@contextmanager
def answering(*parts: bytes, ends: bool = True) -> Iterator[Proxy]:
    """Start a proxy that answers any request with these parts. If `ends`, it then closes the
    connection.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        done = threading.Event()

        def answer() -> None:
            sock, _ = listening.accept()
            with sock, suppress(OSError):
                sock.recv(9_999)
                for part in parts:
                    sock.sendall(part)
                done.wait(0 if ends else GUARD_S)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield Proxy("http", "127.0.0.1", listening.getsockname()[1], "ann", PASSWORD)
        done.set()
        thread.join(GUARD_S)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "Invalid proxy response"),
        (b"HTTP/1.1 200 Connection establ", "Invalid proxy response"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "SSH-2.0-OpenSSH_9.6"),
        (b"HTTP/1.1 200 OK\r\n\r\nand more", "it sent data after its response"),
        (b"HTTP/1.1 403 \xff\xfe\r\n\r\n", "403 "),
        (f"HTTP/1.1 407 no {PASSWORD}\r\n\r\n".encode(), "407 no ***; it does not accept"),
        (
            b"HTTP/1.1 407 no Basic YW5uOmEtcGFzc3dvcmQtdGhhdC1ub2JvZHktbWF5LXNlZQ==\r\n\r\n",
            "407 no Basic ***; ",
        ),
        (b"HTTP/1.1 500 " + b"x" * 9_000 + b"\r\n\r\n", "500 xxx"),
    ],
    ids=["nothing", "half", "no HTTP", "more", "bytes", "password", "basic", "long"],
)
def test_any_answer_of_a_proxy_is_reported_in_one_printable_line(answer: bytes, words: str) -> None:
    with answering(answer) as proxy:
        error = refusal(lambda: opened("ws://127.0.0.1:1/", NetworkPath(proxy)))

    assert error.outcome == "connect_failed:proxy"
    assert words in error.detail
    assert PASSWORD not in str(error)
    assert len(error.detail.encode()) < 600


PAGE = (
    b"<html><head><title>Access Denied</title></head><body>Zscaler: AI is"
    b" &quot;blocked&quot;</body></html>"
)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            b"403 Forbidden\r\nContent-Type: text/html\r\n\r\n" + PAGE,
            '403 Forbidden: Access Denied Zscaler: AI is "blocked"',
        ),
        (b"502\r\nContent-Length: 2\r\n\r\nno", "502: no"),
        (
            (
                b"407 Proxy Authentication Required\r\nProxy-Authenticate:"
                b" Negotiate\r\nProxy-Authenticate: NTLM\r\n\r\n"
            ),
            (
                "407 Proxy Authentication Required; it accepts only Negotiate, NTLM, which this"
                " tool does not support"
            ),
        ),
        (
            b"407 No\r\nProxy-Authenticate: NTLM, Basic realm=x\r\n\r\n",
            "407 No; it does not accept this user",
        ),
        (
            b"200 OK\r\nContent-Length: 9\r\n\r\n<p>Log in</p>",
            "it sent data after its response: Log in",
        ),
        (b"200 OK\r\nX: " + b"a" * 70_000, "Invalid proxy response"),
    ],
    ids=["page", "no reason", "NTLM", "NTLM or Basic", "captive portal", "endless head"],
)
def test_the_words_of_a_proxy_that_refuses_are_reported(answer: bytes, words: str) -> None:
    with answering(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 " + answer) as proxy:
        error = refusal(lambda: opened("ws://127.0.0.1:1/", NetworkPath(proxy)))

    assert error.outcome == "connect_failed:proxy"
    assert words in error.detail
    remedy = remedy_of(error.outcome, [in_words(error.detail)])
    assert ("px or cntlm" in remedy) == ("NTLM, which" in error.detail)


def test_the_example_of_a_proxy_url_is_not_hidden_as_a_secret() -> None:
    text = (
        "it requires a user and a password: http://USER:PASSWORD@HOST:PORT; not"
        " http://ann:secret@proxy"
    )
    assert redacted(text, ()) == text.replace("ann:secret", "***")


def test_a_proxy_that_resets_the_connection_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def reset() -> None:
            sock, _ = listening.accept()
            sock.recv(1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()

        thread = threading.Thread(target=reset, daemon=True)
        thread.start()
        proxy = Proxy("http", "127.0.0.1", listening.getsockname()[1])
        error = refusal(lambda: opened("ws://127.0.0.1:1/", NetworkPath(proxy)))
        thread.join(GUARD_S)

    assert error.outcome == "connect_failed:proxy"
    assert error.detail.endswith("the connection broke: Connection reset by peer")


def test_a_proxy_that_does_not_answer_times_out() -> None:
    with answering(ends=False) as proxy:
        error = refusal(lambda: opened("ws://127.0.0.1:1/", NetworkPath(proxy), limits=SOON))

    assert error.outcome == "timeout:proxy"


class Drip:
    """A stream that returns the parts of an answer, one per read, and then None."""

    failure, error_text = 0, ""

    def __init__(self, parts: list[bytes]) -> None:
        self.parts = parts

    def read(self, until_ns: int) -> SocketRead | None:
        return SocketRead(self.parts.pop(0), 0, 0, True, True) if self.parts else None

    def write(self, data: bytes, *, stamped: bool = False, until_ns: int = NEVER_NS) -> SendTime:
        return SendTime(0)

    def close(self) -> None:
        pass


ANSWERS = {
    "http": b"HTTP/1.1 200 Connection established\r\nVia: a proxy\r\n\r\n",
    "socks4": bytes([0, 90]) + bytes(6),
    "socks5": bytes([5, 0]) + bytes([5, 0, 0, 3, 4]) + b"host" + bytes(2),
}


@SCHEMES
@thorough
@given(places=st.lists(st.integers(0, 100), max_size=8))
def test_an_answer_split_anywhere_opens_the_tunnel(scheme: str, places: list[int]) -> None:
    answer = ANSWERS[scheme]
    edges = sorted({0, len(answer), *(place % len(answer) for place in places)})
    stream = Drip([answer[begin:end] for begin, end in itertools.pairwise(edges)])

    tunnel(stream, Proxy(scheme, "proxy.test", 1), "service.test", 443, 0)  # type: ignore[arg-type]
    assert stream.parts == []


def test_the_time_of_this_process_does_not_count_towards_the_proxy_timeout() -> None:
    """The proxy sends two answers. The first arrived long ago, but this process reads it only
    now.
    """
    limits_ns: list[int] = []

    class Slow(Drip):
        def read(self, until_ns: int) -> SocketRead | None:
            limits_ns.append(until_ns)
            came = super().read(until_ns)
            return (
                None if came is None else came._replace(timestamp_ns=monotonic_ns() - 10_000 * MS)
            )

    tunnel(
        Slow([bytes([5, 0]), ANSWERS["socks5"][2:]]),  # type: ignore[arg-type]
        Proxy("socks5", "proxy.test", 1),
        "service.test",
        443,
        5,
    )

    assert limits_ns[0] == 5
    assert limits_ns[1] >= 5 + 10_000 * MS


@SCHEMES
@thorough
@given(answer=st.binary(min_size=1, max_size=40))
def test_any_bytes_from_a_proxy_are_a_tunnel_or_an_error(scheme: str, answer: bytes) -> None:
    stream = Drip([answer, b""])
    proxy = Proxy(scheme, "proxy.test", 1, "ann", PASSWORD)  # type: ignore[arg-type]

    with suppress(ConnectError):
        tunnel(stream, proxy, "service.test", 443, 0)  # type: ignore[arg-type]


# Addresses.


def test_a_chosen_address_is_used_and_the_certificate_must_match_the_url_s_host(
    certificate: Certificate, names: dict[str, str]
) -> None:
    context, ca = certificate
    with serving(context) as port:
        echoed(
            opened(f"wss://localhost:{port}/", NetworkPath(address="127.0.0.1"), tls_context(ca))
        )
        error = refusal(
            lambda: opened(
                f"wss://service.test:{port}/", NetworkPath(address="127.0.0.1"), tls_context(ca)
            )
        )

    assert error.outcome == "connect_failed:tls"
    assert "service.test" in error.detail
