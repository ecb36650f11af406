"""Builders of load steps, rows and truth logs for tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bench.record.calibration import (
    SCHEMA_VERSION,
    Calibration,
    LoadStep,
    Outcome,
    Percentiles,
    SessionKind,
    TrustedLoad,
    machine,
)
from rtbench.calibrate.ground_truth import INSTANTS

SESSION = "sess_1"


def build_spread(p99: float = 0.05, n: int = 1000) -> Percentiles:
    return Percentiles(n, p99 / 10, p99, p99 * 2, p99 * 3)


def build_step(
    sessions: int = 100,
    outcome: Outcome = "pass",
    *,
    kind: SessionKind = "text",
    p99: float = 0.05,
    rss_bytes: int | None = 10**8,
    why: str = "",
    turns: int = 1000,
    unmatched: int = 0,
) -> LoadStep:
    """Return a step with 25 events per second and session. The p99 of the error of `ttfa` is
    `p99` ms.
    """
    return LoadStep(
        kind=kind,
        sessions=sessions,
        result=outcome,
        why=why,
        turns=turns,
        failed=0,
        unmatched=unmatched,
        open=sessions,
        validity="valid" if outcome == "pass" else "invalid",
        events_per_s=25.0 * sessions,
        errors={"ttfa": build_spread(p99, turns), "response_total": build_spread(p99 / 2, turns)},
        instants={"request_sent": build_spread(p99 / 4), "first_audio": build_spread(p99)},
        load_generator={
            "receive_delay": build_spread(1.0),
            "timestamp_uncertainty": build_spread(0.1),
        },
        cpu=0.5,
        us_per_event=20.0,
        rss_bytes=rss_bytes,
        simulator_late_p99_ms=0.1,
        simulator_cpu=0.3,
        background=0.0,
        left_out=0,
    )


def steps_of_both(*steps: tuple[int, Outcome]) -> list[LoadStep]:
    """Return these steps twice: once for each kind of session."""
    kinds: tuple[SessionKind, ...] = ("text", "voice")
    return [
        build_step(sessions, outcome, kind=kind) for kind in kinds for sessions, outcome in steps
    ]


def sent(
    type: str, at_ns: int, *, response: str | None = "resp_1", audio: int = 0, **more: Any
) -> dict[str, Any]:
    """Return the truth-log line of an event that the simulator began to send 10 ns after the
    event was due.
    """
    line = {
        "session": SESSION,
        "direction": "out",
        "type": type,
        "due_ns": at_ns - 10,
        "send_start_ns": at_ns,
        "send_end_ns": at_ns + 30,
    }
    return line | {"response": response, "audio_bytes": audio, "frame_bytes": 100} | more


def received(type: str, at_ns: int, **more: Any) -> dict[str, Any]:
    line = {
        "session": SESSION,
        "direction": "in",
        "type": type,
        "at_ns": at_ns,
        "earliest_ns": at_ns,
        "timestamp_source": "kernel",
        "event_id": None,
        "response": None,
    }
    return line | more


def appends(turn: int, begin: int, chunks: Iterable[int], size: int = 2400) -> list[dict[str, Any]]:
    """Return the truth-log lines of the audio of a turn.

    The simulator received one chunk of `size` bytes at each instant of `chunks`. `begin` is the
    position of the first byte of this audio in the audio of the session.
    """
    return [
        received(
            "input_audio_buffer.append",
            at_ns,
            event_id=f"turn-{turn}-append-{place}",
            **{"from_byte": begin + (place - 1) * size, "to_byte": begin + place * size},
        )
        for place, at_ns in enumerate(chunks, 1)
    ]


def build_row(
    start_ns: int = 0, measured_from: str | None = "request_sent", **instants_ns: int
) -> dict[str, Any]:
    """Return a row of a successful turn.

    All arguments are absolute times, but the row contains times after `start_ns`.
    """
    row: dict[str, Any] = {f"{name}_at_ns": None for name in INSTANTS}
    row |= {f"{name}_at_ns": at_ns - start_ns for name, at_ns in instants_ns.items()}
    row |= {
        "service_session_id": SESSION,
        "response_id": "resp_1",
        "turn": 1,
        "outcome": "ok",
        "measured_from": measured_from,
    }
    return row | {"audio": None, "vad_splits": 0, "start_ns": start_ns, "start_utc_ns": start_ns}


def build_calibration(*, tls: bool = False, sessions: int = 700, **about: Any) -> Calibration:
    return Calibration(
        schema=SCHEMA_VERSION,
        date_utc="2026-11-20",
        machine=machine() | about,
        tls=tls,
        trusted={"text": TrustedLoad(sessions, 17_500.0), "voice": TrustedLoad(400, 8_000.0)},
        exact={"text": TrustedLoad(200, 5_000.0)},
        ended={"voice": "the simulator"},
        steps=[build_step()],
    )
