"""Fairness checks: whether targets differ in other properties than those that the comparison is about.

A comparison is invalid in these cases: one of its runs is invalid or has no verdict; a target has no turns; more than 1
% of a target's turns or sessions were throttled; the workload differs; or only some of the targets were simulated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.base.errors import UsageError
from reports.analysis.summary.run_validity import data_notes, invalid_reasons, validity_of, within_warmup
from reports.analysis.summary.targets import FAIR, facts_of_targets, interleaving_of
from reports.analysis.targets.clusters import ABSENT
from reports.analysis.targets.compared_target import ComparedTarget
from reports.analysis.targets.conditions import differing_between, scripts, setting_text, workload
from reports.analysis.targets.metric_specs import default_specs
from reports.analysis.targets.mix import ShareChange, changed_lengths, changed_shares, mean_turns
from reports.analysis.targets.named import matched_to_the_first
from reports.data.runs import hosts_of
from reports.data.turns import measured_sessions
from reports.formatting import NBSP, NONE, count, excerpt, format_number, join_words, percent, plural
from reports.results.reason import Reason, unique
from reports.statistics.autocorrelation import have_same_distribution
from reports.text.notices import FAILURES_DIFFER, run_notices
from reports.text.reasons import remedies
from reports.text.remarks import interleaved
from reports.text.settings import FACTS

Fairness = Literal["pass", "fail", "informational"]


@dataclass(frozen=True)
class FairnessCheckEntry:
    """A check of whether targets may be compared. `texts` has one text per target.

    `causes` are the reasons why the check failed. Each names the target that it concerns.
    """

    name: str
    texts: tuple[str, ...]
    result: Fairness
    causes: tuple[Reason, ...] = ()

    @property
    def remedy(self) -> str:
        """The remedies of all causes, as one text; "" if no remedy is known."""
        return join_words(remedies(self.causes))


VALID, TURNS, SERVICE, SAME = "run valid", "turns", "kind of service", "same workload"
THROTTLED = f"throttled turns, limit 1{NBSP}%"
NO_TURN = "no turn"
UNEQUAL = 3
"""The largest ratio between the numbers of sessions of two targets. Above it, error rates of tails are unreliable."""
MAX_TEXT_CHARACTERS = 90
"""The maximum number of characters of a text in a row."""
SHARES = (
    "The shares of steps differ: {0} has {1} of the turns of {2} and {3} of the turns of {4}. Percentiles are compared "
    "after weighting the steps of {4} to the shares of {2}, so they differ from those of a report."
)
UNWEIGHTED = " Rates and means are not weighted."
LENGTHS = (
    "Sessions differ in length: {0} has {1} turns in a session, and {2} has {3}. Percentiles, rates and means are "
    "compared after weighting the turns of {2} by their number in the session to the shares of {0}, so they differ "
    "from those of a report."
)
EXCLUDED = " {0} of {1} and {2} of {3} are excluded, because the other target has too few with these numbers."


def refuse_other_definitions(targets: Sequence[ComparedTarget]) -> None:
    """Raise UsageError if the runs define metrics of the same name differently."""
    versions = {target.label: definitions_version(target) for target in targets}
    if len(set(versions.values())) > 1:
        versions_text = join_words([f"{label}: version {version}" for label, version in versions.items()])
        raise UsageError(
            f"these runs cannot be compared: their metrics are defined differently ({versions_text}); "
            "repeat the run with the lower version with this rtbench"
        )


def definitions_version(target: ComparedTarget) -> int:
    """Return the version of the metric definitions with which the target's run was made."""
    return int(target.run.metadata["definitions_version"])


def checks_of(targets: Sequence[ComparedTarget]) -> tuple[FairnessCheckEntry, ...]:
    """Return the rows of the table "Was the comparison fair?": first the deciding checks, then rows for information."""
    mixes = _mixes(targets)
    differing_lengths = any(changed_lengths(*pair) for pair in matched_to_the_first(targets))
    deciding = deciding_checks(targets, "same scripts" if any(mixes) or differing_lengths else SAME)
    return (*deciding, *_informational(targets, mixes, differing_lengths=differing_lengths))


def deciding_checks(targets: Sequence[ComparedTarget], same: str = SAME) -> tuple[FairnessCheckEntry, ...]:
    """Return the checks that decide whether targets may be compared.

    `same` is the name of the check of the workload.

    """
    throttled = [throttled_share(target) for target in targets]
    over = [target for target, share in zip(targets, throttled, strict=True) if share > FAIR]
    shares = (percent(share, 1) for share in throttled)
    return (
        _valid(targets),
        _measured(targets),
        _check(THROTTLED, shares, map(throttled_cause, over), fair=not over),
        *_same_work(targets, same),
        _check("definitions of metrics", (f"version {definitions_version(target)}" for target in targets), fair=True),
        _simulated(targets),
    )


def causes_of(checks: Iterable[FairnessCheckEntry]) -> tuple[Reason, ...]:
    """Return the reasons why targets may not be compared. Each reason occurs only once."""
    return tuple(unique(cause for check in checks if check.result == "fail" for cause in check.causes))


def own_causes(targets: Sequence[ComparedTarget]) -> tuple[Reason, ...]:
    """Return the reasons why the values of a run cannot be used in any comparison.

    `targets` are all targets of the run.
    """
    return causes_of((_valid(targets), _measured(targets)))


def _check(name: str, texts: Iterable[str], causes: Iterable[Reason] = (), *, fair: bool) -> FairnessCheckEntry:
    return FairnessCheckEntry(name, tuple(texts), "pass" if fair else "fail", tuple(causes))


def _valid(targets: Sequence[ComparedTarget]) -> FairnessCheckEntry:
    runs = {target.run.folder: target.run for target in targets}
    verdicts = {folder: validity_of(run.metadata) for folder, run in runs.items()}
    causes: list[Reason] = []
    for folder, run in runs.items():
        mine = [target for target in targets if target.run.folder == folder]
        # if no turn started, that is the reason that the run has no verdict
        over = run.metadata.get("state") == "ended" and not within_warmup(run.metadata)
        if verdicts[folder].status == "no_verdict" and over and not any(target.turn_mask.any() for target in mine):
            causes += [_no_turns(target) for target in mine]
        else:
            causes += invalid_reasons(run.metadata, [target.label for target in mine] if len(runs) > 1 else [])
    texts = [f"{verdicts[target.run.folder].marker} {verdicts[target.run.folder].title}" for target in targets]
    return _check(VALID, texts, causes, fair=all(verdict.status == "valid" for verdict in verdicts.values()))


def _measured(targets: Sequence[ComparedTarget]) -> FairnessCheckEntry:
    """Return the check of whether each target has turns."""
    turn_counts = [int(target.turn_mask.sum()) for target in targets]
    numbers = [plural(n, "turn") if n else NO_TURN for n in turn_counts]
    lacking = [target for target, n in zip(targets, turn_counts, strict=True) if not n]
    causes = [_no_turns(target) for target in lacking if not within_warmup(target.run.metadata)]
    return _check(TURNS, numbers, causes, fair=not lacking)


def _no_turns(target: ComparedTarget) -> Reason:
    """Return a reason such as "new has no turns: 3 sessions ended as connect_failed:401"."""
    ends = target.session_rows["outcome"].dropna().value_counts()
    outcomes = {str(name): int(n) for name, n in ends.items() if n}
    names = {"run_id": target.run.metadata.get("run_id"), "target": target.label, "outcomes": outcomes}
    return Reason("target_without_turns", names)


def throttled_share(target: ComparedTarget) -> float:
    """Return the share of throttled turns, or that of throttled sessions if it is larger."""
    return target.outcomes.targets[target.target].throttled if target.target != ABSENT else 0.0


def throttled_cause(target: ComparedTarget) -> Reason:
    """Return a reason such as "new: 3.1 % was throttled, the limit is 1 %"."""
    return Reason("throttled", {"target": target.label, "share": throttled_share(target)})


def _same_work(targets: Sequence[ComparedTarget], same: str) -> Iterable[FairnessCheckEntry]:
    """Yield the check of whether the workload is the same. If it differs, yield one row for each difference.

    `same` is the name of the row if nothing differs.
    """
    conditions_of_target = scripts if one_run(targets) else workload
    by_target = [conditions_of_target(target.run.metadata, target.name) for target in targets]
    differing = differing_between(by_target)
    for name, texts in differing.items():
        excerpts = [excerpt(text, MAX_TEXT_CHARACTERS) for text in texts]
        values = {target.label: text for target, text in zip(targets, excerpts, strict=True)}
        cause = Reason("workload_differs", {"condition": name, "values": values})
        yield _check(name, excerpts, [cause], fair=False)
    if not differing:
        named = ("scripts", "users")
        works = (
            "; ".join(f"{name} {conditions[name]}" for name in named if name in conditions) or "not recorded"
            for conditions in by_target
        )
        yield _check(same, works, fair=True)


def _mixes(targets: Sequence[ComparedTarget]) -> list[ShareChange | None]:
    """Return, for each candidate, the step whose share differs most from the baseline's.

    The element is None if no share differs significantly.
    """
    return [next(iter(changed_shares(base, cand)), None) for base, cand in matched_to_the_first(targets)]


def one_run(targets: Sequence[ComparedTarget]) -> bool:
    """Return whether all targets belong to the same run."""
    return all(target.run is targets[0].run for target in targets)


def _simulated(targets: Sequence[ComparedTarget]) -> FairnessCheckEntry:
    simulated = [target.label for target in targets if target.simulated]
    live = [target for target in targets if not target.run.recorded]  # recordings may be of any service
    fair = len(simulated) in (0, len(live))
    texts = (
        "◇ SIMULATED" if target.label in simulated else "◉ RECORDED" if target.run.recorded else "a real service"
        for target in targets
    )
    cause = Reason("simulated_differs", {"simulated": simulated})
    return _check(SERVICE, texts, () if fair else (cause,), fair=fair)


def _informational(
    targets: Sequence[ComparedTarget], mixes: Sequence[ShareChange | None], *, differing_lengths: bool
) -> Iterable[FairnessCheckEntry]:
    """Yield the rows for information: sizes of the targets, differences of their sessions, and other differences.

    The other differences are in the settings of the targets, the version of the tool, and the machine.
    """
    rows = {
        "sessions": tuple(plural(target.sessions, "pair" if targets[0].paired else "session") for target in targets)
    }
    rows["failed or not started"] = tuple(
        NONE
        if target.target == ABSENT
        else percent((of := target.outcomes.targets[target.target]).failed_or_not_started, of.turns_planned)
        for target in targets
    )
    if first := next(filter(None, mixes), None):
        shares = [f"{change.step} {percent(change.shares[1], 1)}" if change else "as the baseline" for change in mixes]
        rows["shares of steps"] = (f"{first.step} {percent(first.shares[0], 1)}", *shares)
    if differing_lengths:
        rows["turns in a session"] = tuple(format_number(mean_turns(target)) for target in targets)
    facts = [facts_of_targets(target.run.metadata, target.session_rows, [target.name])[0] for target in targets]
    for key, fact in FACTS.items():
        texts = tuple(getattr(target_facts, key) or NONE for target_facts in facts)
        if len(set(texts)) > 1:
            rows[fact] = texts
    for rows_of in (rows, differing_between([_environment(target) for target in targets])):
        yield from (FairnessCheckEntry(name, texts, "informational") for name, texts in rows_of.items())


def _environment(target: ComparedTarget) -> dict[str, str]:
    document = target.run.metadata
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


def notices_on(targets: Sequence[ComparedTarget]) -> Iterable[str]:
    """Yield the notices to read before the values: first those on the comparison, then those on each run."""
    sizes = [target.sessions for target in targets]
    if min(sizes) and max(sizes) > UNEQUAL * min(sizes):
        counts = join_words([count(n) for n in sizes])
        more = f"One target has more than {UNEQUAL} times the sessions of another ({counts})"
        yield f"{more}, so error rates of tail percentiles are unreliable."
    for (base, target), change in zip(matched_to_the_first(targets), _mixes(targets), strict=True):
        if change:
            was, now = (percent(share, 1) for share in change.shares)
            text = SHARES.format(change.step, was, base.label, now, target.label)
            yield text if changed_lengths(base, target) else text + UNWEIGHTED
    yield from _length_notices(targets)
    first = targets[0]
    sessions = measured_sessions(first.run)
    if first.paired and (interleaving := interleaving_of(first.run.metadata, sessions, len(first.turns.targets))):
        yield interleaved(interleaving)
    if incomplete := first.clusters.cut:
        verb = "is" if incomplete == 1 else "are"
        yield f"{plural(incomplete, 'pair')} without a session of each target {verb} excluded."
    unfinished_rows = [
        target.clusters.of_row[(target.session_rows["outcome_class"] == "unfinished").to_numpy()] for target in targets
    ]
    if first.paired and (unfinished := int(np.unique(np.concatenate(unfinished_rows)).size)):
        verb = "was" if unfinished == 1 else "were"
        yield (
            f"{plural(unfinished, 'pair')} of the {count(first.sessions)} {verb} cut by the end of the run: "
            "their finished turns count here; interim analyses exclude such pairs."
        )
    shares = {
        target.label: target.outcomes.targets[target.target].failure_rate
        for target in targets
        if target.target != ABSENT
    }
    known = {label: share for label, share in shares.items() if share == share}
    if known and max(known.values()) - min(known.values()) > FAIR:
        yield FAILURES_DIFFER.format(join_words([f"{label} {percent(share, 1)}" for label, share in known.items()]))
    yield from one_seed(targets)
    for target in {id(target.run): target for target in targets}.values():
        where = "" if one_run(targets) else f"{target.label}: "
        notices = run_notices(target.run, data_notes(target.run, target.turns, measured_sessions(target.run)))
        yield from (f"{where}{notice}" for notice in notices)


def _length_notices(targets: Sequence[ComparedTarget]) -> Iterable[str]:
    """Yield a notice for each candidate whose sessions have another length than those of the baseline."""
    for base, cand in matched_to_the_first(targets):
        if counts := changed_lengths(base, cand):
            turns = [format_number(mean_turns(target)) for target in (base, cand)]
            excluded = [plural(n, "turn") for n in counts]
            more = EXCLUDED.format(excluded[0], base.label, excluded[1], cand.label) if any(counts) else ""
            yield LENGTHS.format(base.label, turns[0], cand.label, turns[1]) + more


def one_seed(targets: Sequence[ComparedTarget]) -> Iterable[str]:
    """Yield a notice for each simulator whose values are almost equal to those of a simulated baseline.

    Two simulators with the same seed generate the same delays. A comparison of them shows nothing.
    """
    spec, (first, *others) = next(default_specs(targets)), targets
    for target in others:
        same = first.sample(spec).succeeded, target.sample(spec).succeeded
        if first.simulated and target.simulated and have_same_distribution(*same):
            yield (
                f"{first.label} and {target.label} have almost equal values: their {spec.metric} differs less than "
                "independent samples do. If they are two simulators with one seed, restart one of them with another "
                "seed: rtbench simulate --seed 2."
            )
