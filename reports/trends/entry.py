"""A run of a history: what is read of it, from the summary that its report wrote or from a stored baseline."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
from scipy.special import stdtrit  # type: ignore[import-untyped, unused-ignore]

from bench.errors import UsageError
from bench.run.document import ValidityStatus
from bench.untrusted import safe_io
from bench.untrusted.safe_io import JsonError
from bench.untrusted.sanitize import escape_control
from reports.gate.baselines import PS, Baseline, Quantiles, StoredBaseline, read_file
from reports.gate.by_stored import each_once
from reports.numbers import NBSP, count, plural
from reports.question import Stratum
from reports.records import read_document
from reports.render.blocks import with_marker
from reports.runs import document_of, labels_of
from reports.sides.workload import conditions_in
from reports.statistics.changes import variance_of
from reports.statistics.quantiles import lack
from reports.summary.arms import FAIR, ArmFacts
from reports.summary.figures import ALL, Counts, TurnRate
from reports.summary.outcomes import limited, most_limited
from reports.summary.trust import WORDS, RunWord, validity_of
from reports.text.document import MetricEntry, Quantile, TargetOutcomes
from reports.wording.validity import over_the_limit, verdict_reason

SHOWN = (0.5, 0.9, 0.95, 0.99)
"""The quantiles that are in a run's summary and in a stored baseline."""


class FigureKey(NamedTuple):
    """Whose quantiles: a metric and the turns that it is of."""

    metric: str
    stratum: Stratum


@dataclass(frozen=True)
class RunFigure:
    """A figure of one run, in its unit; +inf among failed turns, NaN with `lacks`, which says why there is none.

    `low`, `high`: its 95 % interval, NaN where none is told. `variance`: of its log (of a rate: of the share) from the
    sessions of the run, as far as it is told. `n`: its turns.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    variance: float = 0.0
    n: int = 0
    lacks: str = ""


def missing(why: str, n: int = 0) -> RunFigure:
    """A figure that a run does not tell."""
    return RunFigure(math.nan, n=n, lacks=why)


@dataclass(frozen=True)
class Entry:
    """One target of one run. `why`: what makes its figures shown and not compared; empty where they are."""

    run_id: str
    name: str
    """the run's folder, or its id where there is none"""
    started_utc_ns: int
    scenario: str
    target: str
    validity: ValidityStatus
    why: str
    labels: Mapping[str, str]
    conditions: Mapping[str, str]
    quantiles: Mapping[FigureKey, Mapping[float, RunFigure]]
    rates: Mapping[str, RunFigure]
    report: Path | None = None

    @property
    def word(self) -> RunWord:
        return WORDS[self.validity]

    @property
    def simulated(self) -> bool:
        return self.conditions["simulated"] == "yes"

    @property
    def unfit(self) -> str:
        """INVALID: …: why its figures are shown and not compared; empty where they are."""
        return self.why if self.validity == "valid" else f"{self.word}: {self.why}"

    @property
    def use(self) -> str:
        """VALID, INVALID, NO VERDICT, INVALID (throttled): whether its figures may be used."""
        return "INVALID (throttled)" if self.validity == "valid" and self.unfit else self.word

    @property
    def mark(self) -> str:
        """✓ VALID: the same with its sign."""
        return with_marker(self.use).replace(" ", NBSP, 1)


class _Summary(msgspec.Struct):
    """The keys of summary.json that a history shows."""

    scenario: str
    targets: list[str]
    outcomes: dict[str, TargetOutcomes]
    turn_metrics: list[MetricEntry]
    session_metrics: list[MetricEntry]
    counts: list[Counts]
    target_settings: list[ArmFacts]
    rates: list[TurnRate]


def entries_of(folder: Path) -> list[Entry]:
    """Each target of a run. Raises UsageError where the folder is no run, or has no summary."""
    document, summary = document_of(folder), _summary(folder)
    verdict, report = validity_of(document), folder / "report.html"
    why = "" if verdict.status == "valid" else escape_control(verdict_reason(verdict))
    return [
        Entry(
            run_id=str(document.get("run_id") or escape_control(folder.name)),
            name=escape_control(folder.resolve().name),
            started_utc_ns=int(document.get("started_utc_ns") or 0),
            scenario=escape_control(summary.scenario),
            target=escape_control(target),
            validity=verdict.status,
            why=why or (_throttled(summary.outcomes.get(target)) if verdict.status == "valid" else ""),
            labels=labels_of(document),
            conditions=conditions_in(
                document, escape_control(target), _facts(summary, target), simulated=bool(document.get("simulated"))
            ),
            quantiles=_quantiles(summary, target),
            rates=dict(_each_rate(summary, target)),
            report=report if report.exists() else None,
        )
        for target in summary.targets
    ]


def _summary(folder: Path) -> _Summary:
    path = folder / "summary.json"
    try:
        return read_document(safe_io.read_file(path), _Summary)
    except FileNotFoundError:
        raise UsageError(f"{folder} has no summary.json: run `rtbench report {folder}` to write it") from None
    except (OSError, JsonError) as error:
        raise UsageError(f"{path} cannot be read ({error}): run `rtbench report {folder}` to write it anew") from None


def _facts(summary: _Summary, target: str) -> ArmFacts:
    told = next((arm for arm in summary.target_settings if arm.target == target), ArmFacts(target=target))
    shown = {fact: escape_control(getattr(told, fact) or "") for fact in ("model", "region", "voice")}
    return msgspec.structs.replace(told, **shown)


def _throttled(outcomes: TargetOutcomes | None) -> str:
    """3.1 % was throttled: of its turns, or of its sessions where that is more; empty below the limit."""
    if outcomes is None:
        return ""
    share = most_limited(outcomes.turns, outcomes.sessions)
    return over_the_limit(share) if share > FAIR else ""


def _quantiles(summary: _Summary, target: str) -> dict[FigureKey, dict[float, RunFigure]]:
    """By metric and turns; without what latency counts from where all turns of a metric count from one instant."""
    mine = [
        row for row in (*summary.turn_metrics, *summary.session_metrics) if row.target == target and row.step == ALL
    ]
    origins: dict[str, set[str]] = {}
    for row in mine:
        origins.setdefault(row.metric, set()).add(row.measured_from or "")
    found = {}
    for row in mine:
        measured_from = (row.measured_from or "") if len(origins[row.metric]) > 1 else ""
        cells = zip(SHOWN, (row.p50, row.p90, row.p95, row.p99), strict=True)
        key = FigureKey(row.metric, Stratum(measured_from, row.turn_type or ""))
        found[key] = {p: _told(row, one) for p, one in cells}
    return found


def _told(row: MetricEntry, one: Quantile) -> RunFigure:
    if row.uncertain_because:
        return missing(escape_control(row.uncertain_because), row.n)
    if one.in_failures:
        return RunFigure(math.inf, n=row.n)
    if not one.reported or math.isnan(one.value):
        lacking = "the interval is unbounded" if one.status == "unbounded" else "too few turns"
        if one.required:
            lacking = f"needs {count(one.required)} {'turns' if one.status == 'too_few_turns' else 'sessions'}"
        return missing(lacking, row.n)
    low, high = (-math.inf if math.isnan(one.low) else one.low), (math.inf if math.isnan(one.high) else one.high)
    return RunFigure(one.value, low, high, variance_of(low, one.value, high), row.n)


def _each_rate(summary: _Summary, target: str) -> Iterable[tuple[str, RunFigure]]:
    if (outcomes := summary.outcomes.get(target)) and not math.isnan(outcomes.failure_rate):
        yield (
            "failure_rate",
            RunFigure(
                outcomes.failure_rate, outcomes.failure_rate_low, outcomes.failure_rate_high, n=outcomes.turns_planned
            ),
        )
        throttled, ended = limited(outcomes.turns)
        if ended:
            yield "throttle_rate", RunFigure(throttled / ended, n=ended)
    for counts in summary.counts:
        if counts.target == target and counts.replies:
            yield "stall_rate", RunFigure(counts.stalled / counts.replies, n=counts.replies)
    for rate in summary.rates:
        if rate.target == target:
            few = math.isnan(rate.value)
            told = missing(f"too few: {plural(rate.total, 'turn')}", rate.total)
            yield rate.rate, told if few else RunFigure(rate.value, rate.low, rate.high, n=rate.total)


TAIL = 0.975


def stored_in(folder: Path) -> tuple[list[Entry], list[str]]:
    """The stored baselines of a folder, and why files that look like some are left out."""
    kept, notices = [], []
    for path in sorted(folder.glob("*/*/*.json")):
        try:
            kept.append(StoredBaseline(path, read_file(path)))
        except UsageError as problem:
            notices.append(escape_control(str(problem)))
    once, left_out = each_once(kept)
    return [entry_of(one.baseline) for one in once], [*notices, *left_out]


def entry_of(baseline: Baseline) -> Entry:
    """What is stored are good runs alone, so it may be used."""
    return Entry(
        run_id=baseline.run_id,
        name=escape_control(baseline.run_id),
        started_utc_ns=baseline.started_utc_ns,
        scenario=escape_control(baseline.scenario),
        target=escape_control(baseline.target),
        validity="valid",
        why="",
        labels={escape_control(key): escape_control(value) for key, value in baseline.labels.items()},
        conditions={escape_control(key): escape_control(value) for key, value in baseline.conditions.items()}
        | {"simulated": "yes" if baseline.simulated else "no"},
        quantiles={FigureKey(row.metric, row.stratum): dict(_of_stored_quantiles(row)) for row in baseline.quantiles},
        rates={rate.name: RunFigure(rate.share, variance=rate.variance or 0.0, n=rate.n) for rate in baseline.rates},
    )


def _of_stored_quantiles(row: Quantiles) -> Iterable[tuple[float, RunFigure]]:
    """With the interval that the stored variance gives: q · exp(∓ t · SE)."""
    for p in SHOWN:
        place = PS.index(p)
        value, variance = row.values[place], row.variances[place]
        if value is None:
            yield p, RunFigure(math.inf, n=row.n)
        elif few := lack(p, row.n, row.sessions):
            yield p, missing(f"needs {few.needs:,} {few.of}", row.n)
        else:
            times = math.exp(float(stdtrit(max(1, row.sessions - 1), TAIL)) * math.sqrt(variance or 0.0))
            yield p, RunFigure(value, value / times, value * times, variance or 0.0, row.n)
