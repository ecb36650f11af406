"""The real process of the simulator refuses, applies limits, accepts valid tokens, ends
sessions, and compresses.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response

from rtbench_simulator.ground_truth_log import read_truth
from rtbench_simulator.refusals import BEFORE_UPGRADE
from tests.simulator.builders import CREATE
from tests.simulator.dialled import connect
from tests.simulator_process import quick_simulator
from tests.system.simulator.talk import receive, turn


def refused(url: str, headers: dict[str, str] | None = None) -> Response:
    with pytest.raises(InvalidStatus) as caught, connect(url, additional_headers=headers):
        pass
    return caught.value.response


def test_a_refusal_fault_has_its_body_headers_and_log_entry(tmp_path: Path) -> None:
    truth, wanted = tmp_path / "truth.jsonl", BEFORE_UPGRADE["throttled"]
    with quick_simulator(tmp_path, "--fault", "throttled", "--ground-truth", str(truth)) as ready:
        response = refused(ready.urls["ga"])

    assert response.status_code == wanted.status
    assert json.loads(response.body)["error"] == {"code": wanted.code, "message": wanted.message}
    assert response.headers["apim-request-id"]
    expected_headers = {
        "Content-Type": "application/json",
        "x-ms-region": "simulated",
        "x-rtbench-simulator": "1",
    }
    expected_headers |= {"retry-after": "2", "retry-after-ms": "2000"}
    assert {name: response.headers[name] for name in expected_headers} == expected_headers
    assert "fault          throttled\n" in ready.output
    assert "0 sessions, 1 refused, 1 faults" in ready.output
    _, fault, line, _ = read_truth(truth)
    struck = {
        "direction": "fault",
        "type": "throttled",
        "place": "upgrade",
        "connection": 1,
        "session": None,
    }
    assert fault.items() >= struck.items()
    assert (line["direction"], line["status"], line["code"]) == (
        "refused",
        wanted.status,
        wanted.code,
    )


@pytest.mark.parametrize("offered", [True, False])
def test_messages_are_compressed_for_clients_that_offer_it(tmp_path: Path, offered: bool) -> None:
    truth = tmp_path / "truth.jsonl"
    with (
        quick_simulator(tmp_path, "--deflate", "--ground-truth", str(truth)) as ready,
        connect(
            ready.urls["ga"], max_size=None, compression="deflate" if offered else None
        ) as client,
    ):
        assert client.response is not None
        assert ("Sec-WebSocket-Extensions" in client.response.headers) is offered
        created, *seen = [receive(client), *turn(client, CREATE)]

    sent = [
        line
        for line in read_truth(truth)
        if line.get("direction") == "out" and line["type"] != "rate_limits.updated"
    ]
    assert [line["type"] for line in sent] == [event["type"] for event in [created, *seen]]
    assert seen[-1]["response"]["status"] == "completed"
    created_bytes = len(json.dumps(created, separators=(",", ":")))
    assert (sent[0]["frame_bytes"] < 0.8 * created_bytes) is offered
