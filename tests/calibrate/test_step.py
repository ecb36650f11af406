"""The computation of a load step from a synthetic run folder and a synthetic truth log."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.base.cpu import ProcessCpuUsage
from bench.record import folder as files
from bench.record import histograms as hdr
from bench.record.calibration import LoadStep
from bench.record.document import SCHEMA_VERSION
from rtbench.calibrate.load_steps import FinishedRun, load_step_entry
from tests.calibrate.builders import received, sent

S, MS = 10**9, 10**6
BEGIN_S, END_S = 1_000, 1_010
"""The start and the end of the steady part, as UTC in seconds."""
APART_NS = 400 * S
"""The difference in ns between UTC and the clock that the rows and the truth log use."""
SESSIONS = 100


@dataclass(frozen=True)
class Run:
    """A run with a turn every 100 ms, from 5 s before the steady part to 5 s after it. Each latency
    is 10 µs too long.

    `lates_ms` is the lateness of the simulator in ms for some turns, by the number of the turn.
    `ends` is the number of simulator processes that ended normally.
    """

    validity: dict[str, Any] = field(default_factory=lambda: {"status": "valid"})
    open: dict[int, int] = field(default_factory=dict)
    """The number of active sessions in each second in which not all sessions are active. The key
    is the second."""
    outcomes: dict[int, str] = field(default_factory=dict)
    """The outcome of each turn that did not succeed. The key is the number of the turn."""
    lates_ms: dict[int, float] = field(default_factory=dict)
    sessions: tuple[tuple[str, int], ...] = (("ok", 0), ("unfinished", 0))
    """For each session: its outcome, and the number of its turns that were not started."""
    ends: int = 1
    died: str = ""


TURNS = range(-50, 150)


def request_ns(turn: int) -> int:
    return BEGIN_S * S + turn * 100 * MS - APART_NS


def rows(run: Run) -> list[dict[str, Any]]:
    return [
        {
            "response_id": f"resp_{turn}",
            "service_session_id": "sess_1",
            "turn": 1,
            "outcome": run.outcomes.get(turn, "ok"),
            "measured_from": "request_sent",
            "start_ns": request_ns(turn),
            "start_utc_ns": request_ns(turn) + APART_NS,
            "request_sent_at_ns": 0,
            "first_audio_at_ns": 20 * MS + 10_000,
        }
        for turn in TURNS
    ]


def truth(run: Run) -> Iterable[dict[str, Any]]:
    for turn in TURNS:
        at_ns, late_ns = request_ns(turn) + 20 * MS, round(run.lates_ms.get(turn, 0.1) * MS)
        yield received("response.create", request_ns(turn), response=f"resp_{turn}")
        yield sent(
            "response.output_audio.delta",
            at_ns,
            response=f"resp_{turn}",
            audio=480,
            due_ns=at_ns - late_ns,
        )
    yield from [{"direction": "end"}] * run.ends


def seconds(run: Run) -> list[dict[str, Any]]:
    """Return the rows of all seconds. Each row has a CPU use of a quarter of a core.

    A second has 2,000 events in the steady part, and 4,000 events outside it.
    """
    return [
        {
            "second": second,
            "duration_ns": S,
            "sessions_active": run.open.get(second, SESSIONS),
            "events": 2000 if BEGIN_S <= second < END_S else 4000,
            "cpu": 0.25,
        }
        for second in range(BEGIN_S - 5, END_S + 5)
    ]


def step(scratch: Path, run: Run, workers: int = 1, **used: float) -> LoadStep:
    """Return the step that is computed from this run."""
    sessions = [{"outcome": outcome, "turns_not_started": lost} for outcome, lost in run.sessions]
    tables: tuple[tuple[files.TableName, list[dict[str, Any]]], ...] = (
        ("turns", rows(run)),
        ("seconds", seconds(run)),
        ("sessions", sessions),
    )
    for name, of in tables:
        pq.write_table(pa.Table.from_pylist(of, files.SCHEMAS[name]), scratch / f"{name}.parquet")
    kept = hdr.Histograms()
    kept.record(hdr.HistogramKey("receive_delay", "sim"), 250)
    log = hdr.header(0, simulated=True) + "".join(kept.lines(0, S))
    files.histograms_path(scratch).write_text(log, encoding="ascii")
    (scratch / "run.json").write_text(
        json.dumps({"schema": SCHEMA_VERSION, "validity": run.validity})
    )
    (scratch / "truth.jsonl").write_text("".join(json.dumps(line) + "\n" for line in truth(run)))
    usage = ProcessCpuUsage(**({"load_generator": 0.5, "simulator": 0.3, "others": 0.0} | used))
    played = FinishedRun(
        scratch, scratch / "truth.jsonl", BEGIN_S * S, END_S * S, usage, 10**8, run.died
    )
    return load_step_entry("text", SESSIONS, played, workers, "ga")


def test_a_step_is_evaluated_in_its_steady_state_only(tmp_path: Path) -> None:
    outside = {turn: "timeout:response" for turn in TURNS if not 0 <= turn < 100}
    found = step(
        tmp_path,
        Run(
            outcomes=outside, open={BEGIN_S - 1: 3, END_S: 3}, lates_ms=dict.fromkeys(outside, 50.0)
        ),
    )

    assert (found.result, found.why) == ("pass", "")
    assert (found.turns, found.failed, found.open) == (100, 0, SESSIONS)
    assert found.events_per_s == 2000
    assert found.us_per_event == pytest.approx(0.25 / 2000 * 1e6)
    assert found.simulator_late_p99_ms == pytest.approx(0.1)


def test_a_step_has_the_errors_and_the_load_generator_s_own_metrics(tmp_path: Path) -> None:
    found = step(tmp_path, Run())

    assert set(found.errors) == {"ttfa"}
    assert found.errors["ttfa"].n == 100
    assert found.errors["ttfa"].p99 == pytest.approx(0.01)
    assert found.instants["request_sent"].high == 0
    assert found.load_generator["receive_delay"].p50 == pytest.approx(0.25, rel=0.01)
    assert (found.cpu, found.background, found.rss_bytes) == (0.5, 0.0, 10**8)


def test_a_step_with_a_late_simulator_is_detected(tmp_path: Path) -> None:
    found = step(tmp_path, Run(lates_ms={10: 7.0, 20: 6.0}))

    assert found.simulator_late_p99_ms == pytest.approx(6.0)
    assert found.result == "simulator_late"


def test_the_first_failed_validity_check_is_the_reason(tmp_path: Path) -> None:
    rules = [
        {"name": name, "result": result, "value": 6.04, "limit": 5, "note": "", "remedy": ""}
        for name, result in (
            ("timestamp_uncertainty", "pass"),
            ("send_delay", "fail"),
            ("event_loop_delay", "fail"),
        )
    ]
    found = step(tmp_path, Run(validity={"status": "invalid", "checks": rules}))

    assert (found.result, found.why) == ("fail", "invalid: send_delay 6.04 ms > 5 ms")


def test_a_step_fails_if_sessions_are_missing_at_any_time(tmp_path: Path) -> None:
    found = step(tmp_path, Run(open={BEGIN_S + 4: 90, END_S - 1: 1}))

    assert (found.result, found.why) == ("fail", "only 90 of 100 sessions were open")


@pytest.mark.parametrize(
    ("run", "failed", "turns"),
    [
        (Run(outcomes={5: "timeout:response", 6: "timeout:response"}), 2, 100),
        (Run(sessions=(("ok", 0), ("closed:1006", 4), ("unfinished", 0))), 5, 105),
    ],
)
def test_failed_turns_and_turns_that_did_not_start_are_counted(
    tmp_path: Path, run: Run, failed: int, turns: int
) -> None:
    found = step(tmp_path, run)

    assert (found.result, found.why) == (
        "fail",
        f"{failed} of {turns} turns failed or did not start",
    )
    assert (found.failed, found.turns) == (failed, turns)


def test_a_simulator_with_a_dead_worker_gives_no_result(tmp_path: Path) -> None:
    found = step(tmp_path, Run(ends=1, outcomes=dict.fromkeys(TURNS, "closed:1006")), workers=2)

    assert (found.result, found.why) == ("simulator_late", "the simulator died")


def test_simulator_cpu_usage_is_relative_to_its_number_of_workers(tmp_path: Path) -> None:
    assert step(tmp_path, Run(ends=2), workers=2, simulator=1.2).result == "pass"
    assert step(tmp_path, Run(ends=1), simulator=0.96).result == "simulator_late"


def test_a_load_generator_at_full_cpu_is_detected(tmp_path: Path) -> None:
    found = step(
        tmp_path,
        Run(validity={"status": "no_verdict"}, lates_ms=dict.fromkeys(TURNS, 50.0)),
        load_generator=0.99,
    )

    assert (found.result, found.why) == (
        "fail",
        "the run has no verdict; the load generator used all of its CPU time",
    )


@pytest.mark.parametrize(("ends", "outcome"), [(1, "fail"), (0, "simulator_late")])
def test_a_crashed_run_has_no_metrics(tmp_path: Path, ends: int, outcome: str) -> None:
    died = replace(Run(ends=ends), died="the run ended with status -9")
    found = step(tmp_path, died)

    assert found.result == outcome
    assert found.why == (died.died if outcome == "fail" else "the simulator died")
    assert (found.turns, found.errors, found.rss_bytes) == (0, {}, 10**8)
