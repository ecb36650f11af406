"""A run of many cases of each subject; the first failure is printed with the command that repeats
it.

python -m tools.fuzz                                        a million cases, on all cores
python -m tools.fuzz --subject "heard frames" --first 17 --cases 1
"""

from __future__ import annotations

import math
import os
import resource
import signal
import time
import traceback
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Annotated, NoReturn

import typer

from tools.fuzz.cases import play
from tools.fuzz.subjects import SUBJECTS

HANG_S = 20
"""A case that takes this much CPU time hangs."""
BATCH, BATCHES = 5_000, 20
"""The maximum number of cases in a batch, and the minimum number of batches of a subject."""
GROWTH_MIB = 100
"""The maximum growth of a process after its first batch of a subject."""


@dataclass(frozen=True)
class Played:
    """The result of a batch: its CPU time, the peak memory of its process, and its first
    failure.
    """

    subject: str
    cases: int
    cpu_s: float
    peak_mib: float
    process: int
    failure: str = ""


def batch(subject: str, first: int, cases: int) -> Played:
    """Run this number of cases of a subject, from `first` on."""
    start_s, failure = time.process_time(), ""
    number = first
    signal.signal(signal.SIGVTALRM, _hangs)
    try:
        for number in play(subject, first, cases):  # noqa: B007
            signal.setitimer(signal.ITIMER_VIRTUAL, HANG_S)
    except Exception:
        command = f'python -m tools.fuzz --subject "{subject}" --first {number} --cases 1'
        failure = f"{traceback.format_exc()}To repeat it: {command}"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Played(subject, cases, time.process_time() - start_s, peak_mib, os.getpid(), failure)


def _hangs(*_: object) -> NoReturn:
    raise TimeoutError(f"the case took more than {HANG_S} s")


def main(
    cases: Annotated[
        int, typer.Option(help="Number of cases of all subjects together, or of --subject.")
    ] = 1_000_000,
    subject: Annotated[str, typer.Option(help="Run only this subject.")] = "",
    first: Annotated[int, typer.Option(help="Number of the first case.")] = 0,
) -> None:
    """Run damaged input, and print how many cases passed."""
    shares = {subject: cases} if subject else _shares(cases)
    work = [
        (name, first + at, min(size, share - at))
        for name, share in shares.items()
        for size in [min(BATCH, math.ceil(share / BATCHES))]
        for at in range(0, share, size)
    ]
    done: list[Played] = []
    with ProcessPoolExecutor() as pool:
        for future in as_completed([pool.submit(batch, *arguments) for arguments in work]):
            done.append(future.result())
            if done[-1].failure:
                pool.shutdown(cancel_futures=True)
                typer.echo(done[-1].failure)
                raise typer.Exit(1)
    for name in shares:
        of_subject = [result for result in done if result.subject == name]
        count, cpu_s = (
            sum(result.cases for result in of_subject),
            sum(result.cpu_s for result in of_subject),
        )
        typer.echo(
            f"{name:<20} {count:>9,} cases, {cpu_s / count * 1e6:>7,.0f} µs each: no failure"
        )
    _tell_memory(done)


def _shares(cases: int) -> dict[str, int]:
    total = sum(share for _, share in SUBJECTS.values())
    return {name: max(1, cases * share // total) for name, (_, share) in SUBJECTS.items()}


def _tell_memory(done: list[Played]) -> None:
    """Print how much each process grew after its first batch of each subject, which may load a
    library.
    """
    peaks: dict[tuple[int, str], list[float]] = defaultdict(list)
    for result in done:
        peaks[result.process, result.subject].append(result.peak_mib)
    for process in sorted({process for process, _ in peaks}):
        grown = {
            name: max(own) - min(own) for (whose, name), own in peaks.items() if whose == process
        }
        worst = max(grown, key=grown.__getitem__)
        last_mib = max(result.peak_mib for result in done if result.process == process)
        typer.echo(
            f"process {process}: {last_mib:.0f} MiB; {worst} needed {grown[worst]:.0f} MiB more"
            " after its first batch"
        )
        if grown[worst] > GROWTH_MIB:
            typer.echo(f"the memory of the process grows by more than {GROWTH_MIB} MiB")
            raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
