"""The shares of each failure, with 95 % intervals: by outcome, and over time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import numpy as np

from bench.base.units import NS_PER_S
from reports.analysis.summary.metrics import ShareEstimate, planned_shares, rate_of, turn_rate
from reports.analysis.summary.summary import Summary
from reports.data.samples import rate_counts
from reports.data.turns import FAILED, UNFINISHED, Flags, position_of, unopened_of
from reports.formatting import time_step
from reports.metrics.rate_metrics import RATES
from reports.results.json_entries import Count, JsonEntry, Number, described
from reports.statistics.counting import Integers
from reports.statistics.quantiles import CONFIDENCE

MAX_PERIODS = 30
"""The maximum number of periods of a run. A period has at least a minute."""
MINUTE_S = 60.0
NOT_STARTED, NOT_OPENED = "not started", "not opened"


class FailureShare(JsonEntry, frozen=True, kw_only=True):
    """The share of one outcome at a target: of the planned turns, or of the sessions that ended.

    `failure_rate` and `throttle_rate` are the rates of these names. `not started` is planned turns that did not start,
    because their session had ended. `not opened` is sessions that failed before the service confirmed their settings;
    their own outcomes are listed, too.
    """

    unit: Literal["turns", "sessions"]
    target: str
    outcome: str
    share: ShareEstimate


class PeriodShare(JsonEntry, frozen=True, kw_only=True):
    """The failures at a target in a period of the run.

    A turn belongs to the period of its start, and a planned turn that did not start to that of its session's end.
    """

    target: str
    start_utc_ns: Count
    duration_s: Number
    failed: Annotated[ShareEstimate, described("turns that failed or did not start, of the planned turns")]
    unopened: Annotated[ShareEstimate, described("sessions that failed before they opened, of those that started")]


def failure_shares(summary: Summary) -> Iterable[FailureShare]:
    """Yield the rates of each target, and the share of each failed outcome, first those of turns."""
    yield from _rates(summary)
    turns, sessions, outcomes = summary.turns, summary.sessions, summary.outcomes
    of_turn = turns.frame["outcome"].to_numpy()[turns.rows]
    none = np.zeros(turns.rows.size, dtype=bool)
    masks = [(end.outcome, of_turn == end.outcome, False) for end in outcomes.turns if end.kind == "failed"]
    masks += [(NOT_STARTED, none, True)] if outcomes.not_started else []
    for outcome, chosen, with_not_started in masks:
        shares = planned_shares(turns, sessions, chosen, with_not_started=with_not_started)
        for target, share in zip(summary.targets, shares, strict=True):
            if share.count:
                yield FailureShare(unit="turns", target=target, outcome=outcome, share=share)
    of_session, target_of = sessions["outcome"].to_numpy(), position_of(sessions["target"], summary.targets)
    ended = (sessions["outcome_class"] != "unfinished").to_numpy()
    failed = [(end.outcome, of_session == end.outcome) for end in outcomes.sessions if end.kind == "failed"]
    for outcome, of_outcome in ((NOT_OPENED, unopened_of(sessions)), *failed):
        for index, target in enumerate(summary.targets):
            share = _of_sessions(of_outcome[ended & (target_of == index)])
            if share.count or outcome == NOT_OPENED:
                yield FailureShare(unit="sessions", target=target, outcome=outcome, share=share)


def _rates(summary: Summary) -> Iterable[FailureShare]:
    """Yield the failure rate and the throttle rate of each target."""
    throttled, turns = RATES["throttle_rate"], summary.turns
    events, units = rate_counts(turns, throttled.name)
    for target, known in zip(summary.targets, summary.outcomes.targets, strict=True):
        share = ShareEstimate(
            known.failed_or_not_started,
            known.turns_planned,
            known.failure_rate,
            known.failure_rate_low,
            known.failure_rate_high,
        )
        yield FailureShare(unit="turns", target=target, outcome="failure_rate", share=share)
    for index, target in enumerate(summary.targets):
        rows = np.flatnonzero(~np.isnan(units) & (turns.target == index))
        rate = turn_rate(throttled, target, events[rows], units[rows], turns.session[rows], "turns")
        share = ShareEstimate(rate.count, rate.total, rate.value, rate.low, rate.high)
        yield FailureShare(unit="turns", target=target, outcome=throttled.name, share=share)


def period_shares(summary: Summary) -> Iterable[PeriodShare]:
    """Yield the failures of each period and target, by time. Periods without a turn and without a session are left out.

    The periods of a run of at most half an hour are the minutes of UTC.
    """
    turns, sessions = summary.turns, summary.sessions
    period_s = max(MINUTE_S, time_step(summary.window.duration_s, MAX_PERIODS))

    def periods(at_utc_ns: Integers) -> Integers:
        return at_utc_ns // round(period_s * NS_PER_S)

    ended = turns.kind != UNFINISHED
    turn_starts = turns.frame["start_utc_ns"].to_numpy(dtype=np.int64)[turns.rows]
    not_started = turns.not_started
    of_turn = np.append(periods(turn_starts[ended]), periods(not_started.at_utc_ns))
    failed = np.append(turns.kind[ended] == FAILED, np.ones(not_started.session.size, dtype=bool))
    turn_target = np.append(turns.target[ended], not_started.target)
    session = np.append(turns.session[ended], not_started.session)
    of_session = periods(sessions["start_utc_ns"].to_numpy(dtype=np.int64))
    unopened, session_target = unopened_of(sessions), position_of(sessions["target"], summary.targets)
    for period in np.unique(np.append(of_turn, of_session)).tolist():
        for index, target in enumerate(summary.targets):
            mine = (of_turn == period) & (turn_target == index)
            opened = (of_session == period) & (session_target == index)
            if mine.any() or opened.any():
                yield PeriodShare(
                    target=target,
                    start_utc_ns=period * round(period_s * NS_PER_S),
                    duration_s=period_s,
                    failed=rate_of(failed[mine], session[mine], CONFIDENCE),
                    unopened=_of_sessions(unopened[opened]),
                )


def _of_sessions(events: Flags) -> ShareEstimate:
    """Return a share of sessions, each of which is a separate unit."""
    return rate_of(events, np.arange(events.size), CONFIDENCE)
