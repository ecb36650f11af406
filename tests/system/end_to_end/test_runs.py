"""Runs of real processes that succeed: Locust, the simulator, and the report."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bench.record import folder as files
from tests.blob_server import BlobServer, blob_server
from tests.collector import Collector, attributes, collector
from tests.simulator_process import ROOT, Ready
from tests.system.end_to_end.locust_process import only_run, run_locust, write_scenario
from tests.system.end_to_end.quoting_service import files_with

DASHBOARD = ROOT / "docs" / "observability" / "grafana" / "dashboards" / "rtbench.json"
SIGNATURE = "a-signature-nobody-may-see"


def test_a_simulated_run_is_marked_in_each_output_and_prints_its_progress(
    tmp_path: Path, simulator: Ready
) -> None:
    """The telemetry of a single process contains both turns."""
    with collector() as received:
        options = ("--sessions", "1", "--url", simulator.urls["ga"], "--telemetry")
        where = {"OTEL_EXPORTER_OTLP_ENDPOINT": received.url}
        ended = run_locust(write_scenario(tmp_path), tmp_path / "runs", *options, **where)
    folder = only_run(tmp_path / "runs")

    check_telemetry(received, turns=2)
    assert "SIMULATED" in ended.stdout
    assert "SIMULATED" in (folder / "histograms.hlog").read_text()
    assert "SIMULATED" in (folder / "report.html").read_text()
    assert "SIMULATED" in (folder / "report.md").read_text()
    assert json.loads((folder / "summary.json").read_text())["simulated"] is True
    assert files.read_document(folder)["simulated"] is True
    for table in files.SCHEMAS:
        assert (
            pq.read_schema(folder / f"{table}.parquet").metadata[b"rtbench.simulated"]
            == b"SIMULATED"
        )

    assert Path(ended.stdout.splitlines()[-1]) == folder / "report.html"
    lines = [line for line in ended.stderr.splitlines() if line.startswith("rtbench: ")]
    assert any("writing report" in line and "turns 2 ok 100 %" in line for line in lines)
    assert "# reqs" not in ended.stdout + ended.stderr


def check_telemetry(received: Collector, *, turns: int) -> None:
    """Assert that a collector has received every turn of a run."""
    counted = received.last["rtbench.turns"].sum.data_points
    assert sum(point.as_int for point in counted) == turns
    assert {attributes(point.attributes)["rtbench.step"] for point in counted} == {
        "script.step_1",
        "script.step_2",
    }
    waits = received.last[
        "gen_ai.client.operation.time_to_first_chunk"
    ].exponential_histogram.data_points
    assert sum(point.count for point in waits) == turns
    assert all(attributes(point.attributes)["rtbench.simulated"] for point in waits)


Ended = subprocess.CompletedProcess[str]
NICENESS = """

import os
from pathlib import Path

niceness = 0


def setpriority(which, who, value):
    global niceness
    if who:  # a child that reads for the run
        return
    niceness = value
    with Path("{log}").open("a") as log:
        log.write(f"{{os.getpid()}} {{value}}\\n")


os.getpriority, os.setpriority = lambda which, who: niceness, setpriority
"""
"""Code that simulates a kernel that permits any niceness, and that records the values that each
process sets."""


def with_priority(
    folder: Path, *options: str, **environment: str
) -> tuple[Path, Ended, list[list[int]]]:
    """Run two processes that request priority. Return the run folder, the ended process, and the
    niceness values of each process.
    """
    scenario, log = write_scenario(folder), folder / "niceness"
    scenario.write_text(scenario.read_text() + NICENESS.format(log=log))
    ended = run_locust(
        scenario, folder / "runs", "--processes", "2", "--priority", *options, **environment
    )
    assert ended.returncode in (0, 4), ended.stderr
    by_process: dict[str, list[int]] = {}
    for process, value in map(str.split, log.read_text().splitlines()):
        by_process.setdefault(process, []).append(int(value))
    return only_run(folder / "runs"), ended, sorted(by_process.values(), key=len)


@dataclass(frozen=True)
class Whole:
    """A run of two processes with priority, telemetry and an upload. `uploaded`: the folder that
    the upload server received.
    """

    folder: Path
    said: str
    had: list[list[int]]
    received: Collector
    server: BlobServer
    uploaded: Path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, simulator: Ready) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    with collector() as received, blob_server() as server:
        load = (
            "-u",
            "4",
            "-r",
            "4",
            "--sessions",
            "6",
            "--url",
            simulator.urls["ga"],
            "--telemetry",
        )
        where = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": received.url,
            "LOCUST_UPLOAD": f"{server.url}?sv=1&sig={SIGNATURE}",
        }
        run, ended, had = with_priority(folder, *load, "--loglevel", "DEBUG", **where)
        server.save(folder / "downloaded")
    return Whole(
        run,
        ended.stdout + ended.stderr,
        had,
        received,
        server,
        only_run(folder / "downloaded" / "container"),
    )


def test_two_processes_write_one_run_folder(whole: Whole) -> None:
    turns, document = (
        files.read_table(whole.folder, "turns").to_pandas(),
        files.read_document(whole.folder),
    )

    assert set(turns["worker"]) == {0, 1}
    assert (document["workers"], document["settings"]["processes"]) == (2, 2)
    assert document["totals"]["sessions"] == {"ok": 6}
    assert turns["session_id"].nunique() == 6


def test_a_collector_receives_each_turn_of_two_processes(whole: Whole) -> None:
    check_telemetry(whole.received, turns=12)
    assert "telemetry:" not in whole.said


def test_the_dashboard_queries_only_exported_metrics_and_labels(whole: Whole) -> None:
    exported = whole.received.in_prometheus()
    queries = [
        target["expr"]
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        for target in panel["targets"]
    ]
    asked = [found for query in queries for found in re.findall(r"(rtbench_\w+)\{(.*?)\}", query)]
    grouped = {label for query in queries for label in re.findall(r"by \((\w+)\)", query)}

    assert len(asked) > len(queries) >= 10
    late = "rtbench_load_generator_overloaded"  # this metric is only known later
    assert late in {name for name, _ in asked} <= exported.keys() | {late}
    assert grouped <= {label for labels in exported.values() for label in labels}
    for name, chosen in (one for one in asked if one[0] in exported):
        for label, value in re.findall(r'(\w+)="(\w+)"', chosen):
            assert label == "rtbench_metric" or value in exported[name][label], (name, label)
        assert {*re.findall(r"(\w+)=~", chosen)} <= exported[name].keys() | {"instance"}, name


def test_a_refusing_collector_is_reported_once_and_does_not_end_the_run(
    tmp_path: Path, simulator: Ready
) -> None:
    with collector() as received:
        received.status = 400
        load = ("--sessions", "4", "-u", "1", "--url", simulator.urls["ga"], "--telemetry")
        where = {"OTEL_EXPORTER_OTLP_ENDPOINT": received.url}
        run = run_locust(write_scenario(tmp_path), tmp_path / "runs", *load, **where)

    assert files.read_document(only_run(tmp_path / "runs"))["totals"]["sessions"] == {"ok": 4}
    assert run.stderr.count("no metrics reach the collector") == 1


def test_a_run_of_several_processes_is_uploaded_completely_after_its_report(whole: Whole) -> None:
    assert f"rtbench: uploaded to {whole.server.url}/" in whole.said
    assert {path.name: path.read_bytes() for path in whole.folder.iterdir() if path.is_file()} == {
        path.name: path.read_bytes() for path in whole.uploaded.iterdir()
    }
    assert {"report.html", "turns.parquet"} <= {path.name for path in whole.uploaded.iterdir()}
    assert files.read_document(whole.uploaded)["state"] == "ended"
    assert SIGNATURE not in whole.said
    assert files_with(whole.folder, SIGNATURE) == []
