"""Fairness checks: whether targets differ in other properties than those that the comparison is
about.

A comparison is invalid in these cases: one of its runs is invalid or has no verdict; a target has
no turns; more than 1 % of a target's turns or sessions were throttled; the workload differs; or
only some of the targets were simulated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from msgspec import field

from bench.base.errors import UsageError
from reports.analysis.summary.run_validity import invalid_reasons, validity_of, within_warmup
from reports.analysis.summary.targets import FAIR, TargetFacts, facts_of_targets, interleaving_of
from reports.analysis.targets.compared_target import ABSENT, ComparedTarget, Targets
from reports.analysis.targets.metric_specs import default_specs
from reports.analysis.targets.named import matched_to_the_first
from reports.data.runs import hosts_of, part_of
from reports.data.turns import measured_sessions
from reports.formatting import join_words
from reports.results.json_entries import ClosedJsonEntry, Known, to_json_data
from reports.results.value import Reason, Reasons, unique

if TYPE_CHECKING:
    from reports.analysis.targets.mix import ShareChange

Fairness = Literal["pass", "fail", "informational"]


class FairnessCheck(ClosedJsonEntry):
    """A check of whether targets may be compared. The texts are added when a page or a document
    shows it.

    `remedy` is the remedies of all reasons, as one text; "" if no remedy is known.
    """

    code: str
    """what is checked; `workload:` and a condition if it differs"""
    values: list[Any]
    """one per target"""
    result: Fairness
    reasons: list[Reason] = field(default_factory=list)
    """why the check failed; each names the target that it concerns"""
    name: str = ""
    """what is checked, as a text"""
    texts: list[str] = field(default_factory=list)
    """one per target"""
    remedy: Known = ""


WORKLOAD = "workload:"
"""The beginning of the code of a check that failed because a condition of the workload differs."""
UNEQUAL = 3
"""The largest ratio between the numbers of sessions of two targets. Above it, error rates of
tails are unreliable."""


def refuse_other_definitions(targets: Targets) -> None:
    """Raise UsageError if the runs define metrics of the same name differently."""
    versions = {target.label: definitions_version(target) for target in targets}
    if len(set(versions.values())) > 1:
        texts = join_words([f"{label}: version {version}" for label, version in versions.items()])
        raise UsageError(
            f"these runs cannot be compared: their metrics are defined differently ({texts});"
            " repeat the run with the lower version with this rtbench"
        )


def definitions_version(target: ComparedTarget) -> int:
    """Return the version of the metric definitions with which the target's run was made."""
    return int(target.run.metadata["definitions_version"])


def checks_of(targets: Targets) -> tuple[FairnessCheck, ...]:
    """Return the checks of the comparability: first those that decide, then those for
    information.
    """
    from reports.analysis.targets.mix import changed_lengths

    mixes = _mixes(targets)
    differing_lengths = any(changed_lengths(*pair) for pair in matched_to_the_first(targets))
    deciding = deciding_checks(
        targets, "same_scripts" if any(mixes) or differing_lengths else "same_workload"
    )
    return (*deciding, *_informational(targets, mixes, differing_lengths=differing_lengths))


def deciding_checks(targets: Targets, same: str = "same_workload") -> tuple[FairnessCheck, ...]:
    """Return the checks that decide whether targets may be compared.

    `same` is the code of the check of the workload.
    """
    throttled = [throttled_share(target) for target in targets]
    over = [target for target, share in zip(targets, throttled, strict=True) if share > FAIR]
    return (
        _valid(targets),
        _measured(targets),
        _check("throttled", throttled, map(throttled_cause, over), fair=not over),
        *_same_work(targets, same),
        _check("definitions", map(definitions_version, targets), fair=True),
        _simulated(targets),
    )


def causes_of(checks: Iterable[FairnessCheck]) -> Reasons:
    """Return the reasons why targets may not be compared. Each reason occurs only once."""
    return tuple(
        unique(reason for check in checks if check.result == "fail" for reason in check.reasons)
    )


def own_causes(targets: Targets) -> Reasons:
    """Return the reasons why a run's values cannot be used in any comparison. `targets` are all
    of its targets.
    """
    return causes_of((_valid(targets), _measured(targets)))


def _check(
    code: str, values: Iterable[Any], reasons: Iterable[Reason] = (), *, fair: bool
) -> FairnessCheck:
    return FairnessCheck(code, list(values), "pass" if fair else "fail", list(reasons))


def _valid(targets: Targets) -> FairnessCheck:
    runs = {target.run.folder: target.run for target in targets}
    statuses = {folder: validity_of(run.metadata).status for folder, run in runs.items()}
    causes: list[Reason] = []
    for folder, run in runs.items():
        mine = [target for target in targets if target.run.folder == folder]
        # if no turn started, that is the reason that the run has no verdict
        over = run.metadata.get("state") == "ended" and not within_warmup(run.metadata)
        if (
            statuses[folder] == "no_verdict"
            and over
            and not any(target.turn_mask.any() for target in mine)
        ):
            causes += [_no_turns(target) for target in mine]
        else:
            causes += invalid_reasons(
                run.metadata, [target.label for target in mine] if len(runs) > 1 else []
            )
    values = [statuses[target.run.folder] for target in targets]
    return _check("run_valid", values, causes, fair=set(values) == {"valid"})


def _measured(targets: Targets) -> FairnessCheck:
    """Return the check of whether each target has turns."""
    turns = [int(target.turn_mask.sum()) for target in targets]
    lacking = [target for target, n in zip(targets, turns, strict=True) if not n]
    causes = [_no_turns(target) for target in lacking if not within_warmup(target.run.metadata)]
    return _check("turns", turns, causes, fair=not lacking)


def _no_turns(target: ComparedTarget) -> Reason:
    """Return a reason such as "new has no turns: 3 sessions ended as connect_failed:401"."""
    ends = target.session_rows["outcome"].dropna().value_counts()
    outcomes = {str(name): int(n) for name, n in ends.items() if n}
    names = {
        "run_id": target.run.metadata.get("run_id"),
        "target": target.label,
        "outcomes": outcomes,
    }
    return Reason("target_without_turns", names)


def throttled_share(target: ComparedTarget) -> float:
    """Return the share of throttled turns, or that of throttled sessions if it is larger."""
    return target.outcomes.targets[target.target].throttled if target.target != ABSENT else 0.0


def throttled_cause(target: ComparedTarget) -> Reason:
    """Return a reason such as "new: 3.1 % was throttled, the limit is 1 %"."""
    return Reason("throttled", {"target": target.label, "share": throttled_share(target)})


def _same_work(targets: Targets, same: str) -> Iterable[FairnessCheck]:
    """Yield the check of the workload, with the code `same`; if it differs, one check for each
    difference.
    """
    from reports.analysis.targets.conditions import differing_between, scripts, workload

    conditions_of_target = scripts if one_run(targets) else workload
    by_target = [conditions_of_target(target.run.metadata, target.name) for target in targets]
    differing = differing_between(by_target)
    for code, texts in differing.items():
        values = {target.label: text for target, text in zip(targets, texts, strict=True)}
        reason = Reason("workload_differs", {"condition": code, "values": values})
        yield _check(f"{WORKLOAD}{code}", texts, [reason], fair=False)
    if not differing:
        named = [
            {key: text for key in ("scripts", "num_users") if (text := of.get(key))}
            for of in by_target
        ]
        yield _check(same, named, fair=True)


def _mixes(targets: Targets) -> list[ShareChange | None]:
    """Return, for each candidate, the step whose share differs most from the baseline's.

    The element is None if no share differs significantly.
    """
    from reports.analysis.targets.mix import changed_shares

    return [
        next(iter(changed_shares(base, cand)), None) for base, cand in matched_to_the_first(targets)
    ]


def one_run(targets: Targets) -> bool:
    """Return whether all targets belong to the same run."""
    return all(target.run is targets[0].run for target in targets)


def _simulated(targets: Targets) -> FairnessCheck:
    kinds = [
        "simulated" if t.simulated else "recorded" if t.run.recorded else "real" for t in targets
    ]
    simulated = [target.label for target in targets if target.simulated]
    # recordings may be of any service
    live = [target for target in targets if not target.run.recorded]
    fair = len(simulated) in (0, len(live))
    return _check(
        "service",
        kinds,
        () if fair else [Reason("simulated_differs", {"simulated": simulated})],
        fair=fair,
    )


def _informational(
    targets: Targets,
    mixes: Sequence[ShareChange | None],
    *,
    differing_lengths: bool,
) -> Iterable[FairnessCheck]:
    """Yield the checks for information: sizes, settings of the targets, the version of the tool,
    and the machine.
    """
    from reports.analysis.targets.conditions import differing_between
    from reports.analysis.targets.mix import mean_turns

    outcomes = [
        None if target.target == ABSENT else target.outcomes.targets[target.target]
        for target in targets
    ]
    rows: dict[str, Sequence[Any]] = {
        "pairs" if targets[0].paired else "sessions": [target.sessions for target in targets],
        "failed_or_not_started": [
            of and [of.failed_or_not_started, of.turns_planned] for of in outcomes
        ],
    }
    if first := next(filter(None, mixes), None):
        rows["step_shares"] = [
            (first.step, first.shares[0]),
            *(of and (of.step, of.shares[1]) for of in mixes),
        ]
    if differing_lengths:
        rows["session_turns"] = [mean_turns(target) for target in targets]
    facts = [
        facts_of_targets(target.run.metadata, target.session_rows, [target.name])[0]
        for target in targets
    ]
    for name in TargetFacts.__struct_fields__[1:]:
        values = [getattr(of_target, name) for of_target in facts]
        if len({value or None for value in values}) > 1:
            rows[name] = values
    for checked in (rows, differing_between([_environment(target) for target in targets])):
        yield from (
            FairnessCheck(name, list(values), "informational") for name, values in checked.items()
        )


def _environment(target: ComparedTarget) -> dict[str, str]:
    from reports.analysis.targets.conditions import setting_text

    document = target.run.metadata
    host = part_of(document, "host")
    packages = host.get("packages") or {}
    surroundings = {
        "rtbench": part_of(document, "tool").get("version"),
        "seed": part_of(document, "settings").get("seed"),
        "interleaved": document.get("interleaved"),
        "host": ", ".join(str(host.get("name")) for host in hosts_of(document)),
        **{name: host.get(name) for name in ("cpu", "cpus", "kernel", "python")},
        **{f"package {name}": version for name, version in packages.items()},
    }
    return {name: setting_text(value) for name, value in surroundings.items() if value is not None}


def notices_on(targets: Targets) -> Iterable[Reason]:
    """Yield the notices on the comparison that do not depend on its metrics."""
    from reports.analysis.targets.mix import changed_lengths, mean_turns

    sizes = [target.sessions for target in targets]
    if min(sizes) and max(sizes) > UNEQUAL * min(sizes):
        yield Reason("unequal_sessions", {"there": sizes, "ratio": UNEQUAL})
    for (base, cand), change in zip(matched_to_the_first(targets), _mixes(targets), strict=True):
        labels = {"targets": [base.label, cand.label]}
        lengths = changed_lengths(base, cand)
        if change:
            numbers = {
                "step": change.step,
                "shares": list(change.shares),
                "rates_weighted": lengths is not None,
            }
            yield Reason("step_shares_differ", labels | numbers)
        if lengths:
            turns = [mean_turns(target) for target in (base, cand)]
            yield Reason(
                "session_lengths_differ", labels | {"turns": turns, "excluded": list(lengths)}
            )
    first = targets[0]
    sessions = measured_sessions(first.run)
    if first.paired and (
        interleaving := interleaving_of(first.run.metadata, sessions, len(first.turns.targets))
    ):
        yield Reason("interleaved", to_json_data(interleaving))
    if incomplete := first.clusters.cut:
        yield Reason("incomplete_pairs", {"there": [incomplete]})
    unfinished_rows = [
        target.clusters.of_row[(target.session_rows["outcome_class"] == "unfinished").to_numpy()]
        for target in targets
    ]
    if first.paired and (unfinished := int(np.unique(np.concatenate(unfinished_rows)).size)):
        yield Reason("unfinished_pairs", {"there": [unfinished], "pairs": first.sessions})
    shares = {
        target.label: target.outcomes.targets[target.target].failure_rate
        for target in targets
        if target.target != ABSENT
    }
    known = {label: share for label, share in shares.items() if share == share}
    if known and max(known.values()) - min(known.values()) > FAIR:
        yield Reason("failures_differ", {"shares": known})
    yield from one_seed(targets)


def one_seed(targets: Targets) -> Iterable[Reason]:
    """Yield a notice for each simulator whose values are almost equal to those of a simulated
    baseline.

    Two simulators with the same seed generate the same delays. A comparison of them shows nothing.
    """
    from reports.statistics.autocorrelation import have_same_distribution

    spec, (first, *others) = next(default_specs(targets)), targets
    for target in others:
        same = first.sample(spec).succeeded, target.sample(spec).succeeded
        if first.simulated and target.simulated and have_same_distribution(*same):
            yield Reason(
                "one_seed", {"targets": [first.label, target.label], "metric": spec.metric}
            )
