"""Metric comparisons in sentences, which are the same in every form of output. Pure.

If two services are compared, one is slower or faster than the other. If a candidate is compared
with its baseline, it has regressed or improved (`Judged.peers`).
"""

import math
from collections.abc import Iterable, Sequence

from bench.catalogue.metrics import CATALOGUE
from reports.engine.judge import Judged
from reports.formatting import NBSP, count, format_number, join_present, join_words
from reports.results.value import VerdictName
from reports.statistics.differences import MAX_SESSIONS_RATIO
from reports.statistics.verdicts import NOT_AFTER_HOLM
from reports.text import reasons, verdicts
from reports.text.comparison_rows import (
    ONE_IN,
    change_in_words,
    change_of,
    direction_of,
    displayed_verdict,
    is_lower,
    range_of,
    size,
    value_text,
)
from reports.text.verdicts import NOT_SHOWN, share

WORST: tuple[VerdictName, ...] = (
    "regressed",
    "inconclusive",
    "improved",
    "not_regressed",
    "equivalent",
)
"""The verdicts in the order of their priority. The verdict on several primary metrics together is
the first verdict of this list that one of them has.
"""
VERBS: dict[VerdictName, str] = {
    "regressed": "regressed",
    "not_regressed": "has not regressed",
    "improved": "improved",
}
"""The verbs of the verdicts on a candidate that is compared with a baseline."""
HAPPENS = {
    "failure_rate": "fail or do not start",
    "throttle_rate": "are throttled",
    "stall_rate": "stall",
}
RUNS_DIFFER = (
    "More sessions would not decide it, because two runs differ by chance: measure both targets in"
    " one run (--targets), or compare with five stored runs (rtbench baseline save)."
)


def overall(primary: Sequence[Judged]) -> VerdictName | None:
    """Return the verdict on several primary metrics together; None if there is no primary
    metric.
    """
    names = {one.verdict.name for one in primary}
    return next((verdict for verdict in WORST if verdict in names), None)


def worst_first(primary: Sequence[Judged]) -> list[tuple[VerdictName | None, list[Judged]]]:
    """Group the primary metrics by candidate, with the worst candidate first. Each group has its
    joint verdict.
    """
    groups: dict[str, list[Judged]] = {}
    for one in primary:
        groups.setdefault(one.target, []).append(one)

    def rank(mine: Sequence[Judged]) -> tuple[int, float]:
        representative = subject(mine)
        distance = _reach(representative)
        name = representative.verdict.name
        return WORST.index(name), distance if name == "improved" else -distance

    return [(overall(mine), mine) for mine in sorted(groups.values(), key=rank)]


def displayed_overall(primary: Sequence[Judged]) -> str:
    """Return the displayed joint verdict of primary metrics, such as `slower` or `regressed`; "" if
    there are none.

    Of two services, one may be slower although it is unknown whether this exceeds the margin.
    """
    if not primary:
        return ""
    one = subject(primary)
    is_known = one.direction and one.difference and one.difference.is_nonzero(len(primary))
    if one.peers and one.verdict.name == "inconclusive" and is_known:
        return f"{direction_of(one)}, margin undecided"
    return displayed(one)


def displayed(comparison: Judged) -> str:
    """Return the displayed verdict of a comparison."""
    return displayed_verdict(comparison.verdict.name, comparison.spec, peers=comparison.peers)


def headline(primary: Sequence[Judged]) -> str:
    """Return a sentence with the result of the primary metrics. With several candidates, it is
    about the worst one.
    """
    if not primary:
        return "There is no verdict, because there is no primary metric."
    _, mine = worst_first(primary)[0]
    return _opening(subject(mine), mine)


def headline_details(primary: Sequence[Judged], *, settle: bool = True) -> str:
    """Return the text after the `headline`: its confidence, and the other metrics of the same
    candidate.

    If `settle`, the text also has the number of sessions that would decide the inconclusive
    metrics.
    """
    if not primary:
        return ""
    verdict, mine = worst_first(primary)[0]
    representative = subject(mine)
    parts = [_confidence(representative), *_others(mine, representative)]
    if verdict == "inconclusive" and settle:
        parts.append(settling([one for one in mine if one.verdict.name == verdict]))
    return join_present(" ", *parts)


def settling(inconclusive: Sequence[Judged]) -> str:
    """Return how many sessions would decide these metrics, or that more sessions are unlikely to
    decide them.

    With several metrics, the text starts with the largest number. Then it has the number of each
    metric.
    """
    endless = [one for one in inconclusive if math.isinf(one.required_sessions)]
    finite = [one for one in inconclusive if math.isfinite(one.required_sessions)]
    if any(one.runs_differ for one in endless):
        return RUNS_DIFFER
    needs = [
        (one.spec.title, f"more than {count(MAX_SESSIONS_RATIO * max(one.each('sessions')))}")
        for one in endless
    ]
    for one in sorted(finite, key=lambda one: -one.required_sessions):
        is_minimum = one.verdict.reason is not None and one.verdict.reason.code == "too_few"
        needs.append(
            (
                one.spec.title,
                f"{'at least' if is_minimum else 'about'} {count(int(one.required_sessions))}",
            )
        )
    if not needs:
        return ""
    units = "pairs" if all(one.cluster == "pair" for one in inconclusive) else "sessions per target"
    (name, number), *others = needs
    listed = join_words([f"{name} needs {number}", *(" ".join(other) for other in others)])
    if endless:
        return f"More {units} are unlikely to decide {'all metrics' if others else 'it'}: {listed}."
    needed = f"{number[:1].upper()}{number[1:]} {units} decide"
    return f"{needed} all metrics: {listed}." if others else f"{needed} {name}."


def sentence(comparison: Judged) -> str:
    """Return one comparison as text. Its verdict is the first sentence."""
    is_open = comparison.verdict.name == "inconclusive" and not comparison.verdict.reason
    details = settling([comparison]) if is_open else _confidence(comparison)
    return join_present(" ", _opening(comparison, [comparison]), details)


def _opening(comparison: Judged, primary: Sequence[Judged]) -> str:
    """Return the first sentence, with the verdict. The comparison represents all metrics of
    `primary`.
    """
    spec = comparison.spec
    verdict = comparison.verdict.name
    difference = comparison.difference
    label = comparison.target
    base = comparison.baseline
    margin = spec.margin_text()
    change = change_in_words(comparison)
    if verdict == "inconclusive" or difference is None:
        return _inconclusive(comparison, primary)
    verb = f"is {displayed(comparison)} than {base}" if comparison.peers else VERBS.get(verdict, "")
    longer = f"{spec.title} is {size(difference.d, comparison, longer=True)}"
    if verdict == "regressed":
        return (
            f"{label} {verb}:"
            f" {_so_far(comparison, f'{size(difference.d, comparison)} than on {base}')}."
        )
    if verdict == "improved":
        return f"{label} {verb}: {longer}{'' if comparison.peers else f' than on {base}'}."
    if comparison.direction == "worse":
        return (
            f"{label} is {direction_of(comparison)} than {base}, but within the margin of {margin}:"
            f" {longer}."
        )
    if verdict == "not_regressed":
        return (
            f"{label} {verb}: {spec.title} differs by {change}, which is within the margin of"
            f" {margin}."
        )
    than = f" to {base}" if comparison.peers else ""
    return f"{label} is equivalent{than}: {spec.title} differs by {change}, within ±{margin}."


def _inconclusive(comparison: Judged, primary: Sequence[Judged]) -> str:
    reason = comparison.verdict.reason
    name = comparison.spec.title
    label = comparison.target
    lead, details = reasons.parts(reason)
    margin = comparison.spec.margin_text()
    code = reason.code if reason else ""
    if comparison.direction == "worse":
        after = (
            " after Holm’s correction"
            if reason == NOT_AFTER_HOLM
            else f" ({details})"
            if details
            else ""
        )
        now = _so_far(comparison, range_of(comparison, longer=False))
        worse = f"{label} is {direction_of(comparison)} than {comparison.baseline}: {now}"
        return f"{worse}. Whether this exceeds the margin of {margin} is inconclusive{after}."
    if comparison.direction == "better" and comparison.peers:
        better = (
            f"{label} is {direction_of(comparison)} than {comparison.baseline}: {name} is"
            f" {range_of(comparison)}"
        )
        return f"{better}. Whether this exceeds the margin of {margin} is inconclusive."
    if code == "none_seen":
        passed = join_words([one.spec.title for one in primary if one.verdict.passes])
        which = f"{label} passes on {passed}; its {name}" if passed else f"The {name} of {label}"
        return f"{which} is inconclusive: {lead or details}, and the margin is {margin}."
    inconclusive = f"Inconclusive on {label}"
    if lead:
        return f"{inconclusive} ({lead}): {details}."
    if comparison.difference is None or math.isnan(comparison.difference.d):
        if code == "uncertain":
            return f"{inconclusive}: {name} is {details}."
        absent = code in ("no_turns", "no_value", "no_ratio", "no_analysis")
        return (
            f"{inconclusive}: {details}."
            if absent
            else f"{inconclusive}: {name}: {details or 'no estimate'}."
        )
    may = f"{inconclusive}: {name} may be {range_of(comparison)} and the margin is {margin}"
    return f"{may} ({details})." if details else f"{may}."


def _confidence(comparison: Judged) -> str:
    """Return the confidence that the candidate has regressed, and the minimum size of the
    regression; else "".
    """
    difference = comparison.difference
    spec = comparison.spec
    if difference is None or comparison.verdict.name != "regressed":
        return ""
    sure = f"With {format_number(100 * (1 - difference.level))}{NBSP}% confidence it is at least"
    bound = difference.low if is_lower(spec) else difference.high
    minimum = (
        f"{sure} {size(bound, comparison, longer=True)}; the" if math.isfinite(bound) else "The"
    )
    return f"{minimum} margin is {spec.margin_text()}."


def _so_far(comparison: Judged, more: str) -> str:
    """Return a sentence part about a metric that became worse. `more` is the size, such as `65 %
    more than on direct`.

    Example: `one turn in twenty now takes longer than 2.64 s, 65 % more than on direct (ttfa p95)`.
    """
    difference = comparison.difference
    spec = comparison.spec
    peers = comparison.peers
    assert difference is not None, "what became worse has a difference"
    now = "" if peers else "now "
    value = value_text(difference.candidate, spec)
    if spec.metric in HAPPENS:
        noun = "replies" if spec.metric == "stall_rate" else "turns"
        return f"{share(difference.candidate)}{NBSP}% of its {noun} {HAPPENS[spec.metric]}, {more}"
    if spec.p not in ONE_IN or not verdicts.is_latency(spec):
        return f"{spec.title} is {value}, {more}"
    which = ONE_IN[spec.p].format(CATALOGUE[spec.metric].scope)
    several = spec.p == 0.5
    if math.isinf(difference.candidate):
        was = (
            f"on {comparison.baseline} it {'is' if peers else 'was'}"
            f" {value_text(difference.baseline, spec)}"
        )
        return f"{which} {now}{'fail' if several else 'fails'} ({spec.title}; {was})"
    return (
        f"{which} {now}{'take' if several else 'takes'} longer than {value}, {more} ({spec.title})"
    )


def subject(primary: Sequence[Judged]) -> Judged:
    """Return the comparison that represents several: the one with the worst verdict.

    If several comparisons have this verdict, it is the one that is farthest beyond its margin.
    """
    verdict = overall(primary)

    def priority(one: Judged) -> tuple[bool, bool, float]:
        unseen = one.verdict.reason is not None and one.verdict.reason.code == "none_seen"
        return not unseen, verdict == "inconclusive" and one.direction == "worse", _reach(one)

    return max((one for one in primary if one.verdict.name == verdict), key=priority)


def _reach(comparison: Judged) -> float:
    """Return how far the metric is beyond its margin: the deciding bound as a multiple of the
    margin.

    If an interim analysis decided the metric, the difference itself is used instead of the bound.
    """
    difference = comparison.difference
    margin = comparison.spec.margin
    if difference is None:
        return math.inf
    bound = {"regressed": difference.worse.low, "improved": difference.better.low}.get(
        comparison.verdict.name, difference.worse.high
    )
    if comparison.analysis is not None:
        bound = difference.d if is_lower(comparison.spec) else -difference.d
    accepted = {"points": margin.points, "slope": margin.plus, "ratio": math.log1p(margin.ratio)}[
        difference.scale
    ]
    return bound / max(accepted, 0.005)


def _others(mine: Sequence[Judged], representative: Judged) -> Iterable[str]:
    """Yield a sentence for each verdict that other primary metrics have, such as `Also
    regressed: ttfa p50 +57 %.`.
    """
    others = sorted(
        (one for one in mine if one is not representative),
        key=lambda one: WORST.index(one.verdict.name),
    )
    groups: dict[tuple[VerdictName, str], list[Judged]] = {}
    for one in others:
        groups.setdefault((one.verdict.name, displayed(one)), []).append(one)
    for (verdict, text), group in groups.items():
        lead = f"{'Also ' if verdict == representative.verdict.name else ''}{text}"
        changes = (
            f"{one.spec.title} {change_of(one)}".removesuffix(f" {NOT_SHOWN}") for one in group
        )
        details = (
            "; ".join(map(_undecided, group)) if verdict == "inconclusive" else ", ".join(changes)
        )
        yield f"{lead[:1].upper()}{lead[1:]}: {details}."


def _undecided(comparison: Judged) -> str:
    """Return the text of an inconclusive metric, such as `ttfa p95, 10 to 23 % longer (margin 20
    %)`.

    For a rate of which no event occurred, the text has the values that the rate may have.
    """
    name = comparison.spec.title
    difference = comparison.difference
    reason = comparison.verdict.reason
    lead, details = reasons.parts(reason)
    if reason and reason.code == "none_seen":
        return f"{name}: {lead or details}"
    if difference is None or math.isnan(difference.d) or comparison.shortfall:
        return f"{name}: {lead or details}" if lead or details else name
    parts = filter(None, (f"margin {comparison.spec.margin_text()}", reasons.reason_text(reason)))
    return f"{name}, {range_of(comparison)} ({'; '.join(parts)})"
