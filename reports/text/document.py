"""summary.json: the summary for programs. Versioned; times in ms, rates in B/s; what does not exist is null."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from bench.measures import DEFINITIONS_VERSION
from reports.schemas.summary import SUMMARY_VERSION
from reports.statistics.quantiles import Estimate, quantile
from reports.summary.events import Distribution
from reports.summary.figures import Figures
from reports.summary.money import Cost, Money
from reports.summary.outcomes import Ending
from reports.summary.quota import Throttling
from reports.summary.segments import Breakdown
from reports.summary.slowest import Slow
from reports.summary.summary import CallerWait, Summary
from reports.text import scattered


def as_json(summary: Summary) -> str:
    """The file's text."""
    return json.dumps(as_data(summary), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def as_data(summary: Summary) -> dict[str, Any]:
    """The summary as lists, dictionaries, strings and numbers.

    A quantile is {"value", "low", "high", "published", "censored"}: `censored` where it lies among failed turns, its
    value null; `low` and `high` null where the interval is open. What is not published must not be compared.
    """
    document, window = summary.run.document, summary.window
    return {
        "schema": SUMMARY_VERSION,
        "definitions": document.get("definitions") or DEFINITIONS_VERSION,
        "run_id": document.get("run_id"),
        "scenario": summary.scenario,
        "labels": summary.labels,
        "simulated": summary.simulated,
        "state": document.get("state"),
        "began_utc_ns": window.began_utc_ns,
        "length_s": window.length_s,
        "warmup_s": window.warmup_s,
        "verdict": _verdict(summary),
        "targets": list(summary.targets),
        "main": summary.main,
        "mains": summary.mains,
        "setup": {
            "jitter_buffers_ms": list(summary.setup.jitter_buffers_ms),
            "vad_chunks_ms": list(summary.setup.vad_chunks_ms),
            "packetisation": summary.setup.packetisation or None,
            "detections": list(summary.setup.detections),
        },
        "answers": [_answer(answer) for answer in summary.answers],
        "heard": [_answer(answer) for answer in summary.heard],
        "read": [_answer(answer) for answer in summary.read],
        "turn_measures": [_figures(figures) for figures in summary.measures],
        "segments": [_breakdown(row, summary) for row in summary.breakdowns],
        "segments_around": [{"p": row.around} | _breakdown(row, summary) for row in summary.bands],
        **scattered.as_data(summary),
        "counts": [dict(vars(counts)) for counts in summary.counts],
        "session_measures": [_figures(figures) for figures in summary.connecting],
        "event_measures": [_distribution(one) for one in summary.events],
        "harness": [_distribution(one) for one in summary.harness],
        "throughput": [
            {"measure": t.measure, "target": t.target, "total_bytes": t.total_bytes}
            | {"mean_bytes_per_s": _finite(t.mean_bytes_per_s)}
            | {"per_second": _distribution(t.per_second), "per_session": _distribution(t.per_session)}
            for t in summary.throughput
        ],
        "outcomes": _outcomes(summary),
        "arms": [
            {"target": arm.target} | {_key(fact): text or None for fact, text in arm.facts.items()}
            for arm in summary.arms
        ],
        "interleaving": dict(vars(summary.interleaving)) if summary.interleaving else None,
        "differences": [
            {"measure": one.measure, "origin": one.origin or None, "p": one.p, "against": one.targets[0]}
            | {"ratios": {name: _finite(ratio) for name, ratio in zip(one.targets, one.ratios, strict=True)}}
            for one in summary.differences
        ],
        "money": _money(summary.money),
        "limits": [_limits(one) for one in summary.quota.targets],
        "incidents": [dict(vars(one)) for one in summary.incidents.kept],
        "incident_counts": dict(summary.incidents.counts),
        "slowest": [_slow(slow) for slow in summary.slowest],
        "notices": list(summary.notices),
    }


def _verdict(summary: Summary) -> dict[str, Any]:
    verdict = summary.verdict
    rules = [{**vars(rule), "figure": _known(rule.figure), "limit": _known(rule.limit)} for rule in verdict.rules]
    inexact = [dict(vars(one)) for one in summary.run.inexact]
    return {"valid": verdict.valid, "reason": verdict.reason, "rules": rules, "inexact": inexact}


def _answer(answer: CallerWait) -> dict[str, Any]:
    counted = {"turns": answer.turns, "sessions": answer.sessions, "turns_failed": answer.failed}
    wanted = {"lost_turns": answer.lost, "turns_wanted": answer.wanted}
    return {"target": answer.target} | counted | wanted | _figures(answer.figures)


def _breakdown(row: Breakdown, summary: Summary) -> dict[str, Any]:
    """Sums in integer ns, which add up exactly, and means in ms."""
    return {
        "target": summary.targets[row.target],
        "step": row.step,
        "turns": row.turns,
        "total_ns": row.total_ns,
        "mean_ms": _finite(row.mean_ms()),
        "segments": [
            {"from": segment.begin, "to": segment.end, "name": segment.name, "total_ns": segment.total_ns}
            | {"mean_ms": _finite(row.mean_ms(segment))}
            for segment in row.segments
        ],
    }


def _key(fact: str) -> str:
    return fact.replace(" ", "_").replace("-", "_")


def _money(found: Money) -> dict[str, Any]:
    """Amounts in USD, null where nothing has a price."""
    return {
        "usd": _finite(found.usd),
        "turns": found.turns,
        "turns_priced": found.priced,
        "turns_without_usage": found.silent,
        "stray_usd": _finite(found.stray_usd),
        "stray_sessions": found.stray_sessions,
        "models_without_price": list(found.unpriced),
        "prices": {"name": found.table or None, "as_of": found.as_of or None},
        "budget_usd": found.budget_usd,
        "estimate_usd": list(found.estimate_usd) if found.estimate_usd else None,
        "input_transcription_apart": found.transcribed,
        "targets": [_cost(cost) for cost in found.costs],
    }


def _cost(cost: Cost) -> dict[str, Any]:
    return {
        "target": cost.target,
        "usd": _finite(cost.usd),
        "usd_per_turn": _finite(cost.per_turn),
        "usd_per_session": _finite(cost.per_session),
        "usd_per_minute": _finite(cost.per_minute),
        "turns": cost.turns,
        "turns_priced": cost.priced,
        "turns_without_usage": cost.silent,
        "stray_usd": _finite(cost.stray_usd),
        "stray_sessions": cost.stray_sessions,
        "minutes": _finite(cost.minutes),
        "models": [
            {"model": charge.model, "turns": charge.turns, "source": charge.source or None}
            | {"tokens": dict(charge.tokens), "stray_tokens": dict(charge.stray)}
            | {"prices": vars(charge.prices) if charge.prices else None}
            for charge in cost.charges
        ],
    }


def _limits(one: Throttling) -> dict[str, Any]:
    waits_s = np.array(one.waits_s)
    return {
        "target": one.target,
        "throttled_turns": one.turns,
        "throttled_sessions": one.sessions,
        "waits_asked": len(one.waits_s),
        "wait_p50_s": _finite(quantile(waits_s, 0.5)) if waits_s.size else None,
        "wait_max_s": _finite(waits_s[-1]) if waits_s.size else None,
        "held_s": _finite(one.held_s),
        "least_remaining": {part.limit: _finite(float(part.share.min())) for part in one.remaining},
    }


def _slow(slow: Slow) -> dict[str, Any]:
    """Times in ms; a name that is not known is null."""
    known = {name: value for name, value in vars(slow).items() if name != "colour"}
    times = {
        f"{name}_ms": _finite(known.pop(name)) for name in ("value", "ttfa", "voice_to_voice", "created", "network_rtt")
    }
    resent = None if math.isnan(slow.retransmits) else int(slow.retransmits)
    return {name: value if value != "" else None for name, value in known.items()} | times | {"retransmits": resent}


def _figures(figures: Figures) -> dict[str, Any]:
    return {
        "measure": figures.measure,
        "unit": figures.unit,
        "target": figures.target,
        "origin": figures.origin or None,
        "step": figures.step,
        "n": figures.n,
        "failed": figures.failed,
        "censored": figures.censored,
        **{_name(e.p): _estimate(e, good) for e, good in zip(figures.quantiles, figures.successes, strict=True)},
        "min": _finite(figures.low),
        "max": _finite(figures.high),
        "inexact": figures.inexact or None,
    }


def _name(p: float) -> str:
    return f"p{p * 100:g}"


def _estimate(estimate: Estimate, successes: float) -> dict[str, Any]:
    return {
        "value": _finite(estimate.value) if estimate.published else None,
        "low": _finite(estimate.low) if estimate.published else None,
        "high": _finite(estimate.high) if estimate.published else None,
        "deff": _finite(estimate.deff),
        "censored": estimate.value == math.inf,
        "published": estimate.published,
        "status": estimate.status,
        "needs": estimate.needs or None,
        "successes": _finite(successes),
    }


def _distribution(one: Distribution) -> dict[str, Any]:
    names = {"measure": one.measure, "unit": one.unit, "target": one.target, "step": one.step, "n": one.n}
    values = {"p50": one.p50, "p90": one.p90, "p95": one.p95, "p99": one.p99, "max": one.high}
    beside = {"out_of_range": one.out_of_range, "negative": one.negative}
    return names | {name: _finite(value) for name, value in values.items()} | beside


def _outcomes(summary: Summary) -> dict[str, Any]:
    found = summary.outcomes
    return {
        label: {
            "turns": _endings(found.turns, i),
            "sessions": _endings(found.sessions, i),
            "said": {e.outcome: e.said for e in (*found.turns, *found.sessions) if e.said and e.counts[i]},
            "turns_begun": found.begun[i],
            "turns_failed": found.failed[i],
            "turns_censored": found.censored[i],
            "lost_turns": found.lost[i],
            "turns_wanted": found.wanted[i],
            "failures": _finite(found.failures(i)),
            "sessions_begun": found.opened[i],
            "sessions_with_failure": found.with_failure[i],
        }
        for i, label in enumerate(summary.targets)
    }


def _endings(endings: tuple[Ending, ...], target: int) -> dict[str, int]:
    return {ending.outcome: ending.counts[target] for ending in endings if ending.counts[target]}


def _finite(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _known(value: float | None) -> float | None:
    return None if value is None else _finite(value)
