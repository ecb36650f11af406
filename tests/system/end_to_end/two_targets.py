"""Runs that compare two targets: their services, their file of targets, and their sessions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pandas as pd

from bench.record import folder as files
from tests.simulator_process import QUICK, Ready, running_simulator

QUICK_AUDIO = "first_audio: {p50: 20, p95: 40}"


@contextmanager
def slower_and_faster(folder: Path, more: str = "") -> Iterator[dict[str, Ready]]:
    """Run two simulators with little variation. The first audio of `slow` is 30 % later than that
    of `fast`.

    `more` is appended to the profiles of both.
    """
    with ExitStack() as stack:
        ready = {}
        for name, p50_ms in (("fast", 200), ("slow", 260)):
            first_audio = f"first_audio: {{p50: {p50_ms}, p95: {1.1 * p50_ms:.0f}}}"
            (folder / f"{name}.yaml").write_text(QUICK.replace(QUICK_AUDIO, first_audio) + more)
            ready[name] = stack.enter_context(
                running_simulator("--profile", str(folder / f"{name}.yaml"))
            )
        yield ready


def write_targets(folder: Path, text: str) -> str:
    (folder / "targets.yaml").write_text(f"targets:\n{text}")
    return str(folder / "targets.yaml")


def write_services(folder: Path, services: Mapping[str, Ready]) -> str:
    """Write a target file with these simulators as targets; their names are the keys of
    `services`.
    """
    return write_targets(
        folder, "".join(f"  {name}: {{url: '{r.urls['ga']}'}}\n" for name, r in services.items())
    )


def sessions_of(folder: Path) -> pd.DataFrame:
    sessions = files.read_table(folder, "sessions").to_pandas()
    return sessions.sort_values("start_ns", ignore_index=True)


def ahead(sessions: pd.DataFrame, target: str) -> set[int]:
    """Return the leads of a target over its partner, in sessions, as a set.

    There is one lead after each start of a session: the number of sessions that the target has more
    than its partner.
    """
    return set((sessions["target"] == target).map({True: 1, False: -1}).cumsum())
