"""The data of a run folder: its rows as pandas frames with derived metrics, its histograms, and its
document.

A run that ended is read from Parquet, and a killed run from its spool. A column always has the same
dtype: integers are `Int64`, flags are `boolean`, metrics are `float64`, labels are categoricals,
and ids of turns are Arrow texts.

The data that reports need of a million turns fit in 120 MB, because `load_for_report` leaves them
in Arrow, in the narrowest types, and `reports.data.turns` derives a metric only when it is first
used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from bench.base.errors import UsageError
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.catalogue.causes import decoded, text_of
from bench.catalogue.columns import (
    CAUSE,
    DETAIL_CHARACTERS,
    LABELS,
    SESSIONS,
    TURN_KEYS,
    UNCERTAINTY_COLUMNS,
    names_of,
)
from bench.catalogue.metrics import CATALOGUE, VAD_SEGMENTS
from bench.catalogue.outcomes import outcome_class
from bench.files.sanitize import SUSPECT, escape_control, excerpt
from bench.record import folder as run_folder
from bench.record import histograms as hdr
from bench.record.document import RunDocument, Validity, is_recorded
from bench.record.folder import SCHEMAS, TableName
from bench.record.histograms import MEASURED, Histograms
from bench.record.metric_values import (
    CARRIED,
    all_histograms,
    bytes_per_s,
    floats,
    measured_from_ns,
    repeated,
    values_ns,
    wrong_column,
)
from bench.record.spool import parts
from reports.data.uncertainty import UncertainMetric, uncertain_metrics_of
from reports.metrics.rate_metrics import OF_COLUMNS, RATES
from reports.results.json_entries import optional_keys
from reports.statistics.counting import Flags

if TYPE_CHECKING:
    from bench.record.validity import EarlyReplies

TURN_METRICS = tuple(m for m in CATALOGUE.values() if m.scope == "turn")
SESSION_METRICS = tuple(
    m
    for m in CATALOGUE.values()
    if m.scope in ("session", "load_generator") and (m.end or m.column)
)

REPORTED = (
    "session_id",
    "target",
    "phase",
    "outcome",
    CAUSE,
    "script",
    "step",
    "turn",
    "measured_from",
    "turn_type",
    "start_utc_ns",
    "simulated",
    "start_ns",
    "last_audible_at_ns",
    "ended_at_ns",
    "audio_bytes_received",
    *(f"{name}_at_ns" for name in ("speech_start", *VAD_SEGMENTS)),
    "unplayed_audio_ns",
    "received_audio_ns",
    "uncertain_gaps",
    "rtt_scope",
    "retry_after_ns",
    "context_tokens",
    "context_cached_tokens",
    "input_audio_ns",
    "input_transcript_deltas",
    "transcript_lag_growth_ns",
    "transcript_lag_growth_error_ns",
    "late_chunks",
    "mcp_error",
    "speech_pause_ns",
    *(
        name
        for rate in OF_COLUMNS
        for name in (rate.column, rate.words_column, rate.characters_column)
        if name
    ),
    *(rate.due.column for rate in RATES.values() if rate.due),
    "input_transcription_error",
    "input_text_tokens",
    "input_audio_tokens",
    "input_image_tokens",
    "output_text_tokens",
    "output_audio_tokens",
    "input_cached_tokens",
    "input_cached_text_tokens",
    "input_cached_audio_tokens",
    "input_cached_image_tokens",
    "input_cache_write_tokens",
    "input_kindless_tokens",
    "output_kindless_tokens",
    "delegations",
)
"""The columns of turns that a report needs, in addition to the columns from which metrics are
computed."""
UNREPORTED = {
    "run_id",
    "scenario",
    "worker",
    "turns_planned",
    "turns_ended",
    "variables_row",
    "events",
    "unknown_events",
    "service_errors",
    "timestamp_fallbacks",
    *names_of(SESSIONS, "width", "error"),
}
_OF_METRICS = {name for metric in TURN_METRICS for name in metric.columns}
OF_REPORTS: dict[TableName, list[str]] = {
    "turns": [name for name in SCHEMAS["turns"].names if name in {*REPORTED, *_OF_METRICS}],
    "sessions": [name for name in SCHEMAS["sessions"].names if name not in UNREPORTED],
}
OF_HOSTS = ("host", "timestamp_uncertainty_ns")
"""The further columns of turns that a report needs if several hosts recorded the run."""
FEW = 16
"""The dtype of a column with at most this many labels is cached, so that columns with the same
labels share it."""
WIDTHS = tuple(
    (2 ** (kind.bit_width - 1) - 1, kind)
    for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64())
)
"""The integer types, from the narrowest, each with the largest number that it can hold."""
CLASSES = pd.CategoricalDtype(["success", "failed", "unfinished"])

RUN = optional_keys(RunDocument)
INT64_MAX = 2**63 - 1
TOGETHER = 8
"""The number of columns of a large table that are read together."""
Document = Mapping[str, Any]
"""The content of run.json."""
Columns = dict[str, Any]
"""The data of a pandas frame: arrays of the same length, by name."""
Convert = Callable[[pa.ChunkedArray], Any]
Kept = Callable[[Any], Any]
DTYPES: dict[pa.DataType, Any] = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
DTYPES |= {pa.string(): pd.ArrowDtype(pa.string())}
"""The pandas dtype for each Arrow type. The dtypes do not depend on whether values are missing."""


def by_label(
    labels: Any, value: Callable[[str], Any], missing: object, dtype: type
) -> npt.NDArray[Any]:
    """Return `value(label)` for the label of each row; `missing` for rows without a label.

    `labels` is a categorical.
    """
    values: npt.NDArray[Any] = np.array(
        [*(value(str(label)) for label in labels.categories), missing], dtype
    )
    of_rows: npt.NDArray[Any] = values[np.asarray(labels.codes)]  # `take` is slower
    return of_rows


@dataclass(frozen=True, eq=False, repr=False)
class RunFrames:
    """A loaded run.

    Its frames have the columns of `bench.record.folder.SCHEMAS`, and those that this module
    derives.
    """

    folder: Path
    metadata: dict[str, Any]
    turns: pd.DataFrame
    sessions: pd.DataFrame
    seconds: pd.DataFrame
    stored_histograms: Histograms | None
    """None if they are read from the folder when they are first used: a check needs none."""
    finalized: bool
    """True if the run was read from Parquet. False if it was read from the spool, because it is in
    progress or was killed."""

    def __repr__(self) -> str:
        """Return `Run(runs/20261120T091400Z-voice_turns: 400 turns, 40 sessions)`."""
        return f"Run({self.folder}: {len(self.turns):,} turns, {len(self.sessions):,} sessions)"

    @property
    def folder_name(self) -> str:
        """The displayed name of the run's folder. It is escaped, because anyone may have chosen
        the name.
        """
        return escape_control(self.folder.name)

    @cached_property
    def histograms(self) -> Histograms:
        """The histograms of the metrics. Raise UsageError if they cannot be read."""
        if self.stored_histograms is not None:
            return self.stored_histograms
        with _reading(self.folder):
            return read_histograms(self.folder, self.metadata)

    @cached_property
    def uncertain_metrics(self) -> tuple[UncertainMetric, ...]:
        """The metrics that are uncertain in this run, target by target."""
        return uncertain_metrics_of(self.folder, self.metadata)

    @cached_property
    def early_replies(self) -> tuple[EarlyReplies, ...]:
        """The replies that started before their question had ended. Raise UsageError if the rows
        cannot be read.
        """
        from bench.record.validity_data import early_replies

        with _reading(self.folder):
            return tuple(early_replies(run_folder.row_reader(self.folder), self.metadata))

    @property
    def simulated(self) -> bool:
        """True if the run was measured against `rtbench simulate`, according to its document or
        to any row.
        """
        return bool(self.metadata.get("simulated")) or any(
            bool(frame["simulated"].eq(True).any())
            for frame in (self.turns, self.sessions)
            if len(frame)
        )

    @property
    def recorded(self) -> bool:
        """True if the run consists of recorded calls, which were imported."""
        return is_recorded(self.metadata)


def load_frames(path: Path | str, *, all_columns: bool = True) -> RunFrames:
    """Read a run, without the timestamp uncertainties of its turns. If `all_columns` is False, the
    turns have only run_id and the columns that reports need. Raise UsageError if the folder is no
    run, or if its files cannot be read.
    """

    def turns(folder: Path, document: Document) -> pd.DataFrame:
        reported_names = {"run_id", *OF_REPORTS["turns"], *OF_HOSTS}
        names = [
            name
            for name in SCHEMAS["turns"].names
            if (name not in UNCERTAINTY_COLUMNS if all_columns else name in reported_names)
        ]
        return _derived(_columns(folder, names, _array))

    return _load(Path(path), turns, SCHEMAS["sessions"].names)


def load_for_report(path: Path) -> RunFrames:
    """Read only the columns of a run that reports need (OF_REPORTS).

    To save memory, the integers of turns have the narrowest type, and turns have no metrics:
    `reports.data.turns.TurnArrays.value` derives them. Raise UsageError if the folder is no run, or
    its files cannot be read.
    """

    def turns(folder: Path, document: Document) -> pd.DataFrame:
        names = [*OF_REPORTS["turns"], *(OF_HOSTS if len(hosts_of(document)) > 1 else ())]
        columns = _columns(folder, names, _narrow)
        columns |= {"measured": _measured(columns), "outcome_class": _classes(columns)}
        return pd.DataFrame(columns, copy=False)

    return _load(path, turns, OF_REPORTS["sessions"], _sharing())


def hosts_of(document: Document) -> list[dict[str, Any]]:
    """Return the hosts that recorded a run. Only the document of a finalized run lists them;
    otherwise return [].
    """
    return document.get("hosts") or []


def target_entries(document: Document) -> dict[str, dict[str, Any]]:
    """Return the entry of each target in the document of a run, by the name of the target."""
    return {str(entry.get("name")): entry for entry in document.get("targets") or []}


def scripts_of(document: Document) -> list[dict[str, Any]]:
    """Return the entries of the scripts in the document of a run."""
    return document.get("scripts") or []


def bounds_of(run: RunFrames) -> pd.DataFrame:
    """Return the timestamp uncertainties of each row of `run.turns`, and the columns TURN_KEYS of
    the row. Raise UsageError if they cannot be read.
    """
    with _reading(run.folder):
        bounds = pd.DataFrame(
            _columns(run.folder, [*TURN_KEYS, *UNCERTAINTY_COLUMNS], _array), copy=False
        )
        if reason := run_folder.no_uncertainty(run.folder):
            raise UsageError(f"the timestamp uncertainty of {run.folder} is unknown: {reason}")
    keys = run.turns[list(TURN_KEYS)].astype({"session_id": str})
    if run.finalized and len(bounds) == len(keys):
        return bounds
    # a spool may have grown since the turns were read
    by_key = bounds.astype({"session_id": str}).set_index(list(TURN_KEYS))
    return (
        by_key.reindex(pd.MultiIndex.from_frame(keys))
        .reset_index()
        .assign(session_id=run.turns["session_id"].array)
    )


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raise UsageError if the block cannot read a file. UnicodeDecodeError means that a column
    name is damaged.
    """
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None


def _load(
    path: Path,
    read_turns: Callable[[Path, Mapping[str, Any]], pd.DataFrame],
    of_sessions: list[str],
    kept: Kept | None = None,
) -> RunFrames:
    document = document_of(path)
    with _reading(path):
        turns = read_turns(path, document)
        # frees the other memory that reading used, about 200 MB for a million turns
        pa.default_memory_pool().release_unused()
        sessions = session_frame(_table(path, "sessions", of_sessions), kept)
        seconds = second_frame(_table(path, "seconds"))
    pa.default_memory_pool().release_unused()
    ids, of_turns = (frame["session_id"].cat for frame in (sessions, turns))
    numbers = floats(turns, "turn")
    # a session or turn with two rows would count twice
    if wrong := repeated(
        ids.codes.to_numpy(), ids.categories.__getitem__, of_turns.codes.to_numpy(), numbers
    ):
        raise UsageError(f"{path} is damaged: {wrong}")
    closed = (path / "turns.parquet").exists()
    # the spool of a run in progress grows, and is removed at its end
    histograms = None if closed else read_histograms(path, document)
    return RunFrames(path, document, turns, sessions, seconds, histograms, closed)


def _table(path: Path, name: TableName, columns: list[str] | None = None) -> pa.Table:
    """Return some columns of a table, or all of them. Raise UsageError if a column contains
    impossible values.
    """
    table = run_folder.read_table(path, name, columns, dictionaries=LABELS)
    if wrong := wrong_column(name, table):
        raise UsageError(f"{path} is damaged: {wrong}")
    return table


def document_of(path: Path) -> dict[str, Any]:
    """Return the document run.json of a folder. Raise UsageError if the folder is no run. Every
    text in the document is escaped for display.
    """
    try:
        document: dict[str, Any] = _displayed(run_folder.read_document(path))
        msgspec.convert(document, RUN)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path / 'run.json'} is damaged: {excerpt(str(error), 200)}") from None
    return document


def stated_validity(document: Document) -> Validity:
    """Return the validity that a run's document states. If it states none, the run has no verdict.
    Raise UsageError if it is damaged.
    """
    stated = {
        name: value for name, value in (document.get("validity") or {}).items() if value is not None
    }
    try:
        return msgspec.convert({"status": "no_verdict"} | stated, Validity)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"the validity in run.json is damaged: {excerpt(str(error), 200)}"
        ) from None


def _displayed(value: Any) -> Any:
    """Return a JSON value with every text escaped for display. Raise ValidationError for
    integers beyond 64 bits.
    """
    if isinstance(value, dict):
        return {escape_control(key): _displayed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_displayed(item) for item in value]
    if isinstance(value, int) and abs(value) > INT64_MAX:
        raise msgspec.ValidationError(f"{value} is too large for a number")
    return escape_control(value) if isinstance(value, str) else value


def _columns(path: Path, names: list[str], converted: Convert) -> Columns:
    """Return columns of the turns. To save memory, the columns of a large Parquet file are read in
    groups. The columns of a spool are all read together, because a spool may grow while it is read.
    """
    parquet = path / "turns.parquet"
    size = (
        TOGETHER
        if parquet.exists() and parquet.stat().st_size > run_folder.SMALL_BYTES
        else len(names)
    )
    columns: Columns = {}
    for first in range(0, len(names), size):
        columns |= _arrays(_table(path, "turns", names[first : first + size]), converted)
    return columns


def turn_frame(table: pa.Table) -> pd.DataFrame:
    """Return the turns with their stored columns and the derived columns. The derived columns are
    `start`, `measured`, `outcome_class`, `measured_from_at_ns`, `<metric>_ms`, and the shares in
    percent.
    """
    return _derived(_arrays(table))


def _derived(stored: Columns) -> pd.DataFrame:
    frame = pd.DataFrame(stored, copy=False)
    origins_ns = measured_from_ns(frame)
    columns = {
        "start": _instants(stored["start_utc_ns"]),
        "measured": _measured(stored),
        "measured_from_at_ns": pd.arrays.IntegerArray(
            np.nan_to_num(origins_ns).astype(int), np.isnan(origins_ns)
        ),
        "outcome_class": _classes(stored),
    }
    for metric in TURN_METRICS:
        if metric.unit == "ms":
            columns[f"{metric.name}_ms"] = values_ns(frame, metric, origins_ns) / NS_PER_MS
        elif metric.of:
            columns[metric.name] = values_ns(frame, metric)
    return pd.concat([frame, pd.DataFrame(columns, copy=False)], axis=1)


def session_frame(table: pa.Table, kept: Kept | None = None) -> pd.DataFrame:
    """Return the sessions with their stored columns and the derived columns.

    The derived columns are `start`, `measured`, `outcome_class`, `<metric>_ms`, the shares in
    percent, and the throughput of each session in bytes per second. `kept` returns the array to
    keep for the values of a column; by default, these values.
    """
    kept = kept or (lambda values: values)
    columns = _arrays(table, lambda column: kept(_array(column)))
    known = {"start": _instants(columns["start_utc_ns"]), "measured": _measured(columns)}
    known |= {"outcome_class": _classes(columns)}
    metrics = {
        f"{metric.name}_ms" if metric.unit == "ms" else metric.name: kept(
            values_ns(table, metric) / (NS_PER_MS if metric.unit == "ms" else 1)
        )
        for metric in SESSION_METRICS
        if metric.name not in columns
    }
    carried = {name: kept(bytes_per_s(table, name)) for name in CARRIED}
    return pd.DataFrame(columns | known | metrics | carried, copy=False)


def _sharing() -> Kept:
    """Return a function that returns an array or, if it has no values, the first such array of its
    dtype.

    So columns without values take no memory. Most columns of sessions have none: the sessions of a
    million turns take 25 instead of 100 MB. A frame with such columns must not be changed in place.
    """
    empty: Columns = {}

    def kept(values: Any) -> Any:
        return empty.setdefault(values.dtype, values) if pd.isna(values).all() else values

    return kept


def second_frame(table: pa.Table) -> pd.DataFrame:
    """Return the rows of the table `seconds`, with the derived columns `start` and `measured`."""
    columns = _arrays(table)
    known = {"start": _instants(columns["second"] * NS_PER_S), "measured": _measured(columns)}
    return pd.DataFrame(columns | known, copy=False)


def _instants(utc_ns: pd.arrays.IntegerArray) -> pd.DatetimeIndex:
    """Convert nanoseconds since 1970 to `datetime64[ns, UTC]`, without rounding."""
    return pd.DatetimeIndex(utc_ns.to_numpy("M8[ns]", na_value=np.datetime64("NaT"))).tz_localize(
        "UTC"
    )


def _measured(columns: Columns) -> Flags:
    """Return True for each row in the measured phase. Its phase is `metric`, or it has no phase."""
    return by_label(columns["phase"], lambda name: name == MEASURED, True, np.bool_)


def _classes(columns: Columns) -> pd.Categorical[Any]:
    """Return the class of each row's outcome. A row without an outcome did not end, so its class
    is `unfinished`.
    """
    code = {name: index for index, name in enumerate(CLASSES.categories)}
    codes = by_label(
        columns["outcome"], lambda name: code[outcome_class(name)], code["unfinished"], np.int8
    )
    return pd.Categorical.from_codes(codes, dtype=CLASSES, validate=False)


def _array(column: pa.ChunkedArray) -> Any:
    """Return a column of integers, booleans, texts, or floats as a pandas or numpy array. Its dtype
    depends only on the type of the column, not on the values.
    """
    # takes a quarter of the time of the general case
    if column.type == pa.int64() and not column.null_count:
        values = np.require(column.to_numpy(), requirements="W")
        return pd.arrays.IntegerArray(values, np.zeros(values.size, bool))
    dtype = DTYPES.get(column.type)
    return dtype.__from_arrow__(column) if dtype else column.to_numpy()


def _labels(column: pa.ChunkedArray) -> pd.Categorical[Any]:
    """Return a column as a categorical. Labels are escaped for display, because some are texts
    from services.
    """
    if column.null_count == len(column):
        return _no_labels(len(column))
    encoded = (
        column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    ).combine_chunks()
    labels = encoded.dictionary
    codes = encoded.indices.fill_null(-1).to_numpy()
    kind = _few(tuple(labels.to_pylist())) if len(labels) <= FEW else _kind(labels)
    if kind is None:
        texts = [escape_control(label) for label in labels.to_pylist()]
        return pd.Categorical([texts[code] if code >= 0 else None for code in codes])
    return pd.Categorical.from_codes(codes, dtype=kind, validate=False)


@lru_cache(4)
def _no_labels(rows: int) -> pd.Categorical[Any]:
    """Return a column without labels. Columns share its codes, and pandas copies them before it
    changes them.
    """
    return pd.Categorical.from_codes(np.full(rows, -1, np.int8), dtype=_few(()), validate=False)


@lru_cache(256)
def _few(labels: tuple[str, ...]) -> pd.CategoricalDtype | None:
    """Return the dtype of a column with few labels. It is cached, because most columns have at
    most one label.
    """
    return _kind(pa.array(labels, pa.string()))


def _kind(labels: pa.Array) -> pd.CategoricalDtype | None:
    """Return the dtype of a column with these labels; None if a label must be escaped for
    display.
    """
    if pc.any(pc.match_substring_regex(labels, SUSPECT)).as_py() and any(
        label != escape_control(label) for label in labels.to_pylist()
    ):
        return None
    return pd.CategoricalDtype(pd.Index(labels.to_numpy(False)))


def _arrays(table: pa.Table, converted: Convert = _array) -> Columns:
    """Return the columns of a table: label columns as categoricals, and other columns converted by
    `converted`. For small runs, this is twice as fast as `to_pandas`.
    """
    named = zip(table.column_names, table.columns, strict=True)
    columns = {
        name: _labels(column) if name in LABELS else converted(column) for name, column in named
    }
    return columns | ({"detail": _details(columns[CAUSE])} if CAUSE in columns else {})


def _details(causes: pd.Categorical[Any]) -> pd.Categorical[Any]:
    """Return the texts of causes for display. Different causes may have the same text."""
    details = dict.fromkeys(map(detail_of, causes.categories))
    labels = {detail: code for code, detail in enumerate(details)}
    codes = by_label(causes, lambda cause: labels[detail_of(cause)], -1, np.int32)
    kind = pd.CategoricalDtype(pd.Index(list(labels)))
    return pd.Categorical.from_codes(codes, dtype=kind, validate=False)


@lru_cache(1024)
def detail_of(cause: str) -> str:
    """Return the text of a value of the column `cause` for display. It is cut to the length of one
    text.
    """
    return escape_control(text_of(decoded(cause)))[:DETAIL_CHARACTERS]


def _narrow(column: pa.ChunkedArray) -> pd.arrays.ArrowExtensionArray:
    """Return a column as an Arrow array, with integers in the narrowest type that holds them. A
    million values take 1 to 8 MB. They take no memory if all are null.
    """
    if column.null_count == len(column):
        return pd.arrays.ArrowExtensionArray(pa.nulls(len(column)))
    if column.type != pa.int64():
        return pd.arrays.ArrowExtensionArray(column.combine_chunks())
    ends = pc.min_max(column).as_py()
    kind = next(kind for max_value, kind in WIDTHS if max(ends["max"], ~ends["min"]) <= max_value)
    return pd.arrays.ArrowExtensionArray(column.cast(kind).combine_chunks())


def read_histograms(path: Path, document: Document) -> Histograms:
    """Return the final histograms of a run; if it has none yet, the histograms of the data written
    up to now. They include the counts of the values that are outside the range of the histograms.
    """
    final = run_folder.histograms_path(path)
    if not final.exists():
        return all_histograms(run_folder.row_reader(path), parts(path))
    histograms = hdr.read(final)
    totals = document.get("totals") or {}
    histograms.out_of_range.update(totals.get("out_of_range") or {})
    histograms.negative.update(totals.get("negative") or {})
    return histograms


def records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a few rows as dictionaries of the stored values. A missing value is NaN."""
    columns = {
        str(name): pa.array(column.array, from_pandas=True).to_pylist()
        for name, column in rows.items()
    }
    return [
        {name: np.nan if value is None else value for name, value in zip(columns, row, strict=True)}
        for row in zip(*columns.values(), strict=True)
    ]


def response_ids(run: RunFrames, rows: Sequence[int]) -> list[str]:
    """Return the response ids that the service gave for some rows of `run.turns`; "" for a row
    without an id.

    A spool may have grown since the run was loaded, so its rows are found by session and turn, not
    by their index. Raise UsageError if the ids cannot be read.
    """
    if run.finalized:
        with _reading(run.folder):
            ids = run_folder.read_values(run.folder, "turns", "response_id", rows)
        return [escape_control(str(name or "")) for name in ids]
    keys = ["session_id", "turn"]
    with _reading(run.folder):
        table = run_folder.read_table(run.folder, "turns", ["response_id", *keys])
    selected = run.turns[keys].iloc[list(rows)]
    sessions = pa.array(selected["session_id"].astype(object), pa.string())
    spool_rows = table.filter(pc.is_in(table.column("session_id"), sessions)).to_pylist()
    named = {
        tuple(row[key] for key in keys): escape_control(str(row["response_id"] or ""))
        for row in spool_rows
    }
    return [named.get(key, "") for key in selected.itertuples(index=False, name=None)]


def sequence(frame: pd.DataFrame, name: str) -> list[str]:
    """Return the labels that occur in a categorical column, in alphabetical order."""
    column = frame[name]
    return sorted(
        str(label) for label in column.cat.categories[np.unique(column.cat.codes[column.notna()])]
    )


def part_of(document: Document, key: str) -> dict[str, Any]:
    """Return an object in the document of a run; {} if it has none."""
    return document.get(key) or {}


def labels_of(document: Document) -> dict[str, str]:
    """Return the labels that `--label` gave to the run of this document; {} if there are none."""
    return part_of(document, "labels")


def run_id_of(run: RunFrames) -> str:
    """Return the id of the run; the name of its folder if the document has none."""
    return str(run.metadata.get("run_id") or run.folder_name)


def title_of(name: str, labels: Mapping[str, str]) -> str:
    """Return the name of a scenario with the labels of its run, such as `voice_turns (commit
    1a2b3c, build 77)`.
    """
    text = ", ".join(f"{key} {value}" for key, value in labels.items())
    return f"{name} ({text})" if text else name


def titles_of(documents: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the titles of several runs. Runs with the same scenario and labels share one title."""
    named = (document for document in documents if document.get("scenario"))
    return list(
        dict.fromkeys(
            title_of(str(document["scenario"]), labels_of(document)) for document in named
        )
    )
