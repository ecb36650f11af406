"""Realtime with tools against GPT-Live with delegation: the errors of the reported instants, and
the verdict.

The same script with two tools is run in groups of three sessions: over the Realtime API, and over
GPT-Live with tasks for the client and for a backend. Each reported instant of a delegated turn is
compared with the simulator's ground-truth log. The ground truth of a sound is the instant at which
a player plays it, which has a buffer of 50 ms and plays all deltas of a reply without a break.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.base.units import NS_PER_MS
from bench.load.simulator_process import simulator
from bench.record import folder as files
from bench.services.full_duplex import AUDIO_DELTA
from bench.services.gpt_live import DELEGATED
from bench.simulator.ground_truth_log import read_truth
from bench.wire.audio import PCM16
from rtbench.evaluation import EVALUATION
from tests.simulator_process import AUDIO
from tools.benchmarks.locust_runs import quantiles

PAIRS, USERS = 60, 10
BUFFER_NS, PAUSE_DELTAS = 50 * NS_PER_MS, 15
"""The jitter buffer of the script, and the number of silent deltas that end a reply
(`reply_silence_ms`: 1500)."""
PROFILE = """
delegates: 1
delegation: {backend_ms: 400, answer_ms: {p50: 500, p95: 900}, filler: 0.5}
functions: {share: 1, preamble: 0.5}
"""
SCRIPT = f"""
session: {{turn_detection: {{type: server_vad, silence_duration_ms: 500}}}}
tools:
  weather: {{description: The weather in a city., returns: {{sky: clear}}, delay: 0.3}}
  parcel: {{description: Where a parcel is., returns: {{place: out for delivery}}, delay: 0.3}}
steps:
  - audio: {AUDIO}/late_parcel.wav
  - pause: 1
  - audio: {AUDIO}/opening_hours.wav
"""
TARGETS = """
targets:
  realtime: {{url: "{ga}", dialect: ga}}
  client: {{url: "{gpt_live}", session: {{turn_detection: full_duplex}}}}
  backend:
    url: "{gpt_live}"
    session:
      turn_detection: full_duplex
      delegation: {{type: responses, responses: {{model: gpt-6-luna}}}}
"""
Lines = Sequence[dict[str, Any]]


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "profile.yaml").write_text(PROFILE)
        (folder / "call.yaml").write_text(SCRIPT)
        truth = folder / "truth.jsonl"
        profile = str(folder / "profile.yaml")
        truth_options = ("--profile", profile, "--ground-truth", str(truth))
        with simulator(EVALUATION.command, *truth_options) as ready:
            (folder / "targets.yaml").write_text(TARGETS.format(**ready["urls"]))
            command = [
                sys.executable,
                "-m",
                "rtbench.cli.app",
                "run",
                "call.yaml",
                "--targets",
                "realtime,client,backend",
            ]
            options = ["-u", str(USERS), "--sessions", str(PAIRS), "--yes", "--runs-dir", "runs"]
            subprocess.run([*command, *options], cwd=folder, check=False, stdout=subprocess.DEVNULL)
        run = next((folder / "runs").iterdir())
        print_errors(run, truth)
        for target in ("client", "backend"):
            compared = [
                sys.executable,
                "-m",
                "rtbench.cli.app",
                "compare",
                f"{run}:realtime",
                f"{run}:{target}",
            ]
            subprocess.run([*compared], check=False)


def print_errors(run: Path, truth: Path) -> None:
    """Print the errors of each instant in ms, and in how many turns the error exceeds the
    uncertainty, by target.
    """
    errors_ms: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    beyond: defaultdict[tuple[str, str], int] = defaultdict(int)
    missing = 0
    for row, instants in _matched(run, truth):
        for name, true_ns in instants.items():
            at_ns, uncertainty_ns = row[f"{name}_at_ns"], row[f"{name}_uncertainty_ns"]
            if (at_ns is None) is not (true_ns is None):
                missing += 1
            elif at_ns is not None and true_ns is not None:
                error_ns = row["start_ns"] + at_ns - true_ns
                errors_ms[row["target"], name].append(error_ns / NS_PER_MS)
                beyond[row["target"], name] += abs(error_ns) > (uncertainty_ns or 0) + NS_PER_MS
    for (target, name), values in sorted(errors_ms.items()):
        print(
            f"{target} {name}: {len(values)} turns, |error|"
            f" {quantiles(np.abs(values), 0.5, 0.99, 1)} ms, ",
            end="",
        )
        print(f"{beyond[target, name]} beyond the uncertainty and 1 ms")
    print(f"{missing} instants that only the run or only the ground truth has")


def _matched(run: Path, truth: Path) -> Iterator[tuple[dict[str, Any], dict[str, int | None]]]:
    """Yield each delegated turn with the ground truth of its instants. Each turn of a session
    has one task.
    """
    lines: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in read_truth(truth):
        lines[line.get("session") or ""].append(line)
    names = {
        row["session_id"]: row["service_session_id"]
        for row in files.read_table(run, "sessions").to_pylist()
    }
    rows = sorted(
        files.read_table(run, "turns").to_pylist(), key=lambda row: (row["session_id"], row["turn"])
    )
    for row in rows:
        known = lines[names[row["session_id"]]]
        tasks = [line for line in known if line["type"] == DELEGATED]
        if tasks and row["outcome"] == "ok":
            task = tasks[row["turn"] - 1]
            yield (
                row,
                {
                    "function_call_added": task["send_start_ns"],
                    **_played(known, task["delegation"]),
                },
            )


def _played(lines: Lines, task: str) -> dict[str, int | None]:
    """Return when a player plays the first sound of a task's turn, and the first sound of its
    answer.
    """
    deltas = [line for line in lines if line["type"] == AUDIO_DELTA]
    own = [number for number, line in enumerate(deltas) if line.get("delegation") == task]
    audible = [number for number in own if deltas[number]["audible_at_byte"] is not None]
    answer = next((number for number in audible if deltas[number]["utterance"] == "answer"), None)
    if not audible:
        return {"first_audible": None, "function_audible": None}
    fillers = [number for number in audible if deltas[number]["utterance"] == "filler"]
    is_one_reply = fillers and answer is not None and answer - fillers[-1] - 1 < PAUSE_DELTAS
    first = audible[0]
    return {
        "first_audible": _playback_ns(deltas, first, first),
        "function_audible": (
            answer and _playback_ns(deltas, first if is_one_reply else answer, answer)
        ),
    }


def _playback_ns(deltas: Lines, first: int, sound: int) -> int:
    """Return when the first sound of delta `sound` is played, in a reply that begins with delta
    `first`.
    """
    ends_ns = deltas[first]["send_start_ns"] + BUFFER_NS
    for line in deltas[first:sound]:
        ends_ns = max(ends_ns, line["send_start_ns"]) + PCM16.duration_ns(line["audio_bytes"])
    starts_ns: int = max(ends_ns, deltas[sound]["send_start_ns"])
    return starts_ns + PCM16.duration_ns(deltas[sound]["audible_at_byte"])


if __name__ == "__main__":
    main()
