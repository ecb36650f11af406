"""The metrics that a run exports every second."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

pytest.importorskip("opentelemetry.sdk")

import re
from importlib.machinery import ModuleSpec

import pytest
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation

from bench.base.errors import UsageError
from bench.load.execution.progress import TARGET_COUNTS, VALUE, WAIT, LiveMetricKey, ProgressReport
from bench.load.runners import monitor
from bench.load.runners.monitor import attributes_of, check_installed
from bench.load.runners.otel_exporter import MAX_SCALE, ExportedRun, Instruments, Message
from tests.helpers import resolve_target

RUN = ExportedRun("run-1", "talk", "1.0", {"sweden": {"gen_ai.request.model": "gpt-realtime"}})
STEP = "talk.greeting"
TTFA = LiveMetricKey(WAIT, "ttfa", "request_sent")
TIMES = [
    (TTFA, [500_000, 700_000]),
    (TTFA._replace(measured_from="speech_end"), [900_000]),
    (LiveMetricKey(VALUE, "voice_to_voice", "speech_end"), [1_100_000]),
]


def progress_update(worker: int = 0, **changes: Any) -> Message:
    counts = dict.fromkeys(TARGET_COUNTS, 0.0) | changes.pop("counts", {"sessions_open": 3})
    return worker, ProgressReport(targets={"sweden": counts}, **changes)


def points(*every: Message) -> dict[str, list[tuple[dict[str, Any], Any]]]:
    """Export each of these progress updates.

    Return the (attributes, point) pairs of each metric after the last export.
    """
    reader = InMemoryMetricReader(
        preferred_aggregation={
            Histogram: ExponentialBucketHistogramAggregation(max_scale=MAX_SCALE)
        }
    )
    provider = MeterProvider([reader], shutdown_on_exit=False)
    instruments = Instruments(provider.get_meter("rtbench"), RUN)
    for one in every:
        instruments.add(msgspec.json.decode(msgspec.json.encode(one), type=Message))
    (resource,) = reader.get_metrics_data().resource_metrics
    provider.shutdown()
    metrics = [metric for scope in resource.scope_metrics for metric in scope.metrics]
    return {
        metric.name: [(dict(p.attributes or {}), p) for p in metric.data.data_points]
        for metric in metrics
    }


def test_latencies_are_histograms_by_metric_and_start_instant() -> None:
    found = points(progress_update(times_us={"sweden": {STEP: TIMES}}))

    waits = {
        (a["rtbench.metric"], a["rtbench.measured_from"]): (p.count, p.sum)
        for a, p in found["rtbench.turn.latency"]
    }
    assert waits == {
        ("ttfa", "request_sent"): (2, pytest.approx(1.2)),
        ("ttfa", "speech_end"): (1, pytest.approx(0.9)),
        ("voice_to_voice", "speech_end"): (1, pytest.approx(1.1)),
    }


def test_only_requested_responses_have_a_time_to_first_chunk() -> None:
    ((attributes, point),) = points(progress_update(times_us={"sweden": {STEP: TIMES}}))[
        "gen_ai.client.operation.time_to_first_chunk"
    ]

    assert (point.count, point.sum) == (2, pytest.approx(1.2))
    assert (attributes["gen_ai.request.model"], attributes["rtbench.step"]) == (
        "gpt-realtime",
        STEP,
    )


def test_counters_are_summed_over_processes_and_open_sessions_are_current() -> None:
    counts = [
        {"events_received": n, "bytes_sent": 10 * n, "usd": n / 10, "sessions_open": n}
        for n in (5, 9)
    ]
    outcomes = [{"sweden": {STEP: {"ok": n, "timeout": 1}}} for n in (5, 9)]
    first, second = (
        progress_update(0, counts=c, outcomes=o) for c, o in zip(counts, outcomes, strict=True)
    )
    found = points(first, second, second, progress_update(1, counts=counts[0]))

    events = {a["network.io.direction"]: p.value for a, p in found["rtbench.events"]}
    assert events == {"receive": 14, "transmit": 0}
    assert found["rtbench.cost"][0][1].value == pytest.approx(1.4)
    assert found["rtbench.sessions.active"][0][1].value == 14
    turns = {
        (a["rtbench.outcome"], a["rtbench.outcome_class"]): p.value
        for a, p in found["rtbench.turns"]
    }
    assert turns == {("ok", "success"): 9, ("timeout", "failed"): 1}


def test_a_target_without_a_report_has_no_metrics() -> None:
    assert "rtbench.sessions.active" not in points(progress_update(counts={}), True)


@pytest.mark.parametrize("late", [True, False])
def test_an_overloaded_load_generator_is_exported(late: bool) -> None:
    ((_, point),) = points(late)["rtbench.load_generator.overloaded"]

    assert point.value == late


def test_a_target_has_the_conventional_attributes_without_the_url_query() -> None:
    target = resolve_target(
        {}, url="wss://example.org:8443/v1/realtime?model=gpt-realtime&call_id=secret"
    )

    attributes = attributes_of(target)
    assert attributes["server.address"] == "example.org"
    assert attributes["gen_ai.request.model"] == "gpt-realtime"
    assert "secret" not in str(attributes)


# The process that sends metrics, and its input.


def missing_parent(name: str) -> ModuleSpec | None:
    """Find no package, and do as `find_spec` does if the parent of a package is not installed."""
    if "." in name:
        raise ModuleNotFoundError(name)
    return None


@pytest.mark.parametrize("find_spec", [lambda name: None, missing_parent])
def test_missing_otel_packages_are_reported_in_one_line(
    find_spec: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "find_spec", find_spec)

    with pytest.raises(UsageError, match=re.escape("pip install 'rtbench[otel]'")):
        check_installed()
