"""The telephone calls of a run: how many were set up, why the others were not, who ended them,
and their packets.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.catalogue.outcomes import HANG_UP, NO_MEDIA, NO_SOUND, refusal_status
from reports.analysis.summary.targets import called_by_telephone
from reports.data.samples import Events
from reports.data.turns import FAILED, rows_of
from reports.engine.evaluate import counted, rate, share
from reports.metrics.rate_metrics import RATES
from reports.results.json_entries import Count, JsonEntry
from reports.results.value import RATE, Group, Subject, Value
from reports.statistics.counting import count_nonzero

RINGS_OUT = "timeout:upgrade"
HUNG_UP = "closed:1000"
"""The outcomes of a call that no one answered, and of a call that the agent ended."""
MAX_REASONS = 10
"""The maximum number of reasons that are listed. A peer decides their texts, so each call may
have another one."""
OF_CALLS = [
    "target",
    "outcome",
    "outcome_class",
    "detail",
    "close_reason",
    "opened_at_ns",
    "rtp_expected",
    "rtp_lost",
    "rtp_late",
    "peer_rtp_expected",
    "peer_rtp_lost",
    "rtp_unsent",
    "rtp_dropped",
    "other_hosts",
    "rtp_uncounted_pauses",
    "rtp_restarts",
    "calls_without_line",
    "callee",
    "session_id",
]


class TelephoneCalls(JsonEntry, kw_only=True):
    """The telephone calls of one target."""

    target: str
    answered: Value
    """calls that were answered, of those that were tried"""
    refused: Count
    """calls that a SIP status refused"""
    unanswered: Count
    """calls that no one answered in time"""
    failed: Count
    """other calls that were not set up"""
    not_set_up: tuple[Value, ...]
    """why calls were not set up, by outcome (`metric`) and text (`group`): the most frequent"""
    without_packets: Count
    """answered calls that ended as timeout:media"""
    without_sound: Count
    """answered calls that ended as timeout:sound"""
    ended_by_agent: Count
    """answered calls that the agent ended before the end of the script"""
    endings: tuple[Value, ...]
    """why the agent ended calls: the most frequent reasons"""
    hung_up: Count
    """answered calls that this tool ended before the end of the script"""
    hang_ups: tuple[Value, ...]
    """why this tool ended calls: the most frequent reasons"""
    packets: Value
    """the agent's RTP packets that never arrived"""
    late_packets: Value
    """the agent's RTP packets that were too late for the jitter buffer"""
    peer_packets: Value
    """the caller's RTP packets that did not reach the agent, by RTCP"""
    unsent_packets: Count | None
    """the caller's RTP packets that the kernel of this machine refused to send; null: not
    counted"""
    dropped_packets: Count | None
    """packets that arrived and that the kernel of this machine dropped; null: not counted"""
    uncounted_pauses: Count | None
    """how often the agent's RTP packets stopped for longer than their timestamps say; null: not
    counted"""
    restarts: Count | None
    """how often the agent's RTP stream began again; null: not counted"""
    without_line: Count | None
    """the agent's calls that were refused because no line was free; null: not counted"""
    verdicts: tuple[Value, ...]
    """the agent's calls by kind of callee: `count` with a wrong verdict, of `n` that are scored"""
    other_hosts: tuple[Value, ...]
    """hosts that only the agent named and that received something: the most frequent"""

    @property
    def by_loss(self) -> dict[str, Value]:
        """The shares of packets that are missing, by the name of their metric."""
        return {of.metric: of for of in (self.packets, self.late_packets, self.peer_packets)}


def telephone_calls(
    document: Mapping[str, Any],
    sessions: pd.DataFrame,
    targets: Sequence[str],
    turns: pd.DataFrame,
) -> Iterable[TelephoneCalls]:
    """Yield the calls of each target that is called by telephone. `sessions` and `turns` are the
    measured ones.
    """
    called = called_by_telephone(document)
    for target in targets:
        if target in called:
            yield _calls_of(target, rows_of(sessions[OF_CALLS], target), turns)


def _calls_of(target: str, calls: pd.DataFrame, turns: pd.DataFrame) -> TelephoneCalls:
    outcome = calls["outcome"].astype(object)
    is_open = calls["opened_at_ns"].notna().to_numpy()
    has_failed = (calls["outcome_class"].cat.codes == FAILED).to_numpy()
    not_set_up = has_failed & ~is_open
    refused = not_set_up & outcome.map(lambda name: refusal_status(str(name)) is not None).to_numpy(
        bool
    )
    unanswered = not_set_up & (outcome == RINGS_OUT).to_numpy()
    ended_by_agent = is_open & (outcome == HUNG_UP).to_numpy()
    hung_up = is_open & (outcome == HANG_UP).to_numpy()
    tried = np.flatnonzero(is_open | not_set_up)
    return TelephoneCalls(
        target=target,
        answered=share(Subject(target=target), "answered", is_open[tried], tried),
        refused=count_nonzero(refused),
        unanswered=count_nonzero(unanswered),
        failed=count_nonzero(not_set_up & ~refused & ~unanswered),
        not_set_up=_reasons(target, calls[not_set_up], "detail"),
        without_packets=count_nonzero(outcome == NO_MEDIA),
        without_sound=count_nonzero(outcome == NO_SOUND),
        ended_by_agent=count_nonzero(ended_by_agent),
        endings=_reasons(target, calls[ended_by_agent], "close_reason"),
        hung_up=count_nonzero(hung_up),
        hang_ups=_reasons(target, calls[hung_up], "detail"),
        packets=_packets(target, calls, "rtp_loss", "rtp_lost", "rtp_expected"),
        late_packets=_packets(target, calls, "rtp_late_share", "rtp_late", "rtp_expected"),
        peer_packets=_packets(target, calls, "peer_rtp_loss", "peer_rtp_lost", "peer_rtp_expected"),
        unsent_packets=_counted(calls["rtp_unsent"]),
        dropped_packets=_counted(calls["rtp_dropped"]),
        uncounted_pauses=_counted(calls["rtp_uncounted_pauses"]),
        restarts=_counted(calls["rtp_restarts"]),
        without_line=_counted(calls["calls_without_line"]),
        verdicts=tuple(_verdicts(target, calls.iloc[tried], turns)),
        other_hosts=_other_hosts(target, calls),
    )


def _verdicts(target: str, calls: pd.DataFrame, turns: pd.DataFrame) -> Iterable[Value]:
    """Yield the share of calls with a wrong verdict for each kind of callee."""
    first = turns[turns["callee"].notna()].set_index("session_id")
    for kind, of_kind in calls.groupby("callee", observed=True):
        columns = [
            of.column for of in RATES.values() if of.due is not None and kind in of.due.labels
        ]
        found = first.reindex(of_kind["session_id"])[columns].astype(object)
        is_wrong = (found == True).any(axis=1).to_numpy(bool)  # noqa: E712
        is_right = (found == False).all(axis=1).to_numpy(bool) & bool(columns)  # noqa: E712
        scored = (is_wrong | is_right).astype(float)
        events = Events(is_wrong.astype(float), scored, 1 - scored)
        subject = Subject(target=target, group=Group(by="callee", name=str(kind)))
        yield rate(subject, "wrong_verdicts", events, np.arange(len(of_kind)))


def _reasons(target: str, calls: pd.DataFrame, column: str) -> tuple[Value, ...]:
    """Return the number of calls with each text of a column and each outcome, the most frequent
    first.
    """
    texts = calls[column].astype(object)
    texts = texts.where(texts.notna(), "")
    return _most_frequent(target, "reason", zip(map(str, calls["outcome"]), texts, strict=True))


def _other_hosts(target: str, calls: pd.DataFrame) -> tuple[Value, ...]:
    return _most_frequent(
        target, "hosts", (("other_hosts", hosts) for hosts in calls["other_hosts"].dropna())
    )


def _most_frequent(target: str, by: str, found: Iterable[tuple[str, object]]) -> tuple[Value, ...]:
    """Return the number of calls of each metric and text."""
    numbers = Counter((metric, str(text)) for metric, text in found)
    ordered = sorted(numbers.items(), key=lambda entry: (-entry[1], entry[0]))
    return tuple(
        counted(Subject(target=target, group=Group(by=by, name=text)), metric, n, n)
        for (metric, text), n in ordered[:MAX_REASONS]
    )


def _counted(counts: pd.Series[Any]) -> int | None:
    """Return the sum of the counts; None if no call has one, as in the rows of an older tool."""
    return int(counts.sum()) if counts.notna().any() else None


def _packets(target: str, calls: pd.DataFrame, metric: str, missing: str, expected: str) -> Value:
    """Return the share of expected packets that are missing, in all calls, without an interval."""
    count = int(calls[missing].sum())
    n = int(calls[expected].sum())
    return Value(
        target=target,
        metric=metric,
        statistic=RATE,
        value=count / n if n else math.nan,
        count=count,
        n=n,
        unit="packets",
        sessions=len(calls),
    )
