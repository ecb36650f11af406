"""The process that sends metrics to an OpenTelemetry collector. It reads the progress of a run as
JSON lines.

The first line is an `ExportedRun`. Each later line is the number and the progress report of a
process, or whether the load generator is overloaded. When the input ends, the process sends the
last metrics. It needs the packages of the extra `otel`. The standard environment variables
configure the collector (OTEL_EXPORTER_OTLP_ENDPOINT and others). A metric has its name in the GenAI
conventions for clients if it has one there; otherwise its name is `rtbench.*`.
"""

# A report has counts since the start of its process, and OpenTelemetry's counters add differences.
# So the last report of each process is kept, and a report that was dropped on the way changes
# nothing later. Only latencies are lost with it. Nothing here is needed for results.

import logging
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import msgspec
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation
from opentelemetry.sdk.resources import Resource

from bench.base.units import US_PER_S
from bench.catalogue.metrics import FIRST_DELTAS
from bench.catalogue.outcomes import outcome_class
from bench.load.execution.progress import LiveMetricKey, ProgressReport
from bench.load.runners.live_totals import EXPORTED

AGGREGATION = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"
"""Standard environment variables. If one is set, it replaces a default of this module."""
USUAL_INTERVAL_MS = 5_000
MAX_SCALE = 8
"""The scale of the finest histogram buckets that Prometheus accepts. They are 0.27 % wide."""
NOT_TAKEN = (
    "no metrics reach the collector: check that it listens at OTEL_EXPORTER_OTLP_ENDPOINT for OTLP"
    " over HTTP; the run continues without them"
)
NO_PROGRESS = ProgressReport()
Attributes = Mapping[str, Any]
Message: TypeAlias = tuple[int, ProgressReport] | bool


class ExportedRun(msgspec.Struct, frozen=True):
    """The facts about a run that are exported. `targets` are the attributes of each target, by
    the target's label.
    """

    run_id: str
    scenario: str
    version: str
    targets: Mapping[str, Mapping[str, str]]


class Instruments:
    """The metrics of a run."""

    def __init__(self, meter: Meter, run: ExportedRun) -> None:
        self._run = run
        self._before: dict[int, ProgressReport] = {}
        self._first_chunk = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            "s",
            "Time from the request to the first delta of successful turns.",
        )
        self._latency = meter.create_histogram(
            "rtbench.turn.latency", "s", "Latency of successful turns, by metric and origin."
        )
        self._turns = meter.create_counter(
            "rtbench.turns", "{turn}", "Measured turns that ended, by outcome."
        )
        self._events = meter.create_counter(
            "rtbench.events", "{event}", "Events on the wire, by direction."
        )
        self._bytes = meter.create_counter("rtbench.io", "By", "Bytes on the wire, by direction.")
        self._cost = meter.create_counter("rtbench.cost", "{USD}", "Cost of turns and minutes.")
        self._sessions = meter.create_gauge(
            "rtbench.sessions.active", "{session}", "Open sessions."
        )
        self._late = meter.create_gauge(
            "rtbench.load_generator.overloaded",
            "",
            "1 if the run would be invalid if it ended now, else 0.",
        )

    def add(self, message: Message) -> None:
        if isinstance(message, bool):
            self._late.set(int(message))
            return
        worker, progress = message
        before = self._before.get(worker, NO_PROGRESS)
        self._before[worker] = progress
        self._add_counts(progress, before)
        for label, steps in progress.outcomes.items():
            for step, outcomes in steps.items():
                of_step = self._of(label, progress.simulated) | {"rtbench.step": step}
                last = before.outcomes.get(label, {}).get(step, {})
                for outcome, count in outcomes.items():
                    kind = {
                        "rtbench.outcome": outcome,
                        "rtbench.outcome_class": outcome_class(outcome),
                    }
                    self._turns.add(count - last.get(outcome, 0), of_step | kind)
        for label, timed in progress.times_us.items():
            for step, times in timed.items():
                self._add_times(self._of(label, progress.simulated) | {"rtbench.step": step}, times)

    def _of(self, label: str, simulated: bool) -> dict[str, Any]:
        return {"rtbench.target": label, "rtbench.simulated": simulated} | dict(
            self._run.targets.get(label, {})
        )

    def _add_counts(self, progress: ProgressReport, before: ProgressReport) -> None:
        for label, counts in progress.targets.items():
            if not any(counts.values()):  # it is not known yet whether the service is simulated
                continue
            attributes = self._of(label, progress.simulated)
            last = before.targets.get(label, {})
            for instrument, name in ((self._events, "events"), (self._bytes, "bytes")):
                for direction, suffix in (("receive", "received"), ("transmit", "sent")):
                    more = counts[f"{name}_{suffix}"] - last.get(f"{name}_{suffix}", 0)
                    instrument.add(more, attributes | {"network.io.direction": direction})
            self._cost.add(max(0.0, counts["usd"] - last.get("usd", 0.0)), attributes)
            self._sessions.set(
                sum(
                    report.targets.get(label, {}).get("sessions_open", 0)
                    for report in self._before.values()
                ),
                attributes,
            )

    def _add_times(
        self, attributes: Attributes, times: Iterable[tuple[LiveMetricKey, list[int]]]
    ) -> None:
        for key, values_us in times:
            if key not in EXPORTED:
                continue
            of_wait = {
                **attributes,
                "rtbench.metric": key.metric,
                "rtbench.measured_from": key.measured_from,
            }
            for value_us in values_us:
                wait_s = value_us / US_PER_S
                self._latency.record(wait_s, of_wait)
                if key.measured_from == "request_sent" and key.metric in FIRST_DELTAS.values():
                    self._first_chunk.record(wait_s, attributes)


class WarnOnceExporter(OTLPMetricExporter):
    """An exporter that prints one line on stderr when the collector does not accept metrics for
    the first time.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._has_warned = False

    def export(self, *args: Any, **settings: Any) -> MetricExportResult:
        """Send metrics over OTLP."""
        result = super().export(*args, **settings)
        if result is not MetricExportResult.SUCCESS and not self._has_warned:
            self._has_warned = True
            print(NOT_TAKEN, file=sys.stderr, flush=True)
        return result


def provider_of(run: ExportedRun, environ: Mapping[str, str]) -> MeterProvider:
    """Return a provider that sends metrics every few seconds, times as exponential histograms by
    default.
    """
    finest = {Histogram: ExponentialBucketHistogramAggregation(max_scale=MAX_SCALE)}
    exporter = WarnOnceExporter(preferred_aggregation=None if AGGREGATION in environ else finest)
    interval_ms = None if INTERVAL in environ else USUAL_INTERVAL_MS
    about = {
        "service.name": environ.get("OTEL_SERVICE_NAME", "rtbench"),
        "service.version": run.version,
        "service.instance.id": run.run_id,
        "rtbench.scenario": run.scenario,
    }
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=interval_ms)
    return MeterProvider([reader], Resource.create(about), shutdown_on_exit=False)


def send_metrics(lines: Iterable[bytes], environ: Mapping[str, str]) -> None:
    # it would repeat at each attempt what is printed once here
    logging.getLogger("opentelemetry").disabled = True
    logging.disable()
    messages = iter(lines)
    run = msgspec.json.decode(next(messages), type=ExportedRun)
    provider = provider_of(run, environ)
    instruments = Instruments(provider.get_meter("rtbench", run.version), run)
    decoder = msgspec.json.Decoder[Message](Message)
    for line in messages:
        instruments.add(decoder.decode(line))
    provider.shutdown()


if __name__ == "__main__":
    try:
        send_metrics(sys.stdin.buffer, os.environ)
    except Exception as error:
        # If the SDK raises, the run continues and its results are complete. Only later metrics are
        # not sent, and the run's terminal shows this line. It names only the type of the error,
        # because the text may contain an address with a password.
        print(f"metrics are no longer sent: {type(error).__name__}", file=sys.stderr)
