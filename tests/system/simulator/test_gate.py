"""The real process refuses, runs its limits down, takes tokens as long as they live, ends sessions, and compresses."""

from __future__ import annotations

import json
import socket
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Response

from bench.simulator.refusals import AZURE
from bench.simulator.truth import read_truth
from tests.simulator.builders import CREATE
from tests.simulator.dialled import connect
from tests.simulator_process import GUARD_S, Ready, quick_simulator, running_simulator
from tests.system.simulator.test_server import UPGRADE, receive, turn
from tests.transport.test_connect import IPV6

KEY = "secret-of-this-test"


def refused(url: str, headers: dict[str, str] | None = None) -> Response:
    with pytest.raises(InvalidStatus) as caught, connect(url, additional_headers=headers):
        pass
    return caught.value.response


def fetch_token(ready: Ready, header: str | None = None) -> dict[str, str]:
    assert ready.identity is not None
    request = urllib.request.Request(
        f"{ready.identity['endpoint']}?api-version=2019-08-01&resource=https://cognitiveservices.azure.com",
        headers={"X-IDENTITY-HEADER": header or ready.identity["header"]},
    )
    with urllib.request.urlopen(request, timeout=GUARD_S) as answer:
        fields: dict[str, str] = json.load(answer)
        return fields


@pytest.mark.parametrize("name", ["missing_role", "throttled"])
def test_a_named_refusal_comes_with_body_headers_and_its_own_mark(tmp_path: Path, name: str) -> None:
    truth = tmp_path / "truth.jsonl"
    with quick_simulator(tmp_path, "--fault", name, "--ground-truth", str(truth)) as ready:
        response = refused(ready.urls["ga"])

    wanted = AZURE[name]
    assert response.status_code == wanted.status
    assert json.loads(response.body)["error"] == {"code": wanted.code, "message": wanted.message}
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["apim-request-id"]
    assert response.headers["x-ms-region"] == "simulated"
    assert response.headers["x-rtbench-simulator"] == "1"
    assert response.headers.get("retry-after") == ("2" if name == "throttled" else None)
    assert response.headers.get("retry-after-ms") == ("2000" if name == "throttled" else None)
    assert f"fault          {name}\n" in ready.output
    assert "0 sessions, 1 refused, 1 faults" in ready.output
    _, fault, line, _ = read_truth(truth)
    assert (fault["direction"], fault["type"], fault["place"], fault["connection"], fault["session"]) == (
        "fault",
        name,
        "upgrade",
        1,
        None,
    )
    assert (line["direction"], line["status"], line["code"]) == ("refused", wanted.status, wanted.code)


def test_a_session_that_lasted_too_long_is_told_so_and_closed(tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    with (
        quick_simulator(tmp_path, "--ground-truth", str(truth), more="max_session_s: 0.05\n") as ready,
        connect(ready.urls["ga"]) as client,
    ):
        created, expired = receive(client), receive(client)
        with pytest.raises(ConnectionClosed) as caught:
            receive(client)

    assert created["session"]["expires_at"] <= time.time()
    assert expired["error"]["code"] == "session_expired"
    assert expired["error"]["message"].startswith("Your session hit the maximum duration of ")
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1001, expired["error"]["message"])
    first, last = (line for line in read_truth(truth) if line.get("direction") == "out")
    assert last["due_ns"] - first["due_ns"] >= 0.05e9 - 10e6


def test_connections_run_down_and_the_wait_is_the_real_one(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, more="quota: {connections_per_minute: 120}\n") as ready:
        while True:
            try:
                with connect(ready.urls["ga"]) as client:
                    assert client.response is not None
                    remaining = client.response.headers["x-ratelimit-remaining-requests"]
            except InvalidStatus as caught:
                response = caught.response
                break
        wait_ms = int(response.headers["retry-after-ms"])
        time.sleep(wait_ms / 1000)
        with connect(ready.urls["ga"]) as client:
            assert receive(client)["type"] == "session.created"

    assert remaining == "0"
    assert response.status_code == 429
    assert 0 < wait_ms <= 500
    assert response.headers["retry-after"] == "1"


def test_tokens_a_minute_run_down_over_all_sessions(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, more="quota: {tokens_per_minute: 50}\n") as ready:
        statuses = []
        for _ in range(2):
            with connect(ready.urls["ga"], max_size=None) as client:
                assert client.response is not None
                assert client.response.headers["x-ratelimit-limit-tokens"] == "50"
                receive(client)
                statuses.append(turn(client, CREATE)[-1]["response"]["status"])

    assert statuses == ["completed", "failed"]


def test_a_token_opens_sessions_and_the_truth_log_has_its_number_alone(tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    with quick_simulator(tmp_path, "--token-lifetime", "600", "--key", KEY, "--ground-truth", str(truth)) as ready:
        first, second = (fetch_token(ready)["access_token"] for _ in range(2))
        bearers = [{"Authorization": f"Bearer {token}"} for token in (second, first)]
        for headers in (*bearers, {"api-key": KEY}):
            with connect(ready.urls["ga"], additional_headers=headers) as client:
                receive(client)

    lines = list(read_truth(truth))
    assert [line["token"] for line in lines if line.get("direction") == "open"] == [2, 1, None]
    assert {line["session"] for line in lines if line.get("direction") == "open"} == {
        line["session"] for line in lines if "session" in line
    }
    assert not any(secret in truth.read_text() + ready.output for secret in (first, second, KEY))


def test_a_token_that_has_expired_is_refused(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, "--token-lifetime", "0.5") as ready:
        token = fetch_token(ready)
        while time.time() < int(token["expires_on"]):
            time.sleep(0.02)
        response = refused(ready.urls["ga"], {"Authorization": f"Bearer {token['access_token']}"})

    assert response.status_code == 401
    assert "expired" in json.loads(response.body)["error"]["message"]
    assert token["access_token"] not in ready.output


def test_the_identity_endpoint_asks_for_its_header_and_fails_on_demand(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, "--token-lifetime", "60", "--fault", "identity_500,requests=2") as ready:
        assert fetch_token(ready)["token_type"] == "Bearer"
        with pytest.raises(urllib.error.HTTPError, match="500"):
            fetch_token(ready)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            fetch_token(ready, "another")
        assert fetch_token(ready)["access_token"]


def test_a_request_for_a_token_that_waits_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, "--token-lifetime", "60", "--fault", "identity_slow") as ready:
        assert ready.identity is not None
        port = int(ready.identity["endpoint"].rsplit(":", 1)[1].partition("/")[0])
        with socket.create_connection(("127.0.0.1", port), timeout=GUARD_S) as sock:
            head = f"X-IDENTITY-HEADER: {ready.identity['header']}"
            sock.sendall(f"GET /msi/token?api-version=2019-08-01&resource=r HTTP/1.1\r\n{head}\r\n\r\n".encode())
            with connect(ready.urls["openai"]) as client:  # so the loop has seen the request
                assert receive(client)["error"]["code"] == "invalid_api_key"
            ready.stop()

    assert ready.returncode == 0
    assert "Traceback" not in ready.output


@pytest.mark.parametrize("offered", [True, False])
def test_messages_are_compressed_for_clients_that_offer_it(tmp_path: Path, offered: bool) -> None:
    truth = tmp_path / "truth.jsonl"
    with (
        quick_simulator(tmp_path, "--deflate", "--ground-truth", str(truth)) as ready,
        connect(ready.urls["ga"], max_size=None, compression="deflate" if offered else None) as client,
    ):
        assert client.response is not None
        assert ("Sec-WebSocket-Extensions" in client.response.headers) is offered
        created, *seen = [receive(client), *turn(client, CREATE)]

    sent = [
        line for line in read_truth(truth) if line.get("direction") == "out" and line["type"] != "rate_limits.updated"
    ]
    assert [line["type"] for line in sent] == [event["type"] for event in [created, *seen]]
    assert seen[-1]["response"]["status"] == "completed"
    created_bytes = len(json.dumps(created, separators=(",", ":")))
    assert (sent[0]["frame_bytes"] < 0.8 * created_bytes) is offered


def test_the_truth_logs_bytes_are_those_on_the_wire_when_compressed(tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    offer = b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    with (
        quick_simulator(tmp_path, "--deflate", "--ground-truth", str(truth)) as ready,
        socket.create_connection(("127.0.0.1", ready.port), timeout=GUARD_S) as sock,
    ):
        sock.sendall(UPGRADE.removesuffix(b"\r\n") + offer)
        seen, frame, size = b"", b"", 4
        while len(frame) < size:
            seen += sock.recv(65_536)
            frame = seen.partition(b"\r\n\r\n")[2]
            size = 4 + int.from_bytes(frame[2:4], "big")

    (created,) = (line for line in read_truth(truth) if line.get("direction") == "out")
    assert frame[:2] == b"\xc1\x7e"  # a final text frame, compressed, with a length of 16 bits
    assert created["frame_bytes"] == len(frame) == size


def test_a_refusal_with_compression_can_be_read(tmp_path: Path) -> None:
    with (
        quick_simulator(tmp_path, "--deflate", "--key", KEY) as ready,
        connect(ready.urls["openai"], compression="deflate") as client,
    ):
        assert receive(client)["error"]["code"] == "invalid_api_key"


def test_the_certificate_also_names_a_host_that_is_in_no_directory(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    with (
        quick_simulator(tmp_path, "--tls", "--ca-out", str(authority)) as ready,
        connect(
            f"wss://simulator.test:{ready.port}/v1/realtime?model=x",
            sock=socket.create_connection(("127.0.0.1", ready.port)),
            ssl=ssl.create_default_context(cafile=authority),
        ) as client,
    ):
        assert receive(client)["type"] == "session.created"


@IPV6
def test_ipv6_is_served_with_its_identity_endpoint(tmp_path: Path) -> None:
    with running_simulator("--host", "::1", "--token-lifetime", "60") as ready:
        assert all("//[::1]:" in url for url in ready.urls.values())
        assert ready.identity is not None
        assert ready.identity["endpoint"].startswith("http://[::1]:")
        bearer = {"Authorization": f"Bearer {fetch_token(ready)['access_token']}"}
        with connect(ready.urls["ga"], additional_headers=bearer) as client:
            assert receive(client)["type"] == "session.created"


@pytest.mark.parametrize(("host", "place"), [("localhost", "localhost"), ("0.0.0.0", "127.0.0.1")])
def test_urls_name_a_host_that_clients_can_reach(host: str, place: str) -> None:
    with running_simulator("--host", host) as ready, connect(ready.urls["ga"]) as client:
        assert all(f"//{place}:{ready.port}/" in url for url in ready.urls.values())
        assert receive(client)["type"] == "session.created"
