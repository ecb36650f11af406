"""The connection to a target: the headers of the upgrade, the network path, and the wait for a
token.

The timeline of the session records every result. If a connection fails, the session is recorded
too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any, cast

import gevent
import pytest
from greenlet import GreenletExit
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from bench.base.errors import UsageError
from bench.base.units import NS_PER_S
from bench.catalogue.causes import ConnectError, in_words, text_of
from bench.catalogue.outcomes import remedy_of
from bench.catalogue.timeouts import Timeouts
from bench.doctor.diagnosis import Refusal, explain
from bench.observe import inputs
from bench.observe.inputs import SessionStart
from bench.observe.observation import SessionObservation
from bench.observe.timeline import Timeline
from bench.plan.prepared import PreparedCallee
from bench.services.openai.dialect import GA
from bench.session.dial import Dialer, RunEnded, connect
from bench.target.address import other_version
from bench.target.target import Auth, Credential, Target
from bench.target.tokens import Keyring
from bench.transport.interface import ConnectTimings, NetworkPath, Proxy
from bench.transport.parser import redirection
from bench.wire.connection import Connected
from bench.wire.events import wait_of
from tests.helpers import AT_NS, build_script
from tests.memory_transport import MemoryTransport
from tests.simulator_process import GUARD_S
from tests.system.end_to_end.proxies import running_proxy

STRAIGHT = NetworkPath()
ENOUGH = Timeouts(tcp=GUARD_S, tls=GUARD_S, upgrade=GUARD_S)
START = {"connect_start": AT_NS + 5, "dns_done": AT_NS + 6}
HEADERS = {"x-ms-region": "here"}


def build_target(
    port: int = 1,
    *,
    auth: Auth = None,
    network_path: NetworkPath = STRAIGHT,
    tls: bool = False,
    host: str = "127.0.0.1",
) -> Target:
    return Target(
        label="here",
        host=host,
        port=port,
        tls=tls,
        resource="/openai/v1/realtime?model=m",
        dialect=GA,
        service="azure",
        auth=auth,
        headers=(("User-Agent", "rtbench/test"), ("x-team", "voice")),
        network_path=network_path,
    )


@contextmanager
def serving(**how: Any) -> Iterator[int]:
    """Start a service that accepts every connection, and yield its port.

    `how` changes the way in which the service handles the handshake.
    """
    with serve(lambda connection: connection.close(), "127.0.0.1", 0, **how) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
        thread.join(GUARD_S)


@contextmanager
def service() -> Iterator[tuple[int, list[Request]]]:
    """Start a service that accepts every connection. Yield its port, and the list of the
    requests that it receives.
    """
    requests: list[Request] = []
    with serving(process_request=lambda _, request: requests.append(request)) as port:
        yield port, requests


class SlowKeyring:
    """A keyring that returns its token only after `turns` iterations of the event loop.

    If `problem` is given, it raises `problem` instead.
    """

    def __init__(self, turns: int, problem: ConnectError | None = None) -> None:
        self._turns, self._problem = turns, problem
        self.limit_s = 0.0

    def redact(self, text: str) -> str:
        return text

    def fill(self, message: bytes) -> bytes:
        return message

    def hide(self, name: str, secret: str) -> None:
        return

    def header(self, target: Target, limit_s: float) -> tuple[str, str]:
        self.limit_s = limit_s
        for _ in range(self._turns):
            gevent.sleep(0.001)
        if self._problem is not None:
            raise self._problem
        return "Authorization", "Bearer a-token"


def slow(turns: int, problem: ConnectError | None = None) -> Keyring:
    return cast(Keyring, SlowKeyring(turns, problem))


def test_the_upgrade_carries_the_headers_and_the_key_of_the_target() -> None:
    with service() as (port, requests):
        target = build_target(port, auth=Credential("api-key", "a-key-that-nobody-may-see"))
        phases = ConnectTimings()
        Dialer(target, Keyring([target])).open(ENOUGH, phases).abort()

    (request,) = requests
    assert request.path == "/openai/v1/realtime?model=m"
    assert request.headers["x-team"] == "voice"
    assert request.headers["api-key"] == "a-key-that-nobody-may-see"
    assert request.headers["Host"] == f"127.0.0.1:{port}"
    assert phases.auth_wait_ns == 0


SECRET = "a-secret-that-nobody-may-see"
KEY = "sk-a-key-that-nobody-may-see-0123456789"


@pytest.mark.parametrize("before", [0, 280])
def test_an_error_that_quotes_the_key_is_reported_with_the_key_masked(before: int) -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response:
        answer = connection.respond(401, "x" * before + f" {KEY} is wrong")
        answer.headers["x-request-id"] = request.headers["api-key"]
        return answer

    with serving(process_request=refuse) as port:
        target = build_target(port, auth=Credential("api-key", KEY))
        with pytest.raises(ConnectError) as caught:
            Dialer(target, Keyring([target])).open(ENOUGH, ConnectTimings())

    assert KEY[:8] not in caught.value.detail
    assert caught.value.headers["x-request-id"] == "***"


def test_response_headers_that_quote_the_key_are_stored_with_the_key_masked() -> None:
    def quote(_: ServerConnection, request: Request, response: Response) -> None:
        response.headers["x-quote"] = request.headers["api-key"]

    with serving(process_response=quote) as port:
        target = build_target(port, auth=Credential("api-key", KEY))
        socket = Dialer(target, Keyring([target])).open(ENOUGH, ConnectTimings())
        socket.abort()

    assert socket.handshake.headers["x-quote"] == "***"
    assert "opened" in socket.handshake.instants


HERE = "ws://127.0.0.1:{port}"
SIGN_IN = "let it pass this path"
THERE = "if that address is one of the service, use it"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    ("location", "named", "remedy"),
    [
        ("/v1/realtime/?model=m", f"to {HERE}/v1/realtime/?model=m", THERE),
        ("?model=other", f"to {HERE}/openai/v1/realtime?model=other", THERE),
        ("//eu.example/v1", "to ws://eu.example/v1", THERE),
        ("https://voice.example/v1?model=m", "to wss://voice.example/v1?model=m", THERE),
        ("https://u:pw@voice.example/v1#part", "to wss://voice.example/v1", THERE),
        ("/v1?api-key=Zm9v&model=m", f"to {HERE}/v1?api-key=***&model=m", THERE),
        (f"/v1/{SECRET}/x", f"to {HERE}/v1/***/x", THERE),
        (
            "https://login.example/t/authorize?state=abc",
            "the sign-in page https://login.example/t/authorize?state=***",
            SIGN_IN,
        ),
        ("/.auth/login/aad?post=/v1", f"the sign-in page {HERE}/.auth/login/aad?post=***", SIGN_IN),
        ("/oauth2/start?rd=/v1", f"the sign-in page {HERE}/oauth2/start?rd=***", SIGN_IN),
        ("/users/sign_in", f"the sign-in page {HERE}/users/sign_in", SIGN_IN),
        ("/blogging/v1", f"to {HERE}/blogging/v1", THERE),
    ],
)
def test_a_refusal_names_the_address_to_which_it_redirects(
    status: int, location: str, named: str, remedy: str
) -> None:
    def redirect(connection: ServerConnection, request: Request) -> Response:
        response = connection.respond(status, "")
        response.headers["Location"] = location
        return response

    with serving(process_request=redirect) as port:
        target = build_target(port, auth=Credential("x-key", SECRET))
        with pytest.raises(ConnectError) as caught:
            Dialer(target, Keyring([target])).open(ENOUGH, ConnectTimings())

    outcome, detail = caught.value.outcome, caught.value.detail
    assert outcome == f"connect_failed:{status}"
    assert detail.endswith(named.format(port=port))
    assert remedy in remedy_of(outcome, [in_words(detail)])
    assert remedy in explain(Refusal(outcome, [in_words(detail)]), target)


KNOWN = "2024-10-01-preview or 2025-04-01-preview"


@pytest.mark.parametrize(
    ("status", "resource", "remedy"),
    [
        (400, "/openai/realtime?api-version=2023&deployment=d", f"{KNOWN}, not 2023"),
        (404, "/pre/openai/realtime?api-version=2023&deployment=d", f"{KNOWN}, not 2023"),
        (400, "/openai/realtime?deployment=d", f"set the api-version to {KNOWN}"),
        (401, "/openai/v1/realtime?api-version=2023&model=m", "remove the api-version 2023"),
    ],
)
def test_a_refusal_of_an_unknown_api_version_names_the_known_ones(
    status: int, resource: str, remedy: str
) -> None:
    causes = other_version(status, resource)
    outcome = f"connect_failed:{status}"

    assert remedy in remedy_of(outcome, [in_words(f"HTTP {status}: no"), *causes])
    assert remedy in remedy_of(outcome, [in_words(text_of(causes))])
    explained = explain(Refusal(outcome, causes), build_target())
    assert "remove the api-version" in explained if "remove" in remedy else KNOWN in explained


@pytest.mark.parametrize(
    ("status", "resource"),
    [
        (400, "/openai/realtime?api-version=2025-04-01-preview&deployment=d"),
        (401, "/openai/realtime?api-version=2023&deployment=d"),
        (500, "/openai/realtime?api-version=2023&deployment=d"),
        (None, "/openai/realtime?api-version=2023&deployment=d"),
        (400, "/openai/v1/realtime?model=m"),
        (400, "/my/agent?api-version=2023"),
    ],
)
def test_a_refusal_for_another_reason_names_no_api_version(
    status: int | None, resource: str
) -> None:
    assert other_version(status, resource) == []


@pytest.mark.parametrize(
    ("status", "location"), [(301, ""), (302, "http://[::1"), (401, "/v1"), (503, "/v1")]
)
def test_an_answer_without_another_address_redirects_to_none(status: int, location: str) -> None:
    assert not redirection(status, location, "wss://voice.example/v1")


def test_a_refusal_has_its_challenges_without_the_key() -> None:
    secret = "a-key-that-nobody-may-see"

    def refuse(connection: ServerConnection, request: Request) -> Response:
        response = connection.respond(401, "no")
        response.headers["WWW-Authenticate"] = f'Key name="x-key", got="{request.headers["x-key"]}"'
        response.headers["WWW-Authenticate"] = "Basic realm=::error::" + "y" * 400
        return response

    with serving(process_request=refuse) as port:
        target = build_target(port, auth=Credential("x-key", secret))
        with pytest.raises(ConnectError) as caught:
            Dialer(target, Keyring([target])).open(ENOUGH, ConnectTimings())

    assert caught.value.detail.startswith(
        'HTTP 401: no; WWW-Authenticate: Key name="x-key", got="***", Basic realm='
    )
    assert "::error" not in caught.value.detail
    assert len(caught.value.detail) < 400


def test_a_retry_after_that_is_a_date_counts_from_the_arrival_if_the_response_has_no_date() -> None:
    def refuse(connection: ServerConnection, _: Request) -> Response:
        response = connection.respond(429, "slow down")
        del response.headers["Date"]
        response.headers["Retry-After"] = formatdate(time.time() + 60, usegmt=True)
        return response

    with serving(process_request=refuse) as port:
        target = build_target(port)
        with pytest.raises(ConnectError) as caught:
            Dialer(target, Keyring([target])).open(ENOUGH, ConnectTimings())

    wait_ns = wait_of(caught.value.headers)
    assert wait_ns is not None
    assert 50 < wait_ns / NS_PER_S <= 61


def test_auth_wait_is_zero_with_a_cached_token_and_positive_if_the_token_is_fetched() -> None:
    with service() as (port, requests):
        at_once, waited = ConnectTimings(), ConnectTimings()
        Dialer(build_target(port), slow(0)).open(ENOUGH, at_once).abort()
        Dialer(build_target(port), slow(2)).open(ENOUGH, waited).abort()

    assert [request.headers["Authorization"] for request in requests] == ["Bearer a-token"] * 2
    assert at_once.auth_wait_ns == 0
    assert waited.auth_wait_ns > 0
    assert "connect_start" in waited.instants


def test_without_a_token_no_connection_is_attempted() -> None:
    phases = ConnectTimings()
    with pytest.raises(ConnectError, match="connect_failed:token"):
        Dialer(
            build_target(), slow(1, ConnectError("connect_failed:token", "no token was received"))
        ).open(ENOUGH, phases)

    assert phases.instants == {}
    assert phases.auth_wait_ns > 0


def test_a_connection_uses_the_proxy_the_address_and_the_compression_of_its_target() -> None:
    with service() as (port, requests), running_proxy() as proxy:
        network_path = NetworkPath(
            proxy=Proxy("http", "127.0.0.1", proxy.port), address="127.0.0.1", deflate=True
        )
        target = build_target(port, network_path=network_path, host="localhost")
        Dialer(target, Keyring([target])).open(ENOUGH, ConnectTimings()).abort()

    assert [asked.host for asked in proxy.asked] == ["127.0.0.1"]
    assert requests[0].headers["Host"] == f"localhost:{port}"
    assert requests[0].headers["Sec-WebSocket-Extensions"].startswith("permessage-deflate")


def test_an_unusable_client_certificate_is_refused_before_any_connection(tmp_path: Path) -> None:
    target = build_target(tls=True, network_path=NetworkPath(client_cert=tmp_path / "nowhere.pem"))

    with pytest.raises(UsageError, match="nowhere"):
        Dialer(target, Keyring([target]))


class FakeDialer:
    """A dialer that sets the instants of START, and then returns its transport or raises its
    exception.
    """

    def __init__(self, end: MemoryTransport | BaseException) -> None:
        self._end = end

    def open(
        self,
        limits: Timeouts,
        phases: ConnectTimings,
        offer_members: Mapping[str, Any],
        callee: PreparedCallee | None,
    ) -> MemoryTransport:
        phases.instants.update(START)
        if isinstance(self._end, BaseException):
            raise self._end
        return self._end


def session_of(dialer: FakeDialer) -> tuple[Any, SessionObservation, list[Mapping[str, str]]]:
    """Open a connection.

    Return the transport or the exception, the observation of the session, and the headers that were
    reported.
    """
    timeline, reported = Timeline(SessionStart(AT_NS, 1, Timeouts()), GA), list[Mapping[str, str]]()
    result: Any
    try:
        result = connect(
            cast(Dialer, dialer),
            build_script(),
            timeline,
            lambda headers, _: reported.append(headers),
        )
    except BaseException as error:
        result = error
    if not timeline.is_over:
        timeline.apply(inputs.ScriptFinished(AT_NS + 99))
    return result, timeline.session(), reported


def test_an_open_connection_reports_its_instants_headers_and_auth_wait() -> None:
    transport = MemoryTransport(lambda message: ())
    transport.handshake = Connected(START | {"opened": AT_NS + 9}, HEADERS, auth_wait_ns=77)
    result, session, reported = session_of(FakeDialer(transport))

    assert result is transport
    assert (session.outcome, session.auth_wait_ns) == ("ok", 77)
    assert session.instants["dns_done"] == AT_NS + 6
    assert session.instants["opened"] == AT_NS + 9
    assert (session.headers, reported) == (HEADERS, [HEADERS])


def test_a_refused_connection_sets_the_session_s_outcome_and_the_instants_it_reached() -> None:
    result, session, reported = session_of(
        FakeDialer(ConnectError("connect_failed:401", "HTTP 401: no", HEADERS))
    )

    assert result is None
    assert (session.outcome, session.detail) == ("connect_failed:401", "HTTP 401: no")
    assert session.instants["dns_done"] == AT_NS + 6
    assert "opened" not in session.instants
    assert (session.headers, reported) == (HEADERS, [HEADERS])


@pytest.mark.parametrize(
    ("error", "outcome", "detail"),
    [
        (GreenletExit(), "unfinished", "the run ended"),
        (RunEnded(), "unfinished", "the run ended"),
        (RunEnded("timeout:turn", "it went on for 9 s"), "timeout:turn", "it went on for 9 s"),
        (RuntimeError("boom"), "failed:load_generator", "RuntimeError: boom"),
    ],
    ids=["ended", "cut", "overdue", "fault"],
)
def test_an_interrupted_connect_sets_the_outcome_and_the_exception_is_raised_again(
    error: BaseException, outcome: str, detail: str
) -> None:
    result, session, _ = session_of(FakeDialer(error))

    assert result is error
    assert (session.outcome, session.detail) == (outcome, detail)
    assert session.instants["dns_done"] == AT_NS + 6
