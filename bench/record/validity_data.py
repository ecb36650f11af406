"""The data that the validity checks evaluate: delays and uncertainties, from a run's rows and
histograms.

The uncertainty of a metric is that of `bench.catalogue.uncertainty`, in the metric's unit. It is
NaN if it is unknown.
"""

# Every value is computed from the final tables and histograms, after all parts were joined. So a
# run that was killed or merged gets the same checks as any other. Only rows of the measured phase
# count. Uncertainties are computed for each target, because a slow target would hide a fast one,
# and for each host, because one bad clock or busy machine would disappear in the p99 of many hosts.

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import convert, structs

from bench.base.cpu import busy_reason
from bench.base.units import NS_PER_MS
from bench.catalogue.causes import decoded
from bench.catalogue.columns import CAUSE
from bench.catalogue.metrics import CATALOGUE, MEASURED_FROM, ORIGIN, Metric
from bench.catalogue.outcomes import STARVED, SUCCESSFUL, is_own_limit, remedy_of
from bench.catalogue.uncertainty import ARRIVALS, SENDS, uncertainty_ns, uncertainty_of_start_ns
from bench.record import folder as files
from bench.record import metric_values
from bench.record.document import Check, is_recorded
from bench.record.histograms import Histograms
from bench.record.metric_values import Floats, TableRows, floats
from bench.record.provenance import p99s_ms
from bench.record.rtp_streams import RtpStreams
from bench.record.validity import EarlyReplies, MetricUncertainty, ValidityData

COLUMNS = ["phase", "receive_timestamp_source", "audio_bytes_sent"]
TABLES: dict[str, files.TableName] = {"turn": "turns", "session": "sessions"}
SPEED = (
    "first_audio_at_ns",
    "last_audio_at_ns",
    "first_audio_uncertainty_ns",
    "last_audio_uncertainty_ns",
    "audio_speed",
)
RTP_COLUMNS = ("rtp_expected", "rtp_restarts", "rtp_uncounted_pauses", "rtp_jitter_ns")
TRANSCRIPTION_SPEED = (
    "input_transcribed_at_ns",
    "input_transcribed_uncertainty_ns",
    "transcription_speed",
)
STOPPED = ("barge_in_silent_uncertainty_ns", "stall_duration_uncertainty_ns")
BY_COLUMN = {
    "stall_duration": ("stall_duration_uncertainty_ns",),
    "dead_air": ("stall_duration_uncertainty_ns", "onset_uncertainty_ns"),
    "function_execution": ("function_call_done_uncertainty_ns",),
    "mcp_execution": ("mcp_call_started_uncertainty_ns", "mcp_call_ended_uncertainty_ns"),
    "unplayed_audio": STOPPED,
    "overlap": STOPPED,
    "audio_speed": SPEED,
    "transcript_lag": ("transcript_lag_uncertainty_ns",),
    "transcript_lag_max": ("transcript_lag_max_uncertainty_ns",),
    "start_offset": ("start_offset_uncertainty_ns",),
    "transcription_speed": TRANSCRIPTION_SPEED,
}
"""The metrics that are not the difference of two instants, with the columns from which their
uncertainty is computed.

`stall_count` is exact if `stall_duration` is. The audio after a stop depends only on the order of
events.
"""


class MaskedRows(NamedTuple):
    """Masks of the measured rows of one target on one host, and of the successful ones. `host`
    is "" for all hosts.
    """

    host: str
    target: str
    counted: npt.NDArray[np.bool_]
    succeeded: npt.NDArray[np.bool_]


def load_validity_data(
    read: files.ReadRows, histograms: Histograms, document: dict[str, Any]
) -> list[ValidityData]:
    """Return the data of the whole run, from its measured phase; if there are several hosts,
    each one's follows.
    """
    every_host = document.get("hosts") or []
    hosts = every_host if len(every_host) > 1 else []
    uncertainties = defaultdict[str, list[MetricUncertainty]](list)
    for uncertainty in metric_uncertainties(read, ["", *(host["name"] for host in hosts)]):
        uncertainties[uncertainty.host].append(uncertainty)
    all_hosts = {"name": "", **p99s_ms(histograms)}
    pooled, *by_host = (
        _of_host(read, document, uncertainties[host["name"]], host) for host in (all_hosts, *hosts)
    )
    parts = document.get("parts") or []
    busy = (busy_reason(host.get("cpu_use")) for host in every_host)
    prevented = [_prevented(read, table) for table in ("sessions", "turns")]
    sessions = read("sessions", ["phase", "target", *RTP_COLUMNS])
    streams = _rtp_streams(sessions.filter(is_measured(sessions)))
    by_host = [replace(of_host, streams=streams) for of_host in by_host]
    pooled = replace(
        pooled,
        missing_share=_missing_share(read, document, parts),
        starved_share=_starved_share(read),
        dropped_share=_dropped_share(read),
        streams=streams,
        prevented_share=max(share for share, _ in prevented),
        prevented_remedy=max(prevented)[1],
        failed=tuple(
            structs.replace(
                check, note=f"{check.note}, in the part {part['run_id']} on {part['host']}"
            )
            for part in parts
            for check in convert(part["failed_checks"], list[Check])
            # they are counted again
            if check.name not in ("own_limits", "dropped_packets", "missing_data")
        ),
        busy_reason=next(filter(None, busy), ""),
        early=tuple(early_replies(read, document)),
        refused=str(document.get("refused") or ""),
    )
    return [pooled, *by_host]


def _of_host(
    read: files.ReadRows,
    document: dict[str, Any],
    uncertainties: Sequence[MetricUncertainty],
    facts: Mapping[str, Any],
) -> ValidityData:
    """Return the data of one host, by its entry in run.json (`facts`); for all hosts, it has no
    name.
    """
    host = facts["name"]
    turns = _rows(read, "turns", COLUMNS, host)
    counted = is_measured(turns)
    sources = turns["receive_timestamp_source"].filter(counted).drop_null()
    starts = _starts(read, host)
    chunks = [
        script["chunk_ms"] for script in document.get("scripts") or [] if script.get("chunk_ms")
    ]
    sends_audio = (pc.sum(turns["audio_bytes_sent"].filter(counted)).as_py() or 0) > 0
    return ValidityData(
        metrics=tuple(uncertainties),
        user_stamps_share=(
            pc.mean(pc.not_equal(sources, "kernel").cast(pa.float64())).as_py()
            if len(sources)
            else None
        ),
        event_loop_delay_p99=facts["event_loop_delay_p99_ms"],
        send_delay_p99=facts["send_delay_p99_ms"],
        chunk=min(chunks) if chunks else None,
        paced_audio=bool(chunks) and not is_recorded(document) and sends_audio,
        start_delay_p99=_quantile_ms(starts, "start_delay", 0.99),
        service_time_p50=_quantile_ms(starts, "service_time", 0.5),
        host=host,
        busy_reason=busy_reason(facts.get("cpu_use")),
    )


def _missing_share(
    read: files.ReadRows, document: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]
) -> float | None:
    """Return the maximum share of missing turns (`ValidityData.missing_share`)."""
    missing = [part["turns"] for part in parts if part["excluded_because"]]
    missing += [worker["turns"] for worker in document.get("missing_workers") or []]
    if not missing:
        return None
    return (
        math.nan
        if None in missing
        else sum(missing) / max(1, sum(missing) + len(read("turns", ["turn"])))
    )


def early_replies(read: files.ReadRows, document: Mapping[str, Any]) -> Iterator[EarlyReplies]:
    """Yield, for each target, the number of replies that started before their question had ended.

    Only measured, successful, spoken turns are counted. If a service sends no events about replies,
    replies are detected in the audio. An early reply may then be the answer to the question before,
    so every early reply counts (`cut_off`), unless each call has only one question: then the turn
    has no latency, and no other turn is affected. Other services send events that identify the
    question of a reply. So only the reply to the turn's own question is checked.
    """
    questions: dict[str, set[int]] = {}
    for script in document.get("scripts") or []:
        asked = [turn for turn in script.get("plan") or [] if not turn.get("greeting")]
        questions.setdefault(script.get("target"), set()).add(len(asked))
    full_duplex_targets = {
        target.get("name") for target in document.get("targets") or [] if target.get("full_duplex")
    }
    metrics = [
        metric for metric in CATALOGUE.values() if metric.scope == "turn" and metric.is_answer_wait
    ]
    first = [f"{instant}_at_ns" for instant in ("first_audio", "first_text", "first_audible")]
    ends = [f"{metric.end}_at_ns" for metric in metrics]
    rows = read(
        "turns",
        list(
            dict.fromkeys(
                [
                    "session_id",
                    "cut_off",
                    "start_offset_ns",
                    ORIGIN,
                    "speech_end_at_ns",
                    *first,
                    *ends,
                ]
            )
        ),
    )
    spoken = pc.and_(pc.equal(rows[ORIGIN], "speech_end"), pc.is_valid(rows["cut_off"]))
    spoken = _mask(spoken)
    starts_ns = metric_values.first_ns(rows, ("first_audio", "first_text", "first_audible"))
    started_early = _mask(pc.less(starts_ns, rows["speech_end_at_ns"]))
    # an interpreter that speaks before the end of a segment translates its begin
    is_cut_off = pc.and_not(rows["cut_off"], pc.is_valid(rows["start_offset_ns"]))
    cut_off = _mask(is_cut_off)
    for _, target, _, succeeded in _positions(read, "turns", [""]):
        counted = succeeded & spoken
        is_full_duplex = target in full_duplex_targets
        if is_full_duplex and questions.get(target) == {1}:
            continue
        is_early = (cut_off if is_full_duplex else started_early) & counted
        if is_early.any():
            affected = (
                m.name
                for m, end in zip(metrics, ends, strict=True)
                if pc.any(rows[end].is_valid().filter(counted)).as_py()
            )
            early_calls, calls = (
                pc.count_distinct(rows["session_id"].filter(pa.array(mask))).as_py()
                for mask in (is_early, counted)
            )
            early, replies = int(is_early.sum()), int(counted.sum())
            yield EarlyReplies(target, early, replies, early_calls, calls, tuple(affected))


def _starved_share(read: files.ReadRows) -> float:
    """Return the share of measured turns whose outcome is unknown, because their process did not
    run at a timeout.
    """
    turns = read("turns", ["phase", "outcome"])
    outcomes = turns["outcome"].filter(is_measured(turns))
    return (pc.sum(pc.equal(outcomes, STARVED)).as_py() or 0) / max(1, len(outcomes))


def _prevented(read: files.ReadRows, table: files.TableName) -> tuple[float, str]:
    """Return the share of measured rows that a limit of this machine prevented, and the most
    frequent one's remedy.
    """
    rows = read(table, ["phase", "outcome", CAUSE])
    rows = rows.filter(is_measured(rows))
    own_limits = [
        each for each in pc.unique(rows["outcome"]).to_pylist() if is_own_limit(each or "")
    ]
    prevented = rows.filter(pc.is_in(rows["outcome"], pa.array(own_limits, rows["outcome"].type)))
    ends = zip(prevented["outcome"].to_pylist(), prevented[CAUSE].to_pylist(), strict=True)
    remedies = Counter(remedy_of(outcome, decoded(cause or "")) for outcome, cause in ends)
    return len(prevented) / max(1, len(rows)), next(
        (remedy for remedy, _ in remedies.most_common(1)), ""
    )


def _dropped_share(read: files.ReadRows) -> float:
    """Return the share of measured calls with RTP of which the kernel of this machine dropped
    packets.
    """
    rows = read("sessions", ["phase", "rtp_expected", "rtp_dropped"])
    dropped = rows["rtp_dropped"].filter(
        pc.and_(is_measured(rows), pc.is_valid(rows["rtp_expected"]))
    )
    return (pc.sum(pc.greater(dropped, 0)).as_py() or 0) / max(1, len(dropped))


def _rtp_streams(sessions: pa.Table) -> Mapping[str, RtpStreams]:
    """Return the streams of each target with RTP, by the columns `target` and `RTP_COLUMNS` of
    its sessions.
    """
    calls = sessions.filter(pc.is_valid(sessions["rtp_expected"]))
    streams = {}
    for target in pc.unique(calls["target"]).to_pylist():
        of_target = calls.filter(pc.equal(calls["target"], target))
        restarts, pauses = (
            float(pc.mean(of_target[name]).as_py() or 0) for name in RTP_COLUMNS[1:3]
        )
        jitter_ns = pc.quantile(of_target["rtp_jitter_ns"], 0.5)[0].as_py()
        streams[target] = RtpStreams(restarts, pauses, float(jitter_ns or 0) / NS_PER_MS)
    return streams


def is_measured(rows: pa.Table) -> Any:
    """Return a mask of the rows of the measured phase. Rows without a phase count as measured."""
    return pc.fill_null(pc.equal(rows["phase"], "measurement"), True)


def _mask(flags: Any) -> npt.NDArray[np.bool_]:
    """Return flags as a mask. A null is no."""
    mask: npt.NDArray[np.bool_] = pc.fill_null(flags, False).to_numpy()
    return mask


def _rows(read: files.ReadRows, table: files.TableName, columns: list[str], host: str) -> pa.Table:
    if not host:
        return read(table, columns)
    rows = read(table, [*columns, "host"])
    return rows.filter(pc.equal(rows["host"], host)).drop_columns("host")


def _starts(read: files.ReadRows, host: str) -> pa.Table:
    """Return the measured sessions of arrived calls, with the columns of `start_delay` and
    `service_time`.
    """
    needed = [*CATALOGUE["start_delay"].columns, *CATALOGUE["service_time"].columns]
    rows = _rows(
        read, "sessions", list(dict.fromkeys(["phase", "call_arrival_at_ns", *needed])), host
    )
    return rows.filter(pc.and_(is_measured(rows), pc.is_valid(rows["call_arrival_at_ns"])))


def _quantile_ms(sessions: pa.Table, name: str, p: float) -> float | None:
    values = metric_values.values_ns(sessions, CATALOGUE[name]) / NS_PER_MS
    return quantile_or_none(values[~np.isnan(values)], p)


def metric_uncertainties(
    read: files.ReadRows, hosts: Sequence[str] = ("",)
) -> Iterator[MetricUncertainty]:
    """Compute the uncertainty and the median of each metric that depends on timestamps, for each
    target.

    Only successful turns are used. If no turn of a target succeeded, all turns that have the metric
    are used instead. Turns that are measured from different instants are not pooled. A metric is
    left out if it has no rows, or no row with a known uncertainty. If the uncertainty of one row in
    a hundred is unknown, the p99 is unknown. If there are many rows, they are read for one metric
    after another, so that a million turns fit into memory. `hosts` are the names of hosts; "" means
    the rows of all hosts together.
    """
    for scope, table in TABLES.items():
        row_masks = list(_positions(read, table, hosts))
        origins = {}
        if table == "turns":
            measured_from = read("turns", [ORIGIN])[ORIGIN]
            origins = {name: _mask(pc.equal(measured_from, name)) for name in MEASURED_FROM}
        for metric in (
            known for known in CATALOGUE.values() if known.scope == scope and bound_columns(known)
        ):
            yield from _of_metric(read, metric, row_masks, origins)


def bounds_of_rows(folder: Path, metric: Metric) -> Floats:
    """Return the uncertainty of a metric that has one, in each row of its table, in its unit;
    NaN if unknown.
    """
    return row_bounds(files.read_table(folder, TABLES[metric.scope], bound_columns(metric)), metric)


def _positions(
    read: files.ReadRows, table: files.TableName, hosts: Sequence[str]
) -> Iterator[MaskedRows]:
    rows = read(table, ["target", "phase", "outcome", "host"])
    counted = is_measured(rows).to_numpy()
    succeeded = _mask(pc.is_in(rows["outcome"], pa.array(sorted(SUCCESSFUL))))
    for host in hosts:
        on_host = counted & _mask(pc.equal(rows["host"], host)) if host else counted
        for target in sorted(pc.unique(rows["target"].filter(pa.array(on_host))).to_pylist()):
            mask = on_host & _mask(pc.equal(rows["target"], target))
            yield MaskedRows(host, target, mask, mask & succeeded)


def _of_metric(
    read: files.ReadRows,
    metric: Metric,
    row_masks: Sequence[MaskedRows],
    origins: Mapping[str, npt.NDArray[np.bool_]],
) -> Iterator[MetricUncertainty]:
    rows = read(
        TABLES[metric.scope], list(dict.fromkeys([*metric.columns, *bound_columns(metric)]))
    )
    values = metric_values.values_ns(rows, metric)
    bounds = row_bounds(rows, metric)
    values = values / NS_PER_MS if metric.unit == "ms" else values
    onset_ms = np.zeros(len(values))
    starts_ms = _start_bounds(rows, metric)
    # detected if a service sends no events about replies
    if metric.scope == "turn" and metric.end == "first_audible":
        onset_ms = (
            np.nan_to_num(floats(read("turns", ["onset_uncertainty_ns"]), "onset_uncertainty_ns"))
            / NS_PER_MS
        )
    measured_rows = ~np.isnan(values)
    known = ~np.isnan(bounds)
    strata = origins if metric.begin == ORIGIN else {"": True}
    for (host, target, measured, succeeded), (measured_from, of_origin) in product(
        row_masks, strata.items()
    ):
        has_value = measured_rows & of_origin
        counted = has_value & (succeeded if (succeeded & has_value & known).any() else measured)
        if (counted & known).any():
            median = quantile_or_none(values[succeeded & has_value & known], 0.5)
            rank = math.ceil(0.99 * int(counted.sum()))
            # an unknown bound may be larger than any known one
            known_bounds = np.sort(bounds[counted & known])
            p99 = float(known_bounds[rank - 1]) if rank <= known_bounds.size else None
            timestamps_p99 = None
            if p99 is not None and (known_onset_ms := onset_ms[counted & known]).any():
                timestamps_p99 = float(np.sort(bounds[counted & known] - known_onset_ms)[rank - 1])
            sends_p99 = quantile_or_none(starts_ms[counted & known], 0.99)
            yield MetricUncertainty(
                target,
                metric.name,
                p99,
                median,
                metric.unit,
                host,
                timestamps_p99,
                measured_from,
                sends_p99,
            )


def quantile_or_none(values: Floats, p: float) -> float | None:
    """Return the smallest value that at least the share `p` of all values does not exceed; None
    without values.
    """
    return float(np.quantile(values, p, method="inverted_cdf")) if values.size else None


def bound_columns(metric: Metric) -> list[str]:
    """Return the columns for `row_bounds`; none if the metric depends on no timestamp, and has
    no uncertainty.
    """
    if metric.column:
        return list(BY_COLUMN.get(metric.name, ()))
    arrivals = ARRIVALS[metric.scope]
    sends = SENDS[metric.scope]
    uncertainties = [
        *(f"{name}_uncertainty_ns" for name in (metric.end, *metric.begins) if name in arrivals),
        *(f"{name}_uncertainty_ns" for name in metric.begins if name in sends),
    ]
    starts = ["request_sent_at_ns"] if metric.begin == ORIGIN else []
    return [*uncertainties, *starts]


def row_bounds(rows: pa.Table, metric: Metric) -> Floats:
    if metric.name == "audio_speed":
        return _of_speed(*(floats(rows, name) for name in SPEED))
    # instants are relative to the start of the turn, by our own clock
    if metric.name == "transcription_speed":
        transcribed, error, speed = (floats(rows, name) for name in TRANSCRIPTION_SPEED)
        return _of_speed(np.zeros(len(rows)), transcribed, np.zeros(len(rows)), error, speed)
    if metric.column:
        terms = [floats(rows, name) for name in BY_COLUMN[metric.name]]
        unknown = np.logical_and.reduce([np.isnan(term) for term in terms])
        return np.where(unknown, np.nan, np.nansum(terms, axis=0)) / NS_PER_MS
    bound: Floats = uncertainty_ns(metric, TableRows(rows)) / NS_PER_MS
    return np.broadcast_to(bound, len(rows))


def _start_bounds(rows: pa.Table, metric: Metric) -> Floats:
    """Return the part of `row_bounds` that comes from the metric's start, in ms; 0 for the value
    of a column.
    """
    bound = 0 if metric.column else uncertainty_of_start_ns(metric, TableRows(rows)) / NS_PER_MS
    return np.broadcast_to(bound, len(rows))


def _of_speed(
    first: Floats, last: Floats, first_error: Floats, last_error: Floats, speed: Floats
) -> Floats:
    """Return an upper bound for the error of a speed that is measured over d = last − first.

    The true time is between d − last_error and d + first_error. The bound is inf if it may be 0.
    """
    span = last - first
    with np.errstate(divide="ignore", invalid="ignore"):
        slower = first_error / (span + first_error)
        faster = last_error / (span - last_error)
        bound: Floats = speed * np.maximum(slower, np.where(faster < 0, np.inf, faster))
    return bound
