"""A collector for tests: takes OTLP over HTTP, and shows what it was told last to Prometheus.

Exponential histograms become native ones: bucket i of the first is bucket i + 1 of the second.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

DELIMITED = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
SUFFIXES = {"s": "_seconds", "By": "_bytes"}
COUNTER, GAUGE, HISTOGRAM = 0, 1, 4


@dataclass
class Collector:
    """What was received. `status`: what is answered."""

    url: str
    status: int = 200
    requests: list[ExportMetricsServiceRequest] = field(default_factory=list)

    @property
    def last(self) -> dict[str, Any]:
        """The metrics of the last request, by name."""
        (resource,) = self.requests[-1].resource_metrics
        return {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}

    def exposition(self) -> bytes:
        """The last metrics as Prometheus reads them."""
        if not self.requests:
            return b""
        about = attributes(self.requests[-1].resource_metrics[0].resource.attributes)
        source = {"job": about["service.name"], "instance": about["service.instance.id"]}
        families = [_family(metric, source) for metric in self.last.values()]
        return b"".join(_varint(len(family)) + family for family in families)


def attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    """Of a point or a resource."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@contextmanager
def collector() -> Iterator[Collector]:
    """A collector on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if received.status == 200:
                received.requests.append(ExportMetricsServiceRequest.FromString(body))
            self._answer(received.status, b"", "application/x-protobuf")

        def do_GET(self) -> None:
            self._answer(200, received.exposition(), DELIMITED)

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

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


# The exposition format: io.prometheus.client.MetricFamily and what it is made of, by the numbers of their fields.


def _family(metric: Any, source: dict[str, str]) -> bytes:
    kind = metric.WhichOneof("data")
    name = metric.name.replace(".", "_") + SUFFIXES.get(metric.unit, "") + ("_total" if kind == "sum" else "")
    family = _bytes(1, name.encode()) + _int(3, {"sum": COUNTER, "gauge": GAUGE}.get(kind, HISTOGRAM))
    for point in getattr(metric, kind).data_points:
        labels = source | attributes(point.attributes)
        told = b"".join(
            _bytes(1, _bytes(1, key.replace(".", "_").encode()) + _bytes(2, _word(value).encode()))
            for key, value in labels.items()
        )
        value = _histogram(point) if kind == "exponential_histogram" else _double(1, _number(point))
        family += _bytes(4, told + _bytes({"sum": 3, "gauge": 2}.get(kind, 7), value))
    return family


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(point: Any) -> float:
    return float(point.as_double or point.as_int)


def _histogram(point: Any) -> bytes:
    counts, offset = list(point.positive.bucket_counts), point.positive.offset + 1
    deltas = b"".join(_sint(13, after - before) for before, after in pairwise([0, *counts]))
    return (
        _int(1, point.count) + _double(2, point.sum) + _sint(5, point.scale) + _double(6, 1e-128)
        + _int(7, point.zero_count) + _bytes(12, _sint(1, offset) + _int(2, len(counts))) + deltas
    )  # fmt: skip


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _int(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _sint(number: int, value: int) -> bytes:
    return _int(number, value << 1 if value >= 0 else (-value << 1) - 1)


def _double(number: int, value: float) -> bytes:
    return _varint(number << 3 | 1) + struct.pack("<d", value)


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value
