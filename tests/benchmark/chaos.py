"""A master and three workers on hosts of their own, and what goes wrong at random instants: workers are killed, started
again, stopped, cut off the network or off their master alone, for a while or for good; or the master is killed.

Of each run: no turn of the simulator's is in two rows; those that are in none are not more than rule (e) counts; it is
never VALID where more than 1 % is unknown; and any folders of it merge to their union. RUNS=30 does fewer than a
hundred, AT_ONCE=1 one after another, SEED=7 another hundred. It takes root.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.run import folder as files
from bench.simulator.truth import read_truth
from tests.benchmark.hosts import NAMES, signalled
from tests.hosted_run import HostedRun, hosted_run
from tests.hosts import available

RUNS = int(os.environ.get("RUNS", "100"))
AT_ONCE = int(os.environ.get("AT_ONCE", "3"))
SEED = int(os.environ.get("SEED", "1"))
LASTS_S = 12
TIMEOUT_S = "12"
LOADS = {
    "users": ("-u", "9", "-r", "9", "--session-pause", "0.2", "-t", f"{LASTS_S}s"),
    "arrivals": ("--arrival-rate", "9/s", "--max-concurrent", "12", "-t", f"{LASTS_S}s"),
}
FAULTS = ("none", "none", "killed", "started again", "stopped", "cut", "cut for good", "deaf", "deaf for good")
ENDS_S = 180.0
"""Whatever is left of a run has ended by then, or hangs."""
MOST_UNKNOWN = 0.01
Turn = tuple[str, int]
"""A session's name, and the number of a turn in it."""


@dataclass
class Outcome:
    """What came of a run. `unknown`: the turns that rule (e) counts, None where it has no bound."""

    number: int
    plan: str
    status: int | None = None
    rows: int = 0
    true: int = 0
    missing: int = 0
    unknown: int | None = 0
    valid: bool | None = None
    broken: str = ""
    """The rules by which it is not."""
    merges: int = 0
    missing_after: int = 0
    unknown_after: int | None = 0
    problems: list[str] = field(default_factory=list)


def main() -> None:
    if not available():
        print("it takes root, and network namespaces")
        return
    with ProcessPoolExecutor(AT_ONCE, max_tasks_per_child=1) as pool:
        outcomes = []
        for outcome in pool.map(play, range(RUNS)):
            outcomes.append(outcome)
            show(outcome)
    problems = [problem for outcome in outcomes for problem in outcome.problems]
    verdicts = Counter(str(outcome.valid) for outcome in outcomes)
    print(
        f"{len(outcomes)} runs: {sum(o.rows for o in outcomes)} rows of {sum(o.true for o in outcomes)} true turns; "
        f"{sum(o.missing for o in outcomes)} are missing, {sum(o.unknown or 0 for o in outcomes)} counted as unknown "
        f"({sum(o.unknown is None for o in outcomes)} without a bound); verdicts {dict(verdicts)}; "
        f"{sum(o.merges for o in outcomes)} merges, after all of them {sum(o.missing_after for o in outcomes)} are "
        f"missing, {sum(o.unknown_after or 0 for o in outcomes)} unknown; {len(problems)} problems"
    )
    sys.exit(bool(problems))


def show(outcome: Outcome) -> None:
    print(
        f"{outcome.number}: {outcome.plan}: status {outcome.status}, {outcome.rows} rows of {outcome.true}, "
        f"{outcome.missing} missing, {outcome.unknown} unknown, valid {outcome.valid}{outcome.broken}; "
        f"{outcome.merges} merges, then {outcome.missing_after} missing, {outcome.unknown_after} unknown",
        *(f"\n    PROBLEM: {problem}" for problem in outcome.problems),
        sep="",
        flush=True,
    )


def play(number: int) -> Outcome:
    """Play a run with faults that its number draws."""
    chance = random.Random(SEED * 1_000_003 + number)
    load = chance.choice([*LOADS])
    kills_master = chance.random() < 0.15
    faults = {name: chance.choice(FAULTS) for name in NAMES}
    deeds = [deed for name, fault in faults.items() for deed in deeds_of(name, fault, chance)]
    if kills_master:
        deeds.append((chance.uniform(2.0, LASTS_S + 3), kill_master))
    told = ", ".join(f"{name} {fault}" for name, fault in faults.items() if fault != "none")
    outcome = Outcome(number, f"{load}; {told or 'nothing'}{'; the master killed' if kills_master else ''}")
    try:
        with tempfile.TemporaryDirectory() as folder, hosted_run(Path(folder), NAMES) as hosted:
            look(hosted, outcome, LOADS[load], sorted(deeds, key=lambda deed: deed[0]), chance)
    except Exception:
        outcome.problems.append(traceback.format_exc())
    return outcome


Deed = tuple[float, Callable[[HostedRun], None]]
"""So long after the first turns came, and what is done then."""


def deeds_of(name: str, fault: str, chance: random.Random) -> Iterator[Deed]:
    """What is done to a host, and when."""
    at_s, back_s = chance.uniform(0.0, LASTS_S), chance.uniform(0.5, 8.0)
    if fault in ("killed", "started again"):
        yield at_s, lambda hosted: signalled(hosted, name, signal.SIGKILL)
    if fault == "started again":
        yield at_s + 0.5, lambda hosted: hosted.start(name)
    if fault == "stopped":
        yield at_s, lambda hosted: signalled(hosted, name, signal.SIGSTOP)
        yield at_s + back_s, lambda hosted: signalled(hosted, name, signal.SIGCONT)
    if fault.startswith("cut"):
        yield at_s, lambda hosted: hosted.net.cut(name)
    if fault == "cut":
        yield at_s + back_s, lambda hosted: hosted.net.join(name)
    if fault.startswith("deaf"):
        yield at_s, lambda hosted: hosted.net.deafen(name)
    if fault == "deaf":
        yield at_s + back_s, lambda hosted: hosted.net.undeafen(name)


def kill_master(hosted: HostedRun) -> None:
    assert hosted.master is not None
    hosted.master.kill()


def look(
    hosted: HostedRun, outcome: Outcome, load: Sequence[str], deeds: Sequence[Deed], chance: random.Random
) -> None:
    utc_offset_ns = time.time_ns() - time.monotonic_ns()
    hosted.lead(*load, "--worker-timeout", TIMEOUT_S)
    hosted.work()
    hosted.wait_for_turns(1)
    began = time.monotonic()
    for at_s, deed in deeds:
        time.sleep(max(0.0, began + at_s - time.monotonic()))
        deed(hosted)
    assert hosted.master is not None
    outcome.status = hosted.master.wait(ENDS_S)
    for name, worker in hosted.workers.items():
        with suppress(subprocess.TimeoutExpired):
            worker.wait(60)
        last = hosted.log(name).strip().rpartition("\n")[2]
        if worker.poll() is None and "Failed to connect to master" not in last:  # Locust looks for one for 5 min
            outcome.problems.append(f"the worker {name} does not end: {last}")
            worker.kill()
            worker.wait()
    kept = [run for name in hosted.names for run in sorted((hosted.folder_of(name) / "runs").glob("*"))]
    if outcome.status == -signal.SIGKILL:
        run_tool("report", hosted.run, wanted=(0,), outcome=outcome)
    judge(hosted, outcome, hosted.run, utc_offset_ns)
    merge_all(hosted, outcome, [hosted.run, *kept], utc_offset_ns, chance)
    for name in ("master", *hosted.names):
        if "Traceback" in hosted.log(name):
            outcome.problems.append(f"{name} has a traceback:\n{hosted.log(name)[-2_000:]}")


def judge(hosted: HostedRun, outcome: Outcome, run: Path, utc_offset_ns: int) -> None:
    """Hold the run against the truth."""
    document = files.read_document(run)
    true, missing, unknown, twice = against_truth(hosted, run, document, utc_offset_ns)
    outcome.rows, outcome.true, outcome.missing, outcome.unknown = len(turns_in(run)), true, missing, unknown
    outcome.valid = (document.get("validity") or {}).get("status") == "valid"
    outcome.broken = "".join(f" {rule['name']}" for rule in document["validity"]["checks"] if rule["result"] == "fail")
    if document.get("state") not in ("ended", "killed"):
        outcome.problems.append(f"the run is {document.get('state')}")
    if twice:
        outcome.problems.append(f"{twice} responses are in two rows")
    if unknown is not None and missing > unknown:
        outcome.problems.append(
            f"{missing} turns are missing, and {unknown} counted: {document.get('missing_workers')}"
        )
    if missing > MOST_UNKNOWN * true and (outcome.valid or not breaks_e(document)):
        outcome.problems.append(f"{missing} of {true} are missing, valid {outcome.valid}: missing_data does not see it")
    if outcome.status == 0 and not outcome.valid:
        outcome.problems.append("status 0 of a run that is not VALID")


def breaks_e(document: dict[str, Any]) -> bool:
    """Whether too much is missing by the verdict, whatever else the machine broke."""
    return any(rule["name"] == "missing_data" and rule["result"] == "fail" for rule in document["validity"]["checks"])


def against_truth(
    hosted: HostedRun, run: Path, document: dict[str, Any], utc_offset_ns: int
) -> tuple[int, int, int | None, int]:
    """True turns begun before the run's end, how many are in no row, what is counted, and responses that are twice.

    A row without an id may be of any response of which its session did not hear.
    """
    ends_ns = document.get("stopping_utc_ns") or document.get("ended_utc_ns") or 0
    asked = (
        line for line in read_truth(hosted.truth) if line.get("direction") == "in" and line["type"] == "response.create"
    )
    true = {line["response"] for line in asked if line["response"] and line["at_ns"] + utc_offset_ns <= ends_ns}
    rows = files.read_table(run, "turns", ["response_id"])["response_id"].to_pylist()
    told = [name for name in rows if name]
    missing = max(0, len(true - set(told)) - (len(rows) - len(told)))
    counts = [entry["turns"] for entry in document.get("lost") or []]
    unknown = None if None in counts else sum(counts)
    return len(true), missing, unknown, len(told) - len(set(told))


def turns_in(run: Path) -> list[Turn]:
    table = files.read_table(run, "turns", ["session_id", "turn"])
    return list(zip(table["session_id"].to_pylist(), table["turn"].to_pylist(), strict=True))


def merge_all(
    hosted: HostedRun, outcome: Outcome, folders: list[Path], utc_offset_ns: int, chance: random.Random
) -> None:
    """Merge subsets of the folders, in any order and some of them twice; at last all, with a merged one among them."""
    merged: list[Path] = []
    for number in range(4):
        last = number == 3
        some = (
            [*folders, *merged] if last else chance.choices([*folders, *merged], k=chance.randint(1, len(folders) + 1))
        )
        chance.shuffle(some)
        out = hosted.folder / f"merged-{number}"
        if not run_tool("merge", *some, "-o", out, wanted=(0, 4), outcome=outcome):
            continue
        outcome.merges += 1
        merged.append(out)
        union = {turn for folder in some for turn in turns_in(folder)}
        rows = turns_in(out)
        if len(rows) != len(set(rows)) or set(rows) != union:
            what = f"{len(rows)} rows, {len(set(rows))} turns, the union has {len(union)}"
            outcome.problems.append(f"merge of {[folder.name for folder in some]}: {what}")
    if merged:
        before = files.read_document(folders[0])
        ends = {key: before[key] for key in ("stopping_utc_ns", "ended_utc_ns") if before.get(key)}
        document = files.read_document(merged[-1])
        true, missing, unknown, twice = against_truth(hosted, merged[-1], document | ends, utc_offset_ns)
        outcome.missing_after, outcome.unknown_after = missing, unknown
        if twice:
            outcome.problems.append(f"{twice} responses are in two rows of the merged run")
        if unknown is not None and missing > unknown:
            outcome.problems.append(
                f"merged: {missing} are missing, and {unknown} counted: {document.get('missing_workers')}"
            )
        if missing > MOST_UNKNOWN * true and (document["validity"]["status"] == "valid" or not breaks_e(document)):
            outcome.problems.append(f"merged: {missing} of {true} are missing: missing_data does not see it")


def run_tool(*words: str | Path, wanted: Sequence[int], outcome: Outcome) -> bool:
    """Run a command of the tool; whether it ended as it may."""
    command = [sys.executable, "-m", "bench.cli.app", *map(str, words)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode in wanted and "Traceback" not in ended.stderr:
        return True
    said = (ended.stdout + ended.stderr)[-1_500:]
    outcome.problems.append(f"{' '.join(map(str, words))}: status {ended.returncode}: {said}")
    return False


if __name__ == "__main__":
    main()
