"""What the figures draw: small aggregates of a run, computed once, whatever the number of turns.

The same frames feed the tables of numbers below the figures. Times are seconds since the run began, latencies ms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from reports.runs import Run, turn_ids
from reports.samples import Sampled, column_of
from reports.statistics import BEYOND, Estimate, Floats, estimates, quantile
from reports.summary import Summary
from reports.svg import nines, time_step

PUBLISHED = (0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
_GRID = np.array([n for n in np.linspace(0.02, 4.0, 100) if all(abs(n - nines(p)) > 0.012 for p in PUBLISHED)])
CURVE = np.unique(np.r_[1 - 10**-_GRID, PUBLISHED])
"""Even steps on the axis of nines, and the percentiles that tables name, without near neighbours of those."""
SLOWEST = 8
PHASES = ("dns", "tcp", "tls", "upgrade", "session", "update")


@dataclass(frozen=True)
class Curve:
    """One target's quantile function with its interval; beyond `solid_to` fewer than five turns remain."""

    target: str
    colour: int
    n: int
    failed: int
    points: tuple[Estimate, ...]

    @property
    def solid_to(self) -> float:
        return 1 - BEYOND / self.n if self.n else 0.0


def curves(one: Sampled) -> list[Curve]:
    """The percentile curve of each target that has the measure."""
    found = []
    for index, label in enumerate(one.turns.targets):
        sample = one.of(index)
        if sample.n:
            ps = [float(p) for p in CURVE if p <= 1 - 0.5 / sample.n]
            found.append(Curve(label, index, sample.n, sample.failed, tuple(estimates(sample, ps))))
    return found


@dataclass(frozen=True)
class Stack:
    """Mean phases of the sessions around a quantile of their sum; means add up, quantiles do not."""

    target: str
    colour: int
    p: float
    parts: tuple[float, ...]
    n: int


def connecting(summary: Summary) -> list[Stack]:
    """Typical starts of each target and, from 100 sessions on, slow ones. None where no session opened."""
    frame, found = summary.run.sessions, []
    for index, label in enumerate(summary.targets):
        mine = frame[((frame["target"] == label) & frame["session_ready_ms"].notna()).to_numpy()]
        parts = np.nan_to_num(np.column_stack([_phase(mine, name) for name in PHASES]))
        for p, half in ((0.5, 0.05), (0.95, 0.015)):
            if len(mine) and (p == 0.5 or len(mine) >= 100):
                near = _band(parts.sum(axis=1), p, half)
                found.append(Stack(label, index, p, tuple(map(float, parts[near].mean(axis=0))), int(near.sum())))
    return sorted(found, key=lambda stack: (stack.p, stack.colour))


def _phase(frame: pd.DataFrame, name: str) -> Floats:
    if name == "session":
        return (frame["session_ready_ms"] - frame["connect_total_ms"]).to_numpy(dtype=np.float64)
    column = "session_update_ms" if name == "update" else f"connect_{name}_ms"
    return frame[column].to_numpy(dtype=np.float64)


def _band(total: Floats, p: float, half: float) -> npt.NDArray[np.bool_]:
    ascending = np.sort(total)
    low, high = quantile(ascending, max(0.0, p - half)), quantile(ascending, p + half)
    near: npt.NDArray[np.bool_] = (total >= low) & (total <= high)
    return near


@dataclass(frozen=True)
class Flow:
    """Bytes per second over the run, all targets together: one line each way, never two kinds on one axis."""

    kind: str
    at_s: Floats
    sent: Floats
    received: Floats


def flows(summary: Summary) -> list[Flow]:
    """Audio and wire bytes, in bins so that ≤ 200 points remain; a kind that never flowed is left out."""
    seconds = summary.run.seconds
    if not len(seconds):
        return []
    columns = [f"{kind}_bytes_{way}" for kind in ("audio", "wire") for way in ("sent", "received")]
    per_second = seconds[columns].div(seconds["length_ns"] / 1e9, axis=0).groupby(seconds["second"]).sum()
    at_s = per_second.index.to_numpy(dtype=np.float64) - summary.window.began_utc_ns / 1e9
    bin_s = time_step(max(1.0, float(at_s[-1])), 200)
    place = (at_s // bin_s).astype(np.int64)
    binned = per_second.groupby(place).mean()
    middle = (binned.index.to_numpy(dtype=np.float64) + 0.5) * bin_s if bin_s > 1 else at_s
    found = []
    for kind in ("audio", "wire"):
        sent, received = (binned[f"{kind}_bytes_{way}"].to_numpy(dtype=np.float64) for way in ("sent", "received"))
        if sent.any() or received.any():
            found.append(Flow(kind, np.maximum(middle, 0.0), sent, received))
    return found


@dataclass(frozen=True)
class Slow:
    """One of the slowest good turns, and the names by which the service knows it."""

    value: float
    target: str
    colour: int
    step: str
    turn: int
    at_s: float
    created: float
    """origin → response.created, NaN where absent"""
    session: str
    service_session: str
    response: str
    request: str


def slowest(summary: Summary, most: int = SLOWEST) -> list[Slow]:
    """The slowest good turns by the main measure."""
    one, turns = summary.samples[summary.main], summary.turns
    places = one.index[np.isfinite(one.values)][::-1][:most]
    rows = turns.rows[places]
    ids = turn_ids(summary.run, [int(row) for row in rows]) if rows.size else []
    sessions = _by_id(summary.run)
    found = []
    for place, row, response in zip(places, rows, ids, strict=True):
        turn = turns.frame.iloc[int(row)]
        service, request = sessions.get(str(turn["session_id"]), ("", ""))
        colour = int(turns.target[place])
        found.append(
            Slow(
                value=float(turn[column_of(summary.main)]),
                target=turns.targets[colour],
                colour=colour,
                step=turns.steps[int(turns.step[place])],
                turn=_whole(turn["turn"]),
                at_s=(int(turn["start_utc_ns"]) - summary.window.began_utc_ns) / 1e9,
                created=float(turn["response_created_at_ns"] - turn["origin_at_ns"]) / 1e6,
                session=str(turn["session_id"]),
                service_session=service,
                response=response,
                request=request,
            )
        )
    return found


def _whole(value: float) -> int:
    return 0 if np.isnan(value) else int(value)


def _by_id(run: Run) -> dict[str, tuple[str, str]]:
    """Session → (the service's id of it, the request id of its handshake)."""
    names = ("session_id", "service_session_id", "request_id")
    columns = [run.sessions[name].astype("object").fillna("") for name in names]
    return {str(ours): (str(theirs), str(request)) for ours, theirs, request in zip(*columns, strict=True)}
