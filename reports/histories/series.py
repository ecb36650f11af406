"""Runs as series: those of one target that may be compared, in the order in which they ran; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.gate.conditions import group_of
from reports.histories.entry import Entry
from reports.numbers import NONE, shortened
from reports.sides.workload import differing

FREE = ("service", "model", "region", "api_version", "voice", "client_version")
"""Conditions that may change in the course of a series: what changes with them is what a history is read for."""
NAMED, LONGEST = 2, 40
"""So many conditions name a series among those of its target, each in so many letters."""


@dataclass(frozen=True)
class Series:
    """Comparable runs of a target, ascending. `name`: the target; with what sets it apart where it has several."""

    scenario: str
    target: str
    name: str
    entries: tuple[Entry, ...]
    workload: Mapping[str, str]

    @property
    def simulated(self) -> bool:
        return self.entries[0].simulated

    @property
    def usable(self) -> int:
        """Runs that may be compared."""
        return sum(not entry.unfit for entry in self.entries)


def series_of(entries: Sequence[Entry]) -> list[Series]:
    """By scenario and target; a run that differs from all series of its target in its workload begins another.

    What a run does not tell sets it apart from nobody: older versions tell less.
    """
    groups: dict[tuple[str, str], list[tuple[dict[str, str], list[Entry]]]] = {}
    for entry in sorted(entries, key=lambda one: (one.began_utc_ns, one.run_id)):
        mine, alike = _workload(entry), groups.setdefault((entry.scenario, entry.target), [])
        for known, members in alike:
            if not differing([known, mine]):
                known.update(mine)
                members.append(entry)
                break
        else:
            alike.append((mine, [entry]))
    return [
        Series(scenario, target, name, tuple(members), known)
        for (scenario, target), alike in sorted(groups.items())
        for name, (known, members) in zip(_names(target, [known for known, _ in alike]), alike, strict=True)
    ]


def _workload(entry: Entry) -> dict[str, str]:
    """What must be the same in the runs of a series, as far as it is told."""
    return {key: text for key, text in entry.conditions.items() if text and group_of(key) not in FREE}


def _names(target: str, workloads: Sequence[Mapping[str, str]]) -> list[str]:
    """sim; of several sim (users 8), sim (users 50)."""
    apart = differing(workloads)
    names: list[str] = []
    for place in range(len(workloads)):
        name = f"{target} ({said})" if (said := _said(apart, place)) else target
        names.append(f"{name}, series {place + 1}" if name in names else name)
    return names


def _said(apart: Mapping[str, Sequence[str]], place: int) -> str:
    told = [
        f"{key.removeprefix('load: ')} {shortened(texts[place], LONGEST)}"
        for key, texts in apart.items()
        if texts[place] != NONE
    ]
    more = f", {len(told) - NAMED} more" if len(told) > NAMED else ""
    return ", ".join(told[:NAMED]) + more
