"""The series of a picture of a peak: calls, and the latency of probe callers, over the run."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from bench.base.units import NS_PER_S
from reports.analysis.overload.parts import CallsOfPeak
from reports.formatting import time_step
from reports.statistics.counting import Floats

BINS = 60


class PeakSeries(NamedTuple):
    """Times are in seconds after the start of the load, latencies in ms. `latency` is the median of
    each bin, +inf if it failed, and NaN without turns. `band` is the median before the peak, and
    the margin above it.
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
    mine = of.is_probe
    calls_s, turns_s = (
        (at_ns - peak.begun_ns) / NS_PER_S for at_ns in (of.began_ns, of.turn_began_ns[mine])
    )
    length_s = float(max(calls_s.max(initial=1.0), turns_s.max(initial=1.0)))
    bin_s = max(time_step(length_s, BINS), peak.spacing_s)
    size = int(length_s / bin_s) + 1
    latency = of.latency[mine]
    is_before = of.turn_began_ns[mine] < peak.peak_ns
    usual = float(np.median(latency[is_before])) if is_before.any() else math.nan
    bins = np.floor(turns_s / bin_s).astype(np.int64)
    medians = np.full(size, np.nan)
    for at in np.unique(bins[bins >= 0]):
        medians[at] = np.median(latency[bins == at])
    counted = np.floor(np.maximum(calls_s, 0) / bin_s).astype(np.int64)
    offered, opened = (
        np.bincount(counted[chosen], minlength=size).astype(np.float64)
        for chosen in (np.ones(counted.size, dtype=bool), of.has_opened)
    )
    peak_s, after_s = (
        min((at - peak.begun_ns) / NS_PER_S, length_s) for at in (peak.peak_ns, peak.after_ns)
    )
    band = usual, usual * (1 + peak.margin)
    return PeakSeries(bin_s, length_s, offered, opened, medians, band, (peak_s, after_s))
