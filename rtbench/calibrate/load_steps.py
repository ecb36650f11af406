"""Plays the loads of a calibration, and makes a step of each run; what was found decides which load is tried next.

A load is played by the simulator in processes of its own and a headless Locust run, as users start it, on different
cores where there are two. The steady part of a run begins when all sessions have started, and ends when no more turns
begin.
"""

from __future__ import annotations

import json
import math
import os
import site
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import convert

from bench.clock import monotonic_ns
from bench.cpu import CpuAssignment, ProcessCpuUsage, cpu_usage, peak_rss_bytes, pinned_to, read_cpu
from bench.errors import USAGE_STATUS, UsageError
from bench.installation import EXAMPLES
from bench.metrics import outcome_class
from bench.plan.recordings import load_pcm
from bench.protocol.dialects import DIALECTS
from bench.run import folder as files
from bench.run import histograms as hdr
from bench.run.calibration import AGENTS, FIRST_SESSIONS, KINDS, LoadStep, Percentiles, SessionKind
from bench.run.document import Validity
from bench.simulator.agent_behaviour import WIRES
from bench.units import NS_PER_MS, NS_PER_S, US_PER_MS, US_PER_S
from reports.statistics.quantiles import turns_to_publish
from rtbench.calibrate.ground_truth import (
    COLUMNS,
    METRICS,
    OF_CALLS,
    AgentRecording,
    GroundTruth,
    match_rows,
    read_log,
    spread,
    spreads,
)
from rtbench.calibrate.load_step_search import DIED, has_passed, longest, outcome_of, result_of
from rtbench.load_search import MAX_TRIES, LoadGrid, next_level
from rtbench.locust_run import LocustRun, environment_without, locust_run, simulator, without_proxies

AROUND_S = 9
"""What a step takes beside its own time: starting, ending the last turns, closing and reading the run."""
TURN_S: dict[SessionKind, float] = {"text": 1.2, "voice": 9.0, **dict.fromkeys(AGENTS, 12.0)}
"""How long a turn takes, and a little more; with an agent two, of which one is interrupted."""
HARNESS = ("receive_delay", "timestamp_uncertainty", "send_delay", "event_loop_delay")
SESSION_COLUMNS = ["outcome", "turns_not_started"]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class CalibrationPlan:
    """The steps to try, each as long as `pace` has it, or for up to `steady_most_s` if p99 needs more turns."""

    grid: LoadGrid
    pace: LoadStepTiming
    steady_most_s: int
    kinds: Sequence[SessionKind] = KINDS

    @property
    def minutes_at_most(self) -> float:
        """How long it takes at most on a machine that carries the first load; minutes."""

        def seconds(kind: SessionKind, sessions: int) -> float:
            pace = pace_of(self, kind, sessions)
            return pace.ramp_s + pace.steady_s + AROUND_S

        return sum(longest(self.grid, partial(seconds, kind)) for kind in self.kinds) / 60


def plan_of(most: int, *, quick: bool, kinds: Sequence[SessionKind] = KINDS) -> CalibrationPlan:
    """Plan a calibration of these kinds of sessions.

    `quick`: loads are four times as large from one to the next, nothing is tried between them, and less long.
    """
    if quick:
        return CalibrationPlan(LoadGrid(FIRST_SESSIONS, most, precision=3.0, factor=4), LoadStepTiming(3, 8), 8, kinds)
    return CalibrationPlan(LoadGrid(FIRST_SESSIONS, most, precision=0.25), LoadStepTiming(5, 10), 40, kinds)


def pace_of(plan: CalibrationPlan, kind: SessionKind, sessions: int) -> LoadStepTiming:
    """The pace of a step: so long that p99 has the turns that it needs, where that is not too long."""
    needed_s = math.ceil(turns_to_publish(0.99) * TURN_S[kind] / sessions)
    return replace(plan.pace, steady_s=min(max(needed_s, plan.pace.steady_s), plan.steady_most_s))


def run_load_steps(
    kind: SessionKind, grid: LoadGrid, step: Callable[[SessionKind, int], LoadStep]
) -> Iterator[LoadStep]:
    """Play the steps of one kind of session, each by `step`."""
    steps: list[LoadStep] = []
    while (found := next_level(grid, map(result_of, steps))) is not None and not found.confirmation_run:
        if _is_busy(steps):
            return
        steps.append(step(kind, found.load))
        yield steps[-1]


def _is_busy(steps: Sequence[LoadStep]) -> bool:
    """Return whether other programs are too busy for a load before any has passed: they are for every load."""
    results = [step.result for step in steps[-MAX_TRIES:]]
    return results == ["machine_busy"] * MAX_TRIES and not any(map(has_passed, steps))


def run_load_step(
    kind: SessionKind, sessions: int, plan: CalibrationPlan, cores: CpuAssignment, *, tls: bool
) -> LoadStep:
    """Play one step, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="rtbench-calibrate-") as scratch:
        pace = pace_of(plan, kind, sessions)
        run = play_load(kind, sessions, pace, cores, Path(scratch), tls=tls)
        return load_step_entry(kind, sessions, run, cores.workers)


def load_step_entry(kind: SessionKind, sessions: int, played: FinishedRun, workers: int) -> LoadStep:
    """Make a step of a run. `workers`: in how many processes was simulated. Nothing is read of a run that died."""
    recording = load_pcm(RECORDING)
    truth = read_log(played.truth, AgentRecording.of(recording, CALLED_IN[kind]) if kind in CALLED_IN else None)
    simulator_died = truth.ended < workers
    outcome, why = DIED if simulator_died else ("fail", played.died)
    step = LoadStep(
        kind=kind,
        sessions=sessions,
        result=outcome,
        why=why,
        cpu=played.used.harness,
        rss_bytes=played.peak_rss_bytes,
        simulator_cpu=played.used.simulator,
        background=played.used.others,
    )
    if played.died:  # too much of a load, unless the simulator ended, too
        return step
    document = files.read_document(played.folder)
    turns = files.read_table(played.folder, "turns", list(COLUMNS))
    rows = _steady(turns, "start_utc_ns", played, 1)
    # each call with an agent has one greeting, ahead of the steady part
    greetings = turns.filter(pc.is_null(turns["measured_from"])).to_pylist() if kind in AGENTS else []
    compared = [*rows, *(row for row in greetings if row not in rows)]
    errors = match_rows(compared, truth, {RECORDING.name: recording.speech}, COMPARED.get(kind, METRICS))
    seconds = _steady(files.read_table(played.folder, "seconds"), "second", played, 10**9)
    lost = _lost(files.read_table(played.folder, "sessions", SESSION_COLUMNS))
    validity = convert(document.get("validity") or {"status": "no_verdict"}, Validity)
    step = msgspec.structs.replace(
        step,
        turns=len(rows) + lost,
        failed=sum(outcome_class(row["outcome"]) == "failed" for row in rows) + lost,
        unmatched=errors.unmatched,
        # the last second may lie behind the steady part
        open=min((row["sessions_active"] for row in seconds[:-1]), default=0),
        validity=validity.status,
        events_per_s=_events_per_s(seconds),
        errors=spreads(errors.metrics),
        instants=spreads(errors.instants),
        load_generator=load_generator_stats(hdr.read(files.histograms_path(played.folder))),
        us_per_event=_us_per_event(seconds),
        simulator_late_p99_ms=_late_p99_ms(truth, rows, played),
        left_out=truth.left_out,
    )
    outcome, why = outcome_of(step, failed=_failed_check(validity), workers=workers, died=simulator_died)
    return msgspec.structs.replace(step, result=outcome, why=why)


def _lost(sessions: pa.Table) -> int:
    """Sessions that failed at any time, and the turns that they did not come to."""
    failed = [row for row in sessions.to_pylist() if outcome_class(row["outcome"]) == "failed"]
    return sum(1 + row["turns_not_started"] for row in failed)


def _steady(table: pa.Table, column: str, played: FinishedRun, unit_ns: int) -> list[dict[str, Any]]:
    """The rows of the steady part. `column`: when each begins, in units since 1970; of seconds only whole ones."""
    begin, end = -(-played.begin_utc_ns // unit_ns), played.end_utc_ns // unit_ns
    at = table[column]
    rows: list[dict[str, Any]] = table.filter(pc.and_(pc.greater_equal(at, begin), pc.less(at, end))).to_pylist()
    return rows


def _late_p99_ms(truth: GroundTruth, rows: Sequence[Row], played: FinishedRun) -> float | None:
    """How late events of the steady part were (p99); the rows say how far UTC is from the log's clock."""
    if not rows:
        return None
    apart_ns = rows[0]["start_utc_ns"] - rows[0]["start_ns"]
    late = truth.late_within(played.begin_utc_ns - apart_ns, played.end_utc_ns - apart_ns)
    return spread(late / NS_PER_MS).p99 if len(late) else None


def _failed_check(validity: Validity) -> str:
    """Return the first check that failed, as `invalid: timestamp_uncertainty 2.3 ms > 1 ms`; empty if none failed."""
    failed = next((check for check in validity.checks if check.result == "fail"), None)
    return f"invalid: {failed.name} {failed.value:.3g} ms > {failed.limit:.3g} ms" if failed else ""


def _events_per_s(seconds: Sequence[Row]) -> float:
    length_s = sum(row["duration_ns"] for row in seconds) / NS_PER_S
    return sum(row["events"] for row in seconds) / length_s if length_s else 0.0


def _us_per_event(seconds: Sequence[Row]) -> float | None:
    """The harness's own processor time per event, whatever it was spent on."""
    spent_s = sum((row["cpu"] or 0.0) * row["duration_ns"] / NS_PER_S for row in seconds)
    events = sum(row["events"] for row in seconds)
    return spent_s / events * US_PER_S if events else None


def load_generator_stats(histograms: hdr.Histograms) -> dict[str, Percentiles]:
    """What the harness measured of itself in the whole run."""
    found = {}
    for metric in HARNESS:
        pooled = hdr.empty(metric)
        for key, histogram in histograms.items():
            if key.metric == metric:
                pooled.add(histogram)
        tops, counts = hdr.distribution(pooled)
        if len(tops):
            p50, p99, p999, high = ((hdr.quantile(pooled, p) or 0) / US_PER_MS for p in (0.5, 0.99, 0.999, 1.0))
            found[metric] = Percentiles(int(np.sum(counts)), p50, p99, p999, high)
    return found


RECORDING = EXAMPLES / "audio" / "late_parcel.wav"
CHUNK_MS = 50
STEPS = 60
"""Turns of a session, more than any step has time for."""
PROFILE = "generation_speed: 6.0\ndelays_ms:\n  first_audio: {p50: 150, p95: 300}\n"
"""Answers that follow quickly and are generated fast: a text session gets some 40 events a second."""
SCENARIO = """\
from rtbench import RealtimeUser


class Caller(RealtimeUser):
    script = "script.yaml"
"""
PLAYED = f"audio: {json.dumps(str(RECORDING))}"
ANSWERED_THEN_INTERRUPTED = (
    f"{{{PLAYED}, name: answer}}",
    f"{{interrupt: {{{PLAYED}, after: 1}}, name: interruption}}",
)
OF_AGENT = "{turn_detection: full_duplex}"
OF_NAMELESS = "{turn_detection: full_duplex, extra: {id: '{uuid}'}}"
"""The session with an agent that hears plain audio, where nobody else gives a call its id."""
OF_CALL = ("{wait_for: greeting}", *ANSWERED_THEN_INTERRUPTED * (STEPS // 2))
SCRIPTS: dict[SessionKind, tuple[str, Sequence[str]]] = {
    "text": ("{output: audio}", ["{text: Hello, name: answer}"] * STEPS),
    "voice": (
        "{output: audio, turn_detection: {type: server_vad, silence_duration_ms: 500}}",
        [f"{{{PLAYED}, chunk_ms: {CHUNK_MS}, name: answer}}"] * STEPS,
    ),
    **{kind: (OF_AGENT if WIRES[kind].clears else OF_NAMELESS, OF_CALL) for kind in AGENTS},
}
"""Session and steps."""
COMPARED: dict[SessionKind, Sequence[str]] = {kind: OF_CALLS if WIRES[kind].clears else OF_CALLS[:2] for kind in AGENTS}
"""What is compared of calls: over a plain WebSocket nothing says when an agent fell silent."""
CALLED_IN = {kind: next(iter(DIALECTS[kind].input_formats.values())) for kind in AGENTS}
"""The format of a call's audio."""
END_S = 120.0
"""How long a run may take after its steady part, for the last turns and for closing."""


@dataclass(frozen=True)
class LoadStepTiming:
    """Seconds in which sessions start, and in which all of them are at work."""

    ramp_s: int
    steady_s: int


@dataclass(frozen=True)
class FinishedRun:
    """A run that is over, in `folder`, with the simulator's `truth`. Its steady part, UTC in ns, and what it took.

    `died`: how it ended where it did not come to its end; its folder is not whole then.
    """

    folder: Path
    truth: Path
    begin_utc_ns: int
    end_utc_ns: int
    used: ProcessCpuUsage
    peak_rss_bytes: int | None
    died: str = ""


def play_load(
    kind: SessionKind, sessions: int, pace: LoadStepTiming, cores: CpuAssignment, scratch: Path, *, tls: bool
) -> FinishedRun:
    """Play a load in an empty folder `scratch`. Raises UsageError where a process does not do its part."""
    scenario, truth = _write_scenario(kind, scratch), scratch / "truth.jsonl"
    with ExitStack() as running:
        with pinned_to(cores.simulator):
            ready = running.enter_context(simulator(*_simulated(scratch, truth, cores.workers, tls=tls)))
        with pinned_to(cores.harness):
            words, environ = _words(kind, scenario, scratch, sessions, pace, ready), _environment(os.environ, scratch)
            run = running.enter_context(locust_run(words, environ, log=scratch / "harness.log", folder=scratch))
        return _watched(run, int(ready["pid"]), pace, cores, scratch, truth)


def _write_scenario(kind: SessionKind, scratch: Path) -> Path:
    session, steps = SCRIPTS[kind]
    (scratch / "script.yaml").write_text(f"session: {session}\nsteps:\n" + "".join(f"  - {step}\n" for step in steps))
    (scratch / "scenario.py").write_text(SCENARIO)
    (scratch / "profile.yaml").write_text(PROFILE)
    return scratch / "scenario.py"


def _simulated(scratch: Path, truth: Path, workers: int, *, tls: bool) -> list[str]:
    """The options of the simulator."""
    several = ["--workers", str(workers)] if workers > 1 else []
    files = ["--ground-truth", str(truth), "--profile", str(scratch / "profile.yaml")]
    return [*files, *several, *(["--tls"] if tls else [])]


def _words(
    kind: SessionKind, scenario: Path, scratch: Path, sessions: int, pace: LoadStepTiming, ready: Mapping[str, Any]
) -> list[str]:
    """The command line of the run."""
    load = {"-u": sessions, "-r": -(-sessions // pace.ramp_s), "-t": f"{pace.ramp_s + pace.steady_s}s"}
    trust = ["--ca-file", str(ready["ca"])] if ready["ca"] else []
    url = ready["urls"][f"agent_{kind}" if kind in AGENTS else "ga"]
    called = ["--dialect", kind] if kind in AGENTS else []
    place = ["--url", str(url), *called, *trust, "--runs-dir", str(scratch / "runs"), "--loglevel", "WARNING"]
    return ["-f", str(scenario), "--headless", *(str(word) for option in load.items() for word in option), *place]


def _environment(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    """The environment without what is set for other runs, in variables or at home, and without proxies.

    Packages that are installed for this user alone are found all the same.
    """
    kept = environment_without(without_proxies(environ), "LOCUST_", "XDG_")
    return kept | {"HOME": str(home), "PYTHONUSERBASE": site.getuserbase()}


def _watched(
    run: LocustRun, simulating: int, pace: LoadStepTiming, cores: CpuAssignment, scratch: Path, truth: Path
) -> FinishedRun:
    """Watch the run until it has ended. Raises UsageError where it was refused."""
    folder, process = run.begun(scratch / "runs"), run.process
    steady_ns = run.began_ns(folder) + pace.ramp_s * NS_PER_S
    begin_ns = files.read_document(folder)["started_utc_ns"] + pace.ramp_s * NS_PER_S
    end_ns = begin_ns + pace.steady_s * NS_PER_S
    _sleep_until(steady_ns)
    first = read_cpu(process.pid, simulating, cores.used)
    _sleep_until(steady_ns + pace.steady_s * NS_PER_S)
    used, peak = cpu_usage(first, read_cpu(process.pid, simulating, cores.used)), peak_rss_bytes(process.pid)
    died = run.ended(folder, END_S)
    if process.returncode == USAGE_STATUS:
        raise UsageError(died)
    return FinishedRun(folder, truth, begin_ns, end_ns, used, peak, died)


def _sleep_until(at_ns: int) -> None:
    time.sleep(max(0.0, (at_ns - monotonic_ns()) / NS_PER_S))
