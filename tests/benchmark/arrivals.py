"""Calls that arrive, against what the simulator saw of them: their gaps, a freeze, and Erlang's formula B.

The simulator's delays are constant, so sessions were due to be greeted a constant after they were accepted.
"""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.load.planning.load_model import Arrivals
from bench.run import folder as files
from bench.simulator.truth import read_truth
from reports.runs import load_frames
from tests.benchmark.harness import quantiles, run_locust
from tests.simulator_process import QUICK, running_simulator
from tests.system.end_to_end.locust_process import free_port, write_scenario

Floats = npt.NDArray[np.float64]

CONSTANT = re.sub(r"p50: (\d+), p95: \d+", r"p50: \1, p95: \1", QUICK)
"""QUICK without its scatter."""
PER_S, LASTS_S, SEED = 20, 60, 7
FREEZE_S = 5.0
SLOTS, ERLANGS, CALL_S, ERLANG_S = 10, 10.0, 1.0, 240


def main() -> None:
    gaps()
    freeze()
    asked_to_wait()
    erlang_b()


def gaps() -> None:
    """Delivered arrivals beside the schedule, by 1, 2 and 4 processes."""
    print(f"Poisson, {PER_S}/s for {LASTS_S} s: gaps between sessions as the simulator accepted them")
    schedule = list(takewhile(lambda at_s: at_s < LASTS_S, Arrivals(SEED, 1, per_s=PER_S).instants_s()))
    for processes in (1, 2, 4):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            run, _, output = played(
                folder,
                *("--arrival-rate", f"{PER_S}/s", "--max-concurrent", "100", "--seed", str(SEED)),
                processes=processes,
            )
            accepted_s = np.array(accepted(folder / "truth.jsonl"))
            own = np.diff(accepted_s)
            d, p = kolmogorov_smirnov(own, PER_S)
            calls = accepted_s.size
            low, high = calls - 1.96 * math.sqrt(calls), calls + 1.96 * math.sqrt(calls)
            moved_ms = 1e3 * (np.diff(schedule[:calls]) - own)
            span_s = accepted_s[-1] - accepted_s[0]
            held = low / span_s <= PER_S <= high / span_s
            sessions = load_frames(run).sessions
            print(
                f"  {processes} processes: {calls} calls, rate {calls / span_s:.2f}/s "
                f"({low / span_s:.1f} to {high / span_s:.1f}: {'holds' if held else 'DOES NOT HOLD'} {PER_S}), "
                f"KS of gaps D {d:.4f} p {p:.3f}, gap − scheduled |ms| {quantiles(np.abs(moved_ms), 0.5, 0.99)}, "
                f"start_delay ms {quantiles(sessions['start_delay_ms'], 0.5, 0.99)}, {verdict(output)}"
            )


def freeze() -> None:
    """The simulator stops for five seconds: what users in a closed loop tell of it, and what calls that arrive do."""
    print(f"A service that stands still for {FREEZE_S:g} s of {LASTS_S} s")
    for name, load_of in {
        "closed loop, 4 users": ("-u", "4", "-r", "4", "--session-pause", "0"),
        "10 calls/s": ("--arrival-rate", "10/s", "--max-concurrent", "200", "--seed", "3"),
    }.items():
        with tempfile.TemporaryDirectory() as folder:
            run, _, _ = played(Path(folder), *load_of, freezes=True)
            sessions = load_frames(run).sessions
            for metric in ("service_time", "response_time"):
                values = sessions[f"{metric}_ms"].dropna()
                if len(values):
                    slow = float((values > 1000).mean())
                    told = quantiles(values, 0.5, 0.9, 0.95, 0.99)
                    print(f"  {name}: {metric} ms {told} · {100 * slow:.1f} % over 1 s, of {len(values)}")
    share, over = FREEZE_S / LASTS_S, (FREEZE_S - 1) / LASTS_S
    print(
        f"  truth: {100 * share:.1f} % of the time stood still, so {100 * over:.1f} % of calls wait for more than 1 s"
    )


def asked_to_wait() -> None:
    """The service lets 40 sessions a minute in, and 40 at once; it asks the others to wait."""
    print("A service that lets 80 calls in where 120 arrive: each is quick once it is let in")
    with tempfile.TemporaryDirectory() as folder:
        profile = CONSTANT + "quota: {connections_per_minute: 40}\n"
        run, _, output = played(Path(folder), "--arrival-rate", "2/s", "--max-concurrent", "200", profile=profile)
        sessions = load_frames(run).sessions
        for metric in ("service_time", "response_time"):
            print(f"  {metric} ms {quantiles(sessions[f'{metric}_ms'].dropna(), 0.5, 0.95)}")
        print(f"  {line_of(output, 'calls')}")


def erlang_b() -> None:
    """Ten erlangs on ten slots: the share of blocked calls beside Erlang's, with an interval by twelve stretches."""
    pause_s = CALL_S - 0.08  # connecting and a turn take the rest
    script = f"session:\n  output: text\nsteps:\n  - text: Hello\n  - pause: {{median: {pause_s}, sigma: 0.4}}\n"
    per_s = ERLANGS / CALL_S
    with tempfile.TemporaryDirectory() as folder:
        load_of = ("--arrival-rate", f"{per_s:g}/s", "--max-concurrent", str(SLOTS), "--seed", str(SEED))
        run, _, output = played(Path(folder), *load_of, script=script, lasts_s=ERLANG_S)
        seconds = files.read_table(run, "seconds").to_pandas()
        call_s = float(load_frames(run).sessions["session_duration_ms"].mean()) / 1000
        parts = np.array_split(seconds[["calls", "calls_blocked"]].to_numpy(dtype=float), 12)
        shares = [part[:, 1].sum() / part[:, 0].sum() for part in parts]
        mean, error = float(np.mean(shares)), float(np.std(shares, ddof=1)) / math.sqrt(len(shares))
        low, high = mean - 2.201 * error, mean + 2.201 * error
        expected = erlang(per_s * call_s, SLOTS)
        held = "holds" if low <= expected <= high else "DOES NOT HOLD"
        print(f"Erlang B: {per_s:g}/s × {call_s:.3f} s on {SLOTS} slots")
        blocked = f"{100 * mean:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
        print(f"  blocked {blocked}: {held} Erlang's {100 * expected:.1f} %")
        print(f"  {line_of(output, 'calls')}")


def played(
    folder: Path,
    *options: str,
    processes: int = 1,
    script: str = "session:\n  output: text\nsteps:\n  - text: Hello\n",
    profile: str = CONSTANT,
    freezes: bool = False,
    lasts_s: float = LASTS_S,
) -> tuple[Path, int, str]:
    """Play a run against a simulator of its own; its truth log is `truth.jsonl`."""
    port = str(free_port())
    several = ("--processes", str(processes), "--master-bind-port", port, "--master-port", port)
    given = [*options, *(several if processes > 1 else ()), "-t", f"{lasts_s:g}s"]
    (folder / "profile.yaml").write_text(profile)
    served = ("--profile", str(folder / "profile.yaml"), "--ground-truth", str(folder / "truth.jsonl"))
    with running_simulator(*served) as simulator:

        def stand_still(_: subprocess.Popen[str]) -> None:
            threading.Thread(target=stop_for_a_while, args=(simulator.pids, lasts_s / 2), daemon=True).start()

        return run_locust(
            write_scenario(folder, script=script),
            folder / "runs",
            *("--url", simulator.urls["ga"], *given),
            meanwhile=stand_still if freezes else None,
        )


def stop_for_a_while(pids: Sequence[int], after_s: float) -> None:
    time.sleep(after_s)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(FREEZE_S)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def accepted(truth: Path) -> list[float]:
    """When sessions were accepted, in seconds, a constant later."""
    greeted = (
        event for event in read_truth(truth) if event.get("direction") == "out" and event["type"] == "session.created"
    )
    return sorted(event["due_ns"] / 1e9 for event in greeted)


def kolmogorov_smirnov(gaps_s: Floats, per_s: float) -> tuple[float, float]:
    """The distance of gaps from the exponential distribution of a rate, and its p-value (Kolmogorov 1933)."""
    n = gaps_s.size
    expected = 1 - np.exp(-per_s * np.sort(gaps_s))
    d = float(max((np.arange(1, n + 1) / n - expected).max(), (expected - np.arange(n) / n).max()))
    scaled = (math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n)) * d
    return d, min(1.0, 2 * sum((-1) ** (k - 1) * math.exp(-2 * (k * scaled) ** 2) for k in range(1, 100)))


def erlang(erlangs: float, slots: int) -> float:
    """Erlang's formula B: the share of calls that find all slots taken."""
    blocked = 1.0
    for slot in range(1, slots + 1):
        blocked = erlangs * blocked / (slot + erlangs * blocked)
    return blocked


def verdict(output: str) -> str:
    return "INVALID" if "INVALID" in output else "VALID" if "VALID" in output else "not judged"


def line_of(output: str, name: str) -> str:
    """What the summary says under a name, in one line."""
    lines = output.splitlines()
    begin = next((i for i, line in enumerate(lines) if line.startswith(f"{name} ")), None)
    if begin is None:
        return f"no line of {name}"
    more = takewhile(lambda line: line.startswith("  "), lines[begin + 1 :])
    return " ".join(" ".join([lines[begin], *more]).split())
