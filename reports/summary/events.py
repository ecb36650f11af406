"""What histograms and seconds say of a run: measures of every event, of the harness itself, and throughput."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from msgspec import field

from bench.measures import CATALOGUE
from bench.run import histograms as hdr
from bench.run.histograms import MEASURED, Key
from bench.run.measured import CARRIED, floats
from bench.units import NS_PER_S
from reports.runs import RunFrames
from reports.schemas.document import Count, Record, Rounded

ALL = "all"
PS = (0.5, 0.9, 0.95, 0.99)
PER_EVENT = ("delta_gap", "receive_lag", "stamp_error", "send_lag", "start_lag", "hub_delay")
HARNESS = ("stamp_error", "receive_lag", "send_lag", "start_lag", "hub_delay")


class Distribution(Record, frozen=True):
    """A measure from its histogram; times in ms, rates in B/s; null where nothing was recorded."""

    measure: str
    unit: str
    target: str
    step: str
    n: Count
    p50: Rounded
    p90: Rounded
    p95: Rounded
    p99: Rounded
    high: Rounded = field(name="max")
    out_of_range: Count = 0
    negative: Count = 0


class Throughput(Record, frozen=True):
    """Bytes one way: in all, per second of the measured phase, and the distributions over seconds and over sessions."""

    measure: str
    target: str
    total_bytes: Count
    mean_bytes_per_s: Rounded
    per_second: Distribution
    per_session: Distribution


def events(run: RunFrames, targets: Sequence[str]) -> Iterable[Distribution]:
    """Measures of every event, of each target that has them."""
    for measure in PER_EVENT:
        for label in targets:
            one = distribution(run, measure, label)
            if one.n:
                yield one


def distribution(run: RunFrames, measure: str, target: str, step: str = ALL) -> Distribution:
    """A histogram's quantiles, of one target."""
    wanted = Key(measure, target, step).tag.split("|")[:3]
    return _distribution(
        run, measure, target, step, [key for key, _ in run.histograms.items() if list(key[:3]) == wanted]
    )


def pooled(run: RunFrames, measure: str) -> Distribution:
    """A measure of the harness over all targets."""
    return _distribution(run, measure, ALL, ALL, [key for key, _ in run.histograms.items() if key.measure == measure])


def _distribution(run: RunFrames, measure: str, target: str, step: str, keys: list[Key]) -> Distribution:
    """Quantiles of the histograms of these keys that belong to the measured phase, added up."""
    total, unit = hdr.empty(measure), CATALOGUE[measure].unit
    for key in keys:
        one = run.histograms.get(key)
        if key.phase == MEASURED and one is not None:
            total.add(one)
    scale = 1000.0 if unit == "ms" else 1.0
    n = int(total.get_total_count())
    p50, p90, p95, p99 = ((hdr.quantile(total, p) or 0) / scale if n else np.nan for p in PS)
    high = total.get_max_value() / scale if n else np.nan
    beside = run.histograms.out_of_range[measure], run.histograms.negative[measure]
    return Distribution(measure, unit, target, step, n, p50, p90, p95, p99, high, *beside)


def throughputs(run: RunFrames, targets: Sequence[str], since_s: int) -> Iterable[Throughput]:
    """Bytes each way and target, without the warm-up."""
    seconds = measured_seconds(run.seconds, since_s)
    if not len(run.seconds):
        return
    lasted = recorded_s(seconds)
    rows = {label: (seconds["target"] == label).to_numpy() for label in targets}
    for measure, column in CARRIED.items():
        carried = floats(seconds, column)
        for label, mine in rows.items():
            total = int(np.nansum(carried[mine]))
            parts = distribution(run, measure, label, "run"), distribution(run, measure, label, "session")
            if total or parts[0].n:
                yield Throughput(measure, label, total, total / lasted, *parts)


def measured_seconds(seconds: pd.DataFrame, since_s: int) -> pd.DataFrame:
    """Seconds of the measured phase; of rows that do not name theirs, as older versions wrote them, those from a second
    (UTC) on.
    """
    phase = seconds["phase"]
    kept = np.where(phase.isna(), seconds["second"] >= since_s, phase == MEASURED)
    return seconds[kept.astype(bool)]


def recorded_s(seconds: pd.DataFrame) -> float:
    """How long was recorded: the worker that recorded longest, whatever parts of seconds its rows are."""
    length_ns = seconds.groupby(["worker", "target"])["length_ns"].sum()
    return max(1e-9, float(length_ns.max()) / NS_PER_S) if len(length_ns) else 1.0
