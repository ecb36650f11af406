"""Gathers what the rules of validity look at, from a run's rows and histograms."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from bench.cores import filled_by
from bench.measures import CATALOGUE, Measure
from bench.outcomes import GOOD
from bench.run import bounds, measured
from bench.run import folder as files
from bench.run.histograms import Histograms, worst_p99_ms
from bench.run.validity import Evidence, Exactness, Rule
from bench.units import NS_PER_MS

COLUMNS = ["phase", "stamp_source", "audio_bytes_sent"]
TABLES: dict[str, files.TableName] = {"turn": "turns", "session": "sessions"}

MaskedRows = list[tuple[str, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]]
"""Each target with its measured rows, and those of them that are good."""


def evidence(folder: Path, histograms: Histograms, document: dict[str, Any]) -> list[Evidence]:
    """Gather what the rules of validity look at, from the measured phase: of the run, then of each of several hosts."""
    hosts = document.get("hosts") or []
    filled = {host["name"]: filled_by(host.get("processors")) for host in hosts}
    pooled = _evidence(folder, document, worst_p99_ms(histograms, "hub_delay"), worst_p99_ms(histograms, "send_lag"))
    parts = document.get("parts") or []
    pooled = replace(pooled, missing_share=_missing_share(folder, document, parts), broken=_broken(parts))
    pooled = replace(pooled, filled_by=next(filter(None, filled.values()), ""))
    if len(hosts) < 2:
        return [pooled]
    apart = (
        _evidence(folder, document, host["hub_delay_p99_ms"], host["send_lag_p99_ms"], host["name"]) for host in hosts
    )
    return [pooled, *(replace(one, filled_by=filled[one.host]) for one in apart)]


def _evidence(
    folder: Path,
    document: dict[str, Any],
    hub_delay_p99: float | None,
    send_lag_p99: float | None,
    host: str | None = None,
) -> Evidence:
    turns = _rows(partial(files.read_table, folder, "turns"), COLUMNS, host)
    counted = pc.fill_null(pc.equal(turns["phase"], "measure"), True)
    stamped = turns["stamp_source"].filter(counted).drop_null()
    starts = _starts(folder, host)
    chunks = [script["chunk_ms"] for script in document.get("scripts") or [] if script.get("chunk_ms")]
    return Evidence(
        measures=tuple(exactness(folder, host)),
        user_stamps_share=pc.mean(pc.not_equal(stamped, "kernel").cast(pa.float64())).as_py() if len(stamped) else None,
        hub_delay_p99=hub_delay_p99,
        send_lag_p99=send_lag_p99,
        chunk=min(chunks) if chunks else None,
        paced_audio=bool(chunks) and (pc.sum(turns["audio_bytes_sent"].filter(counted)).as_py() or 0) > 0,
        start_lag_p99=_quantile_ms(starts, "start_lag", 0.99),
        service_time_p50=_quantile_ms(starts, "service_time", 0.5),
        host=host or "",
    )


def _missing_share(folder: Path, document: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> float | None:
    """The share of turns that is missing at most, with parts that were left out and workers that were lost."""
    missing = [part["turns"] for part in parts if part["left_out"]]
    missing += [worker["turns"] for worker in document.get("lost") or []]
    if not missing:
        return None
    if None in missing:
        return math.nan
    share: float = sum(missing) / max(1, sum(missing) + len(files.read_table(folder, "turns", ["turn"])))
    return share


def _broken(parts: Sequence[Mapping[str, Any]]) -> tuple[Rule, ...]:
    """The rules that a merged run's parts broke, but for what was missing then: what is missing now is counted anew."""
    return tuple(
        Rule(**rule | {"note": f"{rule['note']}, in the part {part['run_id']} on {part['host']}"})
        for part in parts
        for rule in part["broken"]
        if rule["rule"] != "e"
    )


def _rows(read: files.ReadColumns, columns: list[str], host: str | None) -> pa.Table:
    """Columns of a table, of one host where it is named."""
    if host is None:
        return read(columns)
    rows = read([*columns, "host"])
    return rows.filter(pc.equal(rows["host"], host)).drop_columns("host")


def _starts(folder: Path, host: str | None) -> pd.DataFrame:
    """The measured sessions that were calls, with what `start_lag` and `service_time` are made of."""
    needed = [*CATALOGUE["start_lag"].columns, *CATALOGUE["service_time"].columns]
    columns = list(dict.fromkeys(["phase", "called_at_ns", *needed]))
    rows = _rows(partial(files.read_table, folder, "sessions"), columns, host)
    counted = pc.fill_null(pc.equal(rows["phase"], "measure"), True)
    frame: pd.DataFrame = rows.filter(pc.and_(counted, pc.is_valid(rows["called_at_ns"]))).to_pandas()
    return frame


def _quantile_ms(sessions: pd.DataFrame, name: str, p: float) -> float | None:
    values = measured.values_ns(sessions, CATALOGUE[name]) / NS_PER_MS
    return quantile(values[~np.isnan(values)], p)


def exactness(folder: Path, host: str | None = None) -> Iterator[Exactness]:
    """Compute, for each target and each measure that hangs on arrivals, the bounds of good turns and their median.

    Where no turn of a target is good, the bounds are those of all that have the measure. A measure that no row has,
    and one of whose bounds nobody knows, is left out. Many rows are read measure by measure, so that a million turns
    fit.
    `host`: of its rows alone.
    """
    for scope, table in TABLES.items():
        read = files.column_reader(folder, table)
        places = _places(read, host)
        for measure in (known for known in CATALOGUE.values() if known.scope == scope and bounds.columns_of(known)):
            yield from _of_measure(read, measure, places, host)


def worst_bound(folder: Path, measure: Measure) -> float:
    """How far a measured row's figure can be off at most, in the measure's unit; inf where no bound is known."""
    if not bounds.columns_of(measure):
        return 0.0
    table = TABLES[measure.scope]
    read = partial(files.read_table, folder, table)
    values, slack = _values_with_bounds(read, measure, None)
    counted = pc.fill_null(pc.equal(read(["phase"])["phase"], "measure"), True).to_numpy()
    there = counted & ~np.isnan(values)
    return float(np.nan_to_num(slack[there], nan=np.inf).max(initial=0.0))


def _places(read: files.ReadColumns, host: str | None) -> MaskedRows:
    rows = _rows(read, ["target", "phase", "outcome"], host)
    counted = pc.fill_null(pc.equal(rows["phase"], "measure"), True).to_numpy()
    good = pc.fill_null(pc.is_in(rows["outcome"], pa.array(sorted(GOOD))), False).to_numpy()
    places = []
    for target in sorted(pc.unique(rows["target"].filter(pa.array(counted))).to_pylist()):
        mine = counted & pc.fill_null(pc.equal(rows["target"], target), False).to_numpy()
        places.append((target, mine, mine & good))
    return places


def _of_measure(read: files.ReadColumns, measure: Measure, places: MaskedRows, host: str | None) -> Iterator[Exactness]:
    values, slack = _values_with_bounds(read, measure, host)
    known = ~np.isnan(values) & ~np.isnan(slack)
    for target, mine, good in places:
        counted = good & known if (good & known).any() else mine & known
        if counted.any():
            median = quantile(values[good & known], 0.5)
            yield Exactness(target, measure.name, quantile(slack[counted], 0.99), median, measure.unit, host or "")


def _values_with_bounds(
    read: files.ReadColumns, measure: Measure, host: str | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """A measure of each row in its unit, and how far it can be off; NaN where either is not known."""
    rows = _rows(read, list(dict.fromkeys([*measure.columns, *bounds.columns_of(measure)])), host)
    values = measured.values_ns(rows.select(list(measure.columns)).to_pandas(), measure)
    return values / NS_PER_MS if measure.unit == "ms" else values, bounds.bounds(rows, measure)


def quantile(values: npt.NDArray[np.float64], p: float) -> float | None:
    """The smallest value that a share p of all does not exceed; None where there are none."""
    return float(np.quantile(values, p, method="inverted_cdf")) if values.size else None
