"""Makes rows: the columns of `bench.run.folder` that a turn and a session know by themselves.

`hide` takes secrets out of texts. Columns of JSON are without them when they are dumped; whoever keeps a row takes them
out of its columns in `FOREIGN`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from msgspec.structs import asdict

from bench.observe.observation import SessionObservation, TurnObservation
from bench.protocol.events import Usage
from bench.run.redact import HIDDEN_SETTINGS, Hide, hidden

FOREIGN = frozenset({
    "outcome", "detail", "close_reason", "service_session_id", "response_id", "item_id", "model", "region",
    "request_id", "said", "replied",
})  # fmt: skip
"""Columns with words of a service, or of an exception in a user's code; all others are ours, and stay as they are."""
HIDDEN_HEADERS = frozenset({"set-cookie", "authorization", "api-key"})
TURN_COUNTS = (
    "audio_bytes_sent", "audio_bytes_received", "wire_bytes_sent", "wire_bytes_received", "events", "audio_deltas",
    "text_deltas", "transcript_deltas", "unknown_events", "late_chunks", "inexact_gaps", "audio_speed", "stall_ns",
    "stalls", "stall_error_ns", "vad_splits", "network_rtt_ns", "network_rtt_smoothed_ns", "rtt_scope", "retransmits",
    "retry_after_ns", "sent_source", "transmit_lag_ns",
)  # fmt: skip
SESSION_COUNTS = (
    "turns_wanted", "turns_begun", "turns_ended", "turns_good", "lost_turns", "audio_bytes_sent",
    "audio_bytes_received", "wire_bytes_sent", "wire_bytes_received", "events", "service_errors", "stamp_fallbacks",
    "stray_commits", "token_wait_ns", "retry_after_ns",
)  # fmt: skip


def turn_row(turn: TurnObservation, utc_offset_ns: int) -> dict[str, Any]:
    """Make the columns of `turns` that a turn knows by itself."""
    gaps = sorted(turn.gaps_ns)
    row: dict[str, Any] = {
        "outcome": turn.outcome,
        "detail": turn.detail or None,
        "start_ns": turn.start_ns,
        "start_utc_ns": turn.start_ns + utc_offset_ns,
        "response_id": turn.response_id or None,
        "item_id": turn.item_id or None,
        "step": turn.step,
        "audio": turn.audio or None,
        "turn": turn.turn,
        "origin": turn.origin,
        "stamp_source": turn.stamp_source,
        "stamp_error_ns": turn.stamp_error_ns,
        "stamp_error_max_ns": turn.stamp_error_max_ns,
        "delta_gap_max_ns": gaps[-1] if gaps else None,
        "delta_gap_p95_ns": gaps[-(-95 * len(gaps) // 100) - 1] if gaps else None,
    }
    row |= {f"{name}_at_ns": at_ns - turn.start_ns for name, at_ns in turn.instants.items()} | _bounds(turn)
    return row | {name: getattr(turn, name) for name in TURN_COUNTS} | _tokens(turn.usage)


def said_row(turn: TurnObservation) -> dict[str, Any]:
    """Make a line of what was said in a turn: the caller's words as the service heard them, and the reply's."""
    return {
        "turn": turn.turn,
        "step": turn.step,
        "response_id": turn.response_id or None,
        "item_id": turn.item_id or None,
        "said": turn.input_text or None,
        "replied": turn.reply_text or None,
    }


def session_row(session: SessionObservation, utc_offset_ns: int, hide: Hide = str) -> dict[str, Any]:
    """Make the columns of `sessions` that a session knows by itself."""
    row: dict[str, Any] = {
        "outcome": session.outcome,
        "detail": session.detail or None,
        "start_ns": session.start_ns,
        "start_utc_ns": session.start_ns + utc_offset_ns,
        "unknown_events": sum(session.unknown_events.values()),
        "close_code": session.close_code,
        "close_reason": session.close_reason or None,
        "model": session.model,
        "region": session.headers.get("x-ms-region"),
        "request_id": session.headers.get("apim-request-id") or session.headers.get("x-request-id"),
        "effective_settings": _json(session.effective_settings, HIDDEN_SETTINGS, hide),
        "headers": _json(session.headers, HIDDEN_HEADERS, hide),
    }
    row |= {f"{name}_at_ns": at_ns - session.start_ns for name, at_ns in session.instants.items()} | _bounds(session)
    return row | {name: getattr(session, name) for name in SESSION_COUNTS} | _tokens(session.stray_usage)


def _bounds(of: TurnObservation | SessionObservation) -> dict[str, int]:
    """The columns that say how far each instant can be off: an arrival towards earlier, a send towards later."""
    errors_ns = {f"{name}_error_ns": error_ns for name, error_ns in of.errors_ns.items()}
    return errors_ns | {f"{name}_width_ns": width_ns for name, width_ns in of.widths_ns.items()}


def _tokens(usage: Usage | None) -> dict[str, int]:
    """The columns of tokens; none where some cannot be read, for what is known of them would pass for the whole."""
    if usage is None or usage.unread:
        return {}
    return {f"tokens_{name}": count for name, count in asdict(usage).items() if name != "unread"}


def _json(value: Mapping[str, Any], left_out: frozenset[str], hide: Hide) -> str | None:
    kept = {name: part for name, part in value.items() if name not in left_out}
    return json.dumps(hidden(kept, hide)) if kept else None
