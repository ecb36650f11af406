"""Which stored runs are a baseline of a target: the newest ones, made under the same conditions, each of them once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError
from reports.gate.baselines import Kept, place_of, read, scenario_of
from reports.gate.conditions import conditions_of, differing
from reports.numbers import NBSP, listed, plural
from reports.sides.named import identity
from reports.sides.side import Side
from reports.summary.arms import FAIR
from reports.thresholds.gated import near

NEWEST = 10
"""So many stored runs are a baseline, the newest ones."""


@dataclass(frozen=True)
class Eligible:
    """The stored runs that a target is held against, the newest first. `differs`: why there are none.

    `unstored`: that none is stored yet, for it is the first night. `notices`: on those that were left out.
    """

    runs: tuple[Kept, ...] = ()
    differs: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    unstored: str = ""


def eligible(side: Side, folder: Path, allowed: Sequence[str] = (), target: str = "") -> Eligible:
    """Of a folder of stored baselines. `allowed`: conditions in which they may differ.

    `target`: whose stored runs are meant, those of the side's own label if empty. Raises UsageError for an unknown one.
    """
    target = target or side.name
    files, left_out = each_once(read(folder, scenario_of(side), target))
    if not files and target != side.name:
        known = sorted({one.baseline.target for one in read(folder, scenario_of(side))})
        raise UsageError(
            f"{folder} has no stored runs of {scenario_of(side)}/{target}{near(target, known)} "
            f"it has those of {', '.join(known) or 'no target'}"
        )
    stored = [one for one in files if (one.baseline.run_id, one.baseline.began_utc_ns) != identity(side.run)]
    itself = f"The run that is checked is stored in {folder}: it is left out of the baseline of {side.name}."
    notices = [*left_out, *([itself] if len(stored) < len(files) else [])]
    if not stored:
        place = place_of(folder, scenario_of(side), target)
        none = (
            f"the only run that is stored in {place} is the one that is checked"
            if files
            else (f"no run is stored in {place} yet")
        )
        unstored = (
            f"{none}: save {'another' if files else 'a good one'} by `rtbench baseline save RUN --folder {folder}`"
        )
        return Eligible(notices=tuple(notices), unstored=unstored)
    runs, differs, unlike = _matching(side, stored, allowed)
    return Eligible(tuple(runs), tuple(differs), (*notices, *unlike))


def each_once(stored: Sequence[Kept]) -> tuple[list[Kept], list[str]]:
    """(every run once, of the files that are of the scenario and target of their folder; notices on the others)."""
    kept: dict[tuple[str, str, str, int], Kept] = {}
    notices = []
    for one in stored:
        baseline = one.baseline
        of = baseline.scenario, baseline.target, baseline.run_id, baseline.began_utc_ns
        if not one.in_place:
            notices.append(f"{one.path} is of {of[0]}/{of[1]}, not of the folder that it stands in: it is left out.")
        elif kept.setdefault(of, one) is not one:
            notices.append(f"{one.path} is of {of[2]}, which is stored already: it is left out, a run counts once.")
    return list(kept.values()), notices


def _matching(side: Side, stored: Sequence[Kept], allowed: Sequence[str]) -> tuple[list[Kept], list[str], list[str]]:
    """(the newest runs under the same conditions, what differs where there are none, notices on those left out)."""
    now = conditions_of(side)
    apart = [differing(now, one.baseline.conditions, allowed) for one in stored]
    limited = [any(rate.name == "throttled" and rate.share > FAIR for rate in one.baseline.rates) for one in stored]
    same = [one for one, lines, bad in zip(stored, apart, limited, strict=True) if not lines and not bad]
    if not same:
        why = list(apart[0].values()) or [
            f"{stored[0].baseline.run_id} was throttled in more than 1{NBSP}% of its turns"
        ]
        return [], why, []
    out = len(stored) - len(same)
    seen = sorted({name for lines in apart for name in lines})
    seen += ["throttled"] if any(limited) else []
    left_out = [f"{plural(out, 'stored run')} of {side.name} left out: {listed(seen)}."] if out else []
    return same[:NEWEST], [], left_out
