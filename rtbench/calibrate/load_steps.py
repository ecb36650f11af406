"""The load steps of a calibration: the run of each load, and the step that follows from it.

A load needs the simulator, in its own processes, and a headless Locust run, which is started as
users start it. Their cores differ if there are at least two. The steady part of a run begins when
all sessions have started, and ends when no more turns start.
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
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from bench.base.clock import monotonic_ns
from bench.base.cpu import (
    CpuAssignment,
    ProcessCpuUsage,
    cpu_usage,
    peak_rss_bytes,
    pinned_to,
    read_cpu,
)
from bench.base.errors import USAGE_STATUS, UsageError
from bench.base.installation import EXAMPLES
from bench.base.units import NS_PER_MS, NS_PER_S, US_PER_MS, US_PER_S
from bench.catalogue.outcomes import outcome_class
from bench.load.simulator_process import simulated_dialects, simulator
from bench.plan.recordings import load_pcm
from bench.record import folder as files
from bench.record import histograms as hdr
from bench.record.calibration import (
    AGENTS,
    FIRST_SESSIONS,
    GA,
    LoadStep,
    Percentiles,
    SessionKind,
    kinds_of,
)
from bench.services.names import DialectName
from bench.services.registry import DIALECTS
from bench.wire.audio import resolve_format
from bench.wire.dialect import SOUND
from reports.data.runs import stated_validity
from reports.results.value import Reason
from reports.statistics.quantiles import turns_to_publish
from rtbench.calibrate.ground_truth import (
    COLUMNS,
    METRICS,
    OF_CALLS,
    GroundTruth,
    PlayedRecording,
    Row,
    match_rows,
    percentiles,
    percentiles_of_errors,
    read_log,
)
from rtbench.calibrate.load_search import MAX_TRIES, LoadGrid, next_load
from rtbench.calibrate.load_step_search import (
    DIED,
    LOAD_GENERATOR,
    has_passed,
    max_duration,
    outcome_of,
    result_of,
)
from rtbench.calibrate.text import reason_text
from rtbench.evaluation import EVALUATION
from rtbench.locust_run import (
    LocustRun,
    environment_without,
    headless,
    locust_run,
    without_proxies,
)
from rtbench_simulator.ready import urls_at

AROUND_S = 9
"""The time, in seconds, that a step takes in addition to its load, for start, last turns,
finalizing, and reading."""
TURN_S: dict[SessionKind, float] = {"text": 1.2, "voice": 9.0, **dict.fromkeys(AGENTS, 12.0)}
"""The duration of a turn in seconds, with a small reserve; for an agent that of two turns, one
of them interrupted."""
SESSION_COLUMNS = ["outcome", "turns_not_started"]


class CalibrationPlan(NamedTuple):
    """The plan of a calibration: the loads to try, and the timing of each step.

    If p99 needs more turns, the steady part of a step is longer than in `pace`, up to
    `steady_most_s` seconds.
    """

    grid: LoadGrid
    pace: LoadStepTiming
    steady_most_s: int
    dialect: DialectName = GA

    @property
    def kinds(self) -> tuple[SessionKind, ...]:
        return kinds_of(self.dialect)

    @property
    def minutes_at_most(self) -> float:
        """The maximum duration, in minutes, of the calibration on a machine that supports at
        least the first load.
        """

        def seconds(kind: SessionKind, sessions: int) -> float:
            pace = pace_of(self, kind, sessions)
            return pace.ramp_s + pace.steady_s + AROUND_S

        return sum(max_duration(self.grid, partial(seconds, kind)) for kind in self.kinds) / 60


def plan_of(max_sessions: int, *, quick: bool, dialect: DialectName = GA) -> CalibrationPlan:
    """Return the plan of a calibration. A quick one has short steps, and only loads of four
    times the previous one.
    """
    if quick:
        return CalibrationPlan(
            LoadGrid(FIRST_SESSIONS, max_sessions, precision=3.0, factor=4),
            LoadStepTiming(3, 8),
            8,
            dialect,
        )
    return CalibrationPlan(
        LoadGrid(FIRST_SESSIONS, max_sessions, precision=0.25), LoadStepTiming(5, 10), 40, dialect
    )


def pace_of(plan: CalibrationPlan, kind: SessionKind, sessions: int) -> LoadStepTiming:
    """Return the timing of a step, which is long enough for the turns that p99 needs, up to the
    limit in the plan.
    """
    needed_s = math.ceil(turns_to_publish(0.99) * TURN_S[kind] / sessions)
    return replace(plan.pace, steady_s=min(max(needed_s, plan.pace.steady_s), plan.steady_most_s))


def refuse_without_truth(dialect: DialectName) -> None:
    """Raise UsageError if the ground-truth log of a simulated service has no turns, or if it is
    not simulated.
    """
    urls = simulated_dialects(urls_at(""))
    known = [
        name
        for name in DIALECTS
        if name in urls and (name in AGENTS or DIALECTS[name].turn_source is not SOUND)
    ]
    if dialect not in known:
        raise UsageError(
            f"calibrate cannot call --dialect {dialect}: use one of {', '.join(known)}"
        )


def run_load_steps(
    kind: SessionKind, grid: LoadGrid, step: Callable[[SessionKind, int], LoadStep]
) -> Iterator[LoadStep]:
    """Run the steps of one kind of session, and yield each result. `step` runs one step with a
    number of sessions.
    """
    steps: list[LoadStep] = []
    while (sessions := next_load(grid, map(result_of, steps))) is not None:
        tries = [tried.result for tried in steps[-MAX_TRIES:]]
        if tries == ["machine_busy"] * MAX_TRIES and not any(map(has_passed, steps)):
            return  # other programs affect every load
        steps.append(step(kind, sessions))
        yield steps[-1]


def run_load_step(
    kind: SessionKind, sessions: int, plan: CalibrationPlan, cores: CpuAssignment, *, tls: bool
) -> LoadStep:
    if kind == "sip":  # the simulator has a telephone line only if it is one process
        cores = replace(cores, simulator=frozenset(sorted(cores.simulator)[:1]))
    with tempfile.TemporaryDirectory(prefix="rtbench-calibrate-") as scratch:
        pace = pace_of(plan, kind, sessions)
        run = run_load(kind, sessions, pace, cores, Path(scratch), tls=tls, dialect=plan.dialect)
        return load_step_entry(kind, sessions, run, cores.workers, plan.dialect)


def load_step_entry(
    kind: SessionKind, sessions: int, run: FinishedRun, workers: int, dialect: DialectName
) -> LoadStep:
    """Return the step that a run gives. `workers` is the number of the simulator's processes."""
    recording = played_recording(dialect)
    truth = read_log(run.truth, recording)
    simulator_died = truth.ended < workers
    outcome, reason = (
        DIED if simulator_died else ("fail", Reason("run_died", {"message": run.died}))
    )
    step = LoadStep(
        kind=kind,
        sessions=sessions,
        result=outcome,
        why=reason_text(reason),
        cpu=run.used.load_generator,
        rss_bytes=run.peak_rss_bytes,
        simulator_cpu=run.used.simulator,
        background=run.used.others,
    )
    if run.died:  # the load was too high, unless the simulator died as well
        return step
    turns = files.read_table(run.folder, "turns", list(COLUMNS))
    if kind == "sip":  # the simulator knows a call by its Call-ID
        turns = _with_request_ids(
            turns, files.read_table(run.folder, "sessions", ["session_id", "request_id"])
        )
    rows = _steady(turns, "start_utc_ns", run, 1)
    # each call with an agent has one greeting, before the steady part
    greetings = (
        turns.filter(pc.is_null(turns["measured_from"])).to_pylist() if kind in AGENTS else []
    )
    compared = [*rows, *(row for row in greetings if row not in rows)]
    errors = match_rows(
        compared, truth, {RECORDING.name: recording.speech}, COMPARED.get(kind, METRICS)
    )
    seconds = _steady(files.read_table(run.folder, "seconds"), "second", run, 10**9)
    missing_turns = _failed_or_not_started(
        files.read_table(run.folder, "sessions", SESSION_COLUMNS)
    )
    validity = stated_validity(files.read_document(run.folder))
    events_per_s, us_per_event = _rates(seconds)
    step = msgspec.structs.replace(
        step,
        turns=len(rows) + missing_turns,
        failed=sum(outcome_class(row["outcome"]) == "failed" for row in rows) + missing_turns,
        unmatched=errors.unmatched,
        # the last second may extend beyond the steady part
        open=min((row["sessions_active"] for row in seconds[:-1]), default=0),
        validity=validity.status,
        events_per_s=events_per_s,
        errors=percentiles_of_errors(errors.metrics),
        instants=percentiles_of_errors(errors.instants),
        load_generator=load_generator_stats(hdr.read(files.histograms_path(run.folder))),
        us_per_event=us_per_event,
        simulator_late_p99_ms=_late_p99_ms(truth, rows, run),
        left_out=truth.left_out,
    )
    failed = next(
        (
            Reason(
                "check_failed",
                {name: getattr(check, name) for name in ("name", "value", "unit", "limit")},
            )
            for check in validity.checks
            if check.result == "fail"
        ),
        None,
    )
    result, why = outcome_of(step, failed=failed, workers=workers, died=simulator_died)
    return msgspec.structs.replace(step, result=result, why=reason_text(why))


def _with_request_ids(turns: pa.Table, sessions: pa.Table) -> pa.Table:
    """Return the rows of turns with the request id of their session as the service's id of the
    session.
    """
    ids = dict(
        zip(*(sessions[name].to_pylist() for name in ("session_id", "request_id")), strict=True)
    )
    column = turns.schema.get_field_index("service_session_id")
    return turns.set_column(
        column, "service_session_id", [[ids[name] for name in turns["session_id"].to_pylist()]]
    )


def _failed_or_not_started(sessions: pa.Table) -> int:
    """Return the number of sessions that failed at any time, plus the turns that they did not
    start.
    """
    failed = [row for row in sessions.to_pylist() if outcome_class(row["outcome"]) == "failed"]
    return sum(1 + row["turns_not_started"] for row in failed)


def _steady(table: pa.Table, column: str, run: FinishedRun, unit_ns: int) -> list[dict[str, Any]]:
    """Return the rows that start in the steady part of the run.

    `column` is the start of a row in units of `unit_ns` ns since 1970. A unit that is partly
    outside is left out.
    """
    start = -(-run.begin_utc_ns // unit_ns)
    end = run.end_utc_ns // unit_ns
    at = table[column]
    rows: list[dict[str, Any]] = table.filter(
        pc.and_(pc.greater_equal(at, start), pc.less(at, end))
    ).to_pylist()
    return rows


def _late_p99_ms(truth: GroundTruth, rows: Sequence[Row], run: FinishedRun) -> float | None:
    """Return the p99 of the events' lateness in the steady part, in ms; None if it is unknown."""
    if not rows:
        return None
    # between UTC and the clock of the log
    offset_ns = rows[0]["start_utc_ns"] - rows[0]["start_ns"]
    late = truth.late_within(run.begin_utc_ns - offset_ns, run.end_utc_ns - offset_ns)
    return percentiles(late / NS_PER_MS).p99 if len(late) else None


def _rates(seconds: Sequence[Row]) -> tuple[float, float | None]:
    """Return (events per second, CPU time of the load generator per event in µs). The second one is
    None without events.
    """
    duration_s = sum(row["duration_ns"] for row in seconds) / NS_PER_S
    spent_s = sum((row["cpu"] or 0.0) * row["duration_ns"] / NS_PER_S for row in seconds)
    events = sum(row["events"] for row in seconds)
    per_s = events / duration_s if duration_s else 0.0
    return per_s, spent_s / events * US_PER_S if events else None


def load_generator_stats(histograms: hdr.Histograms) -> dict[str, Percentiles]:
    stats = {}
    for metric in LOAD_GENERATOR:
        pooled = hdr.empty(metric)
        for key, histogram in histograms.items():
            if key.metric == metric:
                pooled.add(histogram)
        if count := int(pooled.get_total_count()):
            p50, p99, p999, high = (
                (hdr.quantile(pooled, p) or 0) / US_PER_MS for p in (0.5, 0.99, 0.999, 1.0)
            )
            stats[metric] = Percentiles(count, p50, p99, p999, high)
    return stats


RECORDING = EXAMPLES / "audio" / "late_parcel.wav"
CHUNK_MS = 50
STEPS = 60
"""The number of turns of a session. A step is too short for all of them."""
PROFILE = "generation_speed: 6.0\ndelays_ms:\n  first_audio: {p50: 150, p95: 300}\n"
"""A simulator profile with fast replies. A text session gets about 40 events per second."""


def played_recording(dialect: DialectName) -> PlayedRecording:
    return PlayedRecording.of(
        load_pcm(RECORDING), resolve_format(DIALECTS[dialect].input_formats, None)
    )


SCENARIO = """\
from rtbench import RealtimeUser


class Caller(RealtimeUser):
    script = "script.yaml"
"""
AUDIO_STEP = f"audio: {json.dumps(str(RECORDING))}"
ANSWERED_THEN_INTERRUPTED = (
    f"{{{AUDIO_STEP}, name: answer}}",
    f"{{interrupt: {{{AUDIO_STEP}, after: 1}}, name: interruption}}",
)
OF_AGENT = "{turn_detection: full_duplex}"
OF_NAMELESS = "{turn_detection: full_duplex, extra: {id: '{uuid}'}}"
"""The session settings for an agent on a plain WebSocket, in which only the message in `extra`
gives the call an id."""
OF_CALL = ("{wait_for: greeting}", *ANSWERED_THEN_INTERRUPTED * (STEPS // 2))
SCRIPTS: dict[SessionKind, tuple[str, Sequence[str]]] = {
    "text": ("{output: audio}", ["{text: Hello, name: answer}"] * STEPS),
    "voice": (
        "{output: audio, turn_detection: {type: server_vad, silence_duration_ms: 500}}",
        [f"{{{AUDIO_STEP}, chunk_ms: {CHUNK_MS}, name: answer}}"] * STEPS,
    ),
    **dict.fromkeys(AGENTS, (OF_AGENT, OF_CALL)),
    "pcm": (OF_NAMELESS, OF_CALL),
}
"""A mapping from a kind of session to (the settings of the session, the steps of its script)."""
COMPARED: dict[SessionKind, Sequence[str]] = {
    **dict.fromkeys(AGENTS, OF_CALLS),
    "pcm": ("greeting", "voice_to_voice"),
    "sip": ("voice_to_voice",),
}
"""The metrics of each kind of call that are compared with the ground truth.

Over a plain WebSocket and by telephone, no message shows when the agent stopped speaking. The
greeting of a telephone call starts with its first packets, which the simulator may send late.
"""
END_S = 120.0
"""The time, in seconds, that a run may take after its steady part to end its last turns and to
finalize."""


@dataclass(frozen=True)
class LoadStepTiming:
    """The timing of a step: the time in which the sessions start, and the time in which all of
    them run.
    """

    ramp_s: int
    steady_s: int


class FinishedRun(NamedTuple):
    """A run that has ended, its ground truth, its steady part, and its CPU and memory use.

    `died` is how the run ended if it did not reach its end. Its folder is then incomplete.
    """

    folder: Path
    truth: Path
    begin_utc_ns: int
    end_utc_ns: int
    used: ProcessCpuUsage
    peak_rss_bytes: int | None
    died: str = ""


def run_load(
    kind: SessionKind,
    sessions: int,
    pace: LoadStepTiming,
    cores: CpuAssignment,
    scratch: Path,
    *,
    tls: bool,
    dialect: DialectName,
) -> FinishedRun:
    """Run a load in the empty folder `scratch`.

    Raise UsageError if a process does not start, or if the run is refused.
    """
    scenario = _write_scenario(kind, scratch)
    truth = scratch / "truth.jsonl"
    with ExitStack() as running:
        with pinned_to(cores.simulator):
            options = _simulated(scratch, truth, cores.workers, tls=tls)
            ready = running.enter_context(simulator(EVALUATION.command, *options))
        with pinned_to(cores.load_generator):
            arguments = _arguments(dialect, scenario, scratch, sessions, pace, ready)
            environ = _environment(os.environ, scratch)
            run = running.enter_context(
                locust_run(arguments, environ, log=scratch / "locust.log", folder=scratch)
            )
        return _watched(run, int(ready["pid"]), pace, cores, scratch, truth)


def _write_scenario(kind: SessionKind, scratch: Path) -> Path:
    session, steps = SCRIPTS[kind]
    (scratch / "script.yaml").write_text(
        f"session: {session}\nsteps:\n" + "".join(f"  - {step}\n" for step in steps),
        encoding="utf-8",
    )
    (scratch / "scenario.py").write_text(SCENARIO, encoding="utf-8")
    (scratch / "profile.yaml").write_text(PROFILE, encoding="utf-8")
    return scratch / "scenario.py"


def _simulated(scratch: Path, truth: Path, workers: int, *, tls: bool) -> list[str]:
    several = ["--workers", str(workers)] if workers > 1 else []
    files = ["--ground-truth", str(truth), "--profile", str(scratch / "profile.yaml")]
    return [*files, *several, *(["--tls"] if tls else [])]


def _arguments(
    dialect: DialectName,
    scenario: Path,
    scratch: Path,
    sessions: int,
    pace: LoadStepTiming,
    ready: Mapping[str, Any],
) -> list[str]:
    trust = {"--ca-file": ready["ca"]} if ready["ca"] else {}
    options: dict[str, object] = {
        "-u": sessions,
        "-r": -(-sessions // pace.ramp_s),
        "-t": f"{pace.ramp_s + pace.steady_s}s",
        "--url": simulated_dialects(ready["urls"])[
            "sips" if dialect == "sip" and trust else dialect
        ],
        "--dialect": dialect,
    }
    return headless(scenario, scratch / "runs", options | trust)


def _environment(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return the environment of the run, without proxies and without settings for other runs.

    `home` replaces the user's home folder, which may contain such settings. Packages of this user
    are still found.
    """
    variables = environment_without(without_proxies(environ), "LOCUST_", "XDG_")
    return variables | {"HOME": str(home), "PYTHONUSERBASE": site.getuserbase()}


def _watched(
    run: LocustRun,
    simulating: int,
    pace: LoadStepTiming,
    cores: CpuAssignment,
    scratch: Path,
    truth: Path,
) -> FinishedRun:
    """Watch the run until it ends. Raise UsageError if the run was refused."""
    folder = run.wait_for_folder(scratch / "runs")
    process = run.process
    steady_ns = run.started_ns(folder) + pace.ramp_s * NS_PER_S
    start_ns = files.read_document(folder)["started_utc_ns"] + pace.ramp_s * NS_PER_S
    end_ns = start_ns + pace.steady_s * NS_PER_S
    _sleep_until(steady_ns)
    first = read_cpu(process.pid, simulating, cores.used)
    _sleep_until(steady_ns + pace.steady_s * NS_PER_S)
    used = cpu_usage(first, read_cpu(process.pid, simulating, cores.used))
    peak = peak_rss_bytes(process.pid)
    died = run.wait_for_end(folder, END_S)
    if process.returncode == USAGE_STATUS:
        raise UsageError(died)
    return FinishedRun(folder, truth, start_ns, end_ns, used, peak, died)


def _sleep_until(at_ns: int) -> None:
    time.sleep(max(0.0, (at_ns - monotonic_ns()) / NS_PER_S))
