"""The metric specs of a comparison. A spec names a metric, a statistic, a margin, and a stratum of
turns. Pure.

If targets have turns of several strata, each stratum has its own spec. This module also has the
default specs.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from bench.catalogue.metrics import CATALOGUE, ORIGIN
from reports.analysis.targets.compared_target import Targets
from reports.data.samples import FUNCTION_VOICE_TO_VOICE, MAINS, VOICE_TO_VOICE
from reports.metrics.metric_spec import POINTS, MetricSpec
from reports.metrics.rate_metrics import RATES
from reports.metrics.statistic_types.quantile import MARGINS, Quantile, margin_of
from reports.metrics.statistic_types.rate import Rate, Within
from reports.metrics.strata import MEASURED_FROM_TEXTS, Stratum
from reports.metrics.thresholds import Threshold, recorded
from reports.results.value import Reason
from reports.statistics.differences import Margin
from reports.statistics.verdicts import turns_to_decide

MAIN = "ttfa"
"""The main metric if no target has turns."""
SECONDARY = (
    (VOICE_TO_VOICE, 0.5),
    (VOICE_TO_VOICE, 0.95),
    ("voice_to_voice_minus_network_delay", 0.5),
    ("voice_to_voice_minus_network_delay", 0.95),
    ("response_total", 0.5),
    ("transcript_total", 0.5),
    ("input_transcript", 0.5),
    ("input_transcript_first", 0.5),
    ("transcript_lag", 0.5),
    ("function_call_to_answer", 0.5),
    ("dead_air", 0.5),
    ("dead_air", 0.95),
    ("connect_total", 0.5),
    ("session_ready", 0.5),
    ("greeting", 0.5),
    ("answer_to_greeting", 0.5),
    ("post_dial_delay", 0.5),
    ("return_gap", 0.5),
    ("reconnect_time", 0.5),
    ("audio_sent", 0.5),
    ("audio_received", 0.5),
)
"""The quantiles that are compared in addition to those of the main metric: metric and level."""
LOSSES = ("rtp_loss", "rtp_late_share", "peer_rtp_loss")
"""The lost and the late packets of calls with RTP. Their means are compared."""
OF_ALL_TURN_TYPES = (VOICE_TO_VOICE, FUNCTION_VOICE_TO_VOICE, "function_call_to_answer", "dead_air")
"""The metrics that are compared for all turn types. The others are compared for that of the most
frequent stratum."""


SLOPE_MS = 10.0
"""The accepted increase of a latency in ms per 1,000 tokens. It is 0.1 s in a conversation of
10,000 tokens."""
COMPARED = tuple(
    rate.name
    for rate in RATES.values()
    if (rate.column or rate.of_metric) and rate.better != "neither"
)
MEASURED_FROM_DIFFERS = {"measured_from": (True,), "speech_end": (True, False)}
"""The metrics for which turns that differ in `measured_from` are in different strata.

A key is the instant at which such a metric starts. True means different strata. The first value
applies. If targets then have no common stratum, the second value applies, if there is one. Metrics
with another start have the value False.
"""


def by_stratum(spec: MetricSpec, targets: Targets) -> list[MetricSpec]:
    """Return the metric specs that replace `spec` for these targets: one per common stratum, if
    there are several.

    Turns of different types are never in one sample. Turns that differ in `measured_from` are not
    in one sample either, if the metric starts at this instant or at the end of speech. Rates
    include the turns of all strata. If targets have no common stratum, the most frequent stratum of
    the baseline is used, and its spec has no result. A primary metric also has a spec for each
    stratum that the baseline has and another target lacks. So no primary metric disappears.
    """
    if not spec.statistic.per_stratum or CATALOGUE[spec.metric].scope != "turn":
        return [spec]
    if spec.stratum is not None and spec.stratum.measured_from:
        return [spec]
    turn_counts = list[Counter[Stratum]]()
    common = list[Stratum]()
    for by_measured_from in MEASURED_FROM_DIFFERS.get(CATALOGUE[spec.metric].begin, (False,)):
        turn_counts = _counted(
            [target.turns_started_in(target.steps(spec)) for target in targets],
            by_measured_from=by_measured_from,
        )
        common = _common(turn_counts)
        if len({stratum for of in turn_counts for stratum in of}) < 2:
            return [spec]
        if common:
            break
    lacked = _missing(turn_counts[0], common) if spec.primary else []
    known = next(of for of in turn_counts if of)
    strata = [*common, *lacked] or [max(known, key=known.__getitem__)]
    return [replace(spec, stratum=stratum) for stratum in strata]


def specs_of_thresholds(
    threshold: Threshold, threshold_spec: MetricSpec, targets: Targets
) -> list[MetricSpec]:
    """Return the metric specs of a threshold for these targets: one per stratum.

    `threshold_spec` is the spec of the threshold, before it is divided into strata.
    """
    specs = by_stratum(threshold_spec, targets)
    if not threshold.measured_from:
        return specs
    chosen = [
        spec
        for spec in specs
        if spec.stratum and spec.stratum.measured_from == threshold.measured_from
    ]
    there = {
        stratum.measured_from
        for target in targets
        for stratum, n in target.turns_started_in(target.steps(threshold_spec)).items()
        if n
    }
    if chosen or there == {threshold.measured_from}:
        return chosen or specs
    turn_type = threshold_spec.stratum.turn_type if threshold_spec.stratum else ""
    return [replace(threshold_spec, stratum=Stratum(threshold.measured_from, turn_type))]


def instants_of(threshold: Threshold, targets: Targets) -> list[str]:
    """Return the instants from which the threshold's turns are measured; [] if one, or if the
    threshold names it.
    """
    known = CATALOGUE.get(threshold.metric)
    if known is None or known.begin != ORIGIN or threshold.measured_from:
        return []
    specs = by_stratum(threshold.about, targets)
    instants = {
        spec.stratum.measured_from for spec in specs if spec.stratum and spec.stratum.measured_from
    }
    return (
        [instant for instant in MEASURED_FROM_TEXTS if instant in instants]
        if len(instants) > 1
        else []
    )


def _counted(
    turn_counts: Sequence[Mapping[Stratum, int]], *, by_measured_from: bool
) -> list[Counter[Stratum]]:
    """Return the number of turns of each target in each stratum.

    The `measured_from` of the strata is empty if it is the same for all turns, or if
    `by_measured_from` is False.
    """
    several = (
        by_measured_from
        and len({stratum.measured_from for of in turn_counts for stratum, n in of.items() if n}) > 1
    )
    merged = [Counter[Stratum]() for _ in turn_counts]
    for turns, sums in zip(turn_counts, merged, strict=True):
        for stratum, n in turns.items():
            if n:
                sums[stratum if several else stratum._replace(measured_from="")] += n
    return merged


def common_strata(targets: Targets) -> list[Stratum]:
    """Return the strata that all targets have, the most frequent first. Targets without turns
    are ignored.
    """
    return _common([target.turns_started for target in targets])


def _common(turn_counts: Sequence[Mapping[Stratum, int]]) -> list[Stratum]:
    known = [of for of in turn_counts if any(of.values())]
    common = [
        stratum for stratum in (known[0] if known else ()) if all(of.get(stratum) for of in known)
    ]
    return sorted(common, key=lambda stratum: -sum(of[stratum] for of in known))


def _missing(baseline: Mapping[Stratum, int], common: Sequence[Stratum]) -> list[Stratum]:
    """Return the strata that the baseline has and that are not common to all targets.

    A stratum with a special turn type is left out if it has too few turns to decide on its median.
    """
    return [
        stratum
        for stratum, n in baseline.items()
        if n and stratum not in common and (n >= turns_to_decide(0.5) or not stratum.turn_type)
    ]


def default_specs(targets: Targets) -> Iterator[MetricSpec]:
    """Yield the default metric specs, one by one, because it takes long to find the metrics that
    the targets have.

    The primary metrics come first: the failure rate, p50 and p95 of the main metric, and of the
    answer of turns with function calls (`_answers`), in the most frequent common stratum, and in
    each that the baseline has and another target lacks. If targets have no common stratum, the main
    metric is `voice_to_voice`, which is the same for all ways to start a reply. The secondary
    metrics are the latencies of all strata, and all other metrics for the turn type of the most
    frequent stratum.
    """
    from reports.metrics.statistic_types.mean import Mean
    from reports.metrics.statistic_types.typical_change import TypicalChange

    strata = common_strata(targets)
    started = {stratum for target in targets for stratum, n in target.turns_started.items() if n}
    lacked = _missing(targets[0].turns_started, strata) if strata else []
    main = _main(targets, strata[0]) if strata else VOICE_TO_VOICE if started else MAIN
    first = _requested(strata[0], started) if strata else None
    mains = [
        (first, main),
        *((_requested(stratum, started), targets[0].main_metrics[stratum]) for stratum in lacked),
    ]
    primary = [
        MetricSpec(name, Quantile(p), margin_of(p), True, at)
        for at, name in mains
        for p in (0.5, 0.95)
    ]
    yield from (stratum_spec for spec in primary for stratum_spec in by_stratum(spec, targets))
    yield from _answers(targets, strata)
    yield MetricSpec("failure_rate", Rate(), Margin(points=POINTS), primary=True)
    others = [(_requested(stratum, started), _main(targets, stratum)) for stratum in strata[1:]]
    paired = all(target.paired for target in targets)
    centre = (
        [MetricSpec(main, TypicalChange(), Margin(ratio=MARGINS[0.5]), stratum=first)]
        if paired
        else []
    )
    secondary = [
        *(
            MetricSpec(name, Quantile(p), margin_of(p, name))
            for name, p in SECONDARY
            if name != main
        ),
        MetricSpec("latency_slope", Quantile(0.5), Margin(plus=SLOPE_MS), stratum=first),
        *(
            MetricSpec(name, Rate(), Margin(points=POINTS))
            for name in ("stall_rate", "throttle_rate", *COMPARED)
        ),
        *(MetricSpec(name, Mean(), margin_of(0.5, name)) for name in ("audio_speed", *LOSSES)),
        *_shares(targets),
    ]
    remaining = [
        *(spec for spec in centre if int(targets[0].steps(spec).sum()) > 1),
        *(MetricSpec(main, Quantile(p), margin_of(p), stratum=first) for p in (0.9, 0.99)),
        *(
            MetricSpec(name, Quantile(p), margin_of(p), stratum=at)
            for at, name in others
            for p in (0.5, 0.95)
        ),
        *(
            stratum_spec
            for spec in secondary
            for stratum_spec in by_stratum(spec, targets)
            if spec.metric in OF_ALL_TURN_TYPES
            or spec.statistic.deadline_ms
            or not (stratum_spec.stratum and first)
            or stratum_spec.stratum.turn_type == first.turn_type
        ),
    ]
    yield from (spec for spec in remaining if _known(spec, targets))


def _answers(targets: Targets, strata: Sequence[Stratum]) -> Iterator[MetricSpec]:
    """Yield the primary specs of the spoken answer of turns with function calls, if the baseline
    has such answers.

    The first sound of such turns may be a filler. `strata` are the common strata, the most frequent
    first. In a stratum that is not the most frequent one, a quantile is primary only if each target
    has enough turns to decide on it.
    """
    for p in (0.5, 0.95):
        spec = MetricSpec(FUNCTION_VOICE_TO_VOICE, Quantile(p), margin_of(p), primary=True)
        for of_stratum in by_stratum(spec, targets):
            turns = [of_stratum.statistic.counts(target, of_stratum).turns for target in targets]
            is_first = (
                not strata or of_stratum.stratum is None or of_stratum.stratum.covers(strata[0])
            )
            if turns[0] and (is_first or min(turns) >= turns_to_decide(p)):
                yield of_stratum


def _shares(targets: Targets) -> list[MetricSpec]:
    """Return the specs of the shares by a deadline that thresholds of the runs limit.

    Turns with tools also have the share of answers by DEADLINE_MS, if no threshold has a deadline
    of the answer.
    """
    from reports.analysis.summary.tools import DEADLINE_MS

    runs = {id(target.run): target.run for target in targets}.values()
    known = [
        (t.metric, t.statistic, t.step)
        for run in runs
        for t in recorded(run.metadata).thresholds
        if t.statistic.deadline_ms
    ]
    if all(metric != FUNCTION_VOICE_TO_VOICE for metric, _, _ in known):
        known.append((FUNCTION_VOICE_TO_VOICE, Within(DEADLINE_MS), ""))
    margin = Margin(points=POINTS)
    return [
        MetricSpec(metric, statistic, margin, step=step)
        for metric, statistic, step in dict.fromkeys(known)
    ]


def lacking_notices(targets: Targets) -> Iterator[Reason]:
    """Yield a notice for the targets that lack default metrics of turns which another target has.

    A target without any of these metrics has no notice, because all of its turns failed.
    """
    turn_metrics = (name for name, _ in SECONDARY if CATALOGUE[name].scope == "turn")
    specs = [MetricSpec(name, Quantile(0.5)) for name in dict.fromkeys((*MAINS, *turn_metrics))]
    having = {
        target.label: [spec.metric for spec in specs if target.sample(spec).succeeded.size]
        for target in targets
    }
    known = [
        spec.metric for spec in specs if any(spec.metric in names for names in having.values())
    ]
    lacking: dict[tuple[str, ...], list[str]] = {}
    for label, names in having.items():
        if names and (lacked := tuple(name for name in known if name not in names)):
            lacking.setdefault(lacked, []).append(label)
    for lacked, labels in lacking.items():
        yield Reason("lacking_metrics", {"targets": labels, "metrics": list(lacked)})


def _requested(stratum: Stratum, started: Collection[Stratum]) -> Stratum | None:
    """Return the stratum that a metric spec must name; None if there is only one.

    `started` are all strata that have turns. If all strata have the same `measured_from`, it is
    left out.
    """
    if len(started) < 2:
        return None
    return (
        stratum
        if len({other.measured_from for other in started}) > 1
        else stratum._replace(measured_from="")
    )


def _main(targets: Targets, stratum: Stratum) -> str:
    """Return the main metric of a stratum.

    If targets differ in it, return the first of MAINS that all targets with turns of the stratum
    have. If they have none in common, return that of most of these targets.
    """
    having = [target for target in targets if target.turns_started.get(stratum)]
    named = [target.main_metrics[stratum] for target in having]
    if len(set(named)) == 1:
        return named[0]
    specs = {name: MetricSpec(name, Quantile(0.5), stratum=stratum) for name in MAINS}
    common = (
        name
        for name, spec in specs.items()
        if all(target.sample(spec).succeeded.size for target in having)
    )
    return next(common, max(named, key=named.count))


def _known(spec: MetricSpec, targets: Targets) -> bool:
    """Return whether the baseline and at least one other target have a value of the metric.

    For a throttle rate or a packet loss, there must also be an event on a target. In telephone
    calls, the result is False for session_ready, because it repeats connect_total.
    """
    from reports.analysis.summary.targets import called_by_telephone

    if spec.metric == "session_ready" and all(
        t.name in called_by_telephone(t.run.metadata) for t in targets
    ):
        return False
    if spec.metric == "throttle_rate":
        return any(target.counts(spec)[0].any() for target in targets)
    if spec.metric in LOSSES and not any(target.totals(spec)[0].any() for target in targets):
        return False
    base, *others = (
        spec.statistic.counts(target, spec).turns + target.unscored(spec) for target in targets
    )
    return base > 0 and any(others)
