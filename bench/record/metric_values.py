"""Metrics of stored rows, computed for a complete table at once, their histograms, and the
consistency of the rows.

`Metric.values` is the rule; an observation is one row for it. Histograms of the times of turns and
sessions are computed only from a run's rows. So they are complete whenever the rows are complete,
and they cost nothing while the run is active.

The rows are checked, because a folder may come from another person. Each session and each turn must
occur once. No required value may be missing. No count or duration may be below 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bench.base.units import NS_PER_S, NS_PER_US
from bench.catalogue.metrics import CATALOGUE, MEASURED_FROM, ORIGIN, Metric, Scope
from bench.catalogue.outcomes import SUCCESSFUL
from bench.files.sanitize import excerpt
from bench.record import folder as files
from bench.record.histograms import ALL, MEASURED, HistogramKey, Histograms, StepLabels, turn_step
from bench.record.spool import PartLike

if TYPE_CHECKING:  # load generators without reports have no pandas
    import pandas as pd

CARRIED = {
    f"{kind}_{direction}": f"{kind}_bytes_{direction}"
    for kind in ("wire", "audio")
    for direction in ("sent", "received")
}
"""The metrics in bytes per second. The value of each is the name of the column that counts its
bytes."""
RATED_INSTANTS = ("opened_at_ns", "session_updated_at_ns", "ended_at_ns")
Floats = npt.NDArray[np.float64]
Rows: TypeAlias = "pd.DataFrame | pa.Table"


class TableRows:
    """The rows of a table, with the columns that a metric needs."""

    def __init__(self, rows: Rows, origins_ns: Floats | None = None) -> None:
        self._rows = rows
        self._origins_ns = origins_ns

    def instant(self, name: str) -> Floats:
        if name != ORIGIN:
            return self.number(f"{name}_at_ns")
        return measured_from_ns(self._rows) if self._origins_ns is None else self._origins_ns

    def since(self, start: Floats, end: Floats) -> Floats:
        for instants in (start, end):
            if instants.strides == (0,):  # a column without values, as `floats` returns it
                return instants
        return end - start

    def number(self, column: str) -> Floats:
        return floats(self._rows, column)

    def earlier(self, instant: str) -> Floats:
        return self.number(f"{instant}_uncertainty_ns")

    def later(self, instant: str) -> Floats:
        if instant != ORIGIN:
            return self.earlier(instant)
        return self.where(
            np.isnan(self.instant("request_sent")),
            self.earlier("speech_end"),
            self.earlier("request_sent"),
        )

    def has(self, column: str, value: str | int) -> npt.NDArray[np.bool_]:
        return _is(self._rows, column, value)

    def where(self, condition: Any, then: Any, otherwise: Any) -> Floats:
        values: Floats = np.where(condition, then, otherwise)
        return values

    def larger(self, first: Any, second: Any) -> Floats:
        values: Floats = np.maximum(first, second)
        return values


def values_ns(rows: Rows, metric: Metric, origins_ns: Floats | None = None) -> Floats:
    """Compute a metric for each row: in nanoseconds, or as the values of the metric's column. A
    missing value is NaN.

    `rows` has the columns `metric.columns`. `origins_ns` is the result of `measured_from_ns` for
    these rows. Pass it if several metrics of the same rows are computed.
    """
    return metric.values(TableRows(rows, origins_ns))


def bytes_per_s(sessions: Rows, metric: str) -> Floats:
    """Compute each session's bytes per second, from the upgrade to the session's end.

    The value is NaN for a session that was never ready. `metric` is a key of CARRIED.
    """
    upgraded, updated, ended = (floats(sessions, name) for name in RATED_INSTANTS)
    duration_s = (ended - upgraded) / NS_PER_S
    opened = ~np.isnan(updated) & (duration_s > 0)
    rates: Floats = np.divide(
        floats(sessions, CARRIED[metric]),
        duration_s,
        out=np.full(len(sessions), np.nan),
        where=opened,
    )
    return rates


def measured_from_ns(rows: Rows) -> Floats:
    """Return, for each row, the instant that the column `measured_from` names; NaN if the column
    is null.
    """
    values = np.full(len(rows), np.nan)
    for name in MEASURED_FROM:
        mask = _is(rows, ORIGIN, name)
        values[mask] = floats(rows, f"{name}_at_ns")[mask]
    return values


def floats(rows: Rows, column: str) -> Floats:
    """Return a column of whole numbers as floats, which are exact up to 2⁵³ ns (104 days); null
    becomes NaN.

    A column of Arrow without values becomes an array that takes no memory, and cannot be changed in
    place.
    """
    values = rows[column]
    if not isinstance(values, pa.Array | pa.ChunkedArray):
        import pandas as pd

        if not isinstance(values.dtype, pd.ArrowDtype):
            return values.to_numpy(float, na_value=np.nan)
        # the conversion by pandas takes three times as long
        values = values.array.__arrow_array__()
    if values.null_count == len(values):
        return np.broadcast_to(np.nan, len(values))
    # otherwise numpy would check each value in Python
    if values.null_count and pa.types.is_boolean(values.type):
        values = pc.fill_null(pc.cast(values, pa.float64(), safe=False), np.nan)
    numbers = (
        values.to_numpy(zero_copy_only=False) if isinstance(values, pa.Array) else values.to_numpy()
    )
    converted: Floats = numbers.astype(float, copy=False)
    return converted


def _is(rows: Rows, column: str, value: object) -> npt.NDArray[np.bool_]:
    if isinstance(rows, pa.Table):
        flags: npt.NDArray[np.bool_] = pc.fill_null(pc.equal(rows[column], value), False).to_numpy()
        return flags
    return (rows[column] == value).to_numpy(bool, na_value=False)


def first_ns(rows: pa.Table, names: tuple[str, ...]) -> Any:
    """Return, for each row of an Arrow table, the first instant in `names` that is not null in
    the row.
    """
    return pc.coalesce(*(rows[f"{name}_at_ns"] for name in names))


FROM_ROWS = tuple(
    name
    for name, metric in CATALOGUE.items()
    if metric.unit == "ms" and (metric.begin or metric.column)
)
"""The metrics that are times and are computed from rows: metrics of turns, of sessions, and of
the load generator."""

Integers = npt.NDArray[np.int64]
KeyedValues = Sequence[tuple[HistogramKey, Integers]]
"""Histogram keys, each with the indexes of the rows that are counted under the key.

The metric of a key is not set yet. The same key may occur twice.
"""


def all_histograms(read: files.ReadRows, parts: Iterable[PartLike]) -> Histograms:
    """Return the histograms of all parts and of the rows, including the counts of out-of-range
    values.

    If a part is a finalized run, it also has histograms of its rows and rates. These are not used,
    because they are computed again. Raise UsageError if the histograms of a part cannot be read.
    """
    total = Histograms()
    for part in parts:
        total.merge(part.histograms())
        total.out_of_range.update(part.facts.out_of_range)
        total.negative.update(part.facts.negative)
    total.discard((*FROM_ROWS, *CARRIED))
    record_rows(read, total)
    return total


def record_rows(read: files.ReadRows, histograms: Histograms) -> None:
    """Record the times of all successful turns and of all sessions of a run."""
    of_sessions = _grouped(read("sessions", ["target", "phase"]))
    sessions = [
        (HistogramKey("", target, ALL, phase or MEASURED), row_indexes)
        for (target, phase), row_indexes in of_sessions
    ]
    tables: Sequence[tuple[files.TableName, Sequence[Scope], KeyedValues]] = (
        ("turns", ("turn",), list(_good_turns(read))),
        ("sessions", ("session", "load_generator"), sessions),
    )
    for table, scopes, keyed_rows in tables:
        for metric in (CATALOGUE[name] for name in FROM_ROWS if CATALOGUE[name].scope in scopes):
            # one metric after another, so that the values of a million turns fit into memory
            values = values_ns(read(table, list(metric.columns)), metric)
            is_present = ~np.isnan(values)
            values_us = np.nan_to_num(values).astype(int) // NS_PER_US
            for key, row_indexes in keyed_rows:
                histograms.record_all(
                    key._replace(metric=metric.name),
                    values_us[row_indexes[is_present[row_indexes]]],
                )


def _good_turns(read: files.ReadRows) -> Iterator[tuple[HistogramKey, Integers]]:
    """Yield (histogram key, indexes of the successful turns that are counted under it). The key
    has no metric yet.
    """
    names = ["worker", "target", "phase", "script", "step", "turn_type", "measured_from"]
    rows = read("turns", [*names, "outcome"])
    successful = np.flatnonzero(pc.is_in(rows["outcome"], pa.array(sorted(SUCCESSFUL))).to_numpy())
    label_groups = sorted(
        _grouped(rows.select(["worker", "script", "step"])), key=lambda group: int(group[1][0])
    )
    # a worker meets labels in the order of its rows
    of_worker: defaultdict[Any, StepLabels] = defaultdict(StepLabels)
    labels = {step: of_worker[step[0]].count(*step[1:]) for step, _ in label_groups}
    for (worker, target, phase, script, step, *stratum), indexes in _grouped(
        rows.select(names).take(successful)
    ):
        turn_label = turn_step(script, labels[worker, script, step], *stratum)
        yield HistogramKey("", target, turn_label, phase or MEASURED), successful[indexes]


def _grouped(labels: pa.Table) -> Iterator[tuple[tuple[Any, ...], Integers]]:
    """Yield (combination of labels, indexes of the rows that have these labels)."""
    names = labels.column_names
    rows = labels.append_column("place", pa.array(np.arange(len(labels))))
    groups = rows.group_by(names, use_threads=False).aggregate([("place", "list")])
    for index, group in enumerate(groups.select(names).to_pylist()):
        yield tuple(group.values()), groups["place_list"][index].values.to_numpy()


# The consistency of rows.

IN_EACH_ROW = (
    "session_id",
    "target",
    "outcome",
    "start_utc_ns",
    "ended_at_ns",
    "second",
    "duration_ns",
)
"""The columns that must not be null in any row, in each table that has them."""
REPORTED_BY_SERVICE = (
    "requests_limit",
    "requests_remaining",
    "tokens_limit",
    "tokens_remaining",
    "close_code",
)
"""The columns of whole numbers that contain a number from the service, which may therefore be
below 0."""
Codes = npt.NDArray[np.integer[Any]]


def wrong_column(table: files.TableName, rows: pa.Table | pa.RecordBatch) -> str:
    """Return a description of the first column with an impossible value; "" if all given columns
    are correct.
    """
    for name in rows.schema.names:
        column = rows[name]
        if name in IN_EACH_ROW and column.null_count:
            return f"it has rows of {table} without {name}"
        # instants may lie before the start of their turn or session
        is_integer = files.SCHEMAS[table].field(name).type == pa.int64()
        if not is_integer or name.endswith("_at_ns") or name in REPORTED_BY_SERVICE:
            continue
        if (minimum := pc.min(column).as_py()) is not None and minimum < 0:
            return f"the column {name} of its {table} contains {minimum}, which is below 0"
    return ""


def repeated(sessions: Codes, id_of: Callable[[int], object], turns: Codes, numbers: Floats) -> str:
    """Return a description of a session or turn that has more than one row; "" if there is none.

    `sessions` has, for each row of the sessions table, a code of the session's id. `id_of` decodes
    the code. `turns` and `numbers` have, for each row of the turns table, the code of its session,
    and the number of the turn in the session. The number is NaN if the turn has none.
    """
    if (duplicates := np.flatnonzero(np.bincount(sessions) > 1)).size:
        return f"it has session {excerpt(str(id_of(int(duplicates[0]))))} twice"
    has_number = ~np.isnan(numbers)
    order = np.lexsort((numbers[has_number], turns[has_number]))
    number = numbers[has_number][order]
    session = turns[has_number][order]
    is_same = (number[1:] == number[:-1]) & (session[1:] == session[:-1])
    return "it has a turn of a session twice" if is_same.any() else ""
