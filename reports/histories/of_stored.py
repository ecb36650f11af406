"""A stored baseline as an entry of a history."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from scipy.special import stdtrit  # type: ignore[import-untyped, unused-ignore]

from bench.errors import UsageError
from bench.plain import printable
from reports.gate.baselines import PS, Baseline, Kept, Quantiles, read_file
from reports.gate.eligible import each_once
from reports.histories.entry import SHOWN, Entry, Of, Told, missing
from reports.statistics.quantiles import lack

TAIL = 0.975


def stored_in(folder: Path) -> tuple[list[Entry], list[str]]:
    """The stored baselines of a folder, and why files that look like some are left out."""
    kept, notices = [], []
    for path in sorted(folder.glob("*/*/*.json")):
        try:
            kept.append(Kept(path, read_file(path)))
        except UsageError as problem:
            notices.append(str(problem))
    once, left_out = each_once(kept)
    return [entry_of(one.baseline) for one in once], [*notices, *left_out]


def entry_of(baseline: Baseline) -> Entry:
    """What is stored are good runs alone, so it may be used."""
    return Entry(
        run_id=baseline.run_id,
        name=printable(baseline.run_id),
        began_utc_ns=baseline.began_utc_ns,
        scenario=printable(baseline.scenario),
        target=printable(baseline.target),
        word="VALID",
        unfit="",
        labels={printable(key): printable(value) for key, value in baseline.labels.items()},
        conditions={printable(key): printable(value) for key, value in baseline.conditions.items()}
        | {"simulated": "yes" if baseline.simulated else "no"},
        quantiles={Of(row.measure, row.stratum): dict(_quantiles(row)) for row in baseline.quantiles},
        rates={rate.name: Told(rate.share, variance=rate.variance or 0.0, n=rate.n) for rate in baseline.rates},
    )


def _quantiles(row: Quantiles) -> Iterable[tuple[float, Told]]:
    """With the interval that the stored variance gives: q · exp(∓ t · SE)."""
    for p in SHOWN:
        place = PS.index(p)
        value, variance = row.values[place], row.variances[place]
        if value is None:
            yield p, Told(math.inf, n=row.n)
        elif few := lack(p, row.n, row.sessions):
            yield p, missing(f"needs {few.needs:,} {few.of}", row.n)
        else:
            times = math.exp(float(stdtrit(max(1, row.sessions - 1), TAIL)) * math.sqrt(variance or 0.0))
            yield p, Told(value, value / times, value * times, variance or 0.0, row.n)
