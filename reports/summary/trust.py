"""How far a machine's figures can be trusted: the calibration that a run cites, and whether the run went beyond it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bench.units import NS_PER_S
from reports.numbers import count, listed
from reports.runs import Run, hosts_of

NOT_CALIBRATED = "not calibrated: `rtbench calibrate` says how wrong this machine's figures are"
BUSIEST = 10
"""A run is held against its calibration in so many of its seconds, those with the most events."""
ABOVE_MEAN = 1.1
"""Its busiest seconds may have so many times the events that the calibration had in the mean of all."""


def trust(run: Run) -> list[str]:
    """calibrated on 2026-11-20: errors p99 ≤ 1 ms up to 700 listening sessions per process; this run went beyond it: ….

    Nothing of a run that was made before there were calibrations.
    """
    hosts = hosts_of(run.document)
    if len(hosts) > 1:
        return [line for host in hosts for line in _trust_on(host, run.seconds)]
    if "calibration" not in run.document:
        return []
    cited = run.document["calibration"]
    return [cited_line(cited), *beyond(cited, run.seconds)] if cited else [NOT_CALIBRATED]


def _trust_on(host: dict[str, Any], seconds: pd.DataFrame) -> list[str]:
    """What of a host's load was more than was calibrated there; which hosts are calibrated has its own table."""
    cited, mine = host.get("calibration"), seconds[(seconds["host"] == host["name"]).to_numpy()]
    return [f"{host['name']}: {line}" for line in beyond(cited, mine)] if cited else []


def cited_line(cited: dict[str, Any]) -> str:
    """What the calibration says, and how this run differs from it: calibrated on 2026-11-20, with another kernel: …."""
    stale = f", {listed(cited['stale'])}" if cited["stale"] else ""
    sessions = f"{'at least ' if cited.get('ended') else ''}{count(cited['sessions'])} {cited['kind']} sessions"
    return (
        f"calibrated on {cited['date']}{stale}: error p99 ≤ 1 ms up to {sessions} per process, "
        f"{count(cited['events_per_s'])} events/s"
    )


def beyond(cited: dict[str, Any], seconds: pd.DataFrame) -> list[str]:
    """What of the run's load in one process was more than was calibrated, and what ended the calibration there."""
    sessions, events_per_s = busiest(seconds)
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


def busiest(seconds: pd.DataFrame) -> tuple[float, float]:
    """(most sessions that a process had open, events a second in its busiest seconds), of the busiest process."""
    if not len(seconds):
        return 0.0, 0.0
    rate = seconds["events"] / seconds["length_ns"].clip(lower=1) * NS_PER_S
    by_second = seconds.assign(rate=rate.where(seconds["length_ns"] > 5e8, 0.0)).groupby(["worker", "second"])
    totals = by_second[["sessions_active", "rate"]].sum()
    rates = [np.sort(of["rate"].to_numpy())[-BUSIEST:].mean() for _, of in totals.groupby("worker")]
    return float(totals["sessions_active"].max()), float(max(rates))
