"""The texts of fairness checks, and the sentences of the notices on a comparison."""

from collections.abc import Callable, Mapping
from typing import Any

from reports.analysis.summary.run_validity import TITLES
from reports.analysis.summary.targets import FAIR, Interleaving
from reports.analysis.targets.fairness import WORKLOAD, FairnessCheck
from reports.formatting import (
    NBSP,
    NONE,
    count,
    excerpt,
    format_number,
    join_present,
    join_words,
    percent,
    plural,
)
from reports.render.blocks import MARKS
from reports.text.invalid import Numbers
from reports.text.remarks import interleaved
from reports.text.settings import FACTS, condition_name
from reports.text.verdicts import OWN_DRIFT, difference_interval

MAX_TEXT_CHARACTERS = 90
"""The maximum number of characters of a condition that differs. It may be a long text."""
CHECK_NAMES = {
    "run_valid": "run valid",
    "turns": "turns",
    "throttled": f"throttled turns, limit {100 * FAIR:g}{NBSP}%",
    "same_workload": "same workload",
    "same_scripts": "same scripts",
    "definitions": "definitions of metrics",
    "service": "kind of service",
    "pairs": "sessions",
    "failed_or_not_started": "failed or not started",
    "step_shares": "shares of steps",
    "session_turns": "turns in a session",
    "sessions_with_failures": "sessions with a failed turn",
    **FACTS,
}
"""The names of the checks. A condition of the workload has its own name. The code of any other
check is its name."""
SERVICES = {"simulated": "◇ SIMULATED", "recorded": "◉ RECORDED", "real": "a real service"}
FAILURES_DIFFER = (
    f"Failure rates of the targets differ by more than {100 * FAIR:g}{NBSP}point ({{}}): examine"
    " the failures first."
)


def check_name(check: FairnessCheck) -> str:
    _, is_condition, condition = check.code.partition(WORKLOAD)
    return condition_name(condition) if is_condition else CHECK_NAMES.get(check.code, check.code)


def check_texts(check: FairnessCheck) -> list[str]:
    """Return the text of each target."""
    if write := VALUES.get(check.code):
        return [write(value) for value in check.values]
    texts = [str(value or NONE) for value in check.values]
    return (
        [excerpt(text, MAX_TEXT_CHARACTERS) for text in texts] if check.result == "fail" else texts
    )


def _status(status: Any) -> str:
    title = TITLES[status]
    return f"{MARKS[title].marker} {title}"


def _share_of_failures(value: Any) -> str:
    if value is None:
        return NONE
    share, *ends = value
    return percent(share, 1) + (
        f" ({difference_interval(ends[0], ends[1], 'points')} points)" if ends else ""
    )


VALUES: Mapping[str, Callable[[Any], str]] = {
    "run_valid": _status,
    "turns": lambda n: plural(n, "turn") if n else "no turn",
    "throttled": lambda share: percent(share, 1),
    **dict.fromkeys(
        ("same_workload", "same_scripts"),
        lambda values: (
            "; ".join(f"{condition_name(code)} {text}" for code, text in values.items())
            or "not recorded"
        ),
    ),
    "definitions": lambda version: f"version {version}",
    "service": SERVICES.__getitem__,
    "sessions": lambda n: plural(n, "session"),
    "pairs": lambda n: plural(n, "pair"),
    "failed_or_not_started": lambda counts: percent(*counts) if counts else NONE,
    "step_shares": lambda step: f"{step[0]} {percent(step[1], 1)}" if step else "as the baseline",
    "session_turns": format_number,
    "sessions_with_failures": _share_of_failures,
}
"""For each check with numbers, a function that writes the value of a target."""


def _unequal_sessions(numbers: Numbers) -> str:
    sizes = join_words([count(n) for n in numbers["there"]])
    more = f"One target has more than {numbers['ratio']} times the sessions of another ({sizes})"
    return f"{more}, so error rates of tail percentiles are unreliable."


def _step_shares(numbers: Numbers) -> str:
    base, cand = numbers["targets"]
    was, now = [percent(share, 1) for share in numbers["shares"]]
    differ = (
        f"The shares of steps differ: {numbers['step']} has {was} of the turns of {base} and {now}"
        " of the turns of"
    )
    weights = (
        f"{cand}. Percentiles are compared after weighting the steps of {cand} to the shares of"
        f" {base}"
    )
    rates = "" if numbers["rates_weighted"] else " Rates and means are not weighted."
    return f"{differ} {weights}, so they differ from those of a report.{rates}"


def _session_lengths(numbers: Numbers) -> str:
    base, cand = numbers["targets"]
    turns = [format_number(n) for n in numbers["turns"]]
    text = (
        f"Sessions differ in length: {base} has {turns[0]} turns in a session, and {cand} has"
        f" {turns[1]}. Percentiles, rates and means are compared after weighting the turns of"
        f" {cand} by their number in the session to the shares of {base}, so they differ from those"
        " of a report."
    )
    if not any(numbers["excluded"]):
        return text
    of_base, of_cand = (plural(n, "turn") for n in numbers["excluded"])
    excluded = f"{of_base} of {base} and {of_cand} of {cand} are excluded"
    return f"{text} {excluded}, because the other target has too few with these numbers."


def _incomplete(numbers: Numbers) -> str:
    (pairs,) = numbers["there"]
    return (
        f"{plural(pairs, 'pair')} without a session of each target {'is' if pairs == 1 else 'are'}"
        " excluded."
    )


def _unfinished(numbers: Numbers) -> str:
    (pairs,) = numbers["there"]
    cut = (
        f"{plural(pairs, 'pair')} of the {count(numbers['pairs'])}"
        f" {'was' if pairs == 1 else 'were'} cut"
    )
    return (
        f"{cut} by the end of the run: their finished turns count here; interim analyses exclude"
        " such pairs."
    )


def _one_seed(numbers: Numbers) -> str:
    first, other = numbers["targets"]
    return (
        f"{first} and {other} have almost equal values: their {numbers['metric']} differs less than"
        " independent samples do. If they are two simulators with one seed, restart one of them"
        " with another seed: rtbench simulate --seed 2."
    )


def _lacking(numbers: Numbers) -> str:
    targets = numbers["targets"]
    metrics = numbers["metrics"]
    has = "has" if len(targets) == 1 else "have"
    these = "it is" if len(metrics) == 1 else "these are"
    return f"{join_words(targets)} {has} no {join_words(metrics)}, so {these} not compared there."


def _widened(numbers: Numbers) -> str:
    allow = f"allow for the uncertainty of each value: {numbers['errors']}"
    return (
        f"Intervals of {join_words(numbers['metrics'])} {allow}."
        if "metrics" in numbers
        else f"the bounds {allow}"
    )


def _coarse_ticks(numbers: Numbers) -> str:
    tick, margin = (f"{format_number(numbers[name])}{NBSP}ms" for name in ("tick_ms", "margin_ms"))
    wider = (
        f"{numbers['statistic']}<+{format_number(100 * numbers['ratio'])}% and"
        f" +{format_number(numbers['tick_ms'])}ms"
    )
    return (
        f"{numbers['metric']} has steps of {tick}, and its margin is {margin}: a change below a"
        f" step may exceed it. Allow a step, too: {wider}."
    )


def _metrics_of_targets(numbers: Numbers) -> str:
    """Return the names of metrics. If there are several candidates, each has the name of its
    candidate.
    """
    return join_words(
        [f"{metric} of {target}" if target else metric for metric, target in numbers["metrics"]]
    )


SENTENCES: Mapping[str, Callable[[Numbers], str]] = {
    "unequal_sessions": _unequal_sessions,
    "step_shares_differ": _step_shares,
    "session_lengths_differ": _session_lengths,
    "interleaved": lambda numbers: interleaved(Interleaving(**numbers)),
    "incomplete_pairs": _incomplete,
    "unfinished_pairs": _unfinished,
    "failures_differ": lambda numbers: FAILURES_DIFFER.format(
        join_words([f"{label} {percent(share, 1)}" for label, share in numbers["shares"].items()])
    ),
    "one_seed": _one_seed,
    "lacking_metrics": _lacking,
    "widened": _widened,
    "by_length": lambda n: (
        f"The change of {join_words(n['metrics'])} differs between long and short sessions,"
        " and a few sessions contain many of the turns: the bound in the direction of the long"
        " sessions allows for an unseen session."
    ),
    "coarse_ticks": _coarse_ticks,
    "metrics_drifted": lambda n: (
        f"Latency of one target drifted ({_metrics_of_targets(n)}): neighbouring"
        f" {n['unit']}s are autocorrelated. Quarters of the run are resampled, and these"
        f" verdicts are provisional: if the true value is exactly on the margin, {OWN_DRIFT}. A"
        " longer run reduces this error. In 1 of 20 metrics without drift, drift is found by"
        " chance."
    ),
    "metrics_had_bursts": lambda n: (
        f"Failures or slow turns of one target occurred in bursts ({_metrics_of_targets(n)})."
        f" Sixths of the run are counted, not {n['unit']}s, and these verdicts are"
        " provisional: the run may have missed rarer bursts. A longer run is more reliable. In 1"
        " of 30 metrics without bursts, bursts are found by chance."
    ),
    "ended_by_analyses": lambda n: (
        f"{n['run']} was ended by interim analyses, so a test of a fixed size has a larger"
        f" type I error than its confidence states; `rtbench check {n['folder']}` shows the"
        " decision of the analyses."
    ),
    "run_notice": lambda n: join_present(": ", n.get("target", ""), n["notice"]),
}
