"""Runs that stop when a threshold with `abort` fails. Their service answers after 60 ms, with
little variation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.record import folder as files
from tests.simulator_process import QUICK, Ready, running_simulator
from tests.system.end_to_end.locust_process import (
    EXACT,
    only_run,
    rtbench,
    run_locust,
    write_scenario,
)
from tests.system.end_to_end.two_targets import QUICK_AUDIO

MOST = 1_200
"""The sessions of a run that is not stopped."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    profile = tmp_path_factory.mktemp("service") / "slow.yaml"
    profile.write_text(QUICK.replace(QUICK_AUDIO, "first_audio: {p50: 60, p95: 66}"))
    with running_simulator("--profile", str(profile)) as ready:
        yield ready


def played(
    folder: Path, service: Ready, limit: str, *load: str
) -> tuple[int, str, dict[str, Any], Path]:
    """Return (exit status, output, run.json, folder) of a run whose p50 has this limit."""
    (folder / "ci.yaml").write_text(
        f'ttfa: {{threshold: "p(50)<{limit}", abort: true}}\nfailure_rate: rate<50%\n'
    )
    scenario = write_scenario(folder)
    scenario.write_text(scenario.read_text() + EXACT)
    url = ("--url", service.urls["ga"], "--thresholds", str(folder / "ci.yaml"))
    ended = run_locust(scenario, folder / "runs", *url, *load)
    assert "Traceback" not in ended.stderr
    run = only_run(folder / "runs")
    return ended.returncode, ended.stdout + ended.stderr, files.read_document(run), run


def status_of(document: dict[str, Any], status: int) -> int:
    """Return the expected exit status; 4 if a slow machine made the run invalid."""
    return status if document["validity"]["status"] == "valid" else 4


LOADS = {
    "two processes": ("-u", "4", "-r", "4", "--sessions", str(MOST), "--processes", "2"),
    "arrivals": ("--arrival-rate", f"{MOST / 60:g}/s", "--max-concurrent", "20", "-t", "60s"),
}


@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS)
def test_a_service_that_is_too_slow_stops_the_run(
    load: tuple[str, ...], tmp_path: Path, service: Ready
) -> None:
    status, printed, document, run = played(tmp_path, service, "30", *load)
    abort = document["abort"]

    assert abort["made"], printed
    assert document["stop_reason"].startswith(f"stopped at call {abort['made'][-1]['sessions']}")
    assert document["stop_reason"] in " ".join(printed.split())
    assert abort["reason"]["code"] == "stopped_early"
    assert sum(document["totals"]["sessions"].values()) < MOST
    assert status == status_of(document, 1)

    checked = rtbench("check", run)
    assert checked.returncode == status_of(document, 1)
    results = json.loads((run / "check.json").read_text())["findings"]
    assert {result["value"]["metric"]: result["result"] for result in results}["ttfa"] == "fail"
    assert document["stop_reason"] in " ".join(checked.stdout.split())


def test_a_service_within_its_limit_does_not_stop_the_run(tmp_path: Path, service: Ready) -> None:
    status, _, document, run = played(
        tmp_path, service, "900s", "-u", "4", "-r", "4", "--sessions", "60"
    )

    assert document["abort"]["reason"] is None
    assert document["totals"]["sessions"] == {"ok": 60}
    assert status == status_of(document, 0)
    assert rtbench("check", run).returncode == status_of(document, 0)
