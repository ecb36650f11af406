"""How far a machine's figures can be trusted: the calibration that a run cites, and whether the run went beyond it."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.units import NS_PER_S
from reports.numbers import count, listed
from reports.runs import Run

NOT_CALIBRATED = "not calibrated: `rtbench calibrate` says how wrong this machine's figures are"
BUSIEST = 10
"""A run is held against its calibration in so many of its seconds, those with the most events."""
ABOVE_MEAN = 1.1
"""Its busiest seconds may have so many times the events that the calibration had in the mean of all."""


def trust(run: Run) -> list[str]:
    """calibrated on 2026-11-20: errors p99 ≤ 1 ms up to 700 listening sessions per process; this run went beyond it: ….

    Nothing of a run that was made before there were calibrations.
    """
    if "calibration" not in run.document:
        return []
    cited = run.document["calibration"]
    return [cited_line(cited), *beyond(cited, run)] if cited else [NOT_CALIBRATED]


def cited_line(cited: dict[str, Any]) -> str:
    """What the calibration says, and how this run differs from it: calibrated on 2026-11-20, with another kernel: …."""
    stale = f", {listed(cited['stale'])}" if cited["stale"] else ""
    sessions = f"{'at least ' if cited.get('ended') else ''}{count(cited['sessions'])} {cited['kind']} sessions"
    return (
        f"calibrated on {cited['date']}{stale}: error p99 ≤ 1 ms up to {sessions} per process, "
        f"{count(cited['events_per_s'])} events/s"
    )


def beyond(cited: dict[str, Any], run: Run) -> list[str]:
    """What of the run's load in one process was more than was calibrated, and what ended the calibration there."""
    sessions, events_per_s = busiest(run)
    more = [
        f"{count(was)} {what}"
        for was, known, what in (
            (sessions, cited["sessions"], "sessions"),
            (events_per_s, cited["events_per_s"] * ABOVE_MEAN, "events/s"),
        )
        if was > known
    ]
    ended = f" ({cited['ended']}, not the harness, ended it)" if cited.get("ended") else ""
    return [f"this run went beyond its calibration{ended}: {listed(more)} in one process"] if more else []


def busiest(run: Run) -> tuple[float, float]:
    """(most sessions that a process had open, events a second in its busiest seconds), of the busiest process."""
    seconds = run.seconds
    if not len(seconds):
        return 0.0, 0.0
    rate = seconds["events"] / seconds["length_ns"].clip(lower=1) * NS_PER_S
    by_second = seconds.assign(rate=rate.where(seconds["length_ns"] > 5e8, 0.0)).groupby(["worker", "second"])
    totals = by_second[["sessions_active", "rate"]].sum()
    rates = [np.sort(of["rate"].to_numpy())[-BUSIEST:].mean() for _, of in totals.groupby("worker")]
    return float(totals["sessions_active"].max()), float(max(rates))
