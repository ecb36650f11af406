"""Time and memory of recording, finalizing and reporting a million synthetic turns. Each part runs
in a new process.

`reports/data/runs.py` and docs/run-folder.md quote the sizes. The turns are always the same. One of
the runs is finalized only from its spool, as after a kill.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.base.clock import Arrival, monotonic_ns, utc_ns
from bench.catalogue.columns import TURN_ARRIVALS
from bench.observe.observation import SessionObservation, TurnObservation
from bench.record import folder as files
from bench.record.finalize import finalize
from bench.record.provenance import opening_document
from bench.record.recorder import Recorder, RowContext
from bench.record.spool import FACTS, HISTOGRAMS, Spool, path_of
from bench.wire.connection import ReceivedMessage
from bench.wire.events import EventKind, ServerEvent, TokenUsage

TURNS, PER_SESSION, CHECKS = 1_000_000, 10, 10
STEPS = ("greeting", "opening_hours", "order_status", "refund_policy", "goodbye")
MS = 1_000_000
BOUNDS_NS = (0, 0, 0, 0, 31_000, 120_000, 77_000)
MIB = 2**20


def main() -> None:
    """Print the time and the peak memory of each part. Goals: report 5 s, 600 MiB; finalize and
    report 10 s.
    """
    with tempfile.TemporaryDirectory() as scratch:
        parent = Path(scratch)
        ended = files.create(parent, "million", utc_ns())
        in_child("recording", "record", ended)
        killed = shutil.copytree(ended, parent / "killed")
        kill(killed)
        together = shutil.copytree(ended, parent / "together")
        in_child("close", "close", ended)
        in_child("report", "report", ended)
        in_child("close and report", "report", together)
        in_child("close and report of a killed run", "report", killed)
        sizes = (
            f"{path.name} {path.stat().st_size / MIB:.1f} MiB" for path in sorted(ended.iterdir())
        )
        print(", ".join(sizes))


def in_child(title: str, name: str, folder: Path) -> None:
    """Run one of PARTS and print its time and memory."""
    start_s = time.perf_counter()
    command = [sys.executable, "-m", "tools.benchmarks.million", name, str(folder)]
    _, status, used = os.wait4(os.posix_spawn(sys.executable, command, os.environ), 0)
    if status:
        raise RuntimeError(f"{title}: exit status {os.waitstatus_to_exitcode(status)}")
    took = f"{time.perf_counter() - start_s:.1f} s, CPU {used.ru_utime + used.ru_stime:.1f} s"
    print(f"{title}: {took}, at most {used.ru_maxrss / 1024:.0f} MiB", flush=True)


def kill(folder: Path) -> None:
    """Make the run as it is after a kill just before its first histograms were written."""
    path_of(folder, 0, HISTOGRAMS).unlink()
    counters = path_of(folder, 0, FACTS)
    counters.write_text(json.dumps(json.loads(counters.read_text()) | {"done": False}))


def record(folder: Path) -> None:
    """Record as a run does: one tick for every second of turns, here every 5,000 turns."""
    began = utc_ns()
    files.write_document(folder, opening_document(folder.name, "million", began, {}, [], [], 1, []))
    recorder = Recorder(Spool(folder, 0), began)
    rng = np.random.default_rng(1)
    waits = rng.lognormal(np.log(600), 0.5, TURNS) * MS
    start_s, resident = time.process_time(), []
    for first in range(0, TURNS, PER_SESSION):
        play(recorder, first, waits)
        if first % 5_000 == 0:
            recorder.end_second()
            recorder.flush()
        if first % (TURNS // CHECKS) == 0:
            resident.append(f"{resident_mib():.0f}")
    recorder.close()
    each_us = (time.process_time() - start_s) / TURNS * 1e6
    print(
        f"{TURNS:,} turns recorded, {each_us:.0f} µs of CPU each; MiB every {TURNS // CHECKS:,}:"
        f" {' '.join(resident)}"
    )


def play(recorder: Recorder, first: int, waits: np.ndarray) -> None:
    record = recorder.session(
        RowContext(f"w0-{first // PER_SESSION:06d}", "sim", "million", "million")
    )
    start_ns = monotonic_ns()
    for turn in range(PER_SESSION):
        record.turn_started()
        came = ReceivedMessage(b"", Arrival(start_ns), 16_000)
        record.received(
            (ServerEvent(EventKind.AUDIO_DELTA, payload_bytes=12_000),), came, start_ns + 40_000
        )
        record.turn_ended(observed(first + turn, turn + 1, start_ns, int(waits[first + turn])))
    instants = {
        "connect_start": start_ns,
        "tcp_done": start_ns + MS,
        "opened": start_ns + 3 * MS,
        "session_created": start_ns + 9 * MS,
        "ended": start_ns + 60_000 * MS,
    }
    record.session_ended(
        SessionObservation(
            "ok",
            "",
            start_ns,
            instants=instants,
            service_session_id=f"sess_{first}",
            turns_planned=PER_SESSION,
            turns_started=PER_SESSION,
            turns_ended=PER_SESSION,
            turns_succeeded=PER_SESSION,
        )
    )


def observed(number: int, turn: int, start_ns: int, wait_ns: int) -> TurnObservation:
    failed = number % 211 == 0
    instants = {
        "request_sent": start_ns + MS,
        "response_created": start_ns + 40 * MS,
        "ended": start_ns + wait_ns * 3,
    }
    if not failed:
        instants |= {
            "first_transcript": start_ns + wait_ns - 50 * MS,
            "first_audio": start_ns + wait_ns,
            "first_audible": start_ns + wait_ns + 130 * MS,
            "last_audio": start_ns + 2 * wait_ns,
            "transcript_done": start_ns + 2 * wait_ns + 5 * MS,
            "response_done": start_ns + wait_ns * 3,
        }
    return TurnObservation(
        turn=turn,
        step=STEPS[number % len(STEPS)],
        outcome="timeout:first_delta" if failed else "ok",
        detail="",
        start_ns=start_ns,
        instants=instants,
        response_id=f"resp_{number:021d}",
        item_id="",
        widths_ns={"request_sent": 0},
        uncertainties_ns={
            name: BOUNDS_NS[number * len(name) % 7] for name in TURN_ARRIVALS if name in instants
        },
        stall_duration_uncertainty_ns=0,
        timestamp_uncertainty_max_ns=30_000,
        kernel_stamps=40,
        user_stamps=0,
        audio_bytes_sent=0,
        audio_bytes_received=144_000,
        wire_bytes_sent=500,
        wire_bytes_received=210_000,
        events=40,
        audio_deltas=12,
        text_deltas=0,
        transcript_deltas=18,
        unknown_events=0,
        late_chunks=0,
        gaps_ns=(62_500_000,) * 8,
        uncertain_gaps=0,
        audio="",
        audio_speed=3.9,
        stall_duration_ns=0,
        stall_count=0,
        vad_splits=None,
        network_rtt_ns=2 * MS,
        network_rtt_smoothed_ns=3 * MS,
        retransmits=0,
        reply_text="",
        input_text="",
        usage=TokenUsage(text_in=40, text_out=20, audio_out=60),
    )


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def report(folder: Path) -> None:
    """Run `rtbench report`, which first finalizes the run if necessary."""
    from rtbench.cli.report import report as command

    with (folder.parent / "terminal.txt").open("w") as sys.stdout:
        command([str(folder)])


PARTS = {"record": record, "close": finalize, "report": report}

if __name__ == "__main__":
    if sys.argv[1:]:
        PARTS[sys.argv[1]](Path(sys.argv[2]))
    else:
        main()
