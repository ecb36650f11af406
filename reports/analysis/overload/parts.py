"""The parts of a run with a peak of load, and its probe callers.

The entry `overload` of run.json states when the parts began. A part that has not begun, because the
run ended before, begins at infinity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.record.validity import MAX_UNCERTAINTY_MS, MAX_UNCERTAINTY_SHARE
from reports.data.runs import RunFrames
from reports.data.samples import MetricSamples
from reports.data.turns import FAILED, UNFINISHED, Flags, TurnArrays
from reports.statistics.counting import Floats, Integers
from reports.statistics.recovery import ProbeTurns

PROBE = "probe"
"""The name of the step that probe callers ask."""
BEFORE, PEAK, AFTER = range(3)
PARTS = ("before", "peak", "after")
MAX_CPU = 0.9
"""The share of a core above which a process of the load generator is its own limit."""
REACHED_S = 3.0
REACHED_SHARE = 0.1
"""The time within which all callers of the peak must have started: in seconds, and as a share of
the peak. The larger one applies."""
MAX_PEAK_S = 60.0
"""The longest time of which the load generator may stand still for REACHED_SHARE."""
NO_CALLER = -1


class Peak(NamedTuple):
    """The peak of a run. `probes` are the scripts of probe callers. Instants are in ns, UTC."""

    margin: float
    spacing_s: float
    probes: tuple[str, ...]
    begun_ns: float
    peak_ns: float
    reached_ns: float
    after_ns: float

    @property
    def peak_s(self) -> float:
        return (self.after_ns - self.peak_ns) / NS_PER_S

    @property
    def settings(self) -> tuple[float, float, float]:
        """The duration of the peak, the spacing of turns, and the margin."""
        return self.peak_s, self.spacing_s, self.margin

    def part(self, at_ns: Floats) -> Integers:
        """Return the index in PARTS of the part in which each instant lies."""
        return np.searchsorted([self.peak_ns, self.after_ns], at_ns, side="right")


def peak_of(metadata: Mapping[str, Any]) -> Peak | None:
    """Return the peak of a run; None if its load has none."""
    entry = metadata.get("overload")
    if entry is None:
        return None
    names = ("begun", "peak", "reached", "after")
    instants = (float(entry.get(f"{name}_utc_ns", math.inf)) for name in names)
    return Peak(entry["margin"], entry["spacing_s"], tuple(entry["probes"]), *instants)


@dataclass(frozen=True)
class CallsOfPeak:
    """The calls and the ended turns of one target.

    - `calls` is their rows. `lost` are those that did not open. `ended_ns` is inf without an end.
    - `latency` is the main latency of each turn of the run, in ms: inf if the turn failed, NaN if
      it has none. `mine` and `is_probe` are masks of turns.
    """

    run: RunFrames
    peak: Peak
    name: str
    calls: pd.DataFrame
    is_probe_call: Flags
    has_failed: Flags
    has_opened: Flags
    began_ns: Floats
    ended_ns: Floats
    turns: TurnArrays
    metric: str
    """The main metric of probe callers; "" without any of their turns."""
    turn_began_ns: Floats
    latency: Floats
    mine: Flags
    is_probe: Flags

    @property
    def lost(self) -> Flags:
        return self.has_failed & ~self.has_opened

    def turns_in(self, part: int) -> Flags:
        """Return a mask of the turns that began in a part."""
        mask: Flags = self.mine & (self.peak.part(self.turn_began_ns) == part)
        return mask

    def probe_turns(self) -> ProbeTurns:
        """Return the turns of probe callers, relative to the end of the peak. A probe call that did
        not open is a failed turn.
        """
        lost = self.is_probe_call & self.lost
        at_ns = np.append(self.turn_began_ns[self.is_probe], self.began_ns[lost])
        return ProbeTurns(
            (at_ns - self.peak.after_ns) / NS_PER_S,
            np.append(self.latency[self.is_probe], np.full(lost.sum(), np.inf)),
            np.append(self.turns.session[self.is_probe], np.full(lost.sum(), NO_CALLER)),
        )

    def behind(self) -> str:
        """Return why there is no peak: the load generator did not make it; "" if it made it."""
        peak = self.peak
        if math.isinf(peak.peak_ns):
            return "no_peak"
        allowed_ns = max(REACHED_S, REACHED_SHARE * peak.peak_s) * NS_PER_S
        if math.isfinite(peak.after_ns) and peak.reached_ns > peak.peak_ns + allowed_ns:
            return "late"
        seconds = self.run.seconds
        at_ns = seconds["second"].to_numpy(dtype=np.float64) * NS_PER_S
        seconds = seconds[(at_ns >= peak.peak_ns) & (at_ns < peak.after_ns)]
        used, stood_ns = (
            seconds[column].to_numpy(dtype=np.float64, na_value=0.0)
            for column in ("cpu", "event_loop_delay_max_ns")
        )
        if stood_ns.max(initial=0.0) > REACHED_SHARE * min(peak.peak_s, MAX_PEAK_S) * NS_PER_S:
            return "blocked"
        if used.size and used.mean() > MAX_CPU:
            return "cpu"
        name = "timestamp_uncertainty_ns"
        latency = self.latency[self.turns_in(PEAK) & np.isfinite(self.latency)]
        if name not in self.turns.frame or not latency.size:
            return ""
        bounds_ms = self.turns.column(name)[self.turns_in(PEAK)] / NS_PER_MS
        limit_ms = max(MAX_UNCERTAINTY_MS, MAX_UNCERTAINTY_SHARE * float(np.median(latency)))
        return "timestamps" if float(np.nanquantile(bounds_ms, 0.99)) > limit_ms else ""


def calls_of_peak(run: RunFrames, samples: MetricSamples, target: int) -> CallsOfPeak | None:
    """Return the calls of a target; None if the load of the run has no peak."""
    if (peak := peak_of(run.metadata)) is None:
        return None
    turns = samples.turns
    name = turns.targets[target]
    calls = run.sessions[(run.sessions["target"] == name).to_numpy()]
    began_ns = calls["start_utc_ns"].to_numpy(dtype=np.float64)
    latency = np.full(turns.rows.size, np.nan)
    for index, stratum in enumerate(turns.strata):
        of_stratum = turns.stratum[turns.step] == index
        latency[of_stratum] = turns.value(samples.mains[stratum])[of_stratum]
    latency[turns.kind == FAILED] = np.inf
    mine = (turns.target == target) & (turns.kind != UNFINISHED)
    of_probes = turns.frame["script"].isin(peak.probes).to_numpy(dtype=bool)[turns.rows]
    is_probe = mine & of_probes & turns.steps_named(PROBE)[turns.step] & ~np.isnan(latency)
    strata = turns.stratum[turns.step[is_probe]]
    return CallsOfPeak(
        run=run,
        peak=peak,
        name=name,
        calls=calls,
        is_probe_call=calls["script"].isin(peak.probes).to_numpy(dtype=bool),
        has_failed=(calls["outcome_class"] == "failed").to_numpy(),
        has_opened=calls["session_updated_at_ns"].notna().to_numpy(),
        began_ns=began_ns,
        ended_ns=began_ns + calls["ended_at_ns"].to_numpy(dtype=np.float64, na_value=np.inf),
        turns=turns,
        metric=samples.mains[turns.strata[strata[0]]] if strata.size else "",
        turn_began_ns=turns.column("start_utc_ns"),
        latency=latency,
        mine=mine,
        is_probe=is_probe,
    )
