"""The join of a client's report on a run with the ground truth.

The functions are pure: they take tables and return values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from rtbench_simulator.ground_truth_log import LATE_MS
from tools.benchmarks.peers.truth import INSTANTS, Truth
from tools.benchmarks.peers.work import SessionRecord
from tools.benchmarks.watch import Watched

ON = ["session_id", "turn"]
MIN_NS = 1_000_000_000
"""The minimum length of the period in which all sessions are open."""


@dataclass(frozen=True)
class ClientReport:
    """The report of a client, in a common form.

    `stamps` has the columns session_id, turn, instant and at_ns. `requested` has the columns
    session_id, turn and at_ns. `messages` is the number of messages that the client counted, and
    `wire_bytes` the number of their bytes, both by session_id.
    """

    stamps: pd.DataFrame
    requested: pd.DataFrame
    messages: Mapping[str, int]
    wire_bytes: Mapping[str, int]


@dataclass(frozen=True)
class Figures:
    """The values of one client at one load. Times are in ms.

    `error_ms` has the quantiles p50, p99 and p99.9 of the errors of events, in the period in which
    all sessions were open. `usable` is False if the simulator was late, because the values then
    depend on it more than on the client.
    """

    error_ms: tuple[float, ...]
    events: int
    events_per_s: float
    cpu_us_per_event: float
    rss_bytes: float
    session_bytes: float
    wire_bytes: int
    reported_ttfa_ms: tuple[float, ...]
    true_ttfa_ms: tuple[float, ...]
    simulator_late_ms: float
    others_share: float

    @property
    def usable(self) -> bool:
        return self.simulator_late_ms <= LATE_MS


@dataclass(frozen=True)
class Cannot:
    """A client that cannot carry this load, and the reason. Not `usable` if the simulator was
    late.
    """

    why: str
    simulator_late_ms: float = 0.0

    @property
    def usable(self) -> bool:
        return self.simulator_late_ms <= LATE_MS


def report_from_records(records: Sequence[SessionRecord], truth: Truth) -> ClientReport:
    """Return the report of a client with a timestamp of every message.

    The nth message that the client received is the nth message that the simulator sent.
    """
    stamps = {session.session_id: np.array(session.stamps, dtype=np.int64) for session in records}
    instants = truth.instants[truth.instants["session_id"].isin(stamps)]
    received = instants[
        instants["place"] < instants["session_id"].map(lambda name: len(stamps[name]))
    ]
    at_ns = [
        stamps[name][index]
        for name, index in zip(received["session_id"], received["place"], strict=True)
    ]
    requested = [
        (s.session_id, turn, at) for s in records for turn, at in enumerate(s.requested, 1)
    ]
    return ClientReport(
        received[[*ON, "instant"]].assign(at_ns=at_ns),
        pd.DataFrame(requested, columns=[*ON, "at_ns"]),
        {session.session_id: len(session.stamps) for session in records},
        {session.session_id: session.wire_bytes for session in records},
    )


def report_from_rows(turns: pd.DataFrame, sessions: pd.DataFrame) -> ClientReport:
    """Return the report of this load generator from the rows of a run folder.

    Only successful turns and sessions count.
    """
    turns = turns[turns["outcome"] == "ok"].rename(
        columns={"session_id": "_", "service_session_id": "session_id"}
    )
    absolute = turns[ON].assign(
        **{name: turns[f"{name}_at_ns"] + turns["start_ns"] for name in INSTANTS}
    )
    stamps = absolute.melt(ON, var_name="instant", value_name="at_ns").dropna()
    succeeded = sessions[sessions["outcome"] == "ok"].set_index("service_session_id")
    return ClientReport(
        stamps.astype({"at_ns": np.int64}),
        turns[ON].assign(at_ns=turns["request_sent_at_ns"] + turns["start_ns"]).dropna(),
        {str(name): int(count) for name, count in succeeded["events"].items()},
        {str(name): int(count) for name, count in succeeded["wire_bytes_received"].items()},
    )


def unequal(report: ClientReport, truth: Truth, sessions: int, turns: int) -> str | None:
    """Return how the work differs from the requested work, or None.

    The number of sessions and turns, and every byte that was sent, are compared.
    """
    if len(report.messages) != sessions:
        return f"{len(report.messages)} of {sessions} sessions reached their end"
    if len(report.requested) != sessions * turns or len(truth.requests) != sessions * turns:
        return (
            f"{len(report.requested)} turns reported and {len(truth.requests)} received, not"
            f" {sessions * turns}"
        )
    for name, count in report.messages.items():
        wire, done = truth.wire[name], int(truth.sessions["done"][name])
        if not done < count <= len(wire):
            return (
                f"{name}: {count} messages of {len(wire)}, but the last turn ends with number"
                f" {done + 1}"
            )
        if report.wire_bytes[name] != wire[count - 1]:
            return (
                f"{name}: {report.wire_bytes[name]} bytes in {count} messages, but"
                f" {wire[count - 1]} were sent"
            )
    return None


def figures(report: ClientReport, truth: Truth, watched: Watched) -> Figures | Cannot:
    """Return the values of the steady middle, when all sessions were open and none was done yet."""
    start_ns, end_ns = truth.steady()
    if end_ns - start_ns < MIN_NS:
        return Cannot(
            "its first session ended before the last one was open: use more --turns or a shorter"
            " --ramp",
            late_ms(truth),
        )
    errors_ms = errors(report, truth, start_ns, end_ns)
    if errors_ms.empty or errors_ms.isna().any():
        return Cannot(
            f"{errors_ms.isna().sum()} of {len(errors_ms)} events have no timestamp", late_ms(truth)
        )
    ttfa = ttfas(report, truth)
    within = (truth.handed_ns >= start_ns) & (truth.handed_ns < end_ns)
    before = watched.rss_bytes(int(truth.sessions["created_ns"].min()))
    rss = watched.rss_bytes(end_ns)
    return Figures(
        error_ms=quantiles(errors_ms, 0.5, 0.99, 0.999),
        events=len(errors_ms),
        events_per_s=float(within.sum() / ((end_ns - start_ns) / 1e9)),
        cpu_us_per_event=watched.cpu_s(start_ns, end_ns) / int(within.sum()) * 1e6,
        rss_bytes=rss,
        session_bytes=(rss - before) / len(truth.sessions),
        wire_bytes=truth.done_bytes(),
        reported_ttfa_ms=quantiles(ttfa["reported_ms"], 0.5, 0.99),
        true_ttfa_ms=quantiles(ttfa["true_ms"], 0.5, 0.99),
        simulator_late_ms=late_ms(truth, start_ns, end_ns),
        others_share=watched.others_share(start_ns, end_ns),
    )


def late_ms(truth: Truth, start_ns: int = 0, end_ns: int = 1 << 62) -> float:
    """Return p99 of the simulator's lateness in this time, in ms; 0 if there were no events."""
    late_ns = truth.late_ns[(truth.handed_ns >= start_ns) & (truth.handed_ns < end_ns)]
    return quantiles(late_ns / 1e6, 0.99)[0] if len(late_ns) else 0.0


def errors(report: ClientReport, truth: Truth, start_ns: int, end_ns: int) -> pd.Series[float]:
    """Return arrival timestamp − send timestamp, in ms, of the seven instants of each turn that
    were sent in this time.

    NaN if the client has no timestamp.
    """
    sent = truth.instants[truth.instants["handed_ns"].between(start_ns, end_ns, inclusive="left")]
    joined = sent.merge(report.stamps, on=[*ON, "instant"], how="left", validate="one_to_one")
    return (joined["at_ns"] - joined["handed_ns"]) / 1e6


def ttfas(report: ClientReport, truth: Truth) -> pd.DataFrame:
    """Return the time to first audio of each turn: `reported_ms` by the client, `true_ms` by the
    simulator.
    """
    reported = report.stamps[report.stamps["instant"] == "first_audio"].merge(
        report.requested, on=ON, suffixes=("", "_asked")
    )
    true = truth.instants[truth.instants["instant"] == "first_audio"].merge(truth.requests, on=ON)
    both = reported.merge(true, on=ON, suffixes=("_reported", "_true"), validate="one_to_one")
    return pd.DataFrame(
        {
            "reported_ms": (both["at_ns_reported"] - both["at_ns_asked"]) / 1e6,
            "true_ms": (both["handed_ns"] - both["at_ns_true"]) / 1e6,
        }
    )


def quantiles(values: object, *ps: float) -> tuple[float, ...]:
    return tuple(float(q) for q in np.quantile(np.asarray(values), ps, method="inverted_cdf"))


def typical(runs: Sequence[Figures]) -> Figures:
    """Return the median of repeated runs, field by field."""
    return Figures(
        **{item.name: middle([getattr(run, item.name) for run in runs]) for item in fields(Figures)}
    )


def middle(values: Sequence[Any]) -> Any:
    """Return the median; for tuples the median of each position."""
    if isinstance(values[0], tuple):
        return tuple(median(column) for column in zip(*values, strict=True))
    return median(values)


def per_session(by_load: Mapping[int, float]) -> float | None:
    """Return bytes of memory per session: the slope of resident memory over loads. None if there
    are fewer than two loads.
    """
    if len(by_load) < 2:
        return None
    return float(np.polyfit(list(by_load), list(by_load.values()), 1)[0])
