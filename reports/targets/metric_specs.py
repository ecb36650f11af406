"""The metric specs of compared targets: one per stratum of their turns, and the default ones. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from bench.metrics import CATALOGUE, ORIGIN
from reports.metric_spec import POINTS, MetricSpec
from reports.rate_metrics import OF_COLUMNS
from reports.samples import VOICE_TO_VOICE
from reports.statistic_types.mean import Mean
from reports.statistic_types.quantile import MARGINS, Quantile, margin_of
from reports.statistic_types.rate import Rate
from reports.statistic_types.typical_change import TypicalChange
from reports.statistics.differences import Margin
from reports.statistics.verdicts import turns_to_decide
from reports.strata import MEASURED_FROM_TEXTS, Stratum
from reports.targets.compared_target import ComparedTarget
from reports.thresholds import Threshold

MAIN = "ttfa"
"""The main metric of targets without any turn."""
SECONDARY = (
    *(
        (VOICE_TO_VOICE, 0.5),
        (VOICE_TO_VOICE, 0.95),
        ("response_total", 0.5),
        ("transcript_total", 0.5),
        ("input_transcript", 0.5),
        ("input_transcript_first", 0.5),
        ("transcript_lag", 0.5),
    ),
    *(("connect_total", 0.5), ("session_ready", 0.5), ("audio_sent", 0.5), ("audio_received", 0.5)),
)
"""Quantiles that are compared in addition to those of the main metric."""


SLOPE_MS = 10.0
"""The accepted increase of a latency per 1,000 tokens: 0.1 s in a conversation of 10,000."""
COMPARED = tuple(rate.name for rate in OF_COLUMNS if rate.better != "neither")
MEASURED_FROM_DIFFERS = {"measured_from": (True,), "speech_end": (True, False)}
"""Whether turns with different `measured_from` are in different strata, by the instant at which a metric starts.

If there is a second value, it is for targets without a common stratum.
"""


def by_stratum(question: MetricSpec, sides: Sequence[ComparedTarget]) -> list[MetricSpec]:
    """Return the metric specs for these targets: one for each common stratum, if there are several.

    Turn types are never pooled. Metrics that start at the turn's `measured_from` instant, or at the end of speech, are
    not pooled over `measured_from` either. Rates are pooled. If there is no common stratum, the baseline's most
    frequent stratum is used, and its spec has no result. A primary metric also has a spec for each stratum that the
    baseline has and another target lacks, so that no gate disappears.
    """
    if not question.statistic.per_stratum or CATALOGUE[question.metric].scope != "turn":
        return [question]
    if question.stratum is not None and question.stratum.measured_from:
        return [question]
    begun, common = list[Counter[Stratum]](), list[Stratum]()
    for origins in MEASURED_FROM_DIFFERS.get(CATALOGUE[question.metric].begin, (False,)):
        begun = _counted([side.turns_started_in(side.steps(question)) for side in sides], origins=origins)
        common = _common(begun)
        if len({stratum for of in begun for stratum in of}) < 2:
            return [question]
        if common:
            break
    lacked = _missing(begun[0], common) if question.primary else []
    known = next(of for of in begun if of)
    return [replace(question, stratum=one) for one in [*common, *lacked] or [max(known, key=known.__getitem__)]]


def specs_of_thresholds(
    threshold: Threshold, question: MetricSpec, sides: Sequence[ComparedTarget]
) -> list[MetricSpec]:
    """Return the metric specs of a threshold for these targets, one per stratum.

    `question`: the metric spec that the threshold is about.
    """
    every = by_stratum(question, sides)
    if not threshold.measured_from:
        return every
    chosen = [one for one in every if one.stratum and one.stratum.measured_from == threshold.measured_from]
    there = {
        stratum.measured_from
        for side in sides
        for stratum, n in side.turns_started_in(side.steps(question)).items()
        if n
    }
    if chosen or there == {threshold.measured_from}:
        return chosen or every
    turn_type = question.stratum.turn_type if question.stratum else ""
    return [replace(question, stratum=Stratum(threshold.measured_from, turn_type))]


def instants_of(threshold: Threshold, sides: Sequence[ComparedTarget]) -> list[str]:
    """Return the instants from which turns are measured, if there are several and the threshold names none of them."""
    known = CATALOGUE.get(threshold.metric)
    if known is None or known.begin != ORIGIN or threshold.measured_from:
        return []
    asked = by_stratum(threshold.about, sides)
    found = {one.stratum.measured_from for one in asked if one.stratum and one.stratum.measured_from}
    return [origin for origin in MEASURED_FROM_TEXTS if origin in found] if len(found) > 1 else []


def _counted(begun: Sequence[Mapping[Stratum, int]], *, origins: bool) -> list[Counter[Stratum]]:
    """Return the number of turns of each target by stratum.

    Strata have no `measured_from` if it is the same for all turns, or if `origins` is False.
    """
    several = origins and len({stratum.measured_from for of in begun for stratum, n in of.items() if n}) > 1
    merged = [Counter[Stratum]() for _ in begun]
    for turns, sums in zip(begun, merged, strict=True):
        for stratum, n in turns.items():
            if n:
                sums[stratum if several else stratum._replace(measured_from="")] += n
    return merged


def common_strata(sides: Sequence[ComparedTarget]) -> list[Stratum]:
    """Return the strata of turns that all targets have, the most frequent first. Targets without turns are ignored."""
    return _common([side.turns_started for side in sides])


def _common(begun: Sequence[Mapping[Stratum, int]]) -> list[Stratum]:
    known = [of for of in begun if any(of.values())]
    common = [stratum for stratum in (known[0] if known else ()) if all(of.get(stratum) for of in known)]
    return sorted(common, key=lambda stratum: -sum(of[stratum] for of in known))


def _missing(baseline: Mapping[Stratum, int], common: Sequence[Stratum]) -> list[Stratum]:
    """Return the strata that the baseline has and another target lacks.

    Turn types with too few turns to decide on their median are left out.
    """
    return [
        stratum
        for stratum, n in baseline.items()
        if n and stratum not in common and (n >= turns_to_decide(0.5) or not stratum.turn_type)
    ]


def default_specs(sides: Sequence[ComparedTarget]) -> Iterator[MetricSpec]:
    """Yield the default metric specs, the primary ones first.

    The primary metrics are the failure rate, and p50 and p95 of the main metric, for the most frequent common stratum
    and for the strata that the baseline has and another target lacks. If targets have no stratum in common, the main
    metric is that of the audible reply, which has one definition for all starts of a reply. The secondary metrics are
    the latencies of all strata, and all other metrics for the turn type of the first stratum. Specs are yielded one by
    one, because it takes long to find the metrics that the targets have.
    """
    strata = common_strata(sides)
    begun = {stratum for side in sides for stratum, n in side.turns_started.items() if n}
    lacked = _missing(sides[0].turns_started, strata) if strata else []
    main = _main(sides, strata[0]) if strata else VOICE_TO_VOICE if begun else MAIN
    first = _requested(strata[0], begun) if strata else None
    mains = [(first, main), *((_requested(stratum, begun), sides[0].main_metrics[stratum]) for stratum in lacked)]
    primary = [MetricSpec(name, Quantile(p), margin_of(p), True, at) for at, name in mains for p in (0.5, 0.95)]
    yield from (asked for question in primary for asked in by_stratum(question, sides))
    yield MetricSpec("failure_rate", Rate(), Margin(points=POINTS), primary=True)
    others = [(_requested(stratum, begun), _main(sides, stratum)) for stratum in strata[1:]]
    paired = all(side.paired for side in sides)
    centre = [MetricSpec(main, TypicalChange(), Margin(ratio=MARGINS[0.5]), stratum=first)] if paired else []
    secondary = [
        *(MetricSpec(name, Quantile(p), margin_of(p, name)) for name, p in SECONDARY if name != main),
        MetricSpec("latency_slope", Quantile(0.5), Margin(plus=SLOPE_MS), stratum=first),
        *(MetricSpec(name, Rate(), Margin(points=POINTS)) for name in ("stall_rate", "throttle_rate", *COMPARED)),
        MetricSpec("audio_speed", Mean(), margin_of(0.5, "audio_speed")),
    ]
    rest = [
        *(one for one in centre if int(sides[0].steps(one).sum()) > 1),
        *(MetricSpec(main, Quantile(p), margin_of(p), stratum=first) for p in (0.9, 0.99)),
        *(MetricSpec(name, Quantile(p), margin_of(p), stratum=at) for at, name in others for p in (0.5, 0.95)),
        *(
            asked
            for question in secondary
            for asked in by_stratum(question, sides)
            if question.metric == VOICE_TO_VOICE
            or not (asked.stratum and first)
            or asked.stratum.turn_type == first.turn_type
        ),
    ]
    yield from (question for question in rest if _known(question, sides))


def _requested(stratum: Stratum, begun: Collection[Stratum]) -> Stratum | None:
    """Return the stratum of a metric spec; None if there is only one. `begun`: all strata that have turns."""
    if len(begun) < 2:
        return None
    return stratum if len({one.measured_from for one in begun}) > 1 else stratum._replace(measured_from="")


def _main(sides: Sequence[ComparedTarget], stratum: Stratum) -> str:
    """Return the main metric of most of the targets that have turns of a stratum."""
    named = [side.main_metrics[stratum] for side in sides if side.turns_started.get(stratum)]
    return max(named, key=named.count)


def _known(question: MetricSpec, sides: Sequence[ComparedTarget]) -> bool:
    """Return whether the baseline and another target have a value of the metric.

    For a throttle rate: return whether any target was throttled.
    """
    if question.metric == "throttle_rate":
        return any(side.counts(question)[0].any() for side in sides)
    base, *others = (question.statistic.counts(side, question).turns for side in sides)
    return base > 0 and any(others)
