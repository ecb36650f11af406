"""Errors of the start of each reply by telephone, on a clean network path and on a lossy one, in
one table.

The simulator is the agent. It sends RTP over loopback and logs when it sends each packet, which is
the truth. On the lossy path it drops packets, and delays each by a random time (`rtp` of its
profile). There the truth is the due instant of the packet, without the random delays. Each error is
|reported − truth|. It is also compared with the reported bound of the value. The CPU time and the
memory are those of the load generator, while the first calls are all open.

`python -m tools.benchmarks.telephone LOAD…` runs these numbers of concurrent calls (1, 20 and 100),
on each path. `make benchmark PARTS=telephone` prints the table.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bench.base.cpu import pinned_to
from bench.base.units import NS_PER_MS
from bench.record import folder as files
from rtbench_simulator.ground_truth_log import read_truth
from tests.simulator_process import AUDIO, running_simulator
from tests.telephone_truth import reply_starts
from tools.benchmarks.watch import cores
from tools.benchmarks.watched_run import watched_command
from tools.made_page import table

LOADS = (1, 20, 100)
PATHS: Mapping[str, str] = {
    "clean": "",
    "1 % loss, 20 ms jitter": "rtp: {loss: 0.01, jitter_ms: 20}\n",
}
"""The keys of the profile for each network path."""
PROFILE = "delays_ms:\n  first_audio: {p50: 150, p95: 300}\n"
ANSWERS = 5
SCRIPT = f"""
session: {{turn_detection: full_duplex}}
reply_silence_ms: 300
steps:
  - wait_for: greeting
{f"  - audio: {AUDIO / 'order_number.wav'}{chr(10)}" * ANSWERS}"""
LIMIT_S = 1_200.0
MIN_SESSIONS = 10
"""The minimum number of calls of a run: 60 waits."""
HEADS = (
    "calls",
    "path",
    "waits",
    "without a reply",
    "greeting p50, ms",
    "p99",
    "max",
    "bound of a greeting p50, ms",
    "p99",
    "answer p50, ms",
    "p99",
    "max",
    "bound of an answer p50, ms",
    "p99",
    "beyond the bound",
    "packets dropped",
    "simulator late p99, ms",
    "CPU of a call, ms/s",
    "memory, MB",
    "run",
)


def main(loads: Sequence[int] = LOADS) -> None:
    rows = []
    for calls in loads:
        for path in PATHS:
            rows.append(measured(calls, path))
            print(" · ".join(rows[-1]), flush=True)
    print(table(HEADS, rows))


def measured(calls: int, path: str) -> list[str]:
    """Run calls over a path. Return their row of the table."""
    where = cores()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        truth = folder / "truth.jsonl"
        (folder / "profile.yaml").write_text(PROFILE + PATHS[path], encoding="utf-8")
        (folder / "call.yaml").write_text(SCRIPT, encoding="utf-8")
        with pinned_to(where.simulator):
            simulator = running_simulator(
                "--profile", str(folder / "profile.yaml"), "--ground-truth", str(truth)
            )
            with simulator as ready:
                command = [
                    sys.executable,
                    "-m",
                    "rtbench.cli.app",
                    "run",
                    str(folder / "call.yaml"),
                    "-u",
                    str(calls),
                ]
                command += [
                    "--sessions",
                    str(max(calls, MIN_SESSIONS)),
                    "--url",
                    ready.urls["agent_sip"],
                ]
                command += ["--runs-dir", str(folder / "runs")]
                seen = watched_command(command, folder, where, ready.pid, LIMIT_S)
        (run,) = (folder / "runs").iterdir()
        waits = files.read_table(run, "turns", ["first_audible_at_ns"]).num_rows
        replies = reply_starts(run, truth)
        verdict = files.read_document(run)["validity"]["status"]
        start_ns, end_ns = all_open(run, calls)
        end = list(read_truth(truth))[-1]
    greetings = [reply for reply in replies if reply.turn == 1]
    answers = [reply for reply in replies if reply.turn > 1]
    return [
        str(calls),
        path,
        str(waits),
        str(waits - len(replies)),
        *_quantiles_ms([abs(reply.error_ns) for reply in greetings], 0.5, 0.99, 1),
        *_quantiles_ms([reply.bound_ns for reply in greetings], 0.5, 0.99),
        *_quantiles_ms([abs(reply.error_ns) for reply in answers], 0.5, 0.99, 1),
        *_quantiles_ms([reply.bound_ns for reply in answers], 0.5, 0.99),
        str(sum(reply.is_beyond_bound for reply in replies)),
        str(end["rtp_dropped"]),
        f"{end['late_p99_ms']:.1f}",
        f"{seen.cpu_ms_per_s(start_ns, end_ns) / calls:.1f}",
        f"{seen.rss_bytes(end_ns) / 1e6:.0f}",
        verdict,
    ]


def _quantiles_ms(values_ns: Sequence[int], *ps: float) -> list[str]:
    return [f"{np.quantile(values_ns, p, method='inverted_cdf') / NS_PER_MS:.2f}" for p in ps]


def all_open(run: Path, calls: int) -> tuple[int, int]:
    """Return the period in which the first calls are all open."""
    sessions = files.read_table(
        run, "sessions", ["start_ns", "opened_at_ns", "ended_at_ns"]
    ).to_pandas()
    first = sessions.sort_values("start_ns").head(calls)
    opened_ns, ended_ns = (
        first["start_ns"] + first[name] for name in ("opened_at_ns", "ended_at_ns")
    )
    return int(opened_ns.max()), int(ended_ns.min())


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or LOADS)
