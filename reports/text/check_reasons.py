"""The sentences of the reasons that only checks have: notes on thresholds, notices, warnings,
and the baseline.
"""

import math
from collections.abc import Mapping
from functools import partial

from reports.formatting import NBSP, count, join_words, percent, plural
from reports.metrics.strata import MEASURED_FROM_PHRASES
from reports.statistics.baselines import RATE_RUN_SD, RUN_SD
from reports.text.invalid import Numbers, Sentence
from reports.text.phrases import interval
from reports.text.settings import condition_name
from reports.text.verdicts import OWN_DRIFT, OWN_DRIFT_INTERIM, in_unit, share

UNKNOWN = "unknown"
RUN_TO_RUN = f"{100 * RUN_SD:g}{NBSP}% for latencies and {100 * RATE_RUN_SD:g}{NBSP}% for rates"
"""The run-to-run variation that is assumed for an unchanged service, as a text."""
DEPENDENCE = {
    "drift": "{} drifted during the run",
    "bursts": (
        "{} had bursts during the run, which are slow or failed sessions that follow each other"
    ),
}
"""For each type of autocorrelation, a clause with the names of the values in which it was found."""


def unequal_reason(sessions: int, effective_sessions: float, unit: str = "session") -> str:
    """Return a text such as "60 sessions of unequal length count as 3.9"."""
    counted = (
        f"{effective_sessions:,.0f}" if effective_sessions >= 10 else f"{effective_sessions:.1f}"
    )
    return f"{sessions:,} {unit}s of unequal length count as {counted}"


def _condition_differs(n: Numbers) -> str:
    values = f"{n['this_run'] or UNKNOWN} in this run, {n['baseline'] or UNKNOWN} in the baseline"
    option = f" (--allow-different {n['allow']})" if n["allow"] else ""
    return f"{n['target']}: {condition_name(n['condition'])}: {values}{option}"


def _few_long_sessions(n: Numbers) -> str:
    write = partial(in_unit, n["unit"])
    value, low, high = n["ends"]
    return (
        "Long sessions differ from short ones, and a few sessions contain many of the turns; with"
        f" equal weight per session, the value is {write(value)} ({interval(low, high, write)})"
    )


def _sessions_may_fail(n: Numbers) -> str:
    first, most = (f"{share(value)}{NBSP}%" for value in n["shares"])
    return (
        f"no session of {count(n['sessions'])} failed completely, but up to {most} may fail; the"
        f" limit is passed only if fewer than {first} do"
    )


def _decided_early(n: Numbers) -> str:
    bound = f"the {'upper' if n['is_upper'] else 'lower'} bound, {_number(n, 'bound')}"
    place = f"interim analysis{NBSP}{n['analysis']} stopped the run at call {count(n['sessions'])}"
    error = f"type I error {share(n['error'])}{NBSP}%"
    return (
        f"{place} by {bound} ({error}); after such a stop, the value is on average too far from the"
        " limit"
    )


def _number(n: Numbers, name: str) -> str:
    """Return a number in its unit. In a document, a value or a bound among failed turns is null."""
    return in_unit(n["unit"], math.inf if n[name] is None else n[name])


def _stopped_early(n: Numbers) -> str:
    texts = [
        f"{one['threshold']} of {one['target']}" if one["target"] else one["threshold"]
        for one in n["failed"]
    ]
    first = n["failed"][0]
    value = (
        f"{_number(first, 'value')}, at {'most' if first['is_upper'] else 'least'}"
        f" {_number(first, 'bound')}"
    )
    return f"stopped at {_call(n)}: {join_words(texts)} cannot pass ({value})"


def _call(n: Numbers) -> str:
    """Return the call at which a run stopped, such as `call 120 of 400`, or `call 120, 30 % of
    the run`.
    """
    of = f" of {count(n['planned'])}" if n["planned"] else f", {percent(n['share'], 1)} of the run"
    return f"call {count(n['sessions'])}{of}"


def _several_instants(n: Numbers) -> str:
    instants = join_words([MEASURED_FROM_PHRASES[instant] for instant in n["instants"]])
    return f"{n['threshold']} is tested {instants}; to test only one of them, write `{n['one']}`."


def _unequal_lengths(n: Numbers) -> str:
    texts = (
        f"{unequal_reason(of['sessions'], of['effective_sessions'])} for {of['metric']}"
        for of in n["metrics"]
    )
    return (
        f"Sessions of unequal length count as fewer: {'; '.join(dict.fromkeys(texts))}. Bounds are"
        " widened accordingly. If long sessions are also slower, they can still be too narrow: the"
        " type I error is up to 13 %, not 5 %."
    )


def _dependent_sessions(n: Numbers) -> str:
    clauses = [DEPENDENCE[order].format(join_words(names)) for order, names in n["values"].items()]
    return (
        f"{'; '.join(clauses)}. Neighbouring sessions are autocorrelated, so parts of the run are"
        " counted instead of sessions, and these verdicts are provisional: if the true value is"
        f" exactly at the limit, {OWN_DRIFT}. A longer run reduces this error."
    )


def _steady_phase_drifted(n: Numbers) -> str:
    from reports.text.remarks import drift_suspected

    run = f"{n['run']}: " if n["run"] else ""
    return (
        f"{run}Drift of the steady phase is {drift_suspected(n['drifts'])}. The values depend on"
        " the time of the measurement, so these verdicts are provisional."
    )


SENTENCES: Mapping[str, Sentence] = {
    "decided_by": lambda n: (
        f"decided by the {'upper' if n['is_upper'] else 'lower'} bound,"
        f" {in_unit(n['unit'], n['bound'])}"
    ),
    "decided_early": _decided_early,
    "stopped_early": _stopped_early,
    "checked_until_stop": lambda n: (
        f"a threshold stopped the run at {_call(n)}: other thresholds are checked with the calls"
        " until then, so their values may be biased"
    ),
    "few_long_sessions": _few_long_sessions,
    "sessions_may_fail": _sessions_may_fail,
    "several_instants": _several_instants,
    "unequal_lengths": _unequal_lengths,
    "dependent_sessions": _dependent_sessions,
    "several_limits": lambda n: (
        f"Each of the {n['limits']} limits is tested by itself, with a type I error of 5 %. If all"
        " true values were exactly at the limits, at least one would fail by chance in 5 to"
        f" {100 * n['share']:.0f} % of runs, less often the more they are correlated."
    ),
    "interrupted": (
        "the run was interrupted before its planned end: the verdict covers the turns until then,"
        " and is biased if the run was interrupted because of its results"
    ),
    "run_refused": lambda n: (
        f"the run ended early, and the verdict covers the turns until then: {n['problem']}"
    ),
    "thresholds_not_read": lambda n: (
        "This version cannot read, and ignores, thresholds that are recorded with the run: "
        f"{', '.join(n['thresholds'])}."
    ),
    "no_turn_succeeded": lambda n: f"no turn of {n['target']} succeeded",
    "baseline_not_used": (
        "No threshold is relative, so the baseline was not used: add one, such as ttfa:"
        ' "p(95)<+20%".'
    ),
    "run_sd_assumed": (
        "Provisional: fewer than five stored runs are too few to estimate run-to-run variation; a"
        f" standard deviation of {RUN_TO_RUN} was assumed. Store five runs to estimate it."
    ),
    "steady_phase_drifted": _steady_phase_drifted,
    "drift_in_analyses": lambda n: (
        f"{join_words(n['metrics'])}: provisional: one target drifted or had bursts, so parts of"
        " the run were counted, not pairs. If the true value is exactly on the margin,"
        f" {OWN_DRIFT_INTERIM}."
    ),
    "pairs_after_analysis": lambda n: (
        f"{plural(n['pairs'], 'complete pair')} ended after that analysis; the verdict excludes"
        " them."
    ),
    "stored_elsewhere": lambda n: f"{n['path']} belongs to {n['of']}, not to its folder: ignored.",
    "stored_twice": lambda n: (
        f"{n['path']} belongs to {n['of']}, which is stored already: ignored, because a run counts"
        " once."
    ),
    "checked_run_stored": lambda n: (
        f"The checked run is itself stored in {n['baselines_dir']}: it is excluded from the"
        f" baseline of {n['target']}."
    ),
    "stored_runs_excluded": lambda n: (
        f"{plural(n['runs'], 'stored run')} of {n['target']} excluded because of: "
        f"{join_words([*map(condition_name, n['conditions'])])}."
    ),
    "condition_differs": _condition_differs,
    "stored_run_throttled": lambda n: (
        f"{n['target']}: throttle_rate: {percent(n['share'], 1)} in {n['run_id']}"
    ),
    "target_of_run": lambda n: f"{n['target']}, in the same run",
    "other_run": lambda n: f"{', '.join(n['targets'])} of {n['run']}",
    "stored_runs": lambda n: join_words(
        [f"{plural(runs, 'stored run')} of {of}" for runs, of in n["stored"]]
    ),
    "interim_analyses": lambda n: f"{n['target']}, in the same run, by its interim analyses",
}
