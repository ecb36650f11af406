"""A point of a trend: the values of one target of one run, from the run's summary or from a
stored baseline.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec

from bench.base.errors import UsageError
from bench.catalogue.metrics import CATALOGUE
from bench.files import safe_io
from bench.files.safe_io import JsonError, read_json
from bench.files.sanitize import escape_control
from bench.record.document import ValidityStatus
from reports.analysis.check.baselines import StoredBaseline, read_file
from reports.analysis.check.stored_runs import without_duplicates
from reports.analysis.summary.metrics import ALL, MetricSummary
from reports.analysis.summary.outcomes import limited
from reports.analysis.summary.run_validity import TITLES, invalid_reasons, validity_of
from reports.analysis.summary.summary import SUMMARY_VERSION, ValuesOfTargets, summarise
from reports.analysis.summary.targets import FAIR, TargetFacts
from reports.analysis.targets.conditions import conditions_in
from reports.data.runs import RunFrames, document_of, labels_of
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.rate_metrics import MIN_RATE_UNITS, RATES
from reports.metrics.stored import PS, Baseline, StoredQuantiles
from reports.metrics.strata import NO_STRATUM, Stratum
from reports.results.json_entries import (
    Count,
    JsonEntry,
    Number,
    Rounded,
    map_values,
    read_document,
)
from reports.results.value import LEVELS, Counted, Reason, Reasons, some_unscored, too_few_to_print
from reports.statistics.change_points import variance_of
from reports.statistics.distributions import stdtrit
from reports.statistics.quantiles import QuantileEstimate, shortfall


class MetricKey(NamedTuple):
    """A metric and the stratum of its turns."""

    metric: str
    stratum: Stratum


class RunValue(JsonEntry):
    """A value of one run with its 95 % interval, in the unit of the metric; null if it is
    missing.
    """

    value: Rounded = math.nan
    """null also if infinite because too many turns failed"""
    low: Rounded = math.nan
    high: Rounded = math.nan
    variance: Number = 0.0
    """from the sessions of the run: of a rate itself, or of the log of another value; 0 if
    unknown"""
    n: Count = 0
    """turns"""
    missing: Reason | None = None
    """why there is no value"""
    in_failures: bool = False

    @classmethod
    def of_failures(cls, n: int) -> Self:
        """Return an infinite value: the quantile lies among failed turns."""
        return cls(math.inf, n=n, in_failures=True)

    @classmethod
    def of_summary(cls, row: MetricSummary, quantile: QuantileEstimate) -> Self:
        """Return the value of a quantile in a run's summary."""
        if row.uncertain:
            return cls(n=row.n, missing=map_values(row.uncertain, str, escape_control))
        if row.unscored:
            unit = "sessions" if CATALOGUE[row.metric].scope == "session" else "turns"
            lack = some_unscored(row.metric, row.unscored, row.planned, unit)
            return cls(n=row.n, missing=lack)
        if quantile.in_failures:
            return cls.of_failures(row.n)
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
        value = row.values[index]
        variance = row.variances[index] or 0.0
        if value is None:
            return cls.of_failures(row.n)
        if lack := shortfall(p, row.n, row.sessions):
            return cls(n=row.n, missing=lack)
        factor = math.exp(float(stdtrit(max(1, row.sessions - 1), 0.975)) * math.sqrt(variance))
        return cls(value, value / factor, value * factor, variance, row.n)


class TrendRun(JsonEntry, kw_only=True):
    """A run of a series."""

    run_id: str
    name: str
    """name of its folder; for a stored baseline, its id"""
    started_utc_ns: int
    validity: ValidityStatus
    excluded: Reasons
    """why it is not compared; empty if it is"""
    labels: dict[str, str]
    conditions: dict[str, str]
    """conditions of the measurement"""


class TrendPoint(TrendRun, kw_only=True):
    """One target of one run, with all of its values."""

    scenario: str
    target: str
    quantiles: Mapping[MetricKey, Mapping[float, RunValue]]
    rates: Mapping[str, RunValue]
    report: Path | None = None

    @property
    def simulated(self) -> bool:
        return self.conditions["simulated"] == "yes"

    @property
    def validity_title(self) -> str:
        """The verdict on the run: VALID, INVALID, NO VERDICT, or INVALID (throttled)."""
        return (
            "INVALID (throttled)"
            if self.validity == "valid" and self.excluded
            else TITLES[self.validity]
        )

    def value(self, spec: MetricSpec) -> RunValue:
        """Return the value of a metric in this run."""
        not_reported = RunValue(missing=Reason("not_reported"))
        if spec.p is None:
            return self.rates.get(spec.metric, not_reported)
        quantiles = self.quantiles.get(MetricKey(spec.metric, spec.stratum or NO_STRATUM), {})
        # if all turns of the run are of one kind, use these turns
        if not quantiles and spec.stratum is None:
            of_metric = [
                values for key, values in self.quantiles.items() if key.metric == spec.metric
            ]
            quantiles = of_metric[0] if len(of_metric) == 1 else {}
        return quantiles.get(spec.p, not_reported)


def points_of_run(run: Path | RunFrames) -> list[TrendPoint]:
    """Return a point for each target of a run.

    If the run is a folder, the values come from the summary in it. If the run is loaded, they are
    computed. Raise UsageError if the folder is not a run, or has no summary.
    """
    if isinstance(run, RunFrames):
        return _points(run.folder, run.metadata, summarise(run))
    return _points(run, document_of(run), read_summary(run))


UNCONNECTED = frozenset(
    {
        *(f"connect_failed:{stage}" for stage in ("dns", "tcp", "proxy", "tls", "token")),
        *(f"timeout:{stage}" for stage in ("dns", "tcp", "proxy", "tls", "upgrade")),
    }
)
"""The outcomes of sessions that received no response from the service.

If a run has no other sessions, whether it was simulated is unknown.
"""


def _points(folder: Path, document: dict[str, Any], summary: ValuesOfTargets) -> list[TrendPoint]:
    return [_point(folder, document, summary, target) for target in summary.targets]


def _point(
    folder: Path, document: dict[str, Any], summary: ValuesOfTargets, target: str
) -> TrendPoint:
    name = escape_control(target)
    verdict = validity_of(document)
    report = folder / "report.html"
    outcomes = summary.outcomes.get(target)
    throttled = outcomes.throttled if outcomes else 0.0
    excluded = map_values(invalid_reasons(document), str, escape_control)
    if verdict.status == "valid":
        excluded = [Reason("throttled", {"share": throttled})] if throttled > FAIR else []
    facts = next(
        (settings for settings in summary.target_settings if settings.target == target),
        TargetFacts(target=target),
    )
    displayed = {
        fact: escape_control(getattr(facts, fact) or "") for fact in ("model", "region", "voice")
    }
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
        excluded=tuple(excluded),
        labels=labels_of(document),
        conditions=conditions_in(document, name, facts, simulated=simulated),
        quantiles=_quantiles(summary, target),
        rates=dict(_rates(summary, target)),
        report=report if report.exists() else None,
    )


def read_summary(folder: Path) -> ValuesOfTargets:
    """Return the summary in a run's folder. Raise UsageError with the command that writes it if
    it cannot be read.
    """
    path = folder / "summary.json"
    command = f"run `rtbench report {folder}` to"
    try:
        content = safe_io.read_file(path)
    except FileNotFoundError:
        raise UsageError(f"{folder} has no summary.json: {command} write it") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error}): {command} rewrite it") from None
    try:
        return read_document(content, ValuesOfTargets)
    except JsonError as error:
        raise UsageError(
            f"{path} {_unreadable_because(content, error)}: {command} rewrite it"
        ) from None


def _unreadable_because(content: bytes, error: JsonError) -> str:
    with suppress(JsonError, AttributeError):
        version = read_json(content).get("schema")
        if isinstance(version, int) and version != SUMMARY_VERSION:
            return f"has format {version}, not {SUMMARY_VERSION}"
    return f"cannot be read ({error})"


def _quantiles(summary: ValuesOfTargets, target: str) -> dict[MetricKey, dict[float, RunValue]]:
    """Return the quantiles of a target, by metric and stratum.

    A key has the instant from which the metric is measured only if the metric is measured from
    several instants.
    """
    metrics = (*summary.turn_metrics, *summary.session_metrics)
    rows = [row for row in metrics if row.target == target and row.step == ALL]
    instants = Counter(
        metric for metric, _ in {(row.metric, row.measured_from or "") for row in rows}
    )
    by_key = {}
    for row in rows:
        measured_from = (row.measured_from or "") if instants[row.metric] > 1 else ""
        key = MetricKey(row.metric, Stratum(measured_from, row.turn_type or ""))
        by_key[key] = {quantile.p: RunValue.of_summary(row, quantile) for quantile in row.quantiles}
    return by_key


def _rates(summary: ValuesOfTargets, target: str) -> Iterable[tuple[str, RunValue]]:
    outcomes = summary.outcomes.get(target)
    if outcomes and not math.isnan(outcomes.failure_rate):
        low = outcomes.failure_rate_low
        high = outcomes.failure_rate_high
        yield "failure_rate", RunValue(outcomes.failure_rate, low, high, n=outcomes.turns_planned)
        throttled, ended = limited(outcomes.turns)
        if ended:
            yield "throttle_rate", RunValue(throttled / ended, n=ended)
    stalls = (value for value in summary.counts if value.metric == "stall_rate")
    for rate in (*stalls, *summary.rates):
        if rate.target != target:
            continue
        if rate.unscored:
            of = rate.n + rate.unscored
            unscored = some_unscored(rate.metric, rate.unscored, of, rate.unit)
            yield rate.metric, RunValue(n=rate.n, missing=unscored)
        elif rate.metric == "stall_rate":
            yield from [(rate.metric, RunValue(rate.value, n=rate.n))] if rate.n else []
        else:
            unit: Counted = "word" if RATES[rate.metric].words_column else "turn"
            lack = (
                too_few_to_print(unit, MIN_RATE_UNITS, rate.n) if math.isnan(rate.value) else None
            )
            yield rate.metric, RunValue(rate.value, rate.low, rate.high, n=rate.n, missing=lack)


def stored_points(folder: Path) -> tuple[list[TrendPoint], list[Reason]]:
    """Return a point for each stored baseline in a folder. Also return why some files were left
    out.
    """
    stored = list[StoredBaseline]()
    notices = list[Reason]()
    for path in sorted(folder.glob("*/*/*.json")):
        try:
            stored.append(StoredBaseline(path, read_file(path)))
        except UsageError as error:
            notices.append(Reason("run_notice", {"notice": escape_control(str(error))}))
    once, left_out = without_duplicates(stored)
    return [point_of_baseline(run.baseline) for run in once], [*notices, *left_out]


def point_of_baseline(baseline: Baseline) -> TrendPoint:
    """Return the point of a stored baseline. It is always valid, because only valid runs are
    stored.
    """
    labels, conditions = map_values((baseline.labels, baseline.conditions), str, escape_control)
    return TrendPoint(
        run_id=baseline.run_id,
        name=escape_control(baseline.run_id),
        started_utc_ns=baseline.started_utc_ns,
        scenario=escape_control(baseline.scenario),
        target=escape_control(baseline.target),
        validity="valid",
        excluded=(),
        labels=labels,
        conditions=conditions | {"simulated": "yes" if baseline.simulated else "no"},
        quantiles={
            MetricKey(row.metric, row.stratum): {
                p: RunValue.of_baseline(row, p) for p in LEVELS if p in PS
            }
            for row in baseline.quantiles
        },
        rates={
            rate.name: RunValue(rate.share, variance=rate.variance or 0.0, n=rate.n)
            for rate in baseline.rates
        },
    )
