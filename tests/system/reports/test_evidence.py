"""The evidence of a real run against a simulator with faults: statuses, close codes, IDs and errors as received."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import call_or_raise
from tests.reports.schema_problems import problems
from tests.simulator_process import quick_simulator
from tests.system.end_to_end.locust_process import only_run, run_locust, write_scenario

KEY = "an-api-key-of-the-test-0123456789"
FAULTS = ("throttled,sessions=2", "unavailable,sessions=3", "close,at=next_delta,code=1011,sessions=4")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of which three sessions fail, with the evidence."""
    folder = tmp_path_factory.mktemp("evidence")
    faults = [word for fault in FAULTS for word in ("--fault", fault)]
    with quick_simulator(folder, "--key", KEY, *faults) as ready:
        load = ("-u", "1", "--sessions", "6", "--url", ready.urls["preview"], "--api-key-env", "EVIDENCE_KEY")
        more = ("--session-pause", "0", "--record-transcripts")
        ended = run_locust(write_scenario(folder), folder / "runs", *load, *more, EVIDENCE_KEY=KEY)
    found = only_run(folder / "runs")
    assert ended.returncode in (1, 4), ended.stderr
    assert call_or_raise("report", found, "--evidence")[0] == 0
    return found


@pytest.fixture(scope="module")
def evidence(run: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((run / "evidence.json").read_text(encoding="utf-8"))
    assert problems("evidence", document) == []
    return document


def test_each_failure_has_its_status_its_close_code_and_the_error_as_received(evidence: dict[str, Any]) -> None:
    failures = {entry["outcome"]: entry for entry in evidence["failures"]["examples"]}

    assert set(failures) == {"throttled:handshake", "connect_failed:503", "closed:1011"}
    assert [failures[name]["http_status"] for name in failures] == [
        {"throttled:handshake": 429, "connect_failed:503": 503, "closed:1011": 101}[name] for name in failures
    ]
    assert failures["closed:1011"]["close_code"] == 1011
    assert failures["throttled:handshake"]["message"].startswith("HTTP 429: ")
    assert failures["connect_failed:503"]["message"].startswith("HTTP 503: ")
    for entry in failures.values():
        assert entry["headers"]["apim-request-id"] == entry["request"]
        assert evidence["started_utc_ns"] <= entry["started_utc_ns"] <= entry["failed_utc_ns"]
    assert failures["closed:1011"]["service_session"].startswith("sess_")
    assert failures["connect_failed:503"]["service_session"] is None


def test_the_endpoint_has_its_host_and_api_version(evidence: dict[str, Any]) -> None:
    (endpoint,) = evidence["endpoints"]

    assert endpoint["host"].startswith("127.0.0.1:")
    assert (endpoint["api_version"], endpoint["requested"]) == ("2025-04-01-preview", "gpt-4o-realtime-preview")
    assert evidence["simulated"]


def test_no_file_of_the_evidence_has_the_key_or_a_transcript(run: Path) -> None:
    said = json.loads((run / "transcripts.jsonl").read_text(encoding="utf-8").splitlines()[0])["reply_text"]

    assert said
    for path in run.glob("evidence.*"):
        text = path.read_text(encoding="utf-8")
        assert KEY not in text
        assert said not in text
