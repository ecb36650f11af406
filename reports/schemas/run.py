"""run.json, as `docs/run-folder.md` describes it: versions 1 to 3, of runs under way and closed ones."""

from __future__ import annotations

from bench.run.folder import SCHEMA_VERSION
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

PRICES = record(each(("text_in", "text_cached", "text_out", "audio_in", "audio_cached", "audio_out"), NUMBER))
TARGET = record(
    {"label": TEXT, "url": TEXT, "dialect": one_of("ga", "preview"), "service": TEXT, "loopback": FLAG},
    {
        **each(("region", "auth", "proxy", "address", "model", "variant_of"), maybe(TEXT)),
        "deflate": FLAG,
        "connects_per_min": maybe(NUMBER),
        "prices": maybe(PRICES),
        "session": by_name(ANYTHING),
    },
)
SCRIPT = record(
    {
        **each(("name", "scenario", "digest"), TEXT),
        "turns": COUNT,
        "chunk_ms": maybe(NUMBER),
        "output": one_of("audio", "text"),
        "limits": by_name(NUMBER),
    },
    {
        **each(("target", "dialect", "input_format", "output_format"), TEXT),
        "turn_detection": one_of("none", "server_vad", "semantic_vad"),
        "detection": maybe(by_name(ANYTHING)),
        "extra": by_name(ANYTHING),
        **each(("jitter_buffer_ms", "background_snr_db"), maybe(NUMBER)),
        "variables": maybe(COUNT),
    },
)
CALIBRATION = record(
    {
        "date": TEXT,
        "kind": one_of("listening", "talking"),
        **each(("sessions", "exact_sessions"), COUNT),
        "events_per_s": NUMBER,
        "tls": FLAG,
        "file": TEXT,
        "stale": many(TEXT),
    },
    {"ended": TEXT},
)
RULE = record(
    {
        **each(("rule", "name", "measure", "note", "remedy", "unit"), TEXT),
        **each(("figure", "limit"), maybe(NUMBER)),
        "passed": maybe(FLAG),
    }
)
INEXACT = said(
    record({**each(("target", "measure", "unit"), TEXT), "figure": maybe(NUMBER), "limit": NUMBER}),
    "a measure that is not exact in this run: p99 of its bound is over the limit; null: the bound has no end",
)
TOTALS = record(
    {
        **each(("sessions", "turns", "unknown_events", "out_of_range", "negative"), by_name(COUNT)),
        **each(("turns_wanted", "turns_begun", "lost_turns", "events", "stamp_fallbacks"), COUNT),
    },
    {"incident_counts": by_name(COUNT), "warmup_turns": COUNT},
)
DECISION_PLAN = record(
    {
        **each(("pairs", "draws"), COUNT),
        "looks": many(COUNT),
        "gates": by_name(many(TEXT)),
        "level": NUMBER,
        "spending": TEXT,
    },
    {"notices": many(TEXT)},
)
OPENING = {
    "schema": {"type": "integer", "minimum": 1, "maximum": SCHEMA_VERSION},
    "definitions": said({"type": "integer", "minimum": 1}, "version of the measures' definitions"),
    "tool": record({"name": TEXT, "version": TEXT}),
    **each(("run_id", "scenario"), TEXT),
    "simulated": said(maybe(FLAG), "null until the run is closed"),
    "state": one_of("running", "closing", "ended", "killed"),
    "began_utc_ns": WHOLE,
    "ended_utc_ns": maybe(WHOLE),
    "writer": record({"host": TEXT, "pid": WHOLE}),
    "settings": by_name(ANYTHING),
    "targets": many(TARGET),
    "scripts": many(SCRIPT),
    "host": record(each(("kernel", "python"), TEXT) | {"cpus": maybe(COUNT), "packages": by_name(TEXT)},
                   {"machine": TEXT, "cpu": maybe(TEXT)}),
    "workers": COUNT,
    "notices": many(TEXT),
}  # fmt: skip
"""What every run has from its first second on."""
LATER: dict[str, Schema] = {
    "labels": said(by_name(TEXT), "what --label says of the run"),
    "interleaved": FLAG,
    "calibration": maybe(CALIBRATION),
    "prices": record({"as_of": TEXT, "name": TEXT, "models": by_name(PRICES)}),
    "budget_usd": maybe(NUMBER),
    "estimate_usd": maybe({"type": "array", "items": NUMBER, "minItems": 2, "maxItems": 2}),
    "holds": by_name(NUMBER),
    "warmup_s": maybe(NUMBER),
    "decision_plan": DECISION_PLAN,
    "stopped": TEXT,
    "stamp_source": maybe(one_of("kernel", "user", "mixed")),
    "totals": TOTALS,
    "incidents": many(record({"at_utc_ns": WHOLE, "worker": COUNT, "kind": TEXT, "text": TEXT})),
    "verdict": record({"valid": maybe(FLAG), "rules": many(RULE)}, {"inexact": many(INEXACT)}),
}
"""What older runs do not have, and what is there once a run is closed."""
CLOSED = {
    "if": {"properties": {"state": one_of("ended", "killed")}},
    "then": {"required": ["stopped", "totals", "verdict"], "properties": {"simulated": FLAG, "ended_utc_ns": WHOLE}},
}


def run_schema() -> Schema:
    """run.json."""
    return document("run", "run.json of a run folder of Realtime Bench", record(OPENING, LATER) | CLOSED)
