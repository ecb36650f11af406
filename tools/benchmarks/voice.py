"""The CPU time of a second of a call, for each kind of voice session: the table of
docs/accuracy.md.

The load generator has a core, and the simulator another. The CPU time is that of the load generator
while all calls are open, so it includes the cost of the turns. `make benchmark PARTS=voice` prints
the table.

`python -m tools.benchmarks.voice KIND…` measures only these kinds. With `--before FOLDER`, another
checkout with its compiled modules, both versions take turns, and the table has the ratio of their
CPU times. With `--calls N`, N calls run at a time; with `--rounds N`, each kind is measured N
times, and the table has the medians. On a machine that runs other programs, start it with `chrt -f
5`: a load generator that waits for its core handles more frames per wake-up, which then cost less.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple
from unittest.mock import patch

from bench.base.cpu import pinned_to
from bench.record import folder as files
from tests.simulator_process import AUDIO, ROOT, running_simulator
from tools.benchmarks.telephone import all_open
from tools.benchmarks.watch import cores
from tools.benchmarks.watched_run import quantile_ms, watched_command
from tools.made_page import table

CALLS, ROUNDS, TURNS, RAMP_S = 100, 3, 2, 4
LIMIT_S = 300.0
PROFILE = "generation_speed: 1\ndelays_ms:\n  first_audio: {p50: 150, p95: 300}\n"
AGENT = "session: {turn_detection: full_duplex}\nsteps:\n  - wait_for: greeting\n"
VOICE = "session: {turn_detection: server_vad}\nsteps:\n"
TURN = f"  - audio: {AUDIO / 'opening_hours.wav'}\n"


class Kind(NamedTuple):
    """A kind of call: the dialect, the simulator's service, the script, options, and whether the
    service has TLS.
    """

    dialect: str
    service: str
    script: str
    options: Sequence[str] = ()
    has_tls: bool = False


def _voice(chunk_ms: int, *, tls: bool = False) -> Kind:
    return Kind(
        "ga", "ga", VOICE + TURN.replace("\n", f"\n    chunk_ms: {chunk_ms}\n") * TURNS, has_tls=tls
    )


KINDS: Mapping[str, Kind] = {
    **{f"voice-{chunk_ms}": _voice(chunk_ms) for chunk_ms in (20, 40, 100)},
    **{f"voice-{chunk_ms}-tls": _voice(chunk_ms, tls=True) for chunk_ms in (20, 40, 100)},
    **{
        name: Kind(name, f"agent_{name}", AGENT + TURN * TURNS)
        for name in ("twilio", "acs", "pcm", "sip")
    },
    "srtp": Kind("sip", "agent_sip", AGENT + TURN * TURNS, ("--srtp", "required")),
    **{
        f"webrtc-{codec}": Kind(
            "ga", "openai", VOICE + TURN * TURNS, ("--transport", "webrtc", "--codec", codec)
        )
        for codec in ("PCMU", "opus")
    },
    "webrtc-agent": Kind("webrtc", "agent_webrtc", AGENT + TURN * TURNS),
}


class Cost(NamedTuple):
    """The CPU time of a second of a call, in ms, the p99 of `send_delay`, in ms, and the status
    of the run.
    """

    cpu_ms: float
    send_delay_p99_ms: float
    status: str


def measured(kind: Kind, calls: int, tree: Path) -> Cost:
    """Run calls of one kind with the version in `tree`."""
    where = cores()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "profile.yaml").write_text(PROFILE, encoding="utf-8")
        (folder / "call.yaml").write_text(kind.script, encoding="utf-8")
        served = ["--profile", str(folder / "profile.yaml"), *(["--tls"] if kind.has_tls else [])]
        with pinned_to(where.simulator), running_simulator(*served) as ready:
            command = [
                sys.executable,
                "-P",
                "-m",
                "rtbench.run_process",
                str(folder / "call.yaml"),
            ]
            command += ["--dialect", kind.dialect, "-u", str(calls), "--sessions", str(calls)]
            # the set-up of many calls at once delays the first chunks
            command += ["-r", str(max(1, calls // RAMP_S))]
            command += [
                "--url",
                ready.urls[kind.service],
                "--runs-dir",
                str(folder / "runs"),
                *(["--ca-file", str(ready.ca)] if ready.ca else []),
            ]
            command += kind.options
            with patch.dict(os.environ, PYTHONPATH=str(tree)):
                seen = watched_command(command, folder, where, ready.pid, LIMIT_S)
        (run,) = (folder / "runs").iterdir()
        start_ns, end_ns = all_open(run, calls)
        cpu_ms = seen.cpu_ms_per_s(start_ns, end_ns) / calls
        late_ms = quantile_ms(run, "send_delay", 0.99)
        return Cost(cpu_ms, late_ms, files.read_document(run)["validity"]["status"])


def compared(name: str, calls: int, rounds: int, before: Path | None) -> list[str]:
    """Measure a kind with both versions in turn. Return its row of the table."""
    trees = [ROOT] if before is None else [before, ROOT]
    costs: dict[Path, list[Cost]] = {tree: [] for tree in trees}
    for number in range(rounds):
        for tree in trees if number % 2 == 0 else reversed(trees):
            costs[tree].append(measured(KINDS[name], calls, tree))
    row = [name, str(calls)]
    for tree in trees:
        row += [f"{median(cost.cpu_ms for cost in costs[tree]):.2f}"]
    if before is not None:
        ratios = [
            now.cpu_ms / old.cpu_ms for now, old in zip(costs[ROOT], costs[before], strict=True)
        ]
        row += [f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"]
    late_ms, statuses = (
        median(cost.send_delay_p99_ms for cost in costs[ROOT]),
        {cost.status for cost in costs[ROOT]},
    )
    return [*row, f"{late_ms:.2f}", "/".join(sorted(statuses))]


def main(words: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="tools.benchmarks.voice")
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], metavar="KIND")
    parser.add_argument("--before", type=Path)
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(words)
    heads = ["kind", "calls", "CPU of a call, ms/s", "send_delay p99, ms", "run"]
    if options.before is not None:
        heads[2:3] = ["CPU before, ms/s", "CPU of a call, ms/s", "ratio"]
    rows = []
    for name in options.kinds or KINDS:
        rows.append(compared(name, options.calls, options.rounds, options.before))
        print(" · ".join(rows[-1]), flush=True)
    print(table(heads, rows))


if __name__ == "__main__":
    main(sys.argv[1:])
