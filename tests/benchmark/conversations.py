"""Interruptions and function calls through sockets: each metric beside the simulator's truth, at 50 sessions."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.calibrate.deviations import Truth, instants, read_log
from bench.cores import allowed_cores, cores_of, on
from bench.metrics import CATALOGUE
from bench.plan.recordings import load_pcm
from bench.run import folder as files
from bench.run.evidence import exactness, quantile_or_none
from bench.simulator.truth import read_truth
from tests.benchmark.harness import run_locust
from tests.simulator_process import ROOT, running_simulator
from tests.system.end_to_end.locust_process import write_scenario

AUDIO = ROOT / "scenarios" / "audio"
VAD = "session: {turn_detection: {type: server_vad, silence_duration_ms: 500}}\n"
TALK_OVER = f"""\
{VAD}steps:
  - {{audio: {AUDIO}/opening_hours.wav, name: said}}
  - interrupt: {{after: 0.5, audio: {AUDIO}/not_today.wav}}
    name: over
  - {{audio: {AUDIO}/late_parcel.wav, name: again}}
  - interrupt: {{after: 1}}
"""
LOOK_UP = f"""\
{VAD}tools:
  find_parcel:
    parameters: {{type: object, properties: {{order: {{type: string}}}}, required: [order]}}
    returns: {{place: depot}}
    delay: {{median: 0.2, sigma: 0.5}}
steps:
  - {{audio: {AUDIO}/order_number.wav, name: spoken, expected_calls: find_parcel}}
  - {{text: And today?, name: typed, expected_calls: find_parcel}}
"""
PARTS = "functions: {preamble: 0.5, parallel: [1, 2]}\npreamble: {share: 0.5}\n"
CALLERS, LASTS_S = 50, 60


def main() -> None:
    for name, script, profile in (("talked over", TALK_OVER, "{}\n"), ("functions", LOOK_UP, PARTS)):
        with tempfile.TemporaryDirectory() as scratch:
            metric(name, script, profile, Path(scratch))


def metric(name: str, script: str, profile: str, scratch: Path) -> None:
    """Play it, and say of each measure how wrong it is."""
    cores, log = cores_of(allowed_cores()), scratch / "truth.jsonl"
    (scratch / "profile.yaml").write_text(profile)
    scenario = write_scenario(scratch, script=script)
    with on(cores.simulator):
        simulator = running_simulator("--ground-truth", str(log), "--profile", str(scratch / "profile.yaml"))
        with simulator as ready, on(cores.harness):
            load = ("-u", str(CALLERS), "-r", "10", "-t", f"{LASTS_S}s", "--url", ready.urls["ga"])
            folder, _, output = run_locust(scenario, scratch / "runs", *load)
    turns = files.read_table(folder, "turns").to_pandas()
    verdict = files.read_document(folder)["validity"]["status"]
    outcomes = dict(turns["outcome"].value_counts())
    print(f"{name}: {CALLERS} callers, {len(turns)} turns, valid: {verdict}; {outcomes}", flush=True)
    bound = {one.metric: one.bound_p99 for one in exactness(folder)}
    for metric_name, errors_ms in sorted(errors_of(turns, log).items()):
        error = np.abs(errors_ms)
        p50, p99 = quantile_or_none(error, 0.5), quantile_or_none(error, 0.99)
        print(f"  {metric_name:<32} {error.size:>5} turns  |figure − truth| p50 {p50:.3f} · p99 {p99:.3f} · "
              f"max {error.max():.3f} ms  bound p99 {bound.get(metric_name) or 0:.3f}", flush=True)  # fmt: skip
    if verdict is None:
        print(output)


def errors_of(turns: pd.DataFrame, log: Path) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """How far each figure is from the truth, by metric: ms."""
    truth, lines = read_log(log), lines_of(log)
    rows: list[dict[Any, Any]] = turns.to_dict("records")
    after = {(row["session_id"], row["turn"]): row for row in rows}
    errors: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        true = truth_of(row, after.get((row["session_id"], row["turn"] + 1)), truth, lines)
        for name, metric in CATALOGUE.items():
            if metric.scope != "turn" or metric.column or metric.less or name in ("voice_to_voice", "request_ack"):
                continue
            begin = next((one for one in metric.begins if not pd.isna(row[f"{one}_at_ns"])), None)
            if begin in true and metric.end in true and not pd.isna(row[f"{metric.end}_at_ns"]):
                figure_ns = row[f"{metric.end}_at_ns"] - row[f"{begin}_at_ns"]
                errors[name].append((figure_ns - (true[metric.end] - true[begin])) / 1e6)
    return {name: np.array(values) for name, values in errors.items()}


Lines = Mapping[str, list[Mapping[str, Any]]]


def lines_of(log: Path) -> Lines:
    """The lines of a truth log by response, and by session."""
    by: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for line in read_truth(log):
        for key in {line.get("response"), line.get("session")} - {None}:
            by[key].append(line)
    return by


def truth_of(row: Mapping[str, Any], following: Mapping[str, Any] | None, truth: Truth, lines: Lines) -> dict[str, int]:
    """The true instants of a turn, as far as they are known: those of events that left an idle socket."""
    speech = load_pcm(AUDIO / row["audio"]).speech if isinstance(row["audio"], str) else None
    true = instants(truth, row, speech)
    said = list(sent(lines[row["response_id"]]))
    named = [at for at, line in said if line["type"].endswith("output_item.added") and line.get("call")]
    whole = [at for at, line in said if line["type"].endswith("function_call_arguments.done")]
    if row["function_calls"] and named and whole:
        true |= {"function_call_added": named[0], "function_call_done": whole[-1]}
    answer = lines[row["answer_response_id"]]
    last = truth.replies.get(row["answer_response_id"], {})
    for name in ("response_done", "transcript_done"):  # those of the first response are not those of its answer
        true.pop(name, None)
        if (at := last.get(name)) is not None:
            true[name] = at
    asked = [line["at_ns"] for line in answer if line["direction"] == "in" and line["type"] == "response.create"]
    if row["answer_response_id"] != row["response_id"] and asked:
        true["answer_request_sent"] = asked[0]
    deltas = [(at, line) for at, line in sent(answer) if line["audio_bytes"]]
    if deltas:
        item = deltas[-1][1]["item"]
        true["answer_audio"] = next(at for at, line in deltas if line["item"] == item)
    return true | _of_interruption(row, following, truth, lines, true)


def _of_interruption(
    row: Mapping[str, Any], following: Mapping[str, Any] | None, truth: Truth, lines: Lines, true: Mapping[str, int]
) -> dict[str, int]:
    if row["outcome"] != "interrupted" or row["interruption"] != "speech" or following is None:
        return {}
    began_ns = instants(truth, following, load_pcm(AUDIO / following["audio"]).speech).get("speech_start")
    if began_ns is None:
        return {}
    session = lines[row["service_session_id"]]
    started = [at for at, line in sent(session) if line["type"].endswith("speech_started") and at > began_ns]
    cut = [
        line["at_ns"]
        for line in session
        if line["type"].endswith("item.truncate") and line["event_id"].startswith(f"turn-{row['turn']}-")
    ]
    items = {line.get("item") for line in lines[row["response_id"]]}
    cut_done = [
        at for at, line in sent(session) if line["type"].endswith("item.truncated") and line.get("item") in items
    ]
    audio = [at for at, line in sent(lines[row["response_id"]]) if line["audio_bytes"]]
    found = {"barge_in": began_ns, "barge_in_detected": next(iter(started), None),
        "barge_in_silent": next(iter(started), None),
             "truncate_sent": next(iter(cut), None), "truncated": next(iter(cut_done), None),
             "barge_in_last_audio": audio[-1] if audio else None,
             "barge_in_response_done": true.get("response_done")}  # fmt: skip
    return {name: at for name, at in found.items() if at is not None}


def sent(lines: list[Mapping[str, Any]]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(when, what) of the events whose instant is known."""
    return ((line["send_start_ns"], line) for line in lines if line["direction"] == "out" and line["send_end_ns"])
