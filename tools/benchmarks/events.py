"""Events of runs against the truth (docs/events.md): real runs of each event of the simulator, with
one and two processes, against its log; and simulated runs, without a clock, with and without harm.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.base.clock import utc_ns
from bench.base.units import NS_PER_S
from bench.record import folder as files
from bench.record.marks import Mark, add_mark
from bench.record.run_list import run_in_progress
from reports.analysis.events import (
    DROPPED,
    NEW_FAILED,
    event_values,
    events_of_target,
    harmed,
)
from reports.data.runs import load_for_report
from reports.data.samples import samples_of
from reports.text.events import events_of
from rtbench_simulator.ground_truth_log import read_truth
from tests.reports.edited import Row, edit, waiting
from tests.reports.synthetic import BEGAN_NS, Plan, write
from tests.simulator_process import quick_simulator
from tests.system.end_to_end.locust_process import own_ports, started

RUNS = 20
PROCESSES = (1, 2)
AT_ONCE = 4
"""The number of runs at the same time."""
CALLERS = 12
SCRIPT = """
steps:
  - {text: Hello, name: first}
  - pause: 0.5
  - {text: And then?, name: second}
  - pause: 0.5
  - {text: And then?, name: third}
"""
TURNS_OF_CALL = 3
BEFORE_S = 0.5
"""The time from a mark until the simulator's event."""
EVENTS = {"drain": "24-24.5", "half": "29", "blackhole": "33-34", "restart": "38-39"}
"""The events of each run, in seconds after the start of the simulator."""
RUN_TIME_S = 44


class Found(NamedTuple):
    """The calls that an event struck: those that the report counts, and those of the simulator's
    log: whose connections the event ended, of them those whose last reply was sent, so that their
    callers may have hung up, and those that the log does not have, because they were refused.
    """

    event: str
    reported: int
    ended: int
    complete: int
    refused: int

    @property
    def agrees(self) -> bool:
        most = self.ended + self.refused
        return most - self.complete <= self.reported <= most


def real_run(processes: int, number: int) -> list[Found]:
    """Run all events once. Return what the report and the simulator's log say of each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "mine.yaml").write_text(SCRIPT, encoding="utf-8")
        truth = folder / "truth.jsonl"
        faults = [f"{kind},during_s={when}" for kind, when in EVENTS.items()]
        options = [word for fault in faults for word in ("--fault", fault)]
        with quick_simulator(folder, *options, "--ground-truth", str(truth)) as simulator:
            begun_s = time.monotonic()
            load = ["-u", str(CALLERS), "-t", f"{RUN_TIME_S}s", "--warmup", "0"]
            load += ["--processes", str(processes)] if processes > 1 else []
            words = ["mine.yaml", *load, "--session-pause", "0.1", "--seed", str(number)]
            words += ["--url", simulator.urls["ga"], *own_ports(load)]
            with started(folder, *words) as process:
                for kind, when in EVENTS.items():
                    at_s = begun_s + float(when.partition("-")[0]) - BEFORE_S
                    time.sleep(max(0.0, at_s - time.monotonic()))
                    add_mark(run_in_progress(folder / "runs"), Mark(kind, utc_ns()))
                process.communicate()
        (run,) = (folder / "runs").iterdir()
        return list(compared(run, list(read_truth(truth))))


def compared(run: Path, truth: Sequence[dict[str, Any]]) -> Iterator[Found]:
    """Yield the counts of each event, in the window of the report."""
    frames = load_for_report(run)
    sessions = files.read_table(run, "sessions").to_pandas()
    in_log = {line["session"] for line in truth if line.get("session")}
    refused_ns = sessions["start_utc_ns"][~sessions["service_session_id"].isin(in_log)]
    replies = Counter(line["session"] for line in truth if line.get("type") == "response.done")
    struck = defaultdict[str, list[str]](list)
    for line in truth:  # the calls of a blackhole stay open
        if line.get("direction") == "fault" and line["session"] and line["type"] != "blackhole":
            struck[line["type"]].append(line["session"])
    samples = samples_of(frames)
    of = events_of_target(frames, samples, 0)
    assert of is not None
    values = events_of(event_values(frames, samples))
    for event in of.events:
        row, _ = values[of.target, event.name]
        end_ns = event.at_ns + of.window_ns(event)
        # their callers never received the id, so they seem to be refused
        unknown = len({*struck[event.name]}.difference(sessions["service_session_id"]))
        yield Found(
            event.name,
            row[DROPPED].events + row[NEW_FAILED].events,
            len(struck[event.name]),
            sum(replies[session] == TURNS_OF_CALL for session in struck[event.name]),
            int(refused_ns.between(event.at_ns, end_ns).sum()) - unknown,
        )


def real() -> None:
    print(
        "processes, event: calls struck as reported (ended + refused by the log), runs that differ"
    )
    with ProcessPoolExecutor(AT_ONCE) as pool:
        for processes in PROCESSES:
            runs = pool.map(partial(real_run, processes), range(1, RUNS + 1))
            found = list(chain(*runs))
            for name in EVENTS:
                mine = [one for one in found if one.event == name]
                reported, ended, complete, refused = (
                    sum(getattr(one, key) for one in mine)
                    for key in ("reported", "ended", "complete", "refused")
                )
                differ = [one for one in mine if not one.agrees]
                print(
                    f"{processes} {name:>10}: {reported} ({ended} + {refused}, {complete} of the"
                    f" ended were complete); {len(differ)} of {len(mine)} differ",
                    *differ,
                    flush=True,
                )


TRIALS = 200
RUN_S, EVENT_S, SLOW_S, TIMES = 400, 200, 30, 2.0
USERS, TURNS = 20, 8
LOST, FAILED = 0.02, 0.01
"""The shares of calls that are dropped, and of turns that fail, throughout each run."""


def simulated_run(folder: Path, seed: int, times: float) -> Path:
    """Write a run with an event, after which replies take `times` as long for SLOW_S."""
    rng = np.random.default_rng([20261201, seed])
    entry = {"name": "deploy", "planned_s": EVENT_S, "at_utc_ns": BEGAN_NS + EVENT_S * NS_PER_S}
    plan = Plan(
        turns=TURNS, seconds=RUN_S, stages=((RUN_S, USERS),), failed=FAILED, seed=1000 + seed
    )
    write(folder, plan, events=[entry])

    def dropped(_: int, row: Row) -> Row:
        if rng.random() >= LOST:
            return row
        return row | {
            "outcome": "closed:1011",
            "ended_at_ns": int(row["ended_at_ns"] * rng.random()),
        }

    def slower(row: Row) -> float:
        since_s = (row["start_utc_ns"] - entry["at_utc_ns"]) / NS_PER_S
        return times if 0 <= since_s < SLOW_S else 1.0

    edit(folder, "sessions", dropped)
    return waiting(folder, slower)


def simulated() -> None:
    for times in (1.0, TIMES):
        harm, covered, outcomes = Counter[str](), 0, Counter[str]()
        for seed in range(TRIALS):
            with tempfile.TemporaryDirectory() as name:
                run = load_for_report(simulated_run(Path(name) / "run", seed, times))
                ((row, _),) = events_of(event_values(run, samples_of(run))).values()
            found = harmed(row)
            harm.update(found or ["none"])
            recovery = row["recovery_time value"]
            outcomes[recovery.reason.code if recovery.reason else "recovered"] += 1
            true_ms = 0.0 if times == 1 else SLOW_S * 1000
            high = np.inf if recovery.reason else recovery.high
            covered += recovery.low <= true_ms <= high
        print(f"×{times:g} for {SLOW_S if times > 1 else 0} s, {TRIALS} runs: harm {dict(harm)}")
        print(
            f"  recovery {dict(outcomes)}; inside its interval {covered / TRIALS:.1%}", flush=True
        )


def main() -> None:
    simulated()
    real()


if __name__ == "__main__":
    main()
