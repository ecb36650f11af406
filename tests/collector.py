"""A metrics collector for tests, which receives OTLP over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

SUFFIXES = {"s": "_seconds", "By": "_bytes"}


@dataclass
class Collector:
    """A server and the requests that it received.

    `status` is the HTTP status of each response. A request is not stored if `status` is not 200.
    """

    url: str
    status: int = 200
    requests: list[ExportMetricsServiceRequest] = field(default_factory=list)

    @property
    def last(self) -> dict[str, Any]:
        """The metrics of the last request, by name."""
        (resource,) = self.requests[-1].resource_metrics
        return {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}

    def in_prometheus(self) -> dict[str, dict[str, set[Any]]]:
        """Return the label values of each metric of the last request. The key is the name of the
        metric, then of the label.

        Metrics and labels have the names that Prometheus gives them.
        """
        told: dict[str, dict[str, set[Any]]] = {}
        for metric in self.last.values():
            kind = metric.WhichOneof("data")
            name = (
                metric.name.replace(".", "_")
                + SUFFIXES.get(metric.unit, "")
                + ("_total" if kind == "sum" else "")
            )
            labels = told.setdefault(name, {})
            for point in getattr(metric, kind).data_points:
                for key, value in attributes(point.attributes).items():
                    labels.setdefault(key.replace(".", "_"), set()).add(value)
        return told


def attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    """Return the attributes of a point or a resource as a dictionary."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@contextmanager
def collector() -> Iterator[Collector]:
    """Start a collector on a free port of the loopback address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if received.status == 200:
                received.requests.append(ExportMetricsServiceRequest.FromString(body))
            self.send_response(received.status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received = Collector(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
