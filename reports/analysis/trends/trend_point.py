"""A point of a trend: the values of one target of one run, from the run's summary or from a stored baseline."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
from scipy.special import stdtrit  # type: ignore[import-untyped, unused-ignore]

from bench.base.errors import UsageError
from bench.files import safe_io
from bench.files.safe_io import JsonError
from bench.files.sanitize import escape_control
from bench.record.document import ValidityStatus
from reports.analysis.check.baselines import StoredBaseline, read_file
from reports.analysis.check.stored_runs import without_duplicates
from reports.analysis.summary.metrics import ALL, MetricSummary
from reports.analysis.summary.outcomes import limited
from reports.analysis.summary.run_validity import TITLES, invalid_reasons, validity_of
from reports.analysis.summary.summary import summarise
from reports.analysis.summary.targets import FAIR, TargetFacts
from reports.analysis.targets.conditions import conditions_in
from reports.data.runs import RunFrames, document_of, labels_of
from reports.formatting import NBSP
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.rate_metrics import MIN_RATE_UNITS, RATES
from reports.metrics.stored import PS, Baseline, StoredQuantiles
from reports.metrics.strata import NO_STRATUM, Stratum
from reports.pages.run_report.document import SummaryDocument, summary_json
from reports.render.blocks import with_marker
from reports.results.json_entries import read_document
from reports.results.reason import Counted, Reason, too_few_to_print
from reports.statistics.change_points import variance_of
from reports.statistics.quantiles import QuantileEstimate, shortfall

QUANTILE_LEVELS = (0.5, 0.9, 0.95, 0.99)
"""The levels of quantiles that are in a run's summary and in a stored baseline."""


class MetricKey(NamedTuple):
    """A metric and the stratum of its turns."""

    metric: str
    stratum: Stratum


@dataclass(frozen=True)
class RunValue:
    """A value of one run with its 95 % interval, in the unit of the metric.

    - `value` is +inf if it lies among failed turns, and NaN if it is missing.
    - `variance` is the variance from the sessions of the run: of a rate itself, or of the log of another value. It is 0
    if unknown.
    - `n` is the number of turns.
    - `missing` is the reason why the value is missing.
    """

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    variance: float = 0.0
    n: int = 0
    missing: Reason | None = None

    @classmethod
    def of_summary(cls, row: MetricSummary, quantile: QuantileEstimate) -> Self:
        """Return the value of a quantile in a run's summary."""
        if row.uncertain:
            return cls(n=row.n, missing=_safe(row.uncertain))
        if quantile.in_failures:
            return cls(math.inf, n=row.n)
        if not quantile.reported or math.isnan(quantile.value):
            return cls(n=row.n, missing=quantile.reason)
        low = -math.inf if math.isnan(quantile.low) else quantile.low
        high = math.inf if math.isnan(quantile.high) else quantile.high
        return cls(quantile.value, low, high, variance_of(low, quantile.value, high), row.n)

    @classmethod
    def of_baseline(cls, row: StoredQuantiles, p: float) -> Self:
        """Return the value of the p-quantile in a stored baseline.

        The interval q · exp(∓ t · SE) follows from the stored variance.
        """
        index = PS.index(p)
        value, variance = row.values[index], row.variances[index] or 0.0
        if value is None:
            return cls(math.inf, n=row.n)
        if lack := shortfall(p, row.n, row.sessions):
            return cls(n=row.n, missing=lack)
        factor = math.exp(float(stdtrit(max(1, row.sessions - 1), 0.975)) * math.sqrt(variance))
        return cls(value, value / factor, value * factor, variance, row.n)


@dataclass(frozen=True)
class TrendPoint:
    """The values of one target of one run.

    `excluded` is the reasons why the values are not compared; empty if they are.
    """

    run_id: str
    name: str
    """The name of the run's folder. If the run has no folder, its ID."""
    started_utc_ns: int
    scenario: str
    target: str
    validity: ValidityStatus
    excluded: tuple[Reason, ...]
    labels: Mapping[str, str]
    conditions: Mapping[str, str]
    quantiles: Mapping[MetricKey, Mapping[float, RunValue]]
    rates: Mapping[str, RunValue]
    report: Path | None = None

    @property
    def simulated(self) -> bool:
        return self.conditions["simulated"] == "yes"

    @property
    def validity_title(self) -> str:
        """The verdict on the run: VALID, INVALID, NO VERDICT, or INVALID (throttled)."""
        return "INVALID (throttled)" if self.validity == "valid" and self.excluded else TITLES[self.validity]

    @property
    def marker(self) -> str:
        """The verdict on the run with its symbol, such as `✓ VALID`."""
        return with_marker(self.validity_title).replace(" ", NBSP, 1)

    def value(self, spec: MetricSpec) -> RunValue:
        """Return the value of a metric in this run."""
        not_reported = RunValue(missing=Reason("not_reported"))
        if spec.p is None:
            return self.rates.get(spec.metric, not_reported)
        quantiles = self.quantiles.get(MetricKey(spec.metric, spec.stratum or NO_STRATUM), {})
        if not quantiles and spec.stratum is None:  # if all turns of the run are of one kind, use these turns
            of_metric = [values for key, values in self.quantiles.items() if key.metric == spec.metric]
            quantiles = of_metric[0] if len(of_metric) == 1 else {}
        return quantiles.get(spec.p, not_reported)


def points_of_run(run: Path | RunFrames) -> list[TrendPoint]:
    """Return a point for each target of a run.

    If the run is a folder, the values come from the summary in it. If the run is loaded, they are computed. Raise
    UsageError if the folder is not a run, or has no summary.
    """
    if isinstance(run, RunFrames):
        summary = read_document(summary_json(summarise(run)).encode(), SummaryDocument)
        return [_point(run.folder, run.metadata, summary, target) for target in summary.targets]
    document, summary = document_of(run), read_summary(run)
    return [_point(run, document, summary, target) for target in summary.targets]


UNCONNECTED = frozenset(
    {
        *(f"connect_failed:{stage}" for stage in ("dns", "tcp", "proxy", "tls", "token")),
        *(f"timeout:{stage}" for stage in ("dns", "tcp", "proxy", "tls", "upgrade")),
    }
)
"""The outcomes of sessions that received no response from the service.

If a run has no other sessions, whether it was simulated is unknown.
"""


def _point(folder: Path, document: dict[str, Any], summary: SummaryDocument, target: str) -> TrendPoint:
    name, verdict, report = escape_control(target), validity_of(document), folder / "report.html"
    outcomes = summary.outcomes.get(target)
    throttled = outcomes.throttled if outcomes else 0.0
    throttling = [Reason("throttled", {"share": throttled})] if throttled > FAIR else []
    facts = next(
        (settings for settings in summary.target_facts if settings.target == target), TargetFacts(target=target)
    )
    displayed = {fact: escape_control(getattr(facts, fact) or "") for fact in ("model", "region", "voice")}
    facts = msgspec.structs.replace(facts, **displayed)
    never_connected = outcomes and outcomes.sessions and UNCONNECTED.issuperset(outcomes.sessions)
    simulated = bool(document.get("simulated")) or (None if never_connected else False)
    return TrendPoint(
        run_id=str(document.get("run_id") or escape_control(folder.name)),
        name=escape_control(folder.resolve().name),
        started_utc_ns=int(document.get("started_utc_ns") or 0),
        scenario=escape_control(summary.scenario),
        target=name,
        validity=verdict.status,
        excluded=tuple(throttling if verdict.status == "valid" else map(_safe, invalid_reasons(document))),
        labels=labels_of(document),
        conditions=conditions_in(document, name, facts, simulated=simulated),
        quantiles=_quantiles(summary, target),
        rates=dict(_rates(summary, target)),
        report=report if report.exists() else None,
    )


def read_summary(folder: Path) -> SummaryDocument:
    """Return the summary in a run's folder. If there is none, raise UsageError with the command that writes it."""
    path = folder / "summary.json"
    try:
        return read_document(safe_io.read_file(path), SummaryDocument)
    except FileNotFoundError:
        raise UsageError(f"{folder} has no summary.json: run `rtbench report {folder}` to write it") from None
    except (OSError, JsonError) as error:
        raise UsageError(f"{path} cannot be read ({error}): run `rtbench report {folder}` to rewrite it") from None


def _quantiles(summary: SummaryDocument, target: str) -> dict[MetricKey, dict[float, RunValue]]:
    """Return the quantiles of a target, by metric and stratum.

    A key has the instant from which the metric is measured only if the metric is measured from several instants.
    """
    metrics = (*summary.metrics, *summary.session_metrics)
    rows = [row for row in metrics if row.target == target and row.step == ALL]
    instants = Counter(metric for metric, _ in {(row.metric, row.measured_from or "") for row in rows})
    by_key = {}
    for row in rows:
        measured_from = (row.measured_from or "") if instants[row.metric] > 1 else ""
        quantiles = zip(QUANTILE_LEVELS, (row.p50, row.p90, row.p95, row.p99), strict=True)
        key = MetricKey(row.metric, Stratum(measured_from, row.turn_type or ""))
        by_key[key] = {p: RunValue.of_summary(row, quantile) for p, quantile in quantiles}
    return by_key


def _rates(summary: SummaryDocument, target: str) -> Iterable[tuple[str, RunValue]]:
    outcomes = summary.outcomes.get(target)
    if outcomes and not math.isnan(outcomes.failure_rate):
        low, high = outcomes.failure_rate_low, outcomes.failure_rate_high
        yield "failure_rate", RunValue(outcomes.failure_rate, low, high, n=outcomes.turns_planned)
        throttled, ended = limited(outcomes.turns)
        if ended:
            yield "throttle_rate", RunValue(throttled / ended, n=ended)
    for counts in summary.counts:
        if counts.target == target and counts.replies:
            yield "stall_rate", RunValue(counts.stalled / counts.replies, n=counts.replies)
    for rate in summary.rates:
        if rate.target == target:
            unit: Counted = "word" if RATES[rate.rate].words_column else "turn"
            lack = too_few_to_print(unit, MIN_RATE_UNITS, rate.total) if math.isnan(rate.value) else None
            ends = (math.nan, math.nan) if lack else (rate.low, rate.high)
            yield rate.rate, RunValue(rate.value, *ends, n=rate.total, missing=lack)


def stored_points(folder: Path) -> tuple[list[TrendPoint], list[str]]:
    """Return a point for each stored baseline in a folder. Also return why some files were left out."""
    stored, notices = [], []
    for path in sorted(folder.glob("*/*/*.json")):
        try:
            stored.append(StoredBaseline(path, read_file(path)))
        except UsageError as error:
            notices.append(escape_control(str(error)))
    once, left_out = without_duplicates(stored)
    return [point_of_baseline(run.baseline) for run in once], [*notices, *left_out]


def point_of_baseline(baseline: Baseline) -> TrendPoint:
    """Return the point of a stored baseline. It is always valid, because only valid runs are stored."""
    return TrendPoint(
        run_id=baseline.run_id,
        name=escape_control(baseline.run_id),
        started_utc_ns=baseline.started_utc_ns,
        scenario=escape_control(baseline.scenario),
        target=escape_control(baseline.target),
        validity="valid",
        excluded=(),
        labels=_escaped(baseline.labels),
        conditions=_escaped(baseline.conditions) | {"simulated": "yes" if baseline.simulated else "no"},
        quantiles={
            MetricKey(row.metric, row.stratum): {p: RunValue.of_baseline(row, p) for p in QUANTILE_LEVELS}
            for row in baseline.quantiles
        },
        rates={rate.name: RunValue(rate.share, variance=rate.variance or 0.0, n=rate.n) for rate in baseline.rates},
    )


def _safe(reason: Reason) -> Reason:
    """Return the reason with texts that are safe to print."""
    return Reason(reason.code, _safe_value(reason.numbers))


def _safe_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _safe_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_safe_value(item) for item in value]
    return escape_control(value) if isinstance(value, str) else value


def _escaped(texts: Mapping[str, str]) -> dict[str, str]:
    return {escape_control(key): escape_control(value) for key, value in texts.items()}
