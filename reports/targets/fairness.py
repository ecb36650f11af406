"""Fairness checks: differences between targets other than the compared ones.

A comparison is invalid if one of its runs is invalid or has no verdict, if a target has no turns, if more than 1 % of a
target was throttled, if the workload differs, or if only some of the targets were simulated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.errors import UsageError
from reports.formatting import NBSP, NONE, count, excerpt, join_words, percent, plural
from reports.runs import hosts_of
from reports.statistics.autocorrelation import have_same_distribution
from reports.summary.run_validity import data_notes, validity_of, within_warmup
from reports.summary.targets import FAIR, facts_of_targets, interleaving_of
from reports.targets.clusters import ABSENT
from reports.targets.compared_target import ComparedTarget
from reports.targets.conditions import differing_between, scripts, setting_text, workload
from reports.targets.metric_specs import default_specs
from reports.targets.mix import ShareChange, changed_shares
from reports.targets.named import matched_to_the_first
from reports.turns import measured_sessions
from reports.wording.notices import FAILURES_DIFFER, run_notices
from reports.wording.remarks import interleaved
from reports.wording.settings import FACTS
from reports.wording.validity import InvalidReason, endings_text, of_run, over_the_limit, run_title

Fairness = Literal["pass", "fail", "informational"]


@dataclass(frozen=True)
class FairnessCheckEntry:
    """A check of whether targets may be compared, with a text for each target.

    `causes`: the reasons that the check failed, each about the target that it concerns.
    """

    name: str
    texts: tuple[str, ...]
    result: Fairness
    causes: tuple[InvalidReason, ...] = ()

    @property
    def remedy(self) -> str:
        """The remedies of the causes, as clauses; empty if no remedy is known."""
        return join_words(list(dict.fromkeys(cause.remedy.rstrip(". ") for cause in self.causes if cause.remedy)))


VALID, TURNS, SERVICE, SAME = "run valid", "turns", "kind of service", "same workload"
THROTTLED = f"throttled turns, limit 1{NBSP}%"
NO_TURN = "no turn"
UNEQUAL = 3
"""The ratio of sessions of two targets above which tail error rates are unreliable."""
MAX_TEXT_CHARACTERS = 90
"""The maximum length of a text in a row, in characters."""
SHARES = (
    "The shares of steps differ: {0} has {1} of the turns of {2} and {3} of the turns of {4}. Percentiles are compared "
    "after weighting the steps of {4} to the shares of {2}, so they differ from those of a report. Rates and means are "
    "not weighted."
)


def refuse_other_definitions(sides: Sequence[ComparedTarget]) -> None:
    """Raise UsageError if metrics of the same name have different definitions."""
    versions = {side.label: definitions_version(side) for side in sides}
    if len(set(versions.values())) > 1:
        each = join_words([f"{label}: version {version}" for label, version in versions.items()])
        raise UsageError(
            f"these runs cannot be compared: their metrics are defined differently ({each}); "
            "repeat the run with the lower version with this rtbench"
        )


def definitions_version(side: ComparedTarget) -> int:
    """Return the version of the definitions of a run's metrics."""
    return int(side.run.metadata["definitions_version"])


def checks_of(sides: Sequence[ComparedTarget]) -> tuple[FairnessCheckEntry, ...]:
    """Return the rows of "Was the comparison fair?": first those that decide, then the informational ones."""
    mixes = _mixes(sides)
    deciding = deciding_checks(sides, "same scripts" if any(mixes) else SAME)
    return (*deciding, *_informational(sides, mixes))


def deciding_checks(sides: Sequence[ComparedTarget], same: str = SAME) -> tuple[FairnessCheckEntry, ...]:
    """Return the checks that decide whether targets may be compared."""
    throttled = [throttled_share(side) for side in sides]
    over = [side for side, share in zip(sides, throttled, strict=True) if share > FAIR]
    shares = (percent(share, 1) for share in throttled)
    return (
        _valid(sides),
        _measured(sides),
        _check(THROTTLED, shares, map(throttled_cause, over), fair=not over),
        *_same_work(sides, same),
        _check("definitions of metrics", (f"version {definitions_version(side)}" for side in sides), fair=True),
        _simulated(sides),
    )


def causes_of(checks: Iterable[FairnessCheckEntry]) -> tuple[InvalidReason, ...]:
    """Return why targets may not be compared, without duplicates."""
    return tuple(dict.fromkeys(cause for check in checks if check.result == "fail" for cause in check.causes))


def own_causes(sides: Sequence[ComparedTarget]) -> tuple[InvalidReason, ...]:
    """Return the reasons that make the values of a run unusable in any comparison.

    `sides`: all targets of the run.
    """
    return causes_of((_valid(sides), _measured(sides)))


def _check(name: str, texts: Iterable[str], causes: Iterable[InvalidReason] = (), *, fair: bool) -> FairnessCheckEntry:
    return FairnessCheckEntry(name, tuple(texts), "pass" if fair else "fail", tuple(causes))


def _valid(sides: Sequence[ComparedTarget]) -> FairnessCheckEntry:
    runs = {side.run.folder: side.run for side in sides}
    verdicts = {folder: validity_of(run.metadata) for folder, run in runs.items()}
    causes: list[InvalidReason] = []
    for folder, run in runs.items():
        mine = [side for side in sides if side.run.folder == folder]
        # if no turn started, that is the reason that the run has no verdict
        over = run.metadata.get("state") == "ended" and not within_warmup(run.metadata)
        if verdicts[folder].status == "no_verdict" and over and not any(side.turn_mask.any() for side in mine):
            causes += [_no_turns(side) for side in mine]
        else:
            labels = [side.label for side in mine]
            causes += of_run(verdicts[folder], run.metadata, folder, run_title(labels, only=len(runs) == 1))
    marks = [f"{verdicts[side.run.folder].marker} {verdicts[side.run.folder].title}" for side in sides]
    return _check(VALID, marks, causes, fair=all(verdict.status == "valid" for verdict in verdicts.values()))


def _measured(sides: Sequence[ComparedTarget]) -> FairnessCheckEntry:
    """Return the check that each target has turns."""
    begun = [int(side.turn_mask.sum()) for side in sides]
    numbers = [plural(n, "turn") if n else NO_TURN for n in begun]
    lacking = [side for side, n in zip(sides, begun, strict=True) if not n]
    causes = [_no_turns(side) for side in lacking if not within_warmup(side.run.metadata)]
    return _check(TURNS, numbers, causes, fair=not lacking)


def _no_turns(side: ComparedTarget) -> InvalidReason:
    """Return a reason such as "new has no turns: 3 sessions ended as connect_failed:401"."""
    ends = side.session_rows["outcome"].dropna().value_counts()
    endings = {str(name): int(n) for name, n in ends.items() if n}
    ended = f": {endings_text(endings)}" if endings else ""
    remedy = "run `rtbench report` to see why no turn started"
    return InvalidReason("no_data", f"{side.label} has no turns{ended}", remedy, side.run.folder)


def throttled_share(side: ComparedTarget) -> float:
    """Return the share of throttled turns, or of throttled sessions if that is larger."""
    return side.outcomes.targets[side.target].throttled if side.target != ABSENT else 0.0


def throttled_cause(side: ComparedTarget) -> InvalidReason:
    """Return a reason such as "new: 3.1 % was throttled, the limit is 1 %"."""
    limit = f"at most 1{NBSP}% of turns and sessions are throttled"
    remedy = f"lower the load until {limit}, or raise the quota, and run it again"
    return InvalidReason("throttled", f"{side.label}: {over_the_limit(throttled_share(side))}", remedy)


def _same_work(sides: Sequence[ComparedTarget], same: str) -> Iterable[FairnessCheckEntry]:
    """Yield one row with the name `same` if the workload is the same, otherwise one row for each difference."""
    part = scripts if one_run(sides) else workload
    arms = [part(side.run.metadata, side.name) for side in sides]
    differing = differing_between(arms)
    for name, texts in differing.items():
        shown = [excerpt(text, MAX_TEXT_CHARACTERS) for text in texts]
        each = ", ".join(f"{side.label} {text}" for side, text in zip(sides, shown, strict=True))
        remedy = "run both targets with the same scripts, audio, load and warm-up"
        cause = InvalidReason("workload_differs", f"the targets differ in {name} ({each})", remedy)
        yield _check(name, shown, [cause], fair=False)
    if not differing:
        named = ("scripts", "users")
        works = ("; ".join(f"{name} {arm[name]}" for name in named if name in arm) or "not recorded" for arm in arms)
        yield _check(same, works, fair=True)


def _mixes(sides: Sequence[ComparedTarget]) -> list[ShareChange | None]:
    """Return, for each candidate, the step whose share differs most from the baseline's; None if none does."""
    return [next(iter(changed_shares(base, cand)), None) for base, cand in matched_to_the_first(sides)]


def one_run(sides: Sequence[ComparedTarget]) -> bool:
    """Return whether all targets are those of one run."""
    return all(side.run is sides[0].run for side in sides)


def _simulated(sides: Sequence[ComparedTarget]) -> FairnessCheckEntry:
    simulated = [side.label for side in sides if side.simulated]
    fair = len(simulated) in (0, len(sides))
    texts = ("◇ SIMULATED" if side.label in simulated else "a real service" for side in sides)
    only = f"only {join_words(simulated)} {'was' if len(simulated) == 1 else 'were'} simulated"
    cause = InvalidReason("simulated_differs", only, "measure both targets in the same way")
    return _check(SERVICE, texts, () if fair else (cause,), fair=fair)


def _informational(
    sides: Sequence[ComparedTarget], mixes: Sequence[ShareChange | None]
) -> Iterable[FairnessCheckEntry]:
    """Yield the rows with the size of each target, the shares of the step that differ most, and all differences.

    The differences are those in the settings of the targets (which are compared), the tool, and the machine.
    """
    rows = {"sessions": tuple(plural(side.sessions, "pair" if sides[0].paired else "session") for side in sides)}
    rows["failed or not started"] = tuple(
        NONE
        if side.target == ABSENT
        else percent((of := side.outcomes.targets[side.target]).failed_or_not_started, of.turns_planned)
        for side in sides
    )
    if first := next(filter(None, mixes), None):
        shares = [f"{one.step} {percent(one.shares[1], 1)}" if one else "as the baseline" for one in mixes]
        rows["shares of steps"] = (f"{first.step} {percent(first.shares[0], 1)}", *shares)
    facts = [facts_of_targets(side.run.metadata, side.session_rows, [side.name])[0] for side in sides]
    for key, fact in FACTS.items():
        texts = tuple(getattr(of_arm, key) or NONE for of_arm in facts)
        if len(set(texts)) > 1:
            rows[fact] = texts
    for rows_of in (rows, differing_between([_environment(side) for side in sides])):
        yield from (FairnessCheckEntry(name, texts, "informational") for name, texts in rows_of.items())


def _environment(side: ComparedTarget) -> dict[str, str]:
    document = side.run.metadata
    host = document.get("host") or {}
    packages = host.get("packages") or {}
    surroundings = {
        "rtbench": (document.get("tool") or {}).get("version"),
        "seed": (document.get("settings") or {}).get("seed"),
        "interleaved": document.get("interleaved"),
        "host": ", ".join(str(host.get("name")) for host in hosts_of(document)),
        **{name: host.get(name) for name in ("cpu", "cpus", "kernel", "python")},
        **{f"package {name}": version for name, version in packages.items()},
    }
    return {name: setting_text(value) for name, value in surroundings.items() if value is not None}


def notices_on(sides: Sequence[ComparedTarget]) -> Iterable[str]:
    """Yield the notices to read before the values: on the comparison, then on each run."""
    sizes = [side.sessions for side in sides]
    if min(sizes) and max(sizes) > UNEQUAL * min(sizes):
        counts = join_words([count(n) for n in sizes])
        more = f"One target has more than {UNEQUAL} times the sessions of another ({counts})"
        yield f"{more}, so error rates of tail percentiles are unreliable."
    for side, change in zip(sides[1:], _mixes(sides), strict=True):
        if change:
            was, now = (percent(share, 1) for share in change.shares)
            yield SHARES.format(change.step, was, sides[0].label, now, side.label)
    first = sides[0]
    begun = measured_sessions(first.run)
    if first.paired and (found := interleaving_of(first.run.metadata, begun, len(first.turns.targets))):
        yield interleaved(found)
    if cut := first.clusters.cut:
        yield f"{plural(cut, 'pair')} without a session of each target {'is' if cut == 1 else 'are'} excluded."
    cut_rows = [side.clusters.of_row[(side.session_rows["outcome_class"] == "unfinished").to_numpy()] for side in sides]
    if first.paired and (late := int(np.unique(np.concatenate(cut_rows)).size)):
        yield (
            f"{plural(late, 'pair')} of the {count(first.sessions)} {'was' if late == 1 else 'were'} cut by the end of "
            "the run: their finished turns count here; interim analyses exclude such pairs."
        )
    shares = {side.label: side.outcomes.targets[side.target].failure_rate for side in sides if side.target != ABSENT}
    known = {label: share for label, share in shares.items() if share == share}
    if known and max(known.values()) - min(known.values()) > FAIR:
        yield FAILURES_DIFFER.format(join_words([f"{label} {percent(share, 1)}" for label, share in known.items()]))
    yield from one_seed(sides)
    for side in {id(side.run): side for side in sides}.values():
        where = "" if one_run(sides) else f"{side.label}: "
        said_of_run = run_notices(side.run, data_notes(side.run, side.turns, measured_sessions(side.run)))
        yield from (f"{where}{notice}" for notice in said_of_run)


def one_seed(sides: Sequence[ComparedTarget]) -> Iterable[str]:
    """Yield a notice if two simulators share a seed and generated the same delays: comparing them shows nothing."""
    question, (first, *others) = next(default_specs(sides)), sides
    for side in others:
        same = first.sample(question).succeeded, side.sample(question).succeeded
        if first.simulated and side.simulated and have_same_distribution(*same):
            yield (
                f"{first.label} and {side.label} have almost equal values: their {question.metric} differs less than "
                "independent samples do. If they are two simulators with one seed, restart one of them with another "
                "seed: rtbench simulate --seed 2."
            )
