"""summary.json, as `reports.text.document` writes it."""

from __future__ import annotations

from reports.schemas.run import INEXACT, PRICES, RULE
from reports.schemas.shapes import (
    ANYTHING,
    COUNT,
    FLAG,
    NUMBER,
    TEXT,
    WHOLE,
    Schema,
    by_name,
    document,
    each,
    many,
    maybe,
    one_of,
    record,
    said,
)

SUMMARY_VERSION = 3
SOME = maybe(NUMBER)
NAME = maybe(TEXT)
QUANTILE = said(
    record(
        {
            **each(("value", "low", "high", "deff", "successes"), SOME),
            **each(("censored", "published"), FLAG),
            "status": one_of("published", "failed share", "too few turns", "too few sessions", "open"),
            "needs": maybe(COUNT),
        }
    ),
    "null where it is not published, or lies among failed turns (censored); what is not published must not be compared",
)
FIGURES = {
    **each(("measure", "unit", "target", "step"), TEXT),
    "origin": maybe(one_of("requested", "speech_end")),
    **each(("n", "failed", "censored"), COUNT),
    **each(("p50", "p90", "p95", "p99"), {"$ref": "#/$defs/quantile"}),
    **each(("min", "max"), SOME),
}
LATER = {"inexact": said(NAME, "why the figure is not exact in this run; null where it is")}
ANSWER = record(each(("turns", "sessions", "turns_failed", "lost_turns", "turns_wanted"), COUNT) | FIGURES, LATER)
DISTRIBUTION = record(
    {
        **each(("measure", "unit", "target", "step"), TEXT),
        **each(("n", "out_of_range", "negative"), COUNT),
        **each(("p50", "p90", "p95", "p99", "max"), SOME),
    }
)
SEGMENTS = {
    **each(("target", "step"), TEXT),
    "turns": COUNT,
    "total_ns": WHOLE,
    "mean_ms": SOME,
    "segments": many(record(each(("from", "to", "name"), TEXT) | {"total_ns": WHOLE, "mean_ms": SOME})),
}
WHOSE = {"measure": TEXT, "origin": NAME, "target": TEXT}
SPREAD = said(
    record(WHOSE | each(("sigma", "icc", "deff50", "deff95"), SOME)),
    "sigma: sd of the log of successful waits; icc: the share of its square between sessions; design effects",
)
DRIFT = said(
    record(WHOSE | {"suspected": FLAG} | each(("ratio", "low", "high"), SOME)),
    "median of the second half of the measured phase over that of the first, with its 99 % interval; null: open",
)
STOP = {
    **each(("n", "failed"), COUNT),
    "p50": record(each(("value", "low", "high"), SOME) | {"published": FLAG}),
    "p95_ms": said(SOME, "null where fewer than four turns lie beyond it, or where it lies among failed turns"),
}
COUNTS = record(
    {"target": TEXT}
    | each(("replies", "stalled", "noticed", "early", "split", "splits", "watched", "resent", "with_resent"), COUNT)
)
THROUGHPUT = record(
    {**each(("measure", "target"), TEXT), "total_bytes": COUNT, "mean_bytes_per_s": SOME}
    | each(("per_second", "per_session"), {"$ref": "#/$defs/distribution"})
)
OUTCOMES = record(
    {
        **each(("turns", "sessions"), by_name(COUNT)),
        "said": by_name(TEXT),
        **each(("turns_begun", "turns_failed", "turns_censored", "lost_turns", "turns_wanted"), COUNT),
        **each(("sessions_begun", "sessions_with_failure"), COUNT),
        "failures": SOME,
    }
)
TOKENS = by_name(COUNT)
COST = record(
    {
        "target": TEXT,
        **each(("usd", "usd_per_turn", "usd_per_session", "usd_per_minute", "stray_usd", "minutes"), SOME),
        **each(("turns", "turns_priced", "turns_without_usage", "stray_sessions"), COUNT),
        "models": many(
            record({"model": TEXT, "turns": COUNT, "source": NAME, "tokens": TOKENS, "stray_tokens": TOKENS}
                   | {"prices": maybe(PRICES)})
        ),
    }
)  # fmt: skip
MONEY = record(
    {
        **each(("usd", "stray_usd", "budget_usd"), SOME),
        **each(("turns", "turns_priced", "turns_without_usage", "stray_sessions"), COUNT),
        "models_without_price": many(TEXT),
        "prices": record({"name": NAME, "as_of": NAME}),
        "estimate_usd": maybe(many(NUMBER)),
        "input_transcription_apart": FLAG,
        "targets": many(COST),
    }
)
LIMITS = record(
    {
        "target": TEXT,
        **each(("throttled_turns", "throttled_sessions", "waits_asked"), COUNT),
        **each(("wait_p50_s", "wait_max_s", "held_s"), SOME),
        "least_remaining": by_name(SOME),
    }
)
SLOW = record(
    {
        **each(("measure", "target", "step", "session"), TEXT),
        **each(("origin", "service_session", "response", "request", "region", "event_log"), NAME),
        "turn": COUNT,
        "at_s": NUMBER,
        **each(("value_ms", "ttfa_ms", "voice_to_voice_ms", "created_ms", "network_rtt_ms"), SOME),
        "retransmits": maybe(COUNT),
    }
)
SETUP = record(
    {
        **each(("jitter_buffers_ms", "vad_chunks_ms"), many(NUMBER)),
        "packetisation": NAME,
        "detections": many(by_name(ANYTHING)),
    }
)
DIFFERENCE = record(
    {"measure": TEXT, "origin": NAME, "p": NUMBER, "against": TEXT, "ratios": by_name(SOME)},
)
SUMMARY = {
    "schema": {"const": SUMMARY_VERSION},
    "definitions": said({"type": "integer", "minimum": 1}, "version of the measures' definitions"),
    **each(("run_id", "scenario", "state"), NAME),
    "labels": said(by_name(TEXT), "what --label says of the run"),
    "simulated": FLAG,
    "began_utc_ns": WHOLE,
    **each(("length_s", "warmup_s"), SOME),
    "verdict": record({"valid": maybe(FLAG), "reason": TEXT, "rules": many(RULE)}, {"inexact": many(INEXACT)}),
    "targets": many(TEXT),
    "main": said(TEXT, "the measure that a caller waits for"),
    "mains": said(by_name(TEXT), "the same by what latency counts from"),
    "setup": SETUP,
    **each(("answers", "heard", "read"), many(ANSWER)),
    **each(("turn_measures", "session_measures"), many(record(FIGURES, LATER))),
    "segments": many(record(SEGMENTS)),
    "segments_around": said(
        many(record({"p": NUMBER} | SEGMENTS)), "of the turns around this percentile of voice_to_voice"
    ),
    "spread": many(SPREAD),
    "drift": many(DRIFT),
    "by_turn": many(record(WHOSE | {"turn": COUNT, "and_later": FLAG} | STOP)),
    "by_age": said(
        many(record(WHOSE | each(("from_s", "to_s"), NUMBER) | STOP)), "by the age of the session as the turn began"
    ),
    "counts": many(COUNTS),
    **each(("event_measures", "harness"), many({"$ref": "#/$defs/distribution"})),
    "throughput": many(THROUGHPUT),
    "outcomes": by_name(OUTCOMES),
    "arms": many(record({"target": TEXT}) | {"additionalProperties": NAME}),
    "interleaving": maybe(
        record(each(("arms", "pairs", "cut", "blocks", "unopened"), COUNT) | {"apart_ms": NUMBER})
    ),
    "differences": many(DIFFERENCE),
    "money": MONEY,
    "limits": many(LIMITS),
    "incidents": many(record({"at_s": NUMBER, "worker": COUNT, "kind": TEXT, "text": TEXT})),
    "incident_counts": by_name(COUNT),
    "slowest": many(SLOW),
    "notices": many(TEXT),
}  # fmt: skip


def summary_schema() -> Schema:
    """summary.json."""
    defs = {"$defs": {"quantile": QUANTILE, "distribution": DISTRIBUTION}}
    return document("summary", "summary.json of a run folder of Realtime Bench", record(SUMMARY) | defs)
