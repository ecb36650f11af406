"""The real process of the simulator refuses, applies limits, accepts valid tokens, ends sessions, and compresses."""

from __future__ import annotations

import json
import socket
import urllib.request
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response

from bench.simulator.ground_truth_log import read_truth
from bench.simulator.refusals import BEFORE_UPGRADE
from tests.simulator.builders import CREATE
from tests.simulator.dialled import connect
from tests.simulator_process import GUARD_S, Ready, quick_simulator, running_simulator
from tests.system.simulator.talk import receive, turn

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


def test_a_refusal_fault_has_its_body_headers_and_log_entry(tmp_path: Path) -> None:
    truth, wanted = tmp_path / "truth.jsonl", BEFORE_UPGRADE["throttled"]
    with quick_simulator(tmp_path, "--fault", "throttled", "--ground-truth", str(truth)) as ready:
        response = refused(ready.urls["ga"])

    assert response.status_code == wanted.status
    assert json.loads(response.body)["error"] == {"code": wanted.code, "message": wanted.message}
    assert response.headers["apim-request-id"]
    expected_headers = {"Content-Type": "application/json", "x-ms-region": "simulated", "x-rtbench-simulator": "1"}
    expected_headers |= {"retry-after": "2", "retry-after-ms": "2000"}
    assert {name: response.headers[name] for name in expected_headers} == expected_headers
    assert "fault          throttled\n" in ready.output
    assert "0 sessions, 1 refused, 1 faults" in ready.output
    _, fault, line, _ = read_truth(truth)
    struck = {"direction": "fault", "type": "throttled", "place": "upgrade", "connection": 1, "session": None}
    assert fault.items() >= struck.items()
    assert (line["direction"], line["status"], line["code"]) == ("refused", wanted.status, wanted.code)


def test_a_token_opens_sessions_and_the_truth_log_has_only_its_number(tmp_path: Path) -> None:
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


def test_a_pending_token_request_does_not_delay_the_end(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, "--token-lifetime", "60", "--fault", "identity_slow") as ready:
        assert ready.identity is not None
        port = int(ready.identity["endpoint"].rsplit(":", 1)[1].partition("/")[0])
        with socket.create_connection(("127.0.0.1", port), timeout=GUARD_S) as sock:
            head = f"X-IDENTITY-HEADER: {ready.identity['header']}"
            sock.sendall(f"GET /msi/token?api-version=2019-08-01&resource=r HTTP/1.1\r\n{head}\r\n\r\n".encode())
            # the answer to a later connection shows that the loop has read the request
            with connect(ready.urls["openai"]) as client:
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


@pytest.mark.parametrize(
    ("host", "place"),
    [
        ("localhost", "localhost"),
        ("0.0.0.0", "127.0.0.1"),
        pytest.param("::1", "[::1]", marks=pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="none")),
    ],
)
def test_urls_name_a_host_that_clients_can_reach(host: str, place: str) -> None:
    with running_simulator("--host", host) as ready, connect(ready.urls["ga"]) as client:
        telephone = ready.urls.pop("agent_sip")
        assert all(f"//{place}:{ready.port}/" in url for url in ready.urls.values())
        assert telephone == f"sip:agent@{place}:{ready.port}"
        assert receive(client)["type"] == "session.created"
