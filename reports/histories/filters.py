"""By what a reader may leave runs out: target, model, region, scenario and labels, where they differ; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from reports.histories.entry import Entry
from reports.numbers import NONE, shortened
from reports.page.html import Filter

MOST, LONGEST = 8, 32
"""So many values stand by themselves, those of the most runs, and the newest ones; the rest is one."""
OTHERS = "others"


@dataclass(frozen=True)
class Filters:
    """`shown`: those of the page. `classes`: by a value's name and text, the class of what it hides."""

    shown: tuple[Filter, ...]
    classes: Mapping[tuple[str, str], str]

    def of(self, entry: Entry) -> str:
        """The classes of an entry."""
        told = traits(entry)
        return " ".join(self.classes[one.name, told.get(one.name, "")] for one in self.shown)

    def of_scenario(self, name: str) -> str:
        """The class of all that is of a scenario; empty where there is one."""
        return self.classes.get(("scenario", name), "")


def traits(entry: Entry) -> dict[str, str]:
    """What an entry may be filtered by."""
    own = {name: entry.conditions.get(name, "") for name in ("model", "region")}
    return {"target": entry.target, **own, "scenario": entry.scenario, **entry.labels}


def filters_of(entries: Sequence[Entry], without: Collection[str] = ()) -> Filters:
    """A filter for each trait but those `without`, if it has several values, one of which at least two runs share."""
    told = [(entry.began_utc_ns, entry.run_id, traits(entry)) for entry in entries]
    shown: list[Filter] = []
    classes: dict[tuple[str, str], str] = {}
    for name in dict.fromkeys(name for *_, one in told for name in one if name not in without):
        newest_first = sorted({(began, run, one.get(name, "")) for began, run, one in told}, reverse=True)
        runs = Counter(text for *_, text in newest_first)
        if len(runs) < 2 or max(runs.values()) < 2:
            continue
        values: dict[str, str] = {}
        for place, (text, _) in enumerate(runs.most_common()):
            rest = len(runs) > MOST and place >= MOST - 1
            hidden = f"f{len(shown)}-{min(place, MOST - 1)}"
            classes[name, text] = hidden
            values[hidden] = OTHERS if rest else shortened(text or NONE, LONGEST)
        shown.append(Filter(name, tuple(_in_order(values))))
    return Filters(tuple(shown), classes)


def _in_order(values: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """(text, class) by text, what stands for the rest last."""
    return sorted(((text, hidden) for hidden, text in values.items()), key=lambda one: (one[0] == OTHERS, one[0]))
