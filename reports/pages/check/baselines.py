"""The list of stored baselines, and the values of one of them with their run-to-run variation."""

import math
from collections.abc import Iterable, Sequence
from itertools import groupby

import numpy as np

from bench.catalogue.metrics import CATALOGUE
from bench.files.sanitize import escape_control
from reports.analysis.check.baselines import MAX_STORED_RUNS, StoredBaseline
from reports.formatting import NBSP, NONE, count, format_number, format_utc, join_present, plural
from reports.metrics.stored import PS, Baseline
from reports.render.blocks import (
    SIMULATED,
    Block,
    Column,
    Fact,
    Line,
    Paragraph,
    make_row,
    note,
    table,
)
from reports.statistics.baselines import MIN_STORED_RUNS, RUN_SD
from reports.text.verdicts import in_unit

LISTED = (0.5, 0.95)
PROVISIONAL = (
    f"provisional: at least {MIN_STORED_RUNS} runs are needed to estimate run-to-run variation"
)


def _title(stored: StoredBaseline) -> str:
    return escape_control(f"{stored.baseline.scenario}/{stored.baseline.target}")


def list_baselines(stored: Sequence[StoredBaseline]) -> Iterable[Block]:
    """Yield a line for each scenario and target.

    It has the number of stored runs, the time of the newest, and a note if verdicts would be
    provisional.
    """
    size = max(len(_title(one)) for one in stored)
    for name, group in groupby(sorted(stored, key=_title), key=_title):
        runs = list(group)
        warning = f"; {PROVISIONAL}" if len(runs) < MIN_STORED_RUNS else ""
        newest = format_utc(runs[0].baseline.started_utc_ns)
        yield Fact(name, [f"{plural(len(runs), 'run')}, newest {newest}{warning}"], indent=size + 2)


def describe_baselines(stored: Sequence[StoredBaseline]) -> list[list[Block]]:
    """Return blocks that describe the stored runs of a target: a table of the runs, and a table of
    the metrics.

    For each metric, the table has the newest value, the standard deviation between runs, and the
    one within a run.
    """
    runs = [one.baseline for one in stored[:MAX_STORED_RUNS]]
    rows = [
        make_row(
            [run.run_id, format_utc(run.started_utc_ns), count(run.turns), count(run.sessions)],
            more=note(" · ".join(f"{key} {value}" for key, value in run.labels.items())),
        )
        for run in runs
    ]
    older = len(stored) - MAX_STORED_RUNS
    left_out = (
        f"  and {count(older)} older; only the newest {MAX_STORED_RUNS} are the baseline"
        if older > 0
        else ""
    )
    assumed = ""
    if len(runs) < MIN_STORED_RUNS:
        until = f"until then, a standard deviation of {100 * RUN_SD:g}{NBSP}% is assumed."
        assumed = f"{plural(len(runs), 'run')}, {PROVISIONAL}; {until}"
    source = f"  {SIMULATED.marker} {SIMULATED.text}" if runs[0].simulated else ""
    return [
        [Paragraph(f"{runs[0].scenario}/{runs[0].target}{source}", "bold")],
        [table([Column("run", inline=True), "began", "turns", "sessions"], rows), *note(left_out)],
        [
            table(
                [Column("metric", inline=True), "newest", "between runs", "within a run"],
                _values(runs),
            )
        ],
        note(assumed),
    ]


def _values(runs: Sequence[Baseline]) -> Iterable[Line]:
    """Yield a row for each metric, such as `ttfa p95   1,410   ±2.1 %   ±3.4 %`.

    The row has the newest value, the standard deviation between runs, and the standard deviation
    within a run. For a quantile, both are standard deviations of its log. For a rate, they are in
    points. Quantiles of 0 are left out.
    """
    for row in runs[0].quantiles:
        key = row.metric, row.stratum
        same = [
            other for run in runs for other in run.quantiles if (other.metric, other.stratum) == key
        ]
        for p in LISTED:
            index = PS.index(p)
            newest = row.values[index]
            logs = [math.log(value) for one in same if (value := one.values[index])]
            name = join_present(" ", row.metric, f"p{p * 100:g}", row.stratum.key)
            value_text = in_unit(CATALOGUE[row.metric].unit, math.inf if newest is None else newest)
            if newest != 0:
                yield [
                    name,
                    value_text,
                    *_run_to_run(logs, [one.variances[index] for one in same], "%"),
                ]
    for rate in runs[0].rates:
        rates = [other for run in runs for other in run.rates if other.name == rate.name]
        shares = [other.share for other in rates]
        variances = [other.variance for other in rates]
        yield [
            rate.name,
            f"{format_number(100 * rate.share)}{NBSP}%",
            *_run_to_run(shares, variances, "points"),
        ]


def _run_to_run(values: Sequence[float], variances: Sequence[float | None], unit: str) -> list[str]:
    """Return the standard deviation between runs and the one within a run as texts; a dash for an
    unknown one.

    `values` is the values of the runs. `variances` is their variances within a run.
    """
    known = [variance for variance in variances if variance is not None]
    between = float(np.std(values, ddof=1)) if len(values) > 1 else None
    within = math.sqrt(float(np.mean(known))) if known else None
    return [
        NONE if sd is None else f"±{format_number(float(f'{100 * sd:.2g}'))}{NBSP}{unit}"
        for sd in (between, within)
    ]
