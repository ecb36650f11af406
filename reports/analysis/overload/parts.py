"""The parts of a run with a peak of load, and its probe callers.

The entry `overload` of run.json states when the parts began. A part that has not begun, because the
run ended before, begins at infinity.

A part is usable if the load generator made and measured it, by the rules of the validity of runs.
What is wrong in one part does not void the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.catalogue.outcomes import Family, is_own_limit, parsed
from bench.record import folder as files
from bench.record.validity import MAX_PREVENTED_PERCENT, ValidityData, evaluate_checks
from bench.record.validity_data import metric_uncertainties
from reports.data.runs import RunFrames, stated_validity
from reports.data.samples import MetricSamples
from reports.data.turns import FAILED, UNFINISHED, Flags, TurnArrays
from reports.formatting import time_step
from reports.results.reason import Reason
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
MAX_PART_NS = 60 * NS_PER_S
"""The longest time of which the load generator may stand still for REACHED_SHARE."""
NOT_RUN = "not_run"
OF_TIMESTAMPS = ("timestamp_uncertainty", "rtp_stream")
OF_ROWS = (*OF_TIMESTAMPS, "own_limits")
"""The checks of the validity that are repeated for each part. Others are about the whole run."""
START = "start_utc_ns"
STATUS = r"^((?:HTTP|SIP) \d+)"
"""The status with which the service refused a call, in the detail of its outcome."""
NO_CALLER = -1
BINS = 60
"""The maximum number of bins of a picture."""


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

    @property
    def edges(self) -> tuple[float, ...]:
        """The instants between which the parts are."""
        return self.begun_ns, self.peak_ns, self.after_ns, math.inf

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

    - `calls` has a row for each call: the parts in which it began and ended, how it ended, and
      whether it is open (opened), lost (the service did not open it), dropped, broken (failed after
      it opened otherwise), prevented (by a limit of this machine) or of a probe caller
    - `latency` is the main latency of each turn of the run, in ms: inf if the turn failed, NaN if
      it has none. `mine` and `is_probe` are masks of turns. `metric` is that of probe callers, ""
      without any of their turns.
    """

    run: RunFrames
    peak: Peak
    name: str
    calls: pd.DataFrame
    turns: TurnArrays
    metric: str
    began_ns: Floats
    latency: Floats
    mine: Flags
    is_probe: Flags

    def turns_in(self, part: int) -> Flags:
        """Return a mask of the turns that began in a part."""
        mask: Flags = self.mine & (self.peak.part(self.began_ns) == part)
        return mask

    def probe_turns(self) -> ProbeTurns:
        """Return the turns of probe callers, relative to the end of the peak. A probe call that did
        not open is a failed turn.
        """
        lost_ns = self.calls["began_ns"][self.calls["is_lost"] & self.calls["is_probe"]].to_numpy()
        at_ns = np.append(self.began_ns[self.is_probe], lost_ns)
        return ProbeTurns(
            (at_ns - self.peak.after_ns) / NS_PER_S,
            np.append(self.latency[self.is_probe], np.full(lost_ns.size, np.inf)),
            np.append(self.turns.session[self.is_probe], np.full(lost_ns.size, NO_CALLER)),
        )

    @cached_property
    def problems(self) -> tuple[str, ...]:
        """Why each of PARTS cannot be used; "" if it can."""
        checks = stated_validity(self.run.metadata).checks
        failed = [check.name for check in checks if check.result == "fail"]
        of_all = next((name for name in failed if name not in OF_ROWS), "")
        return tuple(of_all or self._problem(part) for part in range(len(PARTS)))

    def reason(self, *parts: int, is_count: bool = False) -> Reason | None:
        """Return why a value of these parts cannot be used; None if it can. A count needs no
        timestamps.
        """
        for part in parts:
            cause = self.problems[part]
            if cause and not (is_count and cause in OF_TIMESTAMPS):
                return Reason("part", {"part": PARTS[part], "cause": cause})
        return None

    def _problem(self, part: int) -> str:
        """Return why the load generator did not make a part, or not measure it; "" without."""
        begin_ns, end_ns = self.peak.edges[part : part + 2]
        if math.isinf(begin_ns):
            return NOT_RUN
        allowed_ns = max(REACHED_S, REACHED_SHARE * self.peak.peak_s) * NS_PER_S
        if part == PEAK and math.isfinite(end_ns) and self.peak.reached_ns > begin_ns + allowed_ns:
            return "late"
        seconds = self.run.seconds
        ended_ns = (seconds["second"].to_numpy(dtype=np.float64) + 1) * NS_PER_S
        stood_ns = seconds["event_loop_delay_max_ns"].to_numpy(dtype=np.float64, na_value=0.0)
        longest_ns = min(end_ns - begin_ns, MAX_PART_NS)
        in_part = (ended_ns > begin_ns) & (ended_ns - np.maximum(stood_ns, NS_PER_S) < end_ns)
        if stood_ns[in_part].max(initial=0.0) > REACHED_SHARE * longest_ns:
            return "blocked"
        if (seconds[in_part].groupby("worker")["cpu"].mean() > MAX_CPU).any():
            return "cpu"
        prevented = self.calls["is_prevented"][self.calls["part"] == part]
        if len(prevented) and 100 * prevented.mean() > MAX_PREVENTED_PERCENT:
            return "own_limits"
        return next(iter(self._failed_checks(part)), "")

    def _failed_checks(self, part: int) -> list[str]:
        """Return the failed checks of timestamps, made with the rows of a part only."""
        whole = files.row_reader(self.run.folder)

        def read(table: files.TableName, columns: list[str]) -> Any:
            rows = whole(table, [*columns, START])
            began_ns = rows[START].to_numpy().astype(np.float64)
            return rows.filter(self.peak.part(began_ns) == part).select(columns)

        mine = [each for each in metric_uncertainties(read) if each.target == self.name]
        evidence = ValidityData(tuple(mine), None, None, None, None, paced_audio=False)
        validity = evaluate_checks(evidence)
        return validity.reasons if validity.status == "invalid" else []


def calls_of_peak(run: RunFrames, samples: MetricSamples, target: int) -> CallsOfPeak | None:
    """Return the calls of a target; None if the load of the run has no peak."""
    if (peak := peak_of(run.metadata)) is None:
        return None
    turns = samples.turns
    name = turns.targets[target]
    latency = np.full(turns.rows.size, np.nan)
    for index, stratum in enumerate(turns.strata):
        of_stratum = turns.stratum[turns.step] == index
        latency[of_stratum] = turns.value(samples.mains[stratum])[of_stratum]
    latency[turns.kind == FAILED] = np.inf
    mine = (turns.target == target) & (turns.kind != UNFINISHED)
    of_probes = turns.frame["script"].isin(peak.probes).to_numpy(dtype=bool)[turns.rows]
    is_probe = mine & of_probes & turns.steps_named(PROBE)[turns.step] & ~np.isnan(latency)
    strata = turns.stratum[turns.step[is_probe]]
    metric = samples.mains[turns.strata[strata[0]]] if strata.size else ""
    calls = _calls(run.sessions[(run.sessions["target"] == name).to_numpy()], peak)
    began_ns = turns.column(START)
    return CallsOfPeak(run, peak, name, calls, turns, metric, began_ns, latency, mine, is_probe)


def _calls(rows: pd.DataFrame, peak: Peak) -> pd.DataFrame:
    """Return the calls of a target (`CallsOfPeak`) from the rows of its sessions."""
    began_ns = rows[START].to_numpy(dtype=np.float64)
    ended_ns = began_ns + rows["ended_at_ns"].to_numpy(dtype=np.float64, na_value=np.inf)
    outcomes = rows["outcome"].astype(str)
    is_open = rows["session_updated_at_ns"].notna()
    is_prevented = outcomes.map(is_own_limit).astype(bool)
    has_failed = rows["outcome_class"] == "failed"
    is_closed = outcomes.map(lambda outcome: parsed(outcome).family is Family.CLOSED).astype(bool)
    return pd.DataFrame(
        {
            "began_ns": began_ns,
            "ended_ns": ended_ns,
            "part": peak.part(began_ns),
            "end_part": peak.part(ended_ns),
            "ending": rows["detail"].astype(str).str.extract(STATUS, expand=False).fillna(outcomes),
            "retry_after_ms": rows["retry_after_ns"].astype(np.float64) / NS_PER_MS,
            "is_open": is_open,
            "is_lost": has_failed & ~is_open & ~is_prevented,
            "is_dropped": has_failed & is_open & is_closed,
            "is_broken": has_failed & is_open & ~is_closed,
            "is_prevented": is_prevented,
            "is_probe": rows["script"].isin(peak.probes),
        }
    )


class PeakSeries(NamedTuple):
    """The values of each bin. Times are in seconds after the start of the load, latencies in ms.
    `latency` is a median, +inf if it failed, and NaN without turns. `band` is the median before the
    peak, and the margin above it.
    """

    bin_s: float
    length_s: float
    offered: Floats
    opened: Floats
    latency: Floats
    band: tuple[float, float]
    peak_s: tuple[float, float]


def peak_series(of: CallsOfPeak) -> PeakSeries:
    """Return the series of a target. A call counts in the bin in which it began."""
    peak = of.peak
    latency = of.latency[of.is_probe]
    at_ns = of.began_ns[of.is_probe]
    began_ns = of.calls["began_ns"].to_numpy()
    calls_s, turns_s = ((ns - peak.begun_ns) / NS_PER_S for ns in (began_ns, at_ns))
    length_s = float(max(calls_s.max(initial=1.0), turns_s.max(initial=1.0)))
    bin_s = max(time_step(length_s, BINS), peak.spacing_s)
    size = int(length_s / bin_s) + 1
    by_bin = pd.Series(latency).groupby(turns_s // bin_s).median().reindex(range(size))
    offered, opened = (
        np.histogram(chosen_s.clip(0), size, (0, size * bin_s))[0].astype(np.float64)
        for chosen_s in (calls_s, calls_s[of.calls["is_open"]])
    )
    before = latency[at_ns < peak.peak_ns]
    usual = float(np.median(before)) if before.size else math.nan
    ends_s = [min((at - peak.begun_ns) / NS_PER_S, length_s) for at in peak.edges[1:3]]
    band = usual, usual * (1 + peak.margin)
    medians = np.array(by_bin, dtype=np.float64)
    return PeakSeries(bin_s, length_s, offered, opened, medians, band, (ends_s[0], ends_s[1]))
