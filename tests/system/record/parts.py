"""Runs that are not finalized, for tests that merge them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from bench.record import folder as files
from bench.record.finalize import finalize
from bench.record.provenance import named_host, opening_document
from bench.record.recorder import Recorder, RowContext
from bench.record.spool import EVENTS, SPOOL, Spool
from tests.helpers import MS, S, build_observation, build_session

BEGAN_NS = 1_763_000_000 * S


TARGET = {
    "name": "simulator",
    "url": "ws://127.0.0.1:1/v1",
    "dialect": "ga",
    "service": "simulator",
    "loopback": True,
}


SCRIPT = {
    "target": "simulator",
    "name": "voice_turns",
    "scenario": "voice_turns",
    "digest": "sha256:1",
    "turns": 3,
    "chunk_ms": None,
    "output": "audio",
    "timeouts": {},
}


def build_part(
    parent: Path,
    name: str = "part",
    *,
    host: str = "red",
    began_ns: int = BEGAN_NS,
    workers: int = 1,
    sessions: int = 3,
    error_ns: int = 5_000,
    delay_ns: int = MS,
    **changes: Any,
) -> Path:
    """Return a run whose workers have recorded everything. The run is not finalized."""
    folder = parent / name
    (folder / SPOOL).mkdir(parents=True)
    document = opening_document(name, "voice_turns", began_ns, {}, [TARGET], [SCRIPT], workers, [])
    document |= {
        "state": "closing",
        "stop_reason": "all sessions are done",
        "ended_utc_ns": began_ns + 60 * S,
    }
    files.write_document(folder, document | {"writer": {"host": host, "pid": 1}} | changes)
    for worker in range(workers):
        recorder = Recorder(
            Spool(folder, worker), began_ns, host=named_host() | {"name": host}, transcripts=True
        )
        record_sessions(recorder, worker, sessions, error_ns, delay_ns)
        recorder.incident("auth_refresh", f"of worker {worker}")
        recorder.close()
    return folder


def record_sessions(
    recorder: Recorder, worker: int, sessions: int, error_ns: int, delay_ns: int
) -> None:
    for number in range(sessions):
        name = f"w{worker}-{number:06d}"
        labels = RowContext(
            name,
            "simulator",
            "voice_turns",
            "voice_turns",
            block=number,
            pair=10 * number + worker,
            event_log=True,
        )
        record = recorder.session(labels)
        for turn in range(1, 4):
            record.turn_started()
            record.turn_ended(
                build_observation(turn=turn, uncertainties_ns={"first_audio": error_ns})
            )
        record.session_ended(build_session(turns_planned=3, turns_started=3, rtp=None))
        for _ in range(50):
            recorder.event_loop_delay(delay_ns)


def log_events(folder: Path, worker: int = 0) -> None:
    """Write an event log of the first session of a worker."""
    (folder / EVENTS).mkdir(exist_ok=True)
    header = {
        "type": "session",
        "about": {"run_id": folder.name, "session_id": f"w{worker}-000000"},
    }
    (folder / EVENTS / f"w{worker}-000000.jsonl").write_text(json.dumps(header) + "\n{}\n")


def closed(folder: Path) -> Path:
    finalize(folder)
    return folder


def changed(part: Path, **changes: Any) -> Path:
    files.write_document(part, files.read_document(part) | changes)
    return part


def copied(part: Path, to: Path) -> Path:
    return Path(shutil.copytree(part, to))
