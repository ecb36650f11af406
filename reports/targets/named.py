"""The targets of a comparison as a user names them: runs, and targets of runs, with their clusters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.errors import UsageError
from bench.run.presence import is_folder
from bench.untrusted.sanitize import escape_control
from reports import runs
from reports.runs import RunFrames, run_id_of
from reports.samples import samples_of
from reports.targets.clusters import ABSENT, Clusters, by_pair, by_session
from reports.targets.compared_target import ComparedTarget
from reports.turns import target_labels


def parse_targets(named: Sequence[str | Path | RunFrames]) -> tuple[ComparedTarget, ...]:
    """Return the targets that a user names: a run (all of its targets), or `RUN:TARGET`. The first one is the baseline.

    Their clusters are pairs if all are targets of one interleaved run, else sessions. Raise UsageError if a run or
    target is unknown, or fewer than two are named.
    """
    chosen = named_targets(named)
    targets = {id(run): targets_of(run) for run, _ in chosen}
    sides = []
    for run, name in chosen:
        there = targets[id(run)] or (
            ComparedTarget(run, samples_of(run), ABSENT, name),
        )  # if no session started, the run has no targets
        sides.append(next((side for side in there if side.name == name), there[0]))
    return filtered_by(sides)


def targets_of(run: RunFrames) -> tuple[ComparedTarget, ...]:
    """Return each target of a run with all of its sessions, paired or not.

    A target that never started has no sessions.
    """
    samples = samples_of(run)
    turns = samples.turns
    places = {label: place for place, label in enumerate(turns.targets)}
    return tuple(
        ComparedTarget(run, samples, place, label, label, by_session(run, turns, place))
        for label in known_targets(run)
        for place in [places.get(label, ABSENT)]
    )


def filtered_by(chosen: Sequence[ComparedTarget]) -> tuple[ComparedTarget, ...]:
    """Return the targets for one comparison: their labels differ, and their clusters are pairs if they ran in pairs.

    Raise UsageError if a target would be compared with itself, or with a copy of its run.
    """
    named = [(side.run, side.name) for side in chosen]
    refuse_same_target(named)
    clusters = _clusters_of(chosen)
    return tuple(
        replace(side, label=label, clusters=mine)
        for side, label, mine in zip(chosen, target_titles(named), clusters, strict=True)
    )


def matched(base: ComparedTarget, cand: ComparedTarget) -> tuple[ComparedTarget, ComparedTarget]:
    """Return two targets with the clusters of a comparison of only these two.

    A third target has no effect on them.
    """
    of_base, of_cand = _clusters_of((base, cand))
    return replace(base, clusters=of_base), replace(cand, clusters=of_cand)


def matched_to_the_first(sides: Sequence[ComparedTarget]) -> list[tuple[ComparedTarget, ComparedTarget]]:
    """Return each candidate with the baseline, the baseline first.

    The clusters are those of a comparison of only these two.
    """
    return [matched(sides[0], side) for side in sides[1:]] if len(sides) > 2 else [(sides[0], sides[1])]


def are_peers(run: RunFrames, baseline: str, candidate: str) -> bool:
    """Return whether two targets of a run are two services, neither of which is the baseline of the other.

    The baseline of a variant is the target from which it is derived.
    """
    entries = {str(entry.get("name")): entry for entry in run.metadata.get("targets") or []}
    variant_of = (entries.get(candidate) or {}).get("variant_of")
    return bool(run.metadata.get("interleaved")) and variant_of != baseline


def _clusters_of(sides: Sequence[ComparedTarget]) -> Sequence[Clusters]:
    first = sides[0]
    if all(side.run is first.run for side in sides) and first.run.metadata.get("interleaved"):
        pairs = by_pair(first.run, first.turns, [side.target for side in sides])
        if pairs is not None:
            return pairs
    return [by_session(side.run, side.turns, side.target) for side in sides]


def named_targets(named: Sequence[str | Path | RunFrames]) -> list[tuple[RunFrames, str]]:
    """Return each named target: its run and its name. Each run is read once.

    Raise UsageError if a run or target is unknown, a target is ambiguous, or fewer than two targets are named.
    """
    read: dict[Path, RunFrames] = {}
    sides: list[tuple[RunFrames, str]] = []
    texts = [str(one.folder) if isinstance(one, RunFrames) else str(one) for one in named]
    for one, text in zip(named, texts, strict=True):
        if isinstance(one, RunFrames):
            run, target = one, None
        else:
            folder, target = split_name(one)
            run = read.setdefault(folder.resolve(), read.get(folder.resolve()) or runs.load_for_report(folder))
        sides += [(run, name) for name in _targets(run, target, text, alone=len(named) == 1)]
    if len(sides) < 2:
        one = texts[0] if named else "nothing"
        raise UsageError(f"a comparison needs two targets, but only {one} is given: add another run, or RUN:TARGET")
    return sides


def _targets(run: RunFrames, target: str | None, named: str, *, alone: bool) -> list[str]:
    """Return the names of the targets to compare; one empty name if no target of the run started."""
    known = known_targets(run)
    if target is not None:
        refuse_unknown(run, target)
        return [target]
    if alone and len(known) < 2:
        only = f"one target, {known[0]}" if known else "no target"
        raise UsageError(f"{named} has {only}: add a second run, or name a run of several targets")
    if not alone and len(known) > 1:
        choices = [f"{named}:{name}" for name in known]
        raise UsageError(f"{named} has {len(known)} targets; choose one: {' or '.join(choices)}")
    return known or [""]


def known_targets(run: RunFrames) -> list[str]:
    """Return the targets that the document names, even if they have no session, then others that only the rows name."""
    written = [str(entry["name"]) for entry in run.metadata.get("targets") or [] if entry.get("name")]
    return list(dict.fromkeys([*written, *target_labels(run)]))


def identity_of_run(run: RunFrames) -> tuple[str, int]:
    """Return the ID and the start (UTC, ns) of a run.

    The ID alone is not unique: it contains the start in seconds, and two machines may start runs in the same second.
    """
    return run_id_of(run), int(run.metadata.get("started_utc_ns") or 0)


def split_name(one: str | Path) -> tuple[Path, str | None]:
    """Return the folder and the target. Either may contain a colon: the shortest prefix that is a folder is the run."""
    whole = Path(one)
    if isinstance(one, Path) or is_folder(whole) or ":" not in str(one):
        return whole, None
    parts = str(one).split(":")
    cuts = [(Path(":".join(parts[:n])), ":".join(parts[n:])) for n in range(1, len(parts))]
    return next(((folder, target) for folder, target in cuts if is_folder(folder)), cuts[-1])


def refuse_unknown(run: RunFrames, target: str) -> None:
    """Raise UsageError if a run has no such target."""
    if target not in (known := known_targets(run)):
        raise UsageError(f"{run.folder} has no target {target}: its targets are: {', '.join(known) or 'none'}")


def refuse_same_target(sides: Sequence[tuple[RunFrames, str]]) -> None:
    """Raise UsageError if a target would be compared with itself, or with a copy of its run."""
    seen = Counter((run.folder.resolve(), target) for run, target in sides)
    for (folder, target), times in seen.items():
        if times > 1:
            raise UsageError(f"{target or folder.name} of {folder} is named {times} times: name it once")
    folders: dict[tuple[str, int], Path] = {}
    for run, _ in sides:
        folder, whole = run.folder.resolve(), identity_of_run(run)
        if folders.setdefault(whole, folder) != folder:
            same = f"{folder} is a copy of {folders[whole]}: both are the run {whole[0]}"
            raise UsageError(f"{same}; a run cannot be compared with itself")


def target_titles(sides: Sequence[tuple[RunFrames, str]]) -> list[str]:
    """Return the labels of targets. If several are equal, add the run's folder, or its complete path if necessary."""
    labels = [target for _, target in sides]
    for of_run in (lambda run: run.folder_name, lambda run: escape_control(str(run.folder.resolve()))):
        times = Counter(labels)
        labels = [
            label if label and times[label] == 1 else f"{target} ({of_run(run)})" if target else of_run(run)
            for label, (run, target) in zip(labels, sides, strict=True)
        ]
    return labels
