"""Stored baselines in words: which there are, and how far the figures of one spread from run to run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from reports.gate.baselines import PS, Kept
from reports.gate.by_stored import NEWEST
from reports.numbers import NBSP, count, moment, plural, three
from reports.statistics.baselines import KNOWN

SHOWN = (0.5, 0.95)
HEAD = f"  {'figure':<34}{'newest':>10}{'between runs':>18}{'within a run':>18}"
PROVISIONAL = f"provisional: {KNOWN} runs tell the spread from run to run"


def overview(stored: Sequence[Kept]) -> str:
    """A line for each scenario and target: how many runs, the newest, whether verdicts will be provisional."""
    groups: dict[str, list[Kept]] = {}
    for one in stored:
        groups.setdefault(f"{one.baseline.scenario}/{one.baseline.target}", []).append(one)
    size = max(len(name) for name in groups)
    lines = [
        f"{name.ljust(size)}  {plural(len(runs), 'run')}, the newest of {moment(runs[0].baseline.began_utc_ns)}"
        f"{f'; {PROVISIONAL}' if len(runs) < KNOWN else ''}"
        for name, runs in sorted(groups.items())
    ]
    return _text(lines)


def details(stored: Sequence[Kept]) -> str:
    """The runs, then each figure: the newest value, the spread between runs and the mean error within one."""
    runs = [one.baseline for one in stored[:NEWEST]]
    lines = [f"{runs[0].scenario}/{runs[0].target}{'  ◇ SIMULATED' if runs[0].simulated else ''}", ""]
    lines += [
        f"  {run.run_id}  {moment(run.began_utc_ns)}  {plural(run.turns, 'turn')}, {plural(run.sessions, 'session')}"
        f"{''.join(f'  {key} {value}' for key, value in run.labels.items())}"
        for run in runs
    ]
    if len(stored) > NEWEST:
        lines.append(f"  and {count(len(stored) - NEWEST)} older: the newest {NEWEST} are the baseline")
    lines += ["", HEAD, *_figures(stored)]
    if len(runs) < KNOWN:
        lines += ["", f"{plural(len(runs), 'run')}, {PROVISIONAL}; until then 5{NBSP}% is assumed."]
    return _text(lines)


def _figures(stored: Sequence[Kept]) -> Iterable[str]:
    """ttfa p95   1,410   ±2.1 %   ±3.4 %: standard deviations of the log; of rates in points. What is 0 is left out."""
    runs = [one.baseline for one in stored[:NEWEST]]
    for row in runs[0].quantiles:
        key = row.measure, row.stratum
        alike = [other for run in runs for other in run.quantiles if (other.measure, other.stratum) == key]
        for p in SHOWN:
            place = PS.index(p)
            newest = row.values[place]
            logs = [math.log(value) for one in alike if (value := one.values[place]) is not None and value > 0]
            within = [value for one in alike if (value := one.variances[place]) is not None]
            name = " ".join(filter(None, [row.measure, f"p{p * 100:g}", row.stratum.key]))
            if newest != 0:
                yield _row(name, "> timeout" if newest is None else three(newest), logs, within, "%")
    for rate in runs[0].rates:
        rates = [other for run in runs for other in run.rates if other.name == rate.name]
        within = [other.variance for other in rates if other.variance is not None]
        shown = f"{three(100 * rate.share)}{NBSP}%"
        yield _row(f"{rate.name} rate", shown, [other.share for other in rates], within, "points")


def _row(name: str, newest: str, figures: Sequence[float], within: Sequence[float], unit: str) -> str:
    between = _spread(float(np.std(figures, ddof=1)), unit) if len(figures) > 1 else "–"
    inside = _spread(math.sqrt(float(np.mean(within))), unit) if within else "–"
    return f"  {name:<34}{newest:>10}{between:>18}{inside:>18}"


def _spread(sd: float, unit: str) -> str:
    return f"±{three(float(f'{100 * sd:.2g}'))}{NBSP}{unit}"


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines).replace(NBSP, " ") + "\n"
