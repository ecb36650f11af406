"""A run as entries of a history, by run.json and summary.json alone: no row is read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from bench.errors import UsageError
from bench.foreign import JsonError, read_file, read_json
from bench.outcomes import is_throttled
from bench.plain import printable
from reports.gate.conditions import conditions
from reports.histories.entry import SHOWN, Entry, Of, Told, missing
from reports.labels import labels_of
from reports.numbers import NBSP, count, percent, plural
from reports.runs import document_of
from reports.statistics.changes import variance_of
from reports.strata import Stratum
from reports.summary.arms import FAIR
from reports.summary.events import ALL
from reports.summary.verdict import verdict_of

OLDER = "an older version left out turns that never began: `rtbench report` writes it anew"


class _Quantile(msgspec.Struct):
    value: float | None = None
    low: float | None = None
    high: float | None = None
    censored: bool = False
    published: bool = False
    status: str = ""
    needs: int | None = None


class _Figures(msgspec.Struct):
    measure: str
    target: str
    step: str
    n: int
    p50: _Quantile
    p90: _Quantile
    p95: _Quantile
    p99: _Quantile
    origin: str | None = None
    traits: str | None = None
    inexact: str | None = None
    reached: float | None = None


class _Outcomes(msgspec.Struct):
    turns: dict[str, int]
    sessions: dict[str, int]
    turns_begun: int
    sessions_begun: int
    turns_wanted: int
    failures: float | None
    lost_turns: int = 0
    failures_low: float | None = None
    failures_high: float | None = None


class _Replies(msgspec.Struct):
    target: str
    replies: int
    stalled: int


class _Rate(msgspec.Struct):
    rate: str
    target: str
    of: int
    value: float | None = None
    low: float | None = None
    high: float | None = None


class _Summary(msgspec.Struct):
    """What is read of summary.json; older versions have no `rates`."""

    scenario: str
    targets: list[str]
    outcomes: dict[str, _Outcomes]
    turn_measures: list[_Figures]
    session_measures: list[_Figures]
    counts: list[_Replies]
    arms: list[dict[str, Any]]
    rates: list[_Rate] = []


def entries_of(folder: Path) -> list[Entry]:
    """Each target of a run. Raises UsageError where the folder is no run, or has no summary."""
    document, summary = document_of(folder), _summary(folder)
    verdict, report = verdict_of(document), folder / "report.html"
    unfit = "" if verdict.valid else f"{verdict.word}: {printable(verdict.reason)}"
    return [
        Entry(
            run_id=str(document.get("run_id") or folder.name),
            name=printable(folder.resolve().name),
            began_utc_ns=int(document.get("began_utc_ns") or 0),
            scenario=printable(summary.scenario),
            target=printable(target),
            word=verdict.word,
            unfit=unfit or _throttled(summary.outcomes.get(target)),
            labels=labels_of(document),
            conditions=conditions(
                document, printable(target), _facts(summary, target), simulated=bool(document.get("simulated"))
            ),
            quantiles=_quantiles(summary, target),
            rates=_rates(summary, target),
            report=report if report.exists() else None,
        )
        for target in summary.targets
    ]


def _summary(folder: Path) -> _Summary:
    path = folder / "summary.json"
    try:
        return cast(_Summary, read_json(read_file(path), _Summary))
    except FileNotFoundError:
        raise UsageError(f"{folder} has no summary.json: run `rtbench report {folder}` to write it") from None
    except (OSError, JsonError) as error:
        raise UsageError(f"{path} cannot be read ({error}): run `rtbench report {folder}` to write it anew") from None


def _facts(summary: _Summary, target: str) -> dict[str, str]:
    told = next((arm for arm in summary.arms if arm.get("target") == target), {})
    return {fact: printable(str(told.get(fact) or "")) for fact in ("model", "region", "voice")}


def _throttled(outcomes: _Outcomes | None) -> str:
    share = _throttled_share(outcomes) if outcomes else 0.0
    return f"{percent(share, 1)} was throttled, the limit is 1{NBSP}%" if share > FAIR else ""


def _throttled_share(outcomes: _Outcomes) -> float:
    """Of its turns, or of its sessions where that is more."""
    both = ((outcomes.turns, outcomes.turns_begun), (outcomes.sessions, outcomes.sessions_begun))
    return max(_limited(endings) / begun if begun else 0.0 for endings, begun in both)


def _limited(endings: Mapping[str, int]) -> int:
    return sum(n for outcome, n in endings.items() if is_throttled(outcome))


def _quantiles(summary: _Summary, target: str) -> dict[Of, dict[float, Told]]:
    """By measure and turns; without what latency counts from where all turns of a measure count from one instant."""
    mine = [
        row for row in (*summary.turn_measures, *summary.session_measures) if row.target == target and row.step == ALL
    ]
    origins: dict[str, set[str]] = {}
    for row in mine:
        origins.setdefault(row.measure, set()).add(row.origin or "")
    lost = outcomes.lost_turns if (outcomes := summary.outcomes.get(target)) else 0
    found = {}
    for row in mine:
        origin = (row.origin or "") if len(origins[row.measure]) > 1 else ""
        cells = zip(SHOWN, (row.p50, row.p90, row.p95, row.p99), strict=True)
        found[Of(row.measure, Stratum(origin, row.traits or ""))] = {
            p: missing(OLDER, row.n) if lost and row.reached is None else _told(row, one) for p, one in cells
        }
    return found


def _told(row: _Figures, one: _Quantile) -> Told:
    if row.inexact:
        return missing(printable(row.inexact), row.n)
    if one.censored:
        return Told(math.inf, n=row.n)
    if not one.published or one.value is None:
        return missing(_lacking(one), row.n)
    low, high = (-math.inf if one.low is None else one.low), (math.inf if one.high is None else one.high)
    return Told(one.value, low, high, variance_of(low, one.value, high), row.n)


def _lacking(one: _Quantile) -> str:
    if one.needs:
        return f"needs {count(one.needs)} {'turns' if one.status == 'too few turns' else 'sessions'}"
    return "the interval reaches into the failed turns" if one.status == "open" else "too few turns"


def _rates(summary: _Summary, target: str) -> dict[str, Told]:
    return dict(_each_rate(summary, target))


def _each_rate(summary: _Summary, target: str) -> Iterable[tuple[str, Told]]:
    if (outcomes := summary.outcomes.get(target)) and outcomes.failures is not None:
        low, high = _known(outcomes.failures_low), _known(outcomes.failures_high)
        yield "failures", Told(outcomes.failures, low, high, n=outcomes.turns_wanted)
        if outcomes.turns_begun:
            yield "throttled", Told(_limited(outcomes.turns) / outcomes.turns_begun, n=outcomes.turns_begun)
    for counts in summary.counts:
        if counts.target == target and counts.replies:
            yield "stalled", Told(counts.stalled / counts.replies, n=counts.replies)
    for rate in summary.rates:
        if rate.target == target:
            yield rate.rate, _rate(rate)


def _rate(rate: _Rate) -> Told:
    if rate.value is None:
        return missing(f"too few: {plural(rate.of, 'turn')}", rate.of)
    return Told(rate.value, _known(rate.low), _known(rate.high), n=rate.of)


def _known(end: float | None) -> float:
    return math.nan if end is None else end
