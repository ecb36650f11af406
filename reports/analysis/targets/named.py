"""The targets of a comparison, found from the names that a user gives: a run, or a target of a
run.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.base.errors import UsageError
from bench.files.sanitize import escape_control
from bench.record.run_list import split_name
from reports.analysis.targets.compared_target import (
    ABSENT,
    Clusters,
    ComparedTarget,
    Targets,
    by_pair,
    by_session,
)
from reports.data.runs import RunFrames, load_for_report, run_id_of, target_entries
from reports.data.samples import samples_of
from reports.data.turns import target_labels

_RUN_NAME = re.compile(r"\d{8}T(\d\d)(\d\d)(\d\d)Z-(.+)")


def parse_targets(named: Sequence[str | Path | RunFrames]) -> tuple[ComparedTarget, ...]:
    """Return the targets that a user names. The first one is the baseline.

    Each element is `RUN:TARGET`, or a run. A run means all of its targets. If all targets belong to
    one interleaved run, their clusters are pairs; otherwise they are sessions. Raise UsageError if
    a run or target is unknown, or if fewer than two targets are named.
    """
    chosen = named_targets(named)
    by_run = {id(run): targets_of(run) for run, _ in chosen}
    targets = []
    for run, name in chosen:
        run_targets = by_run[id(run)] or (
            ComparedTarget(run, samples_of(run), ABSENT, name),
        )  # if no session started, the run has no targets
        targets.append(
            next((target for target in run_targets if target.name == name), run_targets[0])
        )
    return filtered_by(targets)


def targets_of(run: RunFrames) -> tuple[ComparedTarget, ...]:
    """Return each target of a run with all of its sessions. Its clusters are sessions, not pairs.

    A target that never started has no sessions.
    """
    samples = samples_of(run)
    turns = samples.turns
    indices = {label: index for index, label in enumerate(turns.targets)}
    return tuple(
        ComparedTarget(run, samples, index, label, label, by_session(run, turns, index))
        for label in known_targets(run)
        for index in [indices.get(label, ABSENT)]
    )


def filtered_by(chosen: Targets) -> tuple[ComparedTarget, ...]:
    """Return the chosen targets for one comparison: with distinct labels, and with pairs as
    clusters if possible.

    Raise UsageError if a target would be compared with itself, or with a copy of its run.
    """
    named = [(target.run, target.name) for target in chosen]
    refuse_same_target(named)
    clusters = _clusters_of(chosen)
    return tuple(
        replace(target, label=label, clusters=mine)
        for target, label, mine in zip(chosen, target_titles(named), clusters, strict=True)
    )


def matched(base: ComparedTarget, cand: ComparedTarget) -> tuple[ComparedTarget, ComparedTarget]:
    """Return two targets with the clusters that they have if only these two are compared.

    So a pair counts even if a third target lacks its session.
    """
    of_base, of_cand = _clusters_of((base, cand))
    return replace(base, clusters=of_base), replace(cand, clusters=of_cand)


def matched_to_the_first(
    targets: Targets,
) -> list[tuple[ComparedTarget, ComparedTarget]]:
    """Return the baseline with each candidate, with the clusters of a comparison of only these
    two.
    """
    return (
        [matched(targets[0], target) for target in targets[1:]]
        if len(targets) > 2
        else [(targets[0], targets[1])]
    )


def are_peers(run: RunFrames, baseline: str, candidate: str) -> bool:
    """Return whether two targets of an interleaved run are services: the candidate is no variant
    of the baseline.
    """
    variant_of = target_entries(run.metadata).get(candidate, {}).get("variant_of")
    return bool(run.metadata.get("interleaved")) and variant_of != baseline


def _clusters_of(targets: Targets) -> Sequence[Clusters]:
    first = targets[0]
    if all(target.run is first.run for target in targets) and first.run.metadata.get("interleaved"):
        pairs = by_pair(first.run, first.turns, [target.target for target in targets])
        if pairs is not None:
            return pairs
    return [by_session(target.run, target.turns, target.target) for target in targets]


def named_targets(named: Sequence[str | Path | RunFrames]) -> list[tuple[RunFrames, str]]:
    """Return the run and the name of each target that a user names. Each run is read only once.

    Raise UsageError if a run or target is unknown, if a run has several targets and none is chosen,
    or if fewer than two targets are named.
    """
    read: dict[Path, RunFrames] = {}
    targets: list[tuple[RunFrames, str]] = []
    texts = [str(item.folder) if isinstance(item, RunFrames) else str(item) for item in named]
    for item, text in zip(named, texts, strict=True):
        if isinstance(item, RunFrames):
            run = item
            target = None
        else:
            folder, target = split_name(item)
            run = read.setdefault(
                folder.resolve(), read.get(folder.resolve()) or load_for_report(folder)
            )
        targets += [(run, name) for name in _targets(run, target, text, alone=len(named) == 1)]
    if len(targets) < 2:
        first = texts[0] if named else "nothing"
        raise UsageError(
            f"a comparison needs two targets, but only {first} is given: add another run, or"
            " RUN:TARGET"
        )
    return targets


def _targets(run: RunFrames, target: str | None, named: str, *, alone: bool) -> list[str]:
    """Return the names of the targets to compare in a run.

    - `target` is the name that the user chose; None if the user named only the run.
    - `named` is the run as the user wrote it.
    - `alone` is True if the user named nothing else; then all targets of the run are compared.

    If no target of the run started, return one empty name.
    """
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
    """Return the names of a run's targets: those of its document, even without sessions, then
    others in rows.
    """
    entries = target_entries(run.metadata)
    written = [name for name, entry in entries.items() if entry.get("name")]
    return list(dict.fromkeys([*written, *target_labels(run)]))


def identity_of_run(run: RunFrames) -> tuple[str, int]:
    """Return the ID of a run and its start (UTC, ns). Both together are unique.

    The ID alone is not: it contains the start in seconds, and two machines may start runs in the
    same second.
    """
    return run_id_of(run), int(run.metadata.get("started_utc_ns") or 0)


def refuse_unknown(run: RunFrames, target: str) -> None:
    """Raise UsageError if the run has no target of this name."""
    if target not in (known := known_targets(run)):
        raise UsageError(
            f"{run.folder} has no target {target}: its targets are: {', '.join(known) or 'none'}"
        )


def refuse_same_target(targets: Sequence[tuple[RunFrames, str]]) -> None:
    """Raise UsageError if a target would be compared with itself, or with a copy of its run."""
    seen = Counter((run.folder.resolve(), target) for run, target in targets)
    for (folder, target), times in seen.items():
        if times > 1:
            raise UsageError(
                f"{target or folder.name} of {folder} is named {times} times: name it once"
            )
    folders: dict[tuple[str, int], Path] = {}
    for run, _ in targets:
        folder = run.folder.resolve()
        identity = identity_of_run(run)
        if folders.setdefault(identity, folder) != folder:
            raise UsageError(
                f"{folder} is a copy of {folders[identity]}: both are the run {identity[0]}; a run"
                " cannot be compared with itself"
            )


def target_titles(targets: Sequence[tuple[RunFrames, str]]) -> list[str]:
    """Return the labels of targets. Runs with one target are called by their names, if these
    differ.

    Otherwise the label is the name of the target. If two labels are equal, add the part of the
    names of their runs' folders that differs, or else their full paths.
    """
    names = [run_name(run) for run, _ in targets if len(known_targets(run)) < 2]
    if len({*names} - {""}) == len(targets):
        return names
    times = Counter(target for _, target in targets)
    parts = {
        name: _different_parts([run.folder_name for run, target in targets if target == name])
        for name in times
    }
    labels = [
        (
            (target if times[target] == 1 else f"{target} ({parts[target][run.folder_name]})")
            if target
            else run.folder_name
        )
        for run, target in targets
    ]
    times = Counter(labels)
    paths = [escape_control(str(run.folder.resolve())) for run, _ in targets]
    return [
        label if times[label] == 1 else f"{target} ({path})" if target else path
        for label, path, (_, target) in zip(labels, paths, targets, strict=True)
    ]


def run_name(run: RunFrames) -> str:
    """Return the name of a run: the value of --name, or else the name of its script; "" if it is
    unknown.
    """
    return str(run.metadata.get("scenario") or "")


def _different_parts(names: Sequence[str]) -> dict[str, str]:
    """Return for each name of a run the shortest part that differs from all others, because pages
    shorten long labels.

    Of names such as `20261126T030231Z-quickstart`, it is what follows the time, or else the time of
    day (UTC), such as `03:02:31`. Otherwise it is the name.
    """
    found = [_RUN_NAME.fullmatch(name) for name in names]
    times = [match for match in found if match]
    if len(times) == len(names):
        for part in (
            [match[4] for match in times],
            [f"{match[1]}:{match[2]}:{match[3]}" for match in times],
        ):
            if len(set(part)) == len(names):
                return dict(zip(names, part, strict=True))
    return {name: name for name in names}
