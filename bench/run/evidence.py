"""Gathers what the rules of validity look at, from a run's rows and histograms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from bench.measures import CATALOGUE, Measure
from bench.outcomes import GOOD
from bench.run import bounds, measured
from bench.run import folder as files
from bench.run.histograms import Histograms, worst_p99_ms
from bench.run.validity import Evidence, Exactness
from bench.units import NS_PER_MS

COLUMNS = ["phase", "stamp_source", "audio_bytes_sent"]
TABLES: dict[str, files.TableName] = {"turn": "turns", "session": "sessions"}

MaskedRows = list[tuple[str, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]]
"""Each target with its measured rows, and those of them that are good."""


def evidence(folder: Path, histograms: Histograms, document: dict[str, Any]) -> Evidence:
    """Gather what the rules of validity look at, from the measured phase."""
    turns = files.read_table(folder, "turns", COLUMNS)
    counted = pc.fill_null(pc.equal(turns["phase"], "measure"), True)
    stamped = turns["stamp_source"].filter(counted).drop_null()
    starts = _starts(folder)
    chunks = [script["chunk_ms"] for script in document.get("scripts") or [] if script.get("chunk_ms")]
    return Evidence(
        measures=tuple(exactness(folder)),
        user_stamps_share=pc.mean(pc.not_equal(stamped, "kernel").cast(pa.float64())).as_py() if len(stamped) else None,
        hub_delay_p99=worst_p99_ms(histograms, "hub_delay"),
        send_lag_p99=worst_p99_ms(histograms, "send_lag"),
        chunk=min(chunks) if chunks else None,
        paced_audio=bool(chunks) and (pc.sum(turns["audio_bytes_sent"].filter(counted)).as_py() or 0) > 0,
        start_lag_p99=_quantile_ms(starts, "start_lag", 0.99),
        service_time_p50=_quantile_ms(starts, "service_time", 0.5),
    )


def _starts(folder: Path) -> pd.DataFrame:
    """The measured sessions that were calls, with what `start_lag` and `service_time` are made of."""
    needed = [*CATALOGUE["start_lag"].columns, *CATALOGUE["service_time"].columns]
    rows = files.read_table(folder, "sessions", list(dict.fromkeys(["phase", "called_at_ns", *needed])))
    counted = pc.fill_null(pc.equal(rows["phase"], "measure"), True)
    frame: pd.DataFrame = rows.filter(pc.and_(counted, pc.is_valid(rows["called_at_ns"]))).to_pandas()
    return frame


def _quantile_ms(sessions: pd.DataFrame, name: str, p: float) -> float | None:
    values = measured.values_ns(sessions, CATALOGUE[name]) / NS_PER_MS
    return quantile(values[~np.isnan(values)], p)


def exactness(folder: Path) -> Iterator[Exactness]:
    """Compute, for each target and each measure that hangs on arrivals, the bounds of good turns and their median.

    Where no turn of a target is good, the bounds are those of all that have the measure. A measure that no row has,
    and one of whose bounds nobody knows, is left out. It is read measure by measure, so that a million turns fit.
    """
    for scope, table in TABLES.items():
        places: MaskedRows = []
        for measure in (known for known in CATALOGUE.values() if known.scope == scope and bounds.columns_of(known)):
            places = places or _places(folder, table)
            yield from _of_measure(folder, table, measure, places)


def _places(folder: Path, table: files.TableName) -> MaskedRows:
    rows = files.read_table(folder, table, ["target", "phase", "outcome"])
    counted = pc.fill_null(pc.equal(rows["phase"], "measure"), True).to_numpy()
    good = pc.fill_null(pc.is_in(rows["outcome"], pa.array(sorted(GOOD))), False).to_numpy()
    places = []
    for target in sorted(pc.unique(rows["target"].filter(pa.array(counted))).to_pylist()):
        mine = counted & pc.fill_null(pc.equal(rows["target"], target), False).to_numpy()
        places.append((target, mine, mine & good))
    return places


def _of_measure(folder: Path, table: files.TableName, measure: Measure, places: MaskedRows) -> Iterator[Exactness]:
    columns = list(dict.fromkeys([*measure.columns, *bounds.columns_of(measure)]))
    rows = files.read_table(folder, table, columns)
    frame = rows.select(list(measure.columns)).to_pandas()
    values = measured.values_ns(frame, measure)
    if measure.unit == "ms":
        values = values / NS_PER_MS
    slack = bounds.bounds(rows, measure)
    known = ~np.isnan(values) & ~np.isnan(slack)
    for target, mine, good in places:
        counted = good & known if (good & known).any() else mine & known
        if counted.any():
            median = quantile(values[good & known], 0.5)
            yield Exactness(target, measure.name, quantile(slack[counted], 0.99), median, measure.unit)


def quantile(values: npt.NDArray[np.float64], p: float) -> float | None:
    """The smallest value that a share p of all does not exceed; None where there are none."""
    return float(np.quantile(values, p, method="inverted_cdf")) if values.size else None
