"""50 talking sessions with VAD, in chunks of 20 to 200 ms: do the voice measures agree with the simulator's truth?

Half of the turns play a recording, half the same with 300 ms of silence behind it. The truth of a turn is made of the
truth log alone: when its appends came, the sample at which its speech ends, and when its deltas were handed over.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile

from bench.metrics import segments
from bench.plan.recordings import load_pcm
from bench.run import folder as files
from bench.simulator.truth import read_truth
from tests.benchmark.harness import quantiles, run_locust, turns_of
from tests.simulator_process import ROOT, running_simulator
from tests.system.end_to_end.locust_process import write_scenario

SESSIONS = 50
CHUNKS_MS = (20, 50, 100, 200)
BYTES_PER_S = 48_000
SILENCE_S = 0.3
JITTER_NS = 50_000_000
RECORDINGS = ("late_parcel.wav", "order_number.wav")
ENDS = {
    "ttfa": ("speech_end", "first_audio"),
    "voice_to_voice": ("speech_end", "first_audible"),
    "end_of_turn_delay": ("speech_end", "speech_stopped"),
    "start_of_speech_delay": ("speech_start", "speech_started"),
}


def main() -> None:
    for chunk_ms in CHUNKS_MS:
        with tempfile.TemporaryDirectory() as scratch:
            metric(Path(scratch), chunk_ms)


def metric(scratch: Path, chunk_ms: int) -> None:
    recordings = write_recordings(scratch)
    steps = "".join(f"  - {{audio: {name}, name: {Path(name).stem}, chunk_ms: {chunk_ms}}}\n" for name in recordings)
    detection = "{type: server_vad, silence_duration_ms: 500}"
    scenario = write_scenario(scratch, script=f"session: {{turn_detection: {detection}}}\nsteps:\n{steps}")
    truth_log = scratch / "truth.jsonl"
    with running_simulator("--ground-truth", str(truth_log)) as ready:
        load = ["-u", str(SESSIONS), "-r", "25", "--sessions", str(SESSIONS), "--url", ready.urls["ga"]]
        folder, status, _ = run_locust(scenario, scratch / "runs", *load)
    turns, document = turns_of(folder), files.read_document(folder)
    truth = true_turns(truth_log, {name: load_pcm(scratch / name).speech.end for name in recordings}, recordings)
    joined = turns[turns["outcome"] == "ok"].merge(truth, on="response_id", how="left", validate="one_to_one")
    print(
        f"chunks of {chunk_ms} ms: exit {status}, valid {document['validity']['status']}, {document['totals']['turns']}"
    )
    for name in ENDS:
        values = measured(joined, name)
        error = (values - joined[f"true_{name}_ms"]).abs()
        within = "within 1 ms" if np.quantile(error, 0.99, method="inverted_cdf") <= 1 else "NOT within 1 ms"
        print(f"  {name}, ms: {quantiles(values, 0.5, 0.99)}")
        print(f"    |{name} − truth|, ms: {quantiles(error, 0.5, 0.99, 1)}: p99 {within}")
    print(f"  segments sum to voice_to_voice in all of {len(joined)} turns: {all(map(sums, rows(joined)))}")
    for plain, padded in zip(recordings[::2], recordings[1::2], strict=True):
        ends = [load_pcm(scratch / name).speech.end for name in (plain, padded)]
        print(f"  {plain}: speech ends at sample {ends[0]}, with silence behind it at {ends[1]}")
    print(f"  simulator: {ready.output.strip().splitlines()[-1]}", flush=True)


def write_recordings(scratch: Path) -> list[str]:
    """Each recording as it is, and with silence behind it."""
    names = []
    for name in RECORDINGS:
        samples, rate_hz = soundfile.read(ROOT / "scenarios" / "audio" / name, dtype="int16")
        padded = f"padded_{name}"
        soundfile.write(scratch / name, samples, rate_hz)
        soundfile.write(scratch / padded, np.append(samples, np.zeros(int(SILENCE_S * rate_hz), np.int16)), rate_hz)
        names += [name, padded]
    return names


def measured(turns: pd.DataFrame, name: str) -> pd.Series[float]:
    """The tool's own figure, in ms, from a row's instants."""
    begin, end = ENDS[name]
    return (turns[f"{end}_at_ns"] - turns[f"{begin}_at_ns"]) / 1e6


def rows(turns: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for row in turns.to_dict("records"):
        yield {str(name).removesuffix("_at_ns"): int(value) for name, value in row.items()
               if str(name).endswith("_at_ns") and not pd.isna(value)}  # fmt: skip


def sums(instants: dict[str, int]) -> bool:
    return sum(ns for _, _, ns in segments(instants)) == instants["first_audible"] - instants["speech_end"]


# The truth.


@dataclass
class Heard:
    """What the simulator heard and said in one session."""

    appends: list[dict[str, Any]] = field(default_factory=list)
    started: list[dict[str, Any]] = field(default_factory=list)
    stopped: list[dict[str, Any]] = field(default_factory=list)
    deltas: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))


def true_turns(path: Path, ends: dict[str, int], recordings: list[str]) -> pd.DataFrame:
    """A row per response: the metrics of its turn, from the truth log."""
    sessions: dict[str, Heard] = defaultdict(Heard)
    for line in read_truth(path):
        if "session" in line:
            note(sessions[line["session"]], line)
    return pd.DataFrame([row for heard in sessions.values() for row in turns_heard(heard, ends, recordings)])


def note(heard: Heard, line: dict[str, Any]) -> None:
    if line["type"] == "input_audio_buffer.append":
        heard.appends.append(line)
    elif line["type"] == "input_audio_buffer.speech_started":
        heard.started.append(line)
    elif line["type"] == "input_audio_buffer.speech_stopped":
        heard.stopped.append(line)
    elif line["direction"] == "out" and line["audio_bytes"]:
        heard.deltas[line["response"]].append(line)


def turns_heard(heard: Heard, ends: dict[str, int], recordings: list[str]) -> Iterator[dict[str, Any]]:
    """The nth turn plays the nth recording and gets the nth response."""
    starts = {
        line["event_id"]: line["from_byte"] for line in heard.appends if str(line["event_id"]).endswith("-append-1")
    }
    for number, (name, deltas) in enumerate(zip(recordings, heard.deltas.values(), strict=False), 1):
        begin = starts[f"turn-{number}-append-1"]
        spoken_ns = recorded_ns(heard.appends, begin + 2 * ends[name])
        first_ns = recorded_ns(heard.appends, begin + 2)
        started = next(line for line in heard.started if line["speech_at_byte"] >= begin)
        stopped = next(line for line in heard.stopped if line["speech_at_byte"] > begin)
        yield {
            "response_id": deltas[0]["response"],
            "true_ttfa_ms": (deltas[0]["send_start_ns"] - spoken_ns) / 1e6,
            "true_voice_to_voice_ms": (first_played_ns(deltas) - spoken_ns) / 1e6,
            "true_turn_detection_ms": (stopped["send_start_ns"] - spoken_ns) / 1e6,
            "true_start_of_speech_delay_ms": (started["send_start_ns"] - first_ns) / 1e6,
        }


def recorded_ns(appends: list[dict[str, Any]], end: int) -> float:
    """When a microphone had recorded everything before byte `end` of the session's audio."""
    holder = next(line for line in appends if line["from_byte"] < end <= line["to_byte"])
    return float(holder["at_ns"] - (holder["to_byte"] - end) / BYTES_PER_S * 1e9)


def first_played_ns(deltas: list[dict[str, Any]]) -> float:
    """When a player with this jitter buffer plays the first audible sample of the reply."""
    free_ns = deltas[0]["send_start_ns"] + JITTER_NS
    for delta in deltas:
        free_ns = max(free_ns, delta["send_start_ns"])
        if delta["audible_at_byte"] is not None:
            return float(free_ns + delta["audible_at_byte"] / BYTES_PER_S * 1e9)
        free_ns += delta["audio_bytes"] / BYTES_PER_S * 1e9
    return float("nan")


if __name__ == "__main__":
    main()
