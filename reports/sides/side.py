"""The sides of a comparison: targets of runs as a user names them, and their samples by cluster, which are resampled.

Clusters are the sessions of a target, or where sessions of all sides began together their pairs. Sessions of the
measured phase count. A session that has turns and no row yet, for it is under way or its run was killed, is a cluster
as well; a pair needs the row of each of its sessions.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from pathlib import Path

import numpy as np
import pandas as pd

from bench.errors import UsageError
from bench.metrics import CATALOGUE, SLOPE
from bench.run.presence import is_folder
from bench.run.validity_data import worst_bound
from bench.units import NS_PER_S
from bench.untrusted.sanitize import escape_control
from reports import exactness, runs
from reports.question import Question
from reports.runs import RunFrames, hosts_of, run_id_of
from reports.samples import ALWAYS, Samples, is_wait, rate_counts, samples_of, session_sample
from reports.statistics.counting import Floats, Integers
from reports.statistics.quantiles import NOTHING, Sample
from reports.statistics.rates import PerCluster
from reports.strata import Stratum
from reports.summary.drift import PoolDrift, drifts
from reports.summary.figures import slope_sample
from reports.summary.outcomes import OF_SESSION, Outcomes, outcomes_of
from reports.turns import Flags, Turns, column_of, lost_of, measured_rows, measured_sessions, target_labels

NOBODY: Integers = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Side:
    """A target of a run. `label`: as it is shown; `target`: its place in `turns`, ABSENT where no row names it."""

    run: RunFrames
    samples: Samples
    """the sides of a run share them"""
    target: int
    label: str
    name: str = ""
    """the target's own label in its run"""
    clusters: Clusters = field(default_factory=lambda: Clusters(0, NOBODY, NOBODY, NOBODY))

    @property
    def turns(self) -> Turns:
        return self.samples.turns

    @property
    def mains(self) -> Mapping[Stratum, str]:
        """The main metric of each stratum of the run."""
        return self.samples.mains

    @property
    def sessions(self) -> int:
        """Those that count."""
        return self.clusters.count

    @property
    def paired(self) -> bool:
        return self.clusters.pairs is not None

    @cached_property
    def here(self) -> Flags:
        """Which of `turns` count for this side."""
        if self.target == ABSENT:
            return np.zeros(self.turns.rows.size, dtype=bool)
        flags: Flags = (self.turns.target == self.target) & (self.clusters.of_code[self.turns.session] >= 0)
        return flags

    @cached_property
    def session_rows(self) -> pd.DataFrame:
        """The rows of its sessions."""
        return self.run.sessions.iloc[self.clusters.rows]

    @property
    def observed_s(self) -> float:
        """From the start of its first session to the end of its last one: no verdict can know of slower changes."""
        rows = self.session_rows
        ends_ns = (rows["start_utc_ns"] + rows["ended_at_ns"].fillna(0)).dropna()
        return float(ends_ns.max() - rows["start_utc_ns"].min()) / NS_PER_S if len(ends_ns) else 0.0

    @cached_property
    def begun(self) -> dict[Stratum, int]:
        """How many of its turns are of each stratum of the run."""
        return self._begun(np.ones(len(self.turns.steps), dtype=bool))

    def begun_of(self, question: Question) -> dict[Stratum, int]:
        """How many of the turns that a question is about are of each stratum of the run."""
        return self._begun(self.steps(question)) if question.step or question.stratum is not None else self.begun

    @cached_property
    def begun_by_step(self) -> Integers:
        """How many of its turns are of each step of the run."""
        return np.bincount(self.turns.step[self.here], minlength=len(self.turns.steps))

    @property
    def planned_by_step(self) -> Integers:
        """The same with the turns that did not start."""
        lost = self.turns.lost_by_group[self.target] if self.target != ABSENT else 0
        return self.begun_by_step + lost

    def _begun(self, steps: Flags) -> dict[Stratum, int]:
        of_step = self.begun_by_step
        return {stratum: int(of_step[steps & self.turns.steps_in(stratum)].sum()) for stratum in self.turns.strata}

    @cached_property
    def outcomes(self) -> Outcomes:
        """How the measured turns and sessions of its run ended, those of this side at `target`."""
        return outcomes_of(self.turns, measured_sessions(self.run, OF_SESSION))

    @property
    def simulated(self) -> bool:
        """Measured against `rtbench simulate`, by its rows; where it has none, by the run's document."""
        marks = self.turns.frame["simulated"].iloc[self.turns.rows[self.here]]
        return bool(marks.eq(True).any()) if len(marks) else bool(self.run.metadata.get("simulated"))

    def steps(self, question: Question) -> Flags:
        """Which steps of the run a question is about."""
        wanted = np.ones(len(self.turns.steps), dtype=bool)
        if question.step:
            names = zip(self.turns.steps, self.turns.labels, strict=True)
            wanted &= np.array([question.step in named for named in names], dtype=bool)
        return wanted & self.turns.steps_in(question.stratum) if question.stratum is not None else wanted

    def sample(self, question: Question) -> Sample:
        """Return the values of a metric, ascending, failed ones as +inf, with the cluster of each.

        A question that names no stratum takes turns of any: where a run has several, ask for one.
        """
        metric = CATALOGUE[question.metric]
        if metric.unit == SLOPE:
            # a value of each session, by its turns of one stratum: of the commonest where the question names none
            if self.target == ABSENT:
                return NOTHING
            stratum = question.stratum or max(self.begun, key=self.begun.__getitem__)
            main = next((name for one, name in self.mains.items() if stratum.covers(one)), ALWAYS)
            slopes = slope_sample(self.samples[main], self.target, self.turns.steps_in(stratum), question.metric)
            clusters = self.clusters.of_code[slopes.sessions]
            return Sample(slopes.values[clusters >= 0], clusters[clusters >= 0])
        if metric.scope == "session":
            # a metric of sessions, of which each is one value of its cluster
            frame = self.session_rows
            sample = session_sample(frame, question.metric) if column_of(question.metric) in frame.columns else None
            if sample is None:
                return NOTHING
            return Sample(sample.values, self.clusters.of_row[sample.sessions], sample.failed, sample.unfinished)
        if self.target == ABSENT or metric.scope != "turn":
            return NOTHING
        drawn, steps = self.samples[question.metric], self.steps(question)
        sample, lost = drawn.of(self.target, steps), self._lost(steps & drawn.applies[self.target])
        clusters = self.clusters.of_code[sample.sessions]
        kept = clusters >= 0
        if kept.all():
            return replace(sample, sessions=clusters)
        values = sample.values[kept]
        failed = int(np.isinf(values).sum()) if is_wait(metric) else sample.failed
        return Sample(values, clusters[kept], failed, sample.unfinished, int(lost.sum()))

    def counts(self, question: Question) -> PerCluster:
        """Return the events and the trials of a rate in each cluster, in turns or in words."""
        turns, steps = self.turns, self.steps(question)
        counts = rate_counts(turns, question.metric)
        mine = self.here & ~np.isnan(counts[0]) & (steps[turns.step] if turns.rows.size else True)
        clusters, many = self.clusters.of_code[turns.session[mine]], self.clusters.count
        events, of = (np.bincount(clusters, one[mine], many).astype(np.float64) for one in counts)
        lost = self._lost(steps) if question.metric == "failure_rate" else 0
        return events + lost, of + lost

    def totals(self, question: Question) -> PerCluster:
        """Return the sum and the number of the values of a mean in each cluster. Failed turns have no value."""
        sample = self.sample(question)
        good = sample.succeeded
        clusters, size = sample.sessions[: good.size], self.clusters.count
        totals: Floats = np.bincount(clusters, good, minlength=size).astype(np.float64)
        return totals, np.bincount(clusters, minlength=size).astype(np.float64)

    def _lost(self, steps: Flags) -> Integers:
        """Return the turns of some steps that were planned and did not start, in each cluster."""
        if not steps.size:  # no turn of the run was begun
            return np.bincount(self.clusters.of_row, lost_of(self.session_rows), self.clusters.count).astype(np.int64)
        lost = self.turns.lost
        clusters = self.clusters.of_code[lost.session[lost.of(self.target, steps)]]
        return np.bincount(clusters[clusters >= 0], minlength=self.clusters.count)

    def inexact(self, question: Question) -> str:
        """Why nothing may be decided by its figure; empty where it may."""
        return exactness.why(self.run.inexact, self.name, question.metric)

    @property
    def step_names(self) -> list[str]:
        """The steps of the run by name, each once: one name may stand for steps of several strata."""
        return list(dict.fromkeys(self.turns.steps))

    def worst_bound(self, question: Question) -> float:
        """Return how far a value of a metric is off at most, in its unit.

        inf if that is not known, and if values may be of another question.
        """
        of = self.name, question.metric
        early = any(one.is_early for one in self.run.inexact if (one.target, one.metric) == of)
        return math.inf if early else worst_bound(self.run.folder, CATALOGUE[question.metric], self.name)


def inexact(sides: Sequence[Side], question: Question) -> str:
    """Why sides may not be compared by a figure: it is not exact in a run of theirs; empty where they may."""
    return "; ".join(f"{why} on {side.label}" for side in sides if (why := side.inexact(question)))


def sides_of(named: Sequence[str | Path | RunFrames]) -> tuple[Side, ...]:
    """The sides that a user names: a run (all of its targets), or `RUN:TARGET`. The first one is the baseline.

    Their clusters are pairs where all of them are targets of one interleaved run, else sessions. Raises UsageError
    where a run or target is unknown, or fewer than two are named.
    """
    chosen = named_sides(named)
    targets = {id(run): targets_of(run) for run, _ in chosen}
    sides = []
    for run, name in chosen:
        there = targets[id(run)] or (Side(run, samples_of(run), ABSENT, name),)  # nothing was begun in a run of none
        sides.append(next((side for side in there if side.name == name), there[0]))
    return among(sides)


def targets_of(run: RunFrames) -> tuple[Side, ...]:
    """Each target of a run with all of its sessions, in pairs or not; one that was never begun has none."""
    samples = samples_of(run)
    turns = samples.turns
    places = {label: place for place, label in enumerate(turns.targets)}
    return tuple(
        Side(run, samples, place, label, label, by_session(run, turns, place))
        for label in known_targets(run)
        for place in [places.get(label, ABSENT)]
    )


def among(chosen: Sequence[Side]) -> tuple[Side, ...]:
    """Targets as the sides of one comparison: with different labels, and in pairs if they ran so.

    Raises UsageError where one would be compared with itself, or with a copy of its run.
    """
    named = [(side.run, side.name) for side in chosen]
    refuse_the_same(named)
    clusters = _clusters_of(chosen)
    return tuple(
        replace(side, label=label, clusters=mine)
        for side, label, mine in zip(chosen, side_labels(named), clusters, strict=True)
    )


def matched(base: Side, cand: Side) -> tuple[Side, Side]:
    """Return two sides clustered as they would be by themselves, whatever a third one lacks."""
    of_base, of_cand = _clusters_of((base, cand))
    return replace(base, clusters=of_base), replace(cand, clusters=of_cand)


def matched_to_the_first(sides: Sequence[Side]) -> list[tuple[Side, Side]]:
    """Return the baseline with each candidate, as the two would be by themselves."""
    return [matched(sides[0], side) for side in sides[1:]] if len(sides) > 2 else [(sides[0], sides[1])]


def are_peers(run: RunFrames, baseline: str, candidate: str) -> bool:
    """Return whether two targets of a run are two services, neither of which is the other's baseline.

    A variant's baseline is the target that it is a variant of.
    """
    entries = {str(entry.get("name")): entry for entry in run.metadata.get("targets") or []}
    variant_of = (entries.get(candidate) or {}).get("variant_of")
    return bool(run.metadata.get("interleaved")) and variant_of != baseline


def _clusters_of(sides: Sequence[Side]) -> Sequence[Clusters]:
    first = sides[0]
    if all(side.run is first.run for side in sides) and first.run.metadata.get("interleaved"):
        pairs = by_pair(first.run, first.turns, [side.target for side in sides])
        if pairs is not None:
            return pairs
    return [by_session(side.run, side.turns, side.target) for side in sides]


def drifts_of(side: Side) -> list[PoolDrift]:
    """Compare the halves of its turns, of each target and stratum with enough sessions."""
    return list(drifts(side.run, side.samples))


ABSENT = -1
"""The place of a target that no row of its run names."""


@dataclass(frozen=True, eq=False)
class Clusters:
    """The clusters of one side, numbered from 0; −1: in none of them."""

    count: int
    of_code: Integers
    """the cluster of each session code of `Turns.session`"""
    rows: Integers
    """the rows of `Run.sessions` that count"""
    of_row: Integers
    """the cluster of each of these"""
    pairs: Integers | None = None
    """where clusters are pairs, the number that the run gave each, ascending"""
    cut: int = 0
    """pairs that were not whole and do not count"""


def by_session(run: RunFrames, turns: Turns, target: int) -> Clusters:
    """Each session of a target is a cluster, in the order of their start: first those that have a row."""
    rows = session_rows_of(run, turns, target)
    several = run.metadata.get("parts") or len(hosts_of(run.metadata)) > 1
    clock = "start_utc_ns" if several else "start_ns"  # CLOCK_MONOTONIC of one host
    rows = rows[np.argsort(run.sessions[clock].to_numpy()[rows], kind="stable")]
    of_code = np.full(turns.sessions, -1, dtype=np.int64)
    of_code[turns.session_of_row[rows]] = np.arange(rows.size)
    begun = np.unique(turns.session[turns.target == target]) if target != ABSENT else NOBODY
    rowless = begun[of_code[begun] < 0] if begun.size else begun
    of_code[rowless] = rows.size + np.arange(rowless.size)
    return Clusters(int(rows.size + rowless.size), of_code, rows, np.arange(rows.size))


def by_pair(run: RunFrames, turns: Turns, targets: Sequence[int]) -> tuple[Clusters, ...] | None:
    """Each whole pair is a cluster of every one of these targets; None where the run's sessions have no pairs."""
    rows = [session_rows_of(run, turns, target) for target in targets]
    numbers = [run.sessions["pair"].to_numpy(dtype=np.float64)[mine] for mine in rows]
    known = [np.unique(number[~np.isnan(number)]) for number in numbers]
    whole = reduce(np.intersect1d, known)
    if not whole.size:
        return None
    cut = reduce(np.union1d, known).size - whole.size
    found = []
    for mine, number in zip(rows, numbers, strict=True):
        counts = np.isin(number, whole)
        of_row, of_code = np.searchsorted(whole, number[counts]), np.full(turns.sessions, -1, dtype=np.int64)
        of_code[turns.session_of_row[mine[counts]]] = of_row
        found.append(Clusters(whole.size, of_code, mine[counts], of_row, whole.astype(np.int64), int(cut)))
    return tuple(found)


def session_rows_of(run: RunFrames, turns: Turns, target: int) -> Integers:
    """The measured rows of a target's sessions."""
    if target == ABSENT:
        return NOBODY
    rows = measured_rows(run.sessions)
    mine: Integers = rows[(run.sessions["target"].iloc[rows] == turns.targets[target]).to_numpy()]
    return mine


def named_sides(named: Sequence[str | Path | RunFrames]) -> list[tuple[RunFrames, str]]:
    """Every side as its run, each of which is read once, and its target.

    Raises UsageError if a run or target is unknown, a target is ambiguous, or fewer than two sides are named.
    """
    read: dict[Path, RunFrames] = {}
    sides: list[tuple[RunFrames, str]] = []
    texts = [str(one.folder) if isinstance(one, RunFrames) else str(one) for one in named]
    for one, text in zip(named, texts, strict=True):
        if isinstance(one, RunFrames):
            run, target = one, None
        else:
            folder, target = parted(one)
            run = read.setdefault(folder.resolve(), read.get(folder.resolve()) or runs.load_for_report(folder))
        sides += [(run, name) for name in _targets(run, target, text, alone=len(named) == 1)]
    if len(sides) < 2:
        one = texts[0] if named else "nothing"
        raise UsageError(f"a comparison needs two targets, and {one} is one: name another run, or RUN:TARGET")
    return sides


def identity_of_run(run: RunFrames) -> tuple[str, int]:
    """Return the id and the start (UTC, ns) of a run: ids are of a second, in which two machines may start runs."""
    return run_id_of(run), int(run.metadata.get("started_utc_ns") or 0)


def known_targets(run: RunFrames) -> list[str]:
    """Those that the document names, whether or not a session was begun there, then whatever else the rows name."""
    written = [str(entry["name"]) for entry in run.metadata.get("targets") or [] if entry.get("name")]
    return list(dict.fromkeys([*written, *target_labels(run)]))


def parted(one: str | Path) -> tuple[Path, str | None]:
    """The folder and the target. Either may hold a colon: the first part that is a folder is the run."""
    whole = Path(one)
    if isinstance(one, Path) or is_folder(whole) or ":" not in str(one):
        return whole, None
    parts = str(one).split(":")
    cuts = [(Path(":".join(parts[:n])), ":".join(parts[n:])) for n in range(1, len(parts))]
    return next(((folder, target) for folder, target in cuts if is_folder(folder)), cuts[-1])


def refuse_unknown(run: RunFrames, target: str) -> None:
    """Raises UsageError where a run has no such target."""
    if target not in (known := known_targets(run)):
        raise UsageError(f"{run.folder} has no target {target}: it has {', '.join(known) or 'none at all'}")


def _targets(run: RunFrames, target: str | None, named: str, *, alone: bool) -> list[str]:
    """The targets that are meant; a run without any name of one, for nothing was begun, is a side of its own."""
    known = known_targets(run)
    if target is not None:
        refuse_unknown(run, target)
        return [target]
    if alone and len(known) < 2:
        only = f"one target, {known[0]}" if known else "no target"
        raise UsageError(f"{named} has {only}: name a second run to compare it with, or a run of several targets")
    if not alone and len(known) > 1:
        choices = [f"{named}:{name}" for name in known]
        raise UsageError(f"{named} has {len(known)} targets: say which one is meant, {' or '.join(choices)}")
    return known or [""]


def refuse_the_same(sides: Sequence[tuple[RunFrames, str]]) -> None:
    """Raise UsageError if a side would be compared with itself, or with a copy of its run."""
    seen = Counter((run.folder.resolve(), target) for run, target in sides)
    for (folder, target), times in seen.items():
        if times > 1:
            raise UsageError(f"{target or folder.name} of {folder} is named {times} times: name it once")
    folders: dict[tuple[str, int], Path] = {}
    for run, _ in sides:
        folder, whole = run.folder.resolve(), identity_of_run(run)
        if folders.setdefault(whole, folder) != folder:
            same = f"{folder} is a copy of {folders[whole]}: both are the run {whole[0]}"
            raise UsageError(f"{same}, and a run cannot be compared with itself")


def side_labels(sides: Sequence[tuple[RunFrames, str]]) -> list[str]:
    """Return the targets' labels; if several sides have one, with the run's folder, if need be with all of its path."""
    labels = [target for _, target in sides]
    for of_run in (lambda run: run.folder_name, lambda run: escape_control(str(run.folder.resolve()))):
        times = Counter(labels)
        labels = [
            label if label and times[label] == 1 else f"{target} ({of_run(run)})" if target else of_run(run)
            for label, (run, target) in zip(labels, sides, strict=True)
        ]
    return labels
