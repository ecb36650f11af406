"""Calls whose connection was dropped: how many came back, and the gap that their callers heard.

    session, dropped ── attempt 1, refused ── attempt 2, a turn succeeds     came back
    session, dropped ── attempt 1, refused ── attempt 2, refused             gave up
    session, dropped ── the run ends                                         in no share

The gap begins when the caller heard the last of the turn in progress, and ends with the first reply
after the return. That of a call that gave up is infinite.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from msgspec.structs import replace

from bench.base.units import NS_PER_MS
from reports.data.turns import rows_of
from reports.engine.evaluate import counted, quantile_values, share
from reports.results.value import MEAN, TYPICAL_LEVELS, Group, Subject, Value
from reports.statistics.counting import count_nonzero
from reports.statistics.quantiles import sample

RETURNED, UNKNOWN, AGAIN = "returned_share", "returns_unknown", "turns_repeated"
ATTEMPTS, GAP, CONNECTING = "return_attempts", "return_gap", "reconnect_time"
GAVE_UP = "gave_up"
UNFINISHED = "unfinished"
"""Why a call did not come back if the service is not the reason."""
MAX = "max"
INSTANTS = ("session_updated", "heard_again", "last_heard", "dropped")
COLUMNS = [
    *("session_id", "start_utc_ns", "attempt", GAVE_UP, AGAIN, "turns_succeeded"),
    *(f"{name}_at_ns" for name in INSTANTS),
]
Session = dict[str, Any]


class Drop(NamedTuple):
    """A drop of a call. `reason` is why the call did not come back; "" if it did. Durations are in
    ms, and NaN if they are unknown.
    """

    call: str
    reason: str
    attempts: int = 0
    again: int = 0
    gap_ms: float = math.nan
    connecting_ms: float = math.nan


def drops_of(rows: pd.DataFrame) -> Iterator[Drop]:
    """Yield the drops in the sessions of dropped calls. A session may end one and, after a turn
    that succeeded, begin another one.
    """
    known = rows[COLUMNS].astype(object)
    known = known.where(known.notna(), None)
    sessions: list[Any] = known.sort_values("start_utc_ns", kind="stable").to_dict("records")
    attempts: list[list[Session]] = []
    for row in sorted(sessions, key=_call):
        if row["attempt"]:
            if row["attempt"] == 1 or not attempts:
                attempts.append([])
            attempts[-1].append(row)
        if row[GAVE_UP] and (not row["attempt"] or row["turns_succeeded"]):
            yield Drop(_call(row), row[GAVE_UP])
    yield from map(_drop, attempts)


def _call(session: Session) -> str:
    return str(session["session_id"]).partition(".")[0]


def _drop(attempts: Sequence[Session]) -> Drop:
    last = attempts[-1]

    def since_ms(start: str, end: str) -> float:
        end_ns = last[f"{end}_at_ns"]
        return math.nan if end_ns is None else (end_ns - last[f"{start}_at_ns"]) / NS_PER_MS

    is_open = last["session_updated_at_ns"] is not None
    is_back = is_open and (not last[GAVE_UP] or last["turns_succeeded"])
    return Drop(
        _call(last),
        "" if is_back else last[GAVE_UP] or UNFINISHED,
        last["attempt"],
        sum(row[AGAIN] or 0 for row in attempts),
        since_ms("last_heard", "heard_again"),
        since_ms("dropped", "session_updated"),
    )


def return_values(sessions: pd.DataFrame, targets: Sequence[str]) -> Iterator[Value]:
    """Yield the values of each target with dropped calls. `sessions` are the measured sessions."""
    was_dropped = sessions["attempt"].notna() | sessions[GAVE_UP].notna()
    dropped = sessions[["target", *COLUMNS]][was_dropped.to_numpy()]
    for target in targets:
        if drops := list(drops_of(rows_of(dropped, target))):
            yield from _of_target(Subject(target=target), drops)


def _of_target(subject: Subject, drops: Sequence[Drop]) -> Iterator[Value]:
    known = [drop for drop in drops if drop.reason != UNFINISHED]
    unknown = len(drops) - len(known)
    returned = np.array([not drop.reason for drop in known], bool)
    calls = pd.factorize(np.array([drop.call for drop in known], object))[0]
    yield replace(share(subject, RETURNED, returned, calls), unit="calls")
    yield counted(subject, UNKNOWN, unknown)
    yield counted(subject, AGAIN, sum(drop.again for drop in drops))
    for reason in sorted({drop.reason for drop in known} - {""}):
        number = sum(drop.reason == reason for drop in known)
        yield counted(replace(subject, group=Group(by=GAVE_UP, name=reason)), RETURNED, number)
    back = [drop for drop in known if not drop.reason]
    attempts = sum(drop.attempts for drop in back) / len(back) if back else math.nan
    yield replace(counted(subject, ATTEMPTS, len(back)), statistic=MEAN, value=attempts)
    for name, times in {
        GAP: [drop.gap_ms for drop in known],
        CONNECTING: [drop.connecting_ms for drop in known],
    }.items():
        values = np.where(returned, np.array(times), math.inf)
        scored = ~np.isnan(values)
        failed = count_nonzero(~returned)
        of = sample(values[scored], calls[scored], failed=failed, censored=unknown)
        for value in quantile_values(subject, name, of, TYPICAL_LEVELS):
            yield replace(value, unit="calls", unscored=count_nonzero(~scored))
        finite = values[np.isfinite(values)]
        longest = replace(counted(subject, name, finite.size), statistic=MAX)
        yield replace(longest, value=float(finite.max()) if finite.size else math.nan)
