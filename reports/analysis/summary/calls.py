"""The telephone calls of a run: how many were set up, why the others were not, who ended them,
and their packets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.catalogue.outcomes import HANG_UP, NO_MEDIA, NO_SOUND, refusal_status
from reports.analysis.summary.targets import called_by_telephone
from reports.data.turns import FAILED, rows_of
from reports.engine.evaluate import share
from reports.results.json_entries import Count, JsonEntry
from reports.results.value import Subject, Value
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
]


class ReasonCount(JsonEntry):
    """A reason why calls were not set up, or why the agent or this tool ended them."""

    outcome: str
    text: str
    calls: Count


class PacketCount(JsonEntry):
    """The packets of one direction in all calls: how many are lost or late, of those that were
    expected.
    """

    missing: Count
    expected: Count


class OtherHosts(JsonEntry):
    """The hosts that only the agent named and to which calls sent audio or SIP, as text."""

    hosts: str
    calls: Count


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
    not_set_up: tuple[ReasonCount, ...]
    """why calls were not set up: the most frequent reasons"""
    without_packets: Count
    """answered calls that ended as timeout:media"""
    without_sound: Count
    """answered calls that ended as timeout:sound"""
    ended_by_agent: Count
    """answered calls that the agent ended before the end of the script"""
    endings: tuple[ReasonCount, ...]
    """why the agent ended calls: the most frequent reasons"""
    hung_up: Count
    """answered calls that this tool ended before the end of the script"""
    hang_ups: tuple[ReasonCount, ...]
    """why this tool ended calls: the most frequent reasons"""
    packets: PacketCount
    """the agent's RTP packets that never arrived"""
    late_packets: PacketCount
    """the agent's RTP packets that were too late for the jitter buffer"""
    peer_packets: PacketCount
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
    other_hosts: tuple[OtherHosts, ...]
    """hosts that only the agent named and that received something: the most frequent"""

    @property
    def by_loss(self) -> dict[str, PacketCount]:
        """The packets that are missing, by the name of the metric of their share."""
        return {
            "rtp_loss": self.packets,
            "rtp_late_share": self.late_packets,
            "peer_rtp_loss": self.peer_packets,
        }


def telephone_calls(
    document: Mapping[str, Any], sessions: pd.DataFrame, targets: Sequence[str]
) -> Iterable[TelephoneCalls]:
    """Yield the calls of each target that is called by telephone. `sessions` are the measured
    sessions.
    """
    called = called_by_telephone(document)
    for target in targets:
        if target in called:
            yield _calls_of(target, rows_of(sessions[OF_CALLS], target))


def _calls_of(target: str, calls: pd.DataFrame) -> TelephoneCalls:
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
        not_set_up=_reasons(calls[not_set_up], "detail"),
        without_packets=count_nonzero(outcome == NO_MEDIA),
        without_sound=count_nonzero(outcome == NO_SOUND),
        ended_by_agent=count_nonzero(ended_by_agent),
        endings=_reasons(calls[ended_by_agent], "close_reason"),
        hung_up=count_nonzero(hung_up),
        hang_ups=_reasons(calls[hung_up], "detail"),
        packets=_packets(calls, "rtp_lost", "rtp_expected"),
        late_packets=_packets(calls, "rtp_late", "rtp_expected"),
        peer_packets=_packets(calls, "peer_rtp_lost", "peer_rtp_expected"),
        unsent_packets=_counted(calls["rtp_unsent"]),
        dropped_packets=_counted(calls["rtp_dropped"]),
        uncounted_pauses=_counted(calls["rtp_uncounted_pauses"]),
        restarts=_counted(calls["rtp_restarts"]),
        other_hosts=_other_hosts(calls),
    )


def _reasons(calls: pd.DataFrame, column: str) -> tuple[ReasonCount, ...]:
    """Return the most frequent texts of a column, with their outcomes, by decreasing number of
    calls.
    """
    texts = calls[column].astype(object)
    texts = texts.where(texts.notna(), "")
    counted = Counter(zip(map(str, calls["outcome"]), map(str, texts), strict=True))
    ordered = sorted(counted.items(), key=lambda entry: (-entry[1], entry[0]))
    return tuple(ReasonCount(outcome, text, n) for (outcome, text), n in ordered[:MAX_REASONS])


def _other_hosts(calls: pd.DataFrame) -> tuple[OtherHosts, ...]:
    ordered = sorted(
        Counter(map(str, calls["other_hosts"].dropna())).items(),
        key=lambda entry: (-entry[1], entry[0]),
    )
    return tuple(OtherHosts(hosts, n) for hosts, n in ordered[:MAX_REASONS])


def _counted(counts: pd.Series[Any]) -> int | None:
    """Return the sum of the counts; None if no call has one, as in the rows of an older tool."""
    return int(counts.sum()) if counts.notna().any() else None


def _packets(calls: pd.DataFrame, missing: str, expected: str) -> PacketCount:
    return PacketCount(int(calls[missing].sum()), int(calls[expected].sum()))
