"""The run folder of recorded calls. Its rows are those of a live run; its target is marked as a recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.base.clock import monotonic_ns, utc_ns
from bench.base.units import NS_PER_S
from bench.record import folder as files
from bench.record.document import RECORDING
from bench.record.finalize import finalize
from bench.record.provenance import opening_document
from bench.record.recorder import Recorder, RowContext
from bench.record.spool import Spool
from bench.recorded_calls.playback import MeasuredCall

TARGET = "recorded"
NOTICE = (
    "RECORDED: these are recorded calls, not calls of this tool. Times of day are those of an import that played the "
    "calls one after another."
)
COMPARED = (
    *("name", "scenario", "digest", "turns", "think_s", "chunk_ms", "output", "jitter_buffer_ms", "reply_silence_ms"),
    "answer_min_ms",
)
"""The facts of a script that recorded calls and calls of this tool have in common.

The dialect, the audio formats and the timeouts belong to a service, which the recordings do not name.
"""


@dataclass(frozen=True)
class ImportedCall:
    """A measured call and its script. `seconds` is the duration of the recording."""

    name: str
    source: str
    seconds: float
    facts: Mapping[str, Any]
    measured: MeasuredCall


def write_run(
    runs_dir: Path,
    name: str,
    calls: Sequence[ImportedCall],
    start_ns: int,
    notices: Sequence[str],
    *,
    transcripts: bool,
) -> Path:
    """Write the run of recorded calls, and return its folder. Raise UsageError if it cannot be written.

    The first call starts at `start_ns`, which is before now. In the run, the calls end then.
    """
    total_ns = round(sum(call.seconds for call in calls) * NS_PER_S)
    started_utc_ns = utc_ns() - (monotonic_ns() - start_ns) - total_ns
    folder = files.create(runs_dir, name, started_utc_ns)
    scripts = [{key: call.facts[key] for key in COMPARED} | {"target": TARGET} for call in calls]
    document = opening_document(
        folder.name, name, started_utc_ns, {}, [_target_entry()], scripts, 1, [NOTICE, *notices]
    ) | {"labels": {}, "interleaved": False, "warmup_s": 0.0}
    files.write_document(folder, document)
    recorder = Recorder(Spool(folder, 0), started_utc_ns, transcripts=transcripts, ahead_ns=total_ns)
    for call in calls:
        labels = RowContext(call.name, TARGET, name, call.facts["name"])
        session = recorder.session(labels)
        session.service_session_id = call.source
        for turn in call.measured.turns:
            session.turn_started()
            session.turn_ended(turn)
        session.session_ended(call.measured.session)
    recorder.close()
    stopped = {"state": "closing", "ended_utc_ns": started_utc_ns + total_ns, "stop_reason": "all sessions are done"}
    files.write_document(folder, document | stopped)
    finalize(folder)
    return folder


def _target_entry() -> dict[str, Any]:
    return {
        "name": TARGET,
        "url": "",
        "dialect": "pcm",
        "full_duplex": True,
        "service": RECORDING,
        "loopback": False,
    }
