"""Run folders of any size with invented turns, for tests of the reports and for a benchmark of a
million turns.

write(folder, Plan(sessions=10, turns=4))
python -m tests.reports.synthetic FOLDER SESSIONS TURNS
"""

from __future__ import annotations

import sys
import time
from bisect import bisect_right
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from bench.catalogue.metrics import DEFINITIONS_VERSION
from bench.record import folder as run_folder
from bench.record import histograms as hdr
from bench.record.document import SCHEMA_VERSION
from bench.record.folder import SCHEMAS, STORED, TableName
from bench.record.histograms import HistogramKey, Histograms
from bench.record.spool import HISTOGRAMS, path_of, rows_of

BEGAN_NS = 1_795_166_040_000_000_000  # 20 Nov 2026, 09:14 UTC
MS = 1_000_000
PEAK = {
    "load": 2,
    "peak": 4,
    "margin": 0.1,
    "spacing_s": 1.0,
    "probes": ["voice_turns"],
    "begun_utc_ns": BEGAN_NS,
    "peak_utc_ns": BEGAN_NS + 10_000 * MS,
    "reached_utc_ns": BEGAN_NS + 11_000 * MS,
    "after_utc_ns": BEGAN_NS + 20_000 * MS,
}
"""The entry `overload` of the document of a run with a peak."""
STEPS = ("greeting", "opening_hours", "order_status", "refund_policy", "goodbye")
FACTORS = np.array([0.86, 0.95, 1.32, 1.08, 0.80])
FAILURES = ("timeout:first_delta", "throttled:response", "closed:1006")
JITTER_BUFFER_MS = 60
MODEL = "gpt-realtime-2025-08-28"
SETTINGS = (
    '{"audio": {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 500}}, '
    '"output": {"voice": "marin"}}}'
)
PRICES = {
    "as_of": "2026-11-01",
    "name": "prices.yaml",
    "models": {
        "gpt-realtime": {
            "text_input": 4,
            "text_cached_input": 0.4,
            "text_output": 16,
            "audio_input": 32,
            "audio_cached_input": 0.4,
            "audio_output": 64,
            "image_input": 5,
            "image_cached_input": 0.5,
        }
    },
}
HOST = {"kernel": "Linux 6.18", "python": "3.12.8", "cpus": 2, "packages": {"locust": "2.47"}}
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """The properties of a synthetic run. Half of the failed turns fail before their first delta."""

    sessions: int = 10
    turns: int = 4
    targets: tuple[str, ...] = ("sim",)
    seconds: float = 30.0
    warmup_s: float = 0.0
    failed: float = 0.0
    abandoned: int = 0
    mute_cut: bool = False
    """True if no abandoned turn received a delta."""
    refused: int = 0
    text: bool = False
    kinds: tuple[str, ...] = ("vad",)
    """The types of the steps. Consecutive steps have these types in turn.

    A type is "vad", "manual" (voice with response.create) or "typed". If `text`, the type of all
    steps is "typed".
    """
    host: str = "bench-1"
    early: int = 0
    """The number of turns, from the first turn on, whose end of speech is detected 120 ms too
    early.

    Turns without a VAD are not changed.
    """
    unattributed_commits: int = 0
    unrequested: int = 0
    """The number of sessions, from the start of the run, with two responses that nothing
    requested."""
    cut_short: int = 0
    """The number of sessions, from the start of the run, with 400 ms of audio after a
    response.done."""
    uncertain: int = 0
    """The number of these sessions, from the start of the run, whose answers are uncertain."""
    tls: bool = True
    seed: int = 7
    simulated: bool = True
    median_ms: float = 600.0
    valid: bool | None = True
    scenario: str = "voice_turns"
    paired: bool = False
    """True if sessions are paired. A pair has one session of every target, and these sessions
    start 3 ms apart."""
    usage: bool = False
    """True if turns report their tokens. Turns that failed before the first delta report none."""
    limited: bool = False
    """True if the service reports its rate limits, and requests a pause when it throttles a
    turn."""
    proxied: tuple[str, ...] = ()
    """The targets that are reached through a proxy."""
    inexact: tuple[str, ...] = ()
    """The metrics that are inexact for the last target."""
    auth_waits: int = 0
    """The number of sessions, from the start of the run, that wait 250 ms for a token."""
    stages: tuple[tuple[float, int], ...] = ()
    """(duration in seconds, users) of each stage. Each user of a target runs its sessions one after
    another.

    If `stages` is given, the stages determine the number of sessions, and `sessions` is ignored.
    """
    mix: tuple[float, ...] = ()
    """The share of turns of each step of STEPS. The step of a turn is drawn with these shares.

    If `mix` is empty, the steps follow one another in the order of STEPS.
    """
    grows: float = 0.0
    """The share by which the latency of each turn is above that of the turn before it in the
    session."""
    slower: float = 0.0
    """The share by which latencies grow with each further user of a stage."""

    @property
    def is_small(self) -> bool:
        """True if the results of this plan may stay in memory until the tests end."""
        return self.sessions * self.turns + self.refused <= 5_000


def rows(plan: Plan) -> dict[TableName, pa.Table]:
    """Return the three tables of a run. If the run is small, all tests share the tables of a
    plan.
    """
    return _kept_rows(plan) if plan.is_small else _rows(plan)


@lru_cache(64)
def _kept_rows(plan: Plan) -> dict[TableName, pa.Table]:
    return _rows(plan)


def _rows(plan: Plan) -> dict[TableName, pa.Table]:
    rng = np.random.default_rng(plan.seed)
    start_ns = (
        _staged(plan, rng)
        if plan.stages
        else np.sort(rng.uniform(0, plan.seconds * 0.8, plan.sessions)) * 1e9
    )
    plan = replace(plan, sessions=start_ns.size)
    target = np.arange(plan.sessions) % len(plan.targets)
    if plan.paired:
        start_ns = start_ns[np.arange(plan.sessions) - target] + 3 * MS * target
    turns = _turns(plan, rng, start_ns.astype(np.int64), target)
    sessions = _sessions(plan, rng, start_ns.astype(np.int64), target, turns)
    return {"turns": turns, "sessions": sessions, "seconds": _seconds(plan, turns, sessions)}


def _staged(plan: Plan, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return the starts of the sessions of all stages in ns, in ascending order.

    The sessions of all targets have the same starts.
    """
    starts = []
    ends_s = list(accumulate(length_s for length_s, _ in plan.stages))
    for user in range(max(users for _, users in plan.stages)):
        at_s = rng.uniform(0, 1)
        while at_s < ends_s[-1]:
            busy = plan.stages[bisect_right(ends_s, at_s)][1] > user
            starts += [at_s] if busy else []
            at_s += _length_s(plan) + rng.exponential(0.5) if busy else 0.5
    return np.repeat(np.sort(starts), len(plan.targets)) * 1e9


def _users(plan: Plan, at_s: npt.NDArray[np.float64]) -> Integers:
    """Return the number of users at each instant: that of the stage at this instant, or 0 after
    the last stage.
    """
    ends_s = np.cumsum([length_s for length_s, _ in plan.stages])
    users = np.array([*(users for _, users in plan.stages), 0])
    return users[np.searchsorted(ends_s, at_s, side="right")]


def _pace_ms(plan: Plan) -> float:
    """Return the time in ms from the start of a turn to the start of the next turn."""
    return min(2500.0, plan.seconds * 200 / max(1, plan.turns))


def _length_s(plan: Plan) -> float:
    """Return the duration of a session in s."""
    return 0.5 + plan.turns * _pace_ms(plan) / 1000 if plan.stages else 12.0


def _table(name: TableName, n: int, columns: dict[str, Any]) -> pa.Table:
    schema = SCHEMAS[name]
    return pa.table(
        [
            pa.array(columns[f.name], f.type) if f.name in columns else pa.nulls(n, f.type)
            for f in schema
        ],
        schema=schema,
    )


def _labels(names: tuple[str, ...] | list[str], codes: Integers) -> pa.Array:
    return pa.DictionaryArray.from_arrays(
        pa.array(codes.astype(np.int32)), pa.array(list(names))
    ).cast(pa.string())


def _null(values: npt.NDArray[Any], absent: npt.NDArray[np.bool_]) -> pa.Array:
    return pa.array(values.astype(np.int64), pa.int64(), mask=absent)


def _turns(
    plan: Plan, rng: np.random.Generator, session_start: Integers, target: Integers
) -> pa.Table:
    n = plan.sessions * plan.turns
    session = np.repeat(np.arange(plan.sessions), plan.turns)
    turn = np.tile(np.arange(plan.turns), plan.sessions)
    step = (
        np.random.default_rng(plan.seed).choice(len(STEPS), n, p=plan.mix)
        if plan.mix
        else turn % len(STEPS)
    )
    level = rng.normal(0, 0.24, plan.sessions)[session] + 0.12 * target[session]
    wait = plan.median_ms * FACTORS[step] * np.exp(level + rng.normal(0, 0.34, n))
    wait += np.where(rng.random(n) < 0.015, rng.uniform(700, 4000, n), 0)
    wait *= (1 + plan.grows) ** turn
    start = session_start[session] + (300 + turn * _pace_ms(plan)) * MS
    if plan.stages:
        wait *= 1 + plan.slower * np.maximum(_users(plan, start / 1e9) - 1, 0)
    length = wait + 900 + 300 * rng.gamma(8, 1 / 8, n)
    code = np.where(rng.random(n) < plan.failed, 1 + rng.integers(0, len(FAILURES), n), 0)
    code[n - plan.abandoned :] = len(FAILURES) + 1
    bad = code > 0
    mute = bad & (rng.random(n) < 0.5)
    mute |= plan.mute_cut & (code > len(FAILURES))
    first = "first_text" if plan.text else "first_audio"
    spoken = 1_300 * MS
    kind = np.array(
        ["typed"] * len(STEPS) if plan.text else [plan.kinds[i % len(plan.kinds)] for i in range(5)]
    )[step]
    asked, in_warmup = kind != "vad", session_start[session] < plan.warmup_s * 1e9
    phase = _labels(["measurement", "warmup"], in_warmup.astype(np.int64))
    columns: dict[str, Any] = {
        **_identity(plan, n, session, target[session], start.astype(np.int64)),
        "phase": phase,
        "outcome": _labels(["ok", *FAILURES, "unfinished"], code),
        "response_id": (
            [f"resp_{i:07d}" for i in range(n)]
            if n < 200_000
            else _labels(["resp_x"], np.zeros(n, int))
        ),
        "step": _labels(list(STEPS), step),
        "turn": turn + 1,
        "measured_from": _labels(["speech_end", "request_sent"], asked.astype(np.int64)),
        "request_sent_at_ns": _null(np.full(n, spoken), ~asked),
        "request_acked_at_ns": _null(spoken + (21 + 31 * target[session]) * MS, ~asked),
        "response_created_at_ns": _null(spoken + wait * 0.4 * MS, mute),
        f"{first}_at_ns": _null(spoken + wait * MS, mute),
        "response_done_at_ns": _null(spoken + length * MS, bad),
        "ended_at_ns": (spoken + length * MS).astype(np.int64),
        "timestamp_uncertainty_ns": np.zeros(n, np.int64),
        "audio_bytes_sent": np.where(kind == "typed", 0, 62_400),
        "audio_bytes_received": np.where(mute | plan.text, 0, (length * 96).astype(np.int64)),
        "wire_bytes_sent": np.full(n, 84_000),
        "wire_bytes_received": (length * 130).astype(np.int64),
        "uncertain_gaps": np.zeros(n, np.int64),
        "network_rtt_ns": (20 + 31 * target[session]) * MS + rng.integers(0, MS, n),
        "retransmits": (rng.random(n) < 0.02).astype(np.int64),
        "rtt_scope": _labels(
            ["service", "proxy"], np.isin(np.array(plan.targets)[target[session]], plan.proxied) * 1
        ),
    }
    if plan.usage:
        columns |= _usage(turn, length, mute)
    if plan.limited:
        columns["retry_after_ns"] = _null(
            (1 + turn) * 250 * MS, code != 1 + FAILURES.index("throttled:response")
        )
    if not plan.text:
        stall_count = (rng.random(n) < 0.03).astype(np.int64)
        columns |= {
            "first_transcript_at_ns": _null(spoken + (wait - 30) * MS, mute),
            "transcript_done_at_ns": _null(spoken + (length - 80) * MS, bad),
            "first_audible_at_ns": _null(
                spoken + (wait + JITTER_BUFFER_MS + rng.uniform(20, 120, n)) * MS, mute
            ),
            "audio_speed": pa.array(rng.normal(3, 0.3, n), mask=bad),
            "stall_count": _null(stall_count, mute),
            "stall_duration_ns": _null(stall_count * rng.integers(20, 400, n) * MS, mute),
            **_speech(plan, rng, kind, spoken, wait, mute),
        }
    return _table("turns", n, columns)


def _usage(turn: Integers, length: Any, mute: Any) -> dict[str, Any]:
    """Return the columns with token counts.

    The input of a turn includes the conversation before the turn. From the second turn on, half of
    the input is cached.
    """
    text, audio = 40 + 25 * turn, 30 + 90 * turn
    cached_text, cached_audio = np.where(turn > 0, text // 2, 0), np.where(turn > 0, audio // 2, 0)
    return {
        "input_text_tokens": _null(text, mute),
        "input_audio_tokens": _null(audio, mute),
        "input_cached_tokens": _null(cached_text + cached_audio, mute),
        "input_cached_text_tokens": _null(cached_text, mute),
        "input_cached_audio_tokens": _null(cached_audio, mute),
        "output_text_tokens": _null(np.full(turn.size, 12), mute),
        "output_audio_tokens": _null(length / 50, mute),
    }


def _speech(
    plan: Plan, rng: np.random.Generator, kind: npt.NDArray[Any], spoken: int, wait: Any, mute: Any
) -> dict[str, Any]:
    """Return the columns of voice turns.

    In VAD turns, the service detects the end of speech. In other voice turns, the script ends the
    speech.
    """
    n, typed, manual = kind.size, kind == "typed", kind != "vad"
    ended = np.where(manual, spoken - 2 * MS, spoken)
    early = np.arange(n) < plan.early
    noticed = np.where(early, -120, wait * 0.3) * MS + spoken
    committed = np.where(manual, spoken + 3 * MS, noticed + 4 * MS)
    return {
        "speech_start_at_ns": _null(np.full(n, 180 * MS), typed),
        "speech_end_at_ns": _null(ended, typed),
        "speech_started_at_ns": _null(np.full(n, 240 * MS) + rng.integers(0, 40 * MS, n), manual),
        "speech_stopped_at_ns": _null(noticed, manual | (mute & ~early)),
        "committed_at_ns": _null(committed, typed),
        "vad_splits": _null(early.astype(np.int64), manual),
        "input_transcribed_at_ns": _null(
            committed + (420 + 70 * rng.gamma(3, 1, n)) * MS, mute | typed
        ),
    }


def _identity(
    plan: Plan, n: int, session: Integers, target: Integers, start: Integers
) -> dict[str, Any]:
    ids = [f"s{i:05d}" for i in range(plan.sessions)]
    paired = (
        {"pair": session // len(plan.targets), "block": start // (120 * 10**9)}
        if plan.paired
        else {}
    )
    return paired | {
        "run_id": _labels(["20261120T091400Z-" + plan.scenario], np.zeros(n, np.int64)),
        "session_id": _labels(ids, session),
        "service_session_id": _labels(["sess_" + name for name in ids], session),
        "target": _labels(plan.targets, target),
        "scenario": _labels([plan.scenario], np.zeros(n, np.int64)),
        "script": _labels([plan.scenario], np.zeros(n, np.int64)),
        "worker": np.zeros(n, np.int64),
        "host": _labels([plan.host], np.zeros(n, np.int64)),
        "simulated": np.full(n, plan.simulated),
        "start_ns": 5_000_000_000 + start,
        "start_utc_ns": BEGAN_NS + start,
    }


def _sessions(
    plan: Plan, rng: np.random.Generator, start: Integers, target: Integers, turns: pa.Table
) -> pa.Table:
    n = plan.sessions + plan.refused
    start, target = (
        np.r_[start, np.full(plan.refused, 9 * MS)],
        np.r_[target, np.zeros(plan.refused, np.int64)],
    )
    refused = np.arange(n) >= plan.sessions
    phases = rng.gamma(6, 1 / 6, (n, 6)) * np.array([9, 21, 46, 88, 61, 34]) * MS
    phases[:, 2] *= plan.tls
    at = np.cumsum(phases, axis=1).astype(np.int64)
    phase = _labels(["measurement", "warmup"], (start < plan.warmup_s * 1e9).astype(np.int64))
    wanted = np.full(n, plan.turns)
    columns: dict[str, Any] = {
        **_identity(replace(plan, sessions=n), n, np.arange(n), target, start),
        "phase": phase,
        "outcome": _labels(["ok", "connect_failed:401"], refused.astype(np.int64)),
        "connect_start_at_ns": np.zeros(n, np.int64),
        "dns_done_at_ns": at[:, 0],
        "tcp_done_at_ns": at[:, 1],
        "tls_done_at_ns": at[:, 2] if plan.tls else pa.nulls(n, pa.int64()),
        "opened_at_ns": _null(at[:, 3], refused),
        "session_created_at_ns": _null(at[:, 4], refused),
        "update_sent_at_ns": _null(at[:, 4], refused),
        "session_updated_at_ns": _null(at[:, 5], refused),
        "ended_at_ns": np.full(n, int(_length_s(plan) * 1000) * MS),
        "turns_planned": wanted,
        "turns_started": np.where(refused, 0, wanted),
        "turns_not_started": np.where(refused, wanted, 0),
        "request_id": [f"{i:08x}-34d6" for i in range(n)],
        "region": _labels(["Sweden Central"], np.zeros(n, np.int64)),
        "event_log": np.arange(n) % 10 == 0,
        "auth_wait_ns": np.where(np.arange(n) < plan.auth_waits, 250 * MS, 0),
        "model": _labels([MODEL], np.zeros(n, np.int64)),
        "effective_settings": _labels([SETTINGS], np.zeros(n, np.int64)),
        "response_headers": _labels(
            ['{"sec-websocket-extensions": "permessage-deflate"}'], np.zeros(n, np.int64)
        ),
        "renewed": np.zeros(n, bool),
        "unattributed_commits": np.where(np.arange(n) == 0, plan.unattributed_commits, 0),
        "unrequested_responses": np.where(np.arange(n) < plan.unrequested, 2, 0),
        "answers_uncertain": np.arange(n) < plan.uncertain,
        "audio_after_end_ns": np.where(np.arange(n) < plan.cut_short, 400 * MS, 0),
        "events": np.full(n, 400),
        "audio_bytes_sent": np.where(refused | plan.text, 0, 62_400 * plan.turns),
        "audio_bytes_received": np.where(refused | plan.text, 0, 170_000 * plan.turns),
        "wire_bytes_sent": np.where(refused, 0, 84_000 * plan.turns),
        "wire_bytes_received": np.where(refused, 0, 230_000 * plan.turns),
    }
    return _table("sessions", n, columns)


def _seconds(plan: Plan, turns: pa.Table, sessions: pa.Table) -> pa.Table:
    length = max(1, int(plan.seconds) + 3)
    frames = []
    for code, name in enumerate(plan.targets):
        rng = np.random.default_rng(code)
        ramp = np.minimum(1, np.arange(length) / 8) * np.minimum(1, np.arange(length)[::-1] / 5)
        busy = ramp * max(1, plan.sessions * 12 / max(12, plan.seconds))
        audio = 0 if plan.text else 1
        frames.append(
            _table(
                "seconds",
                length,
                {
                    "second": BEGAN_NS // 10**9 + np.arange(length),
                    "phase": np.where(np.arange(length) < plan.warmup_s, "warmup", "measurement"),
                    "duration_ns": np.full(length, 10**9),
                    "target": [name] * length,
                    "worker": np.zeros(length, np.int64),
                    "host": [plan.host] * length,
                    "calls_not_started": np.zeros(length, np.int64),
                    "sessions_active": busy.astype(np.int64),
                    "audio_bytes_sent": (
                        (audio * busy * 24_000 * rng.uniform(0.9, 1.1, length)).astype(np.int64)
                    ),
                    "audio_bytes_received": (
                        (audio * busy * 52_000 * rng.uniform(0.8, 1.2, length)).astype(np.int64)
                    ),
                    "wire_bytes_sent": (
                        (busy * 33_000 * rng.uniform(0.9, 1.1, length)).astype(np.int64)
                    ),
                    "wire_bytes_received": (
                        (busy * 71_000 * rng.uniform(0.8, 1.2, length)).astype(np.int64)
                    ),
                    "cpu": rng.uniform(0.2, 0.38, length),
                    **(_limits(code, length) if plan.limited else {}),
                },
            )
        )
    return pa.concat_tables(frames)


def _limits(target: int, length: int) -> dict[str, Any]:
    """Return the columns with rate limits.

    In the middle of each minute, only 4 % of the tokens remain, and some turns are throttled.
    """
    left = 0.52 + 0.48 * np.cos(2 * np.pi * np.arange(length) / 60)
    return {
        "throttled": np.where(left < 0.1, 1 + target, 0),
        "tokens_limit": np.full(length, 40_000),
        "tokens_remaining": (40_000 * left).astype(np.int64),
        "requests_limit": np.full(length, 200),
        "requests_remaining": (200 * (0.5 + left / 2)).astype(np.int64),
    }


def histograms(plan: Plan) -> Histograms:
    """Return histograms of the metrics that have a value per event, and of the throughput of
    runs and sessions.
    """
    rng, kept = np.random.default_rng(plan.seed), Histograms()

    def record(key: HistogramKey, scale: int, shape: int, size: int, least: int = 0) -> None:
        kept.record_all(key, (scale * rng.gamma(shape, 1 / shape, size)).astype(np.int64) + least)

    for target in plan.targets:
        for metric, scale_us in (
            ("delta_gap", 48_000),
            ("receive_delay", 60),
            ("timestamp_uncertainty", 4),
            ("send_delay", 300),
        ):
            record(HistogramKey(metric, target), scale_us, 3, 300, 1)
        for metric in ("wire_sent", "wire_received", "audio_sent", "audio_received"):
            for step in ("run", "session"):
                record(HistogramKey(metric, target, step), 50_000, 9, 40)
    record(HistogramKey("event_loop_delay", "all"), 400, 3, 300)
    return kept


def document(plan: Plan, tables: dict[TableName, pa.Table]) -> dict[str, Any]:
    """Return the run.json of a run that ended normally."""
    turns, sessions = tables["turns"], tables["sessions"]
    late = 1.6 if plan.valid else 14.2
    return {
        "schema": SCHEMA_VERSION,
        "definitions_version": DEFINITIONS_VERSION,
        "tool": {"name": "rtbench", "version": "0.1.0"},
        "run_id": "20261120T091400Z-" + plan.scenario,
        "scenario": plan.scenario,
        "simulated": plan.simulated,
        "state": "ended",
        "started_utc_ns": BEGAN_NS,
        "ended_utc_ns": BEGAN_NS + int(plan.seconds * 1e9),
        "writer": {"host": plan.host, "pid": 4711},
        "settings": {"users": 10, "spawn_rate": 5, "run_time_s": plan.seconds},
        "targets": [
            {
                "name": name,
                "url": f"ws://127.0.0.1:8765/{i}",
                "dialect": "ga",
                "service": "simulator",
                "loopback": True,
            }
            for i, name in enumerate(plan.targets)
        ],
        "scripts": [
            {
                "target": name,
                "name": plan.scenario,
                "scenario": plan.scenario,
                "digest": "sha256:0f1e2d",
                "turns": plan.turns,
            }
            | {
                "chunk_ms": None if plan.text else 100,
                "turn_detection": "server_vad" if "vad" in plan.kinds and not plan.text else "none",
                "turn_detection_settings": (
                    {"type": "server_vad", "silence_duration_ms": 500}
                    if "vad" in plan.kinds
                    else None
                ),
                "jitter_buffer_ms": JITTER_BUFFER_MS,
                "input_format": "pcm16",
                "output_format": "pcm16",
                "output": "text" if plan.text else "audio",
                "timeouts": {"response": 120},
            }
            for name in plan.targets
        ],
        "host": HOST,
        "hosts": [
            {
                "name": plan.host,
                "workers": 1,
                "clock_offset_ns": None,
                "clock_offset_uncertainty_ns": None,
            }
            | HOST
        ],
        "receive_timestamp_source": "kernel",
        "workers": 1,
        "totals": {
            "sessions": _tally(sessions),
            "turns": _tally(turns),
            "turns_planned": int(np.sum(sessions["turns_planned"].to_numpy())),
            "turns_started": turns.num_rows,
            "warmup_turns": turns["phase"].to_pylist().count("warmup"),
            "turns_not_started": plan.refused * plan.turns,
            "events": 400 * sessions.num_rows,
            "timestamp_fallbacks": 0,
            "unknown_events": {"conversation.item.added": 3},
            "out_of_range": {},
            "negative": {"delta_gap": 2},
        },
        "validity": {
            "status": {True: "valid", False: "invalid", None: "no_verdict"}[plan.valid],
            "reasons": ["send_delay"] if plan.valid is False else [] if plan.valid else ["no_data"],
            "checks": [
                {
                    "name": "timestamp_uncertainty",
                    "value": 0.11,
                    "limit": 6.2,
                    "result": "pass",
                    "unit": "ms",
                }
                | {"note": "", "remedy": "run with --processes 2"},
                {
                    "name": "event_loop_delay",
                    "value": None,
                    "limit": None,
                    "result": "not_evaluated",
                    "unit": "ms",
                }
                | {"note": "only if timestamps come from user space", "remedy": ""},
                {"name": "send_delay", "value": late, "limit": 10, "unit": "ms"}
                | {"result": {True: "pass", False: "fail", None: "not_evaluated"}[plan.valid]}
                | {"note": "the limit of ttfa", "remedy": "run with --processes 2"},
            ],
            "uncertain_metrics": [
                {
                    "target": plan.targets[-1],
                    "metric": name,
                    "value": 31.0,
                    "limit": 20.0,
                    "unit": "ms",
                }
                for name in plan.inexact
            ],
        },
        "stop_reason": "all sessions are done",
        "warmup_s": plan.warmup_s,
        "notices": [],
    }


def target_keys(plan: Plan, **changes: Any) -> dict[str, Any]:
    """Return the optional keys of the run.json of a run with several targets.

    `changes` are made in the entry of every target.
    """
    targets = [
        {
            "name": name,
            "url": (
                f"wss://{name.partition('.')[0]}.example.openai.azure.com/openai/v1/"
                f"realtime?model=gpt-realtime"
            ),
            "dialect": "ga",
            "service": "azure",
            "loopback": False,
            "region": None,
            "auth": "entra",
            "proxy": "http://proxy.example:3128" if name in plan.proxied else None,
            "address": None,
            "deflate": False,
            "connect_rate": None,
            "prices": None,
            "model": "gpt-realtime",
            "variant_of": name.partition(".")[0] if "." in name else None,
            "session": (
                {"voice": "alloy", "turn_detection": {"silence_duration_ms": 200}}
                if "." in name
                else {}
            ),
        }
        | changes
        for name in plan.targets
    ]
    return {
        "targets": targets,
        "interleaved": plan.paired,
        "prices": PRICES,
        "budget_usd": None,
        "estimate_usd": None,
    }


def _tally(table: pa.Table) -> dict[str, int]:
    return {pair["values"]: pair["counts"] for pair in table["outcome"].value_counts().to_pylist()}


def write(folder: Path, plan: Plan, **changes: Any) -> Path:
    """Write the folder of a run that ended normally. `changes` replace keys of its run.json."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (_kept_files if plan.is_small else _files)(plan).items():
        (folder / f"{name}.parquet").write_bytes(content)
    _write_log(run_folder.histograms_path(folder), plan)
    run_folder.write_document(folder, document(plan, rows(plan)) | changes)
    return folder


@lru_cache(64)
def _kept_files(plan: Plan) -> dict[str, memoryview]:
    return _files(plan)


def _files(plan: Plan) -> dict[str, memoryview]:
    """Return the tables of a run in Parquet format. The key is the name of the file."""
    files = {}
    for table, whole in rows(plan).items():
        for name, schema in STORED[table].items():
            sink = pa.BufferOutputStream()
            pq.write_table(whole.select(schema.names), sink)
            files[name] = memoryview(sink.getvalue())
    return files


def write_killed(folder: Path, plan: Plan, *, cut_bytes: int = 100) -> Path:
    """Write the folder of a killed run. Its spool has an incomplete stream of turns.

    Its run.json has the content that it had at the start of the run.
    """
    (folder / "spool").mkdir(parents=True, exist_ok=True)
    tables = rows(plan)
    for name, table in tables.items():
        path = path_of(folder, 0, rows_of(name))
        with pa.ipc.new_stream(path, SCHEMAS[name]) as stream:
            stream.write_table(table, max_chunksize=20)
        if name == "turns":
            path.write_bytes(path.read_bytes()[:-cut_bytes])
    _write_log(path_of(folder, 0, HISTOGRAMS), plan)
    closing = (
        "stop_reason",
        "hosts",
        "receive_timestamp_source",
        "totals",
        "incidents",
        "validity",
    )
    opening = {key: value for key, value in document(plan, tables).items() if key not in closing}
    begun = {"run_id": "killed", "state": "running", "ended_utc_ns": None, "simulated": None}
    run_folder.write_document(folder, opening | begun)
    return folder


def _write_log(path: Path, plan: Plan) -> None:
    path.write_text(_log(plan), encoding="ascii")


@lru_cache(64)
def _log(plan: Plan) -> str:
    end = BEGAN_NS + int(plan.seconds * 1e9)
    return hdr.header(BEGAN_NS, simulated=plan.simulated) + "".join(
        histograms(plan).lines(BEGAN_NS, end)
    )


if __name__ == "__main__":
    began = time.perf_counter()
    size = Plan(
        sessions=int(sys.argv[2]),
        turns=int(sys.argv[3]),
        targets=("direct", "gateway"),
        seconds=1200.0,
    )
    write(Path(sys.argv[1]), replace(size, warmup_s=120.0, failed=0.008))
    print(f"written in {time.perf_counter() - began:.1f} s")
