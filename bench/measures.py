"""The catalogue: every figure that the tool prints has its one definition here.

A measure of a turn or session is the difference of two instants unless it says otherwise; instants are columns of the
run folder (`bench.run.folder`), measures are derived on reading. Reports take names, units and wording from here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

Scope = Literal["turn", "session", "event", "harness", "rate"]
Better = Literal["lower", "higher", "neither"]

DEFINITIONS_VERSION = 1
"""Raised whenever a definition below changes what a figure means. Runs of different versions are not compared."""


@dataclass(frozen=True)
class Measure:
    """One figure. `begin` and `end` name the instants (nanoseconds) whose difference it is, where it is one."""

    name: str
    unit: str
    scope: Scope
    better: Better
    sentence: str
    begin: str = ""
    end: str = ""


CATALOGUE: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure("ttfa", "ms", "turn", "lower", "Time to first audio delta: from the turn's origin (response.create handed to the kernel) to the arrival of the first audio delta with a payload.", "origin", "first_audio"),
        Measure("ttft", "ms", "turn", "lower", "Time to first text delta: from the turn's origin to the arrival of the first text delta with a payload.", "origin", "first_text"),
        Measure("transcript_first", "ms", "turn", "lower", "From the turn's origin to the first delta of the reply's transcript.", "origin", "first_transcript"),
        Measure("transcript_total", "ms", "turn", "lower", "From the turn's origin to the end of the reply's transcript.", "origin", "transcript_done"),
        Measure("transcript_lead", "ms", "turn", "higher", "From the first transcript delta to the first audio delta: positive when captions come before sound.", "first_transcript", "first_audio"),
        Measure("response_total", "ms", "turn", "lower", "From the turn's origin to response.done.", "origin", "response_done"),
        Measure("input_transcript", "ms", "turn", "lower", "From the commit of the caller's audio to the finished transcript of it.", "committed", "input_transcribed"),
        Measure("audio_speed", "×", "turn", "higher", "Seconds of audio received after the first delta, per second from the first to the last delta. Above 1 the reply outruns its playback."),
        Measure("delta_gap", "ms", "event", "lower", "Between neighbouring audio deltas of a response, where both stamps are exact to 1 ms."),
        Measure("connect_dns", "ms", "session", "lower", "Name lookup.", "connect_start", "dns_done"),
        Measure("connect_tcp", "ms", "session", "lower", "TCP connection.", "dns_done", "tcp_done"),
        Measure("connect_tls", "ms", "session", "lower", "TLS handshake.", "tcp_done", "tls_done"),
        Measure("connect_upgrade", "ms", "session", "lower", "WebSocket upgrade.", "tls_done", "upgrade_done"),
        Measure("connect_total", "ms", "session", "lower", "From the start of connecting to the finished upgrade.", "connect_start", "upgrade_done"),
        Measure("session_ready", "ms", "session", "lower", "From the start of connecting to session.created.", "connect_start", "session_created"),
        Measure("session_update", "ms", "session", "lower", "From session.update handed to the kernel to session.updated.", "update_sent", "session_updated"),
        Measure("session_length", "ms", "session", "neither", "From the start of connecting to the end of the session.", "connect_start", "ended"),
        Measure("receive_lag", "ms", "harness", "lower", "From the kernel's receive stamp to the moment this process handled the event: what a clock read in the process would have added. Kernel stamps leave it out."),
        Measure("hub_delay", "ms", "harness", "lower", "How late a 10 ms timer of the event loop ran."),
        Measure("send_lag", "ms", "harness", "lower", "How late a paced audio chunk was handed to the kernel, against the instant it was due."),
        Measure("stamp_error", "ms", "harness", "lower", "How far an event's arrival stamp can be off at most: 0 when the event ended a read that emptied the socket, else the time since the socket was last known to be empty."),
        Measure("wire_sent", "B/s", "rate", "higher", "Bytes of WebSocket frames sent per second, per session and per target; before TLS, handshake excluded."),
        Measure("wire_received", "B/s", "rate", "higher", "Bytes of WebSocket frames received per second, per session and per target; before TLS, handshake excluded."),
        Measure("audio_sent", "B/s", "rate", "higher", "Decoded audio sent per second, per session and per target."),
        Measure("audio_received", "B/s", "rate", "higher", "Decoded audio received per second, per session and per target."),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """How long each stage may take before the session or turn ends as `timeout:<stage>`; seconds."""

    tcp: float = 5.0
    tls: float = 5.0
    upgrade: float = 10.0
    session: float = 10.0
    """session.created, and session.updated after it"""
    first_delta: float = 30.0
    """from the turn's origin"""
    next_delta: float = 10.0
    done: float = 120.0
    """from response.created"""


LIMIT_NAMES = tuple(field.name for field in fields(Limits))

GOOD = frozenset({"ok", "interrupted"})
CENSORED = frozenset({"abandoned"})


def outcome_class(outcome: str) -> Literal["good", "failed", "censored"]:
    """The class of an outcome such as `ok`, `timeout:first_delta`, `abandoned`."""
    if outcome in GOOD:
        return "good"
    return "censored" if outcome in CENSORED else "failed"
