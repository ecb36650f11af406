"""Whether the harness was the bottleneck: the rules that make a run invalid, their limits, and nothing else.

The verdict names each rule with its figure, its limit and the remedy. A rule that had nothing to judge has passed
`None`; a run without any measured turn is not judged at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

STAMP_LIMIT_MS = 1.0
STAMP_SHARE = 0.01
"""(a) p99 of the first deltas' stamp error: at most 1 ms, or 1 % of the median time to them, for each target."""
HUB_LIMIT_MS = 5.0
HUB_SHARE = 0.05
"""(b) where stamps come from user space, p99 of the hub's delay: at most 5 ms, or 5 % of the least of these medians."""
USER_STAMPS_SHARE = 0.01
CHUNK_SHARE = 0.1
"""(c) p99 of the send lag: at most a tenth of the chunk."""

MORE_PROCESSES = "lower the load, give the machine an idle core, or spread it: --processes 2"


@dataclass(frozen=True)
class FirstDeltas:
    """Of the first deltas of one target: p99 of their stamp errors, and the median time to them; None: there are none.

    Targets are not pooled: a slow one would lend a fast one its limit.
    """

    target: str
    error_p99: float | None
    p50: float | None

    @property
    def error_limit(self) -> float:
        return max(STAMP_LIMIT_MS, STAMP_SHARE * (self.p50 or 0.0))


@dataclass(frozen=True)
class Evidence:
    """What the rules look at, all in ms; None where there was nothing of the kind.

    `first_deltas` are of the measured phase's turns, by target; `user_stamps_share` is the share of turns whose stamps
    did not all come from the kernel, `chunk` the shortest paced chunk, `paced_audio` whether any was sent.
    """

    first_deltas: tuple[FirstDeltas, ...]
    user_stamps_share: float | None
    hub_delay_p99: float | None
    send_lag_p99: float | None
    chunk: float | None
    paced_audio: bool


@dataclass(frozen=True)
class Rule:
    """One rule with what it found."""

    rule: str
    name: str
    measure: str
    figure: float | None
    limit: float | None
    passed: bool | None
    note: str
    remedy: str
    unit: str = "ms"


def judge(evidence: Evidence) -> dict[str, Any]:
    """The verdict: `{"valid": bool | None, "rules": [...]}`, as run.json holds it."""
    rules = [_stamps(evidence), _hub(evidence), _sending(evidence), _starts()]
    judged = any(first.error_p99 is not None for first in evidence.first_deltas)
    unknown = evidence.paced_audio and evidence.send_lag_p99 is None
    valid = all(rule.passed is not False for rule in rules)
    return {
        "valid": valid if (judged and not unknown) or not valid else None,
        "rules": [asdict(rule) for rule in rules],
    }


def _stamps(evidence: Evidence) -> Rule:
    worst = _worst(evidence.first_deltas)
    note = (
        f"p99 of the first deltas, of {worst.target}" if len(evidence.first_deltas) > 1 else "p99 of the first deltas"
    )
    return _rule("a", "stamps are exact", "stamp_error", worst.error_p99, worst.error_limit,
                 note=note, absent="no turn got a first delta", remedy=MORE_PROCESSES)  # fmt: skip


def _worst(targets: Sequence[FirstDeltas]) -> FirstDeltas:
    """The target whose stamps are nearest to their limit, or farthest beyond it."""
    found = [first for first in targets if first.error_p99 is not None]
    return max(
        found, key=lambda first: (first.error_p99 or 0.0) / first.error_limit, default=FirstDeltas("", None, None)
    )


def _hub(evidence: Evidence) -> Rule:
    fastest = min((first.p50 for first in evidence.first_deltas if first.p50 is not None), default=0.0)
    limit = max(HUB_LIMIT_MS, HUB_SHARE * fastest)
    needed = evidence.user_stamps_share is not None and evidence.user_stamps_share > USER_STAMPS_SHARE
    return _rule("b", "process keeps up", "hub_delay", evidence.hub_delay_p99 if needed else None, limit,
                 note="p99", absent="not needed: stamps are the kernel's", remedy=MORE_PROCESSES)  # fmt: skip


def _sending(evidence: Evidence) -> Rule:
    limit = None if evidence.chunk is None else CHUNK_SHARE * evidence.chunk
    absent = (
        "unknown: the run was killed before its first counts" if evidence.paced_audio else "no paced audio was sent"
    )
    return _rule("c", "audio leaves on time", "send_lag", evidence.send_lag_p99 if limit else None, limit,
                 note="p99, a tenth of a chunk", absent=absent, remedy=MORE_PROCESSES)  # fmt: skip


def _starts() -> Rule:
    return _rule("d", "sessions start on time", "start_lag", None, None,
                 note="", absent="closed loop: a session starts when its user is free", remedy="")  # fmt: skip


def _rule(
    rule: str,
    name: str,
    measure: str,
    figure: float | None,
    limit: float | None,
    *,
    note: str,
    absent: str,
    remedy: str,
) -> Rule:
    if figure is None or limit is None or math.isnan(figure):
        return Rule(rule, name, measure, None, limit, None, absent, remedy)
    return Rule(rule, name, measure, round(figure, 4), round(limit, 4), figure <= limit, note, remedy)
