"""Metrics of a real run: a collector that takes none, and what Prometheus answers the dashboard's questions with.

What a collector gets is shown in test_runs.py.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

from tests.collector import collector
from tests.simulator_process import ROOT, Ready
from tests.system.end_to_end.locust_process import GUARD_S, free_port, locust, only_run, run_locust, write_scenario

DASHBOARD = ROOT / "docs" / "observability" / "grafana" / "dashboards" / "rtbench.json"


def test_a_collector_that_takes_nothing_is_said_once_and_ends_no_run(tmp_path: Path, simulator: Ready) -> None:
    with collector() as received:
        received.status = 400
        load = ("--sessions", "4", "-u", "1", "--url", simulator.urls["ga"], "--telemetry")
        where = {"OTEL_EXPORTER_OTLP_ENDPOINT": received.url}
        run = run_locust(write_scenario(tmp_path), tmp_path / "runs", *load, **where)

    document = json.loads((only_run(tmp_path / "runs") / "run.json").read_text())
    assert document["totals"]["sessions"] == {"ok": 4}
    assert run.stderr.count("no metrics reach the collector") == 1


# The dashboard.


def questions() -> list[tuple[str, str]]:
    """(panel, query) of all panels."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]


@contextmanager
def prometheus(folder: Path, source: str) -> Iterator[str]:
    """The address of a Prometheus that asks this source each second."""
    port = free_port()
    config = folder / "prometheus.json"  # which is YAML, too
    scraped = {"job_name": "rtbench", "honor_labels": True, "static_configs": [{"targets": [source]}]}
    config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [scraped]}))
    process = subprocess.Popen(
        ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}",
         f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=native-histograms", "--log.level=error"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def answers(server: str, query: str) -> list[dict[str, Any]]:
    """[] while the server does not answer yet."""
    try:
        with urlopen(f"{server}/api/v1/query?{urlencode({'query': query})}") as answer:
            return list(json.load(answer)["data"]["result"])
    except URLError as error:
        if hasattr(error, "code"):
            raise AssertionError(f"{query}: {error.read().decode()}") from None  # type: ignore[attr-defined]
        return []


def test_the_dashboard_s_queries_are_answered_by_a_run(tmp_path: Path, simulator: Ready) -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("there is no prometheus: apt-get install prometheus")
    filled = {"$__rate_interval": "1m", "$target": ".*", "$run": ".*"}
    asked = questions()
    spoken = ("Voice to voice",)  # these turns are of text
    unanswered = [(panel, query) for panel, query in asked if panel not in spoken]
    with collector() as received, prometheus(tmp_path, received.url.removeprefix("http://")) as server:
        where = {"OTEL_EXPORTER_OTLP_ENDPOINT": received.url, "OTEL_METRIC_EXPORT_INTERVAL": "500"}
        options = ("--url", simulator.urls["ga"], "--telemetry", "-u", "2", "--run-time", f"{GUARD_S:.0f}s")
        until = time.monotonic() + GUARD_S
        values: dict[str, list[float]] = {}
        with locust(write_scenario(tmp_path), tmp_path / "runs", *options, **where):
            while unanswered:
                assert time.monotonic() < until, unanswered
                time.sleep(0.5)
                for panel, query in list(unanswered):
                    found = [float(row["value"][1]) for row in answers(server, _filled(query, filled))]
                    if found and not any(map(math.isnan, found)):
                        values.setdefault(panel, []).extend(found)
                        unanswered.remove((panel, query))

    p50_s, p95_s = values["Time to first audio"]
    assert 0.005 < p50_s <= p95_s < 10
    assert values["Open sessions"][0] <= 2


def _filled(query: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        query = query.replace(name, value)
    return query
