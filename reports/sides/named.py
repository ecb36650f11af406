"""What a user names as sides, `RUN` or `RUN:TARGET`: runs that are read, the target of each; what sides are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.errors import UsageError
from reports import runs
from reports.runs import RunFrames, run_id_of
from reports.turns import target_labels


def named_sides(named: Sequence[str | Path]) -> list[tuple[RunFrames, str]]:
    """Every side as its run, each of which is read once, and its target.

    Raises UsageError where a run or target is unknown, where it is not clear which target is meant, or fewer than two
    sides are named.
    """
    read: dict[Path, RunFrames] = {}
    sides: list[tuple[RunFrames, str]] = []
    for one in named:
        folder, target = parted(one)
        run = read.setdefault(folder.resolve(), read.get(folder.resolve()) or runs.load_for_report(folder))
        sides += [(run, name) for name in _targets(run, target, str(one), alone=len(named) == 1)]
    if len(sides) < 2:
        one = str(named[0]) if named else "nothing"
        raise UsageError(f"a comparison needs two arms, and {one} is one: name another run, or RUN:TARGET")
    return sides


def folder_of(one: str | Path) -> Path:
    """The folder of what a user names, `RUN` or `RUN:TARGET`."""
    return parted(one)[0]


def identity_of_run(run: RunFrames) -> tuple[str, int]:
    """What tells a run from all others, and not from its copies: its id, and when it began (UTC, ns).

    Ids are of a second, and runs on two machines may begin in the same one.
    """
    document = run.document
    return run_id_of(run), int(document.get("began_utc_ns") or 0)


def known_targets(run: RunFrames) -> list[str]:
    """Those that the document names, whether or not a session was begun there, then whatever else the rows name."""
    written = [str(entry["label"]) for entry in run.document.get("targets") or [] if entry.get("label")]
    return list(dict.fromkeys([*written, *target_labels(run)]))


def parted(one: str | Path) -> tuple[Path, str | None]:
    """The folder and the target. Either may hold a colon: the first part that is a folder is the run."""
    whole = Path(one)
    if isinstance(one, Path) or whole.is_dir() or ":" not in str(one):
        return whole, None
    parts = str(one).split(":")
    cuts = [(Path(":".join(parts[:n])), ":".join(parts[n:])) for n in range(1, len(parts))]
    return next(((folder, target) for folder, target in cuts if folder.is_dir()), cuts[-1])


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


def refuse_the_same(sides: Iterable[tuple[RunFrames, str]]) -> None:
    """Raises UsageError where a side would be compared with itself, or with a copy of its run."""
    sides = list(sides)
    seen = Counter((run.folder.resolve(), target) for run, target in sides)
    for (folder, target), times in seen.items():
        if times > 1:
            raise UsageError(f"{target or folder.name} of {folder} is named {times} times: name it once")
    folders: dict[tuple[str, int], Path] = {}
    for run, _ in sides:
        folder, whole = run.folder.resolve(), identity_of_run(run)
        if folders.setdefault(whole, folder) != folder:
            raise UsageError(
                f"{folder} is a copy of {folders[whole]}: both are the run {whole[0]}, and a run cannot be "
                "compared with itself"
            )


def side_labels(sides: Iterable[tuple[RunFrames, str]]) -> list[str]:
    """The targets' labels; of those that several sides have, with the run's folder, if need be with all of its path."""
    sides = list(sides)
    labels = [target for _, target in sides]
    for of_run in (lambda run: run.folder.name, lambda run: str(run.folder.resolve())):
        times = Counter(labels)
        labels = [
            label if label and times[label] == 1 else f"{target} ({of_run(run)})" if target else of_run(run)
            for label, (run, target) in zip(labels, sides, strict=True)
        ]
    return labels
