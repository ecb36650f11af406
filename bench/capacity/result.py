"""Describes a search and what it came to, as capacity.json has it."""

from __future__ import annotations

from typing import Literal

import msgspec

SCHEMA_VERSION = 1
Answer = Literal["holds", "breaks", "undecided", "generator", "crashed"]
"""What a level came to: two that say nothing of the service, for our own generator or its run was the limit."""
LoadUnit = Literal["sessions", "arrivals"]
"""What levels are counted in: calls at a time, or calls that arrive in a minute."""
EdgeKind = Literal["latency", "failures", "quota"]
Ended = Literal["narrowed", "most", "time", "budget", "generator", "crashed", "interrupted"]
"""What ended a search: both gaps are narrow; the largest level holds; there was no time or money left; our own
generator could do no more, or its runs crashed; somebody ended it."""


class Interval(msgspec.Struct, frozen=True):
    """A figure with its 95 % interval; null for what is not known, and for an open end."""

    value: float | None
    low: float | None
    high: float | None


class SloShare(msgspec.Struct, frozen=True):
    """The share of turns that missed an objective. `low`, `high`: bounds, each at the error of the level's last look.

    `slow`, `failed`, `throttled`: the turns that missed it, by their cause; those that were throttled also failed.
    `deff`: the design effect of its sessions, and of batches of them.
    """

    slo: str
    allowed: float
    value: float | None
    low: float
    high: float
    turns: int
    sessions: int
    slow: int
    failed: int
    throttled: int
    deff: float = 1.0


class LevelOutcome(msgspec.Struct, frozen=True):
    """A level and what it came to. `load`: calls at a time, or calls a minute. `run`: its run folder, "" without one.

    `length_s`: from the start of its run to the end of its closing. `in_progress`: calls at a time on average.
    `wait_p50`, `wait_p95`: of the measure of the search, in ms. `limits_left`: the least share that was left of each
    limit that the service told, in its own words. `usd`: what its tokens cost; null where no price is known.
    """

    load: int
    hold: bool
    answer: Answer
    why: str
    run: str
    length_s: float
    error: float
    sessions: int = 0
    turns: int = 0
    in_progress: float | None = None
    shares: list[SloShare] = []
    wait_p50: Interval = Interval(None, None, None)
    wait_p95: Interval = Interval(None, None, None)
    failures: Interval = Interval(None, None, None)
    limits_left: dict[str, float] = {}
    blocked: int = 0
    simulated: bool = False
    workers: int = 1
    usd: float | None = None


class Edge(msgspec.Struct, frozen=True):
    """What the edge of the service is made of, by the lowest level that breaks. `slo`: the one that broke most."""

    kind: EdgeKind
    slo: str
    words: str


class RoughEdge(msgspec.Struct, frozen=True):
    """Where an edge that was not shown seems to lie, by the shares of the levels alone; null for an end not reached."""

    holds: int | None
    breaks: int | None


class SearchPlan(msgspec.Struct, frozen=True):
    """What was asked for. `measure`: whose p50 and p95 are told, "" for each run's main measure.

    `levels_most`: how many levels at most, without the hold; `time_s`: how long they take together at most, the hold
    among them.
    """

    by: LoadUnit
    slos: list[str]
    measure: str
    first: int
    most: int
    precision: float
    error: float
    time_s: float
    budget_usd: float | None
    levels_most: int
    at_least: int | None


class Capacity(msgspec.Struct, frozen=True):
    """A search that is over. `holds`: the highest level that holds, `breaks`: the lowest that breaks; null for none.

    `rough`: where the edge seems to lie, where both ends were not shown; null where they were, or no level tells.
    `confirmed`: whether the hold held, null where there was none. `steady`: whether no level contradicts others by more
    than chance; where some do, the ends are those of all levels together. `status`: the exit status; 0 shown, 1 the
    edge lies below, 3 undecided, 4 our own generator was the limit.
    """

    schema: int
    date_utc: str
    target: str
    scenario: str
    simulated: bool
    plan: SearchPlan
    levels: list[LevelOutcome]
    holds: int | None
    breaks: int | None
    edge: Edge | None
    rough: RoughEdge | None
    confirmed: bool | None
    steady: bool
    ended: Ended
    sentence: str
    notes: list[str]
    status: int


def json_of(capacity: Capacity) -> str:
    """capacity.json."""
    return msgspec.json.format(msgspec.json.encode(capacity), indent=2).decode() + "\n"
