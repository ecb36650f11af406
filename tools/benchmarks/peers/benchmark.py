"""A run of every client at every load, one after the other, and the table of results; then
calls by telephone, and those of SIPp.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from tools import made_page
from tools.benchmarks.peers import sipp, table
from tools.benchmarks.peers.figures import Cannot, Figures, figures, late_ms, typical, unequal
from tools.benchmarks.peers.play import PEERS, Load, Peer, Played, play
from tools.benchmarks.watch import cores

LOADS = (50, 200, 400, 800, 1400)
TURNS, RAMP_S = 8, 4.0
"""The turns of a session, and the ramp-up in s. A client that cannot sustain a load is ended
after half a minute."""

OURS, LOWER_BOUND = "rtbench", "picows + uvloop"
Runs = dict[tuple[int, str], list[table.Outcome]]
"""The outcomes of all runs, by load and client."""


def main(arguments: Sequence[str] = ()) -> None:
    options = parser().parse_args(arguments)
    peers = [peer for peer in PEERS if options.peers is None or peer.name in options.peers]
    print(conditions(options.repeat))
    runs: Runs = {}
    for sessions in options.sessions:
        able = [peer for peer in peers if not gave_up(runs, peer.name)]
        runs |= {(sessions, peer.name): [] for peer in able}
        for _, peer in product(range(options.repeat), able):
            runs[sessions, peer.name].append(once(peer, Load(sessions, TURNS, RAMP_S)))
    rows = [table.cells(*key, middle(outcomes)) for key, outcomes in runs.items()]
    print(made_page.table(table.HEADER, rows))
    print("\n".join(ratios(runs)))
    if options.peers is None:
        sipp.main(options.calls, options.repeat)
    if messages := differences(runs):
        sys.exit("\n".join(messages))


def ratios(runs: Runs) -> list[str]:
    """Return a line per load: the CPU time of an event of this tool, in times of picows'."""
    lines = []
    for sessions in sorted({sessions for sessions, _ in runs}):
        ours, theirs = (
            middle(outcomes) if (outcomes := runs.get((sessions, name))) else None
            for name in (OURS, LOWER_BOUND)
        )
        if isinstance(ours, Figures) and isinstance(theirs, Figures):
            ratio = ours.cpu_us_per_event / theirs.cpu_us_per_event
            lines.append(
                f"{sessions} sessions: an event costs {ratio:.2f} times as much as picows'"
            )
    return lines


def parser() -> argparse.ArgumentParser:
    loads = ",".join(map(str, LOADS))
    argument_parser = argparse.ArgumentParser(
        prog="python -m tools.benchmarks.peers", description=__doc__
    )
    argument_parser.add_argument(
        "--sessions", type=numbers, default=LOADS, metavar="N,N", help=f"loads (default: {loads})"
    )
    argument_parser.add_argument(
        "--repeat", type=int, default=1, metavar="N", help="runs of each load; medians are shown"
    )
    argument_parser.add_argument(
        "--peers",
        type=names,
        metavar="NAME,NAME",
        help=f"clients, of: {', '.join(peer.name for peer in PEERS)}",
    )
    argument_parser.add_argument(
        "--calls", type=int, default=sipp.CALLS, metavar="N", help="calls by telephone, with SIPp"
    )
    return argument_parser


def numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def names(text: str) -> list[str]:
    chosen = [name.strip() for name in text.split(",")]
    if unknown := set(chosen) - {peer.name for peer in PEERS}:
        raise argparse.ArgumentTypeError(f"unknown client: {', '.join(sorted(unknown))}")
    return chosen


def conditions(repeat: int) -> str:
    where = cores()
    (client,), (simulator,) = where.load_generator, where.simulator
    alone = "" if not where.shared else "; ONE core for both: each slows the other down"
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    return (
        f"Python {platform.python_version()}, Linux {platform.release()}; client on core {client},"
        f" simulator on core {simulator}{alone}\n{TURNS} turns per session, sessions opened within"
        f" {RAMP_S:g} s, {repeat} runs of each; load average before it {load}"
    )


def gave_up(runs: Runs, name: str) -> bool:
    """Return whether this client failed at a load at which the simulator was not late.

    Such a client gets no larger load.
    """
    failed = [middle(outcomes) for (_, client), outcomes in runs.items() if client == name]
    return any(isinstance(outcome, Cannot) and outcome.usable for outcome in failed)


def differences(runs: Runs) -> list[str]:
    """Return a line per load at which clients did not receive the same bytes."""
    sizes_by_load: dict[int, set[int]] = defaultdict(set)
    for (sessions, _), outcomes in runs.items():
        sizes_by_load[sessions] |= {
            outcome.wire_bytes for outcome in outcomes if isinstance(outcome, Figures)
        }
    return [
        f"different work: at {sessions} sessions the clients received"
        f" {' or '.join(map(str, sorted(sizes)))} bytes"
        for sessions, sizes in sizes_by_load.items()
        if len(sizes) > 1
    ]


def once(peer: Peer, load: Load) -> table.Outcome:
    """Run a client once. Print its row immediately, because the benchmark may be interrupted."""
    with tempfile.TemporaryDirectory() as scratch:
        outcome = judged(play(peer, load, Path(scratch)), load)
    print(*table.cells(load.sessions, peer.name, outcome), sep=" · ", flush=True)
    return outcome


def judged(played: Played | Cannot, load: Load) -> table.Outcome:
    if isinstance(played, Cannot):
        return played
    if reason := unequal(played.report, played.truth, load.sessions, load.turns):
        return Cannot(reason, late_ms(played.truth))
    return figures(played.report, played.truth, played.watched)


def middle(outcomes: Sequence[table.Outcome]) -> table.Outcome:
    """Return the median of the usable runs. If the client failed in one of the runs, return that
    failure.
    """
    counted = [outcome for outcome in outcomes if outcome.usable] or outcomes
    failed = [outcome for outcome in counted if isinstance(outcome, Cannot)]
    return (
        failed[0]
        if failed
        else typical([outcome for outcome in counted if isinstance(outcome, Figures)])
    )
