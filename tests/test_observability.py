"""The files of docs/observability, which agree with each other.

The queries of the dashboard are tested in tests/system/end_to_end/test_runs.py.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ruamel.yaml import YAML

from tests.system.deploy_files import IMAGE, ROOT

FOLDER = ROOT / "docs" / "observability"


def read(name: str) -> Any:
    return YAML(typ="safe").load((FOLDER / name).read_text(encoding="utf-8"))


def test_mounted_files_exist_and_ports_are_bound_to_the_loopback_address() -> None:
    services = read("compose.yaml")["services"]
    mounts = [mount.split(":")[0] for service in services.values() for mount in service["volumes"]]

    assert [mount for mount in mounts if not (FOLDER / mount).exists()] == []
    assert all(
        port.startswith("127.0.0.1:") for service in services.values() for port in service["ports"]
    )
    images = [
        service["image"].rpartition("/")[2].replace(":v", ":") for service in services.values()
    ]
    assert all(IMAGE.fullmatch(image) for image in images)
    assert not any("." in service["image"].partition(":")[0] for service in services.values())


def test_prometheus_scrapes_the_collector_and_the_dashboard_queries_prometheus() -> None:
    services = read("compose.yaml")["services"]
    collector = read("collector.yaml")
    (datasource,) = read("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    dashboard = json.loads(
        (FOLDER / "grafana" / "dashboards" / "rtbench.json").read_text(encoding="utf-8")
    )

    port = collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"].rpartition(":")[2]
    assert services["collector"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert collector["exporters"]["otlphttp"]["endpoint"].startswith(datasource["url"])
    assert "--web.enable-otlp-receiver" in services["prometheus"]["command"]
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {datasource["uid"]}
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    asked = {
        name
        for panel in dashboard["panels"]
        for query in panel["targets"]
        for name in re.findall(r"\$(\w+)", query["expr"])
    }
    assert asked - {"__rate_interval"} == variables
