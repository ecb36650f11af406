"""Runs that end when the comparison is decided. Their exit status is the verdict."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from bench.record import folder as files
from tests.simulator_process import Ready
from tests.system.end_to_end.locust_process import (
    EXACT,
    GUARD_S,
    locust,
    only_run,
    run_locust,
    wait_for_rows,
    write_scenario,
)
from tests.system.end_to_end.two_targets import slower_and_faster, write_services

MOST = 200
THRESHOLDS = 'ttfa: ["p(50)<+10%", "p(95)<9000"]\n'


def decided(
    folder: Path, services: dict[str, Ready], *options: str, **environment: str
) -> tuple[int, str, dict[str, Any], dict[str, Any]]:
    """Return (exit status, output, run.json, decision.json) of a run of at most 200 pairs, three
    turns each.
    """
    names = write_services(folder, services)
    (folder / "ci.yaml").write_text(THRESHOLDS)
    plan = (
        "--thresholds",
        str(folder / "ci.yaml"),
        "--interim-every",
        "20",
        "--sessions",
        str(MOST),
    )
    load = (
        "-u",
        "4",
        "-r",
        "4",
        "--targets",
        "fast,slow",
        "--target-file",
        names,
        "--until-decided",
    )
    scenario = write_scenario(folder, turns=3)
    scenario.write_text(scenario.read_text() + EXACT)
    ended = run_locust(scenario, folder / "runs", *load, *plan, *options, **environment)
    run = only_run(folder / "runs")
    assert "Traceback" not in ended.stderr
    return (
        ended.returncode,
        ended.stdout,
        files.read_document(run),
        json.loads((run / "decision.json").read_text()),
    )


def test_a_clearly_slower_candidate_ends_the_run_at_an_early_interim_analysis(
    tmp_path: Path,
) -> None:
    with slower_and_faster(tmp_path) as services:
        status, printed, document, decision = decided(tmp_path, services, "--processes", "2")

    assert document["sequential_plan"]["primary_metrics"] == {"ttfa": ["p(50)<+10%"]}
    assert document["sequential_plan"]["analyses"] == list(range(20, MOST + 1, 20))
    assert len(decision["analyses"]) < 10
    assert document["stop_reason"]
    assert decision["end"] == "regressed"
    assert status == (4 if document["validity"]["status"] == "invalid" else 1)
    assert " ".join(decision["sentence"].split()) in " ".join(printed.split())


def test_a_signal_before_the_decision_ends_the_run_with_130(tmp_path: Path) -> None:
    with slower_and_faster(tmp_path) as services:
        load = (
            "--targets",
            "fast,slow",
            "--target-file",
            write_services(tmp_path, services),
            "--until-decided",
        )
        with locust(write_scenario(tmp_path), tmp_path / "runs", *load) as process:
            folder = wait_for_rows(tmp_path / "runs", "sessions", 2)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=GUARD_S)

    document = files.read_document(folder)
    assert document["stop_reason"] == "interrupted"
    assert process.returncode == (4 if document["validity"]["status"] != "valid" else 130)
