"""The parsing of absolute thresholds, which have the syntax of k6, of relative thresholds, and of
the option --metric.

ttfa: ["p(95)<800", "med<500"]             against a limit, in the unit of the metric
failure_rate: ["rate<0.01"]
voice_to_voice: ["within(2000)>0.95"]        the share of turns by a deadline in ms
ttfa: ["p(95)<+20%", "p(95)<+20% and +30ms"]   against the baseline
ttfa: [{threshold: "p(95)<800", abort: true}]     the run stops as soon as the threshold fails
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from bench.base.errors import INVALID_VALUE, Mistakes, UsageError, see
from bench.base.suggestions import did_you_mean
from bench.catalogue.metrics import (
    BYTES_PER_S,
    CATALOGUE,
    ORIGIN,
    REGULAR,
    SLOPE,
    TURN_TYPES,
    Better,
    turn_type_of,
)
from bench.catalogue.other_names import meant_metric
from bench.catalogue.threshold_form import THRESHOLD
from bench.files.sanitize import excerpt
from bench.files.yaml_file import LocatedValue, PythonValue, read_yaml
from reports.metrics.argument_names import option_of_text
from reports.metrics.metric_spec import WRITTEN_NUMBER, MetricSpec, Statistic
from reports.metrics.rate_metrics import RATES
from reports.metrics.statistic_types.mean import Mean
from reports.metrics.statistic_types.of_parts import OF_PARTS, OfParts
from reports.metrics.statistic_types.quantile import Quantile
from reports.metrics.statistic_types.rate import Rate, Within
from reports.metrics.strata import MEASURED_FROM_TEXTS, Stratum
from reports.results.value import Sign
from reports.statistics.differences import Margin

STATISTICS = (Quantile, Mean, Rate, Within)
Unit = Literal["ms", "×", "n", "%", "ms/1k tokens", "B/s", "share"]
ONLY_IN_K6 = ("max", "min", "count")
"""The aggregates that k6 has but that a threshold cannot use here. A single turn determines `max`
and `min`, and `max` grows with the number of turns. `count` grows with the length of the run."""


@dataclass(frozen=True)
class ThresholdMetric:
    """A metric that may have thresholds.

    `of_sessions` is True if it is a metric of sessions. `signed` is True if a value may be
    negative, so that a percentage of it has no meaning.
    """

    name: str
    unit: Unit
    better: Better
    of_sessions: bool = False
    signed: bool = False
    only: Statistic | None = None
    """The only statistic of a value of a run with a peak of load, or with events."""

    @property
    def aggregates(self) -> tuple[str, ...]:
        """The aggregates that a threshold on the metric may use."""
        if self.only is not None:
            return (self.only.aggregate,)
        return tuple(
            name
            for statistic in STATISTICS
            for name in statistic.aggregates(self.unit, self.better)
        )

    def of(self, statistic: Statistic) -> ThresholdMetric:
        """Return what a threshold limits: the metric, or, for a share by a deadline, this share."""
        if statistic.unit(self.name) == self.unit:
            return self
        name = statistic.title(self.name)
        better = statistic.better(self.name)
        return replace(
            self, name=name, unit=cast(Unit, statistic.unit(self.name)), better=better, signed=False
        )


THRESHOLD_METRICS = {
    **{
        metric.name: ThresholdMetric(
            metric.name,
            cast(Unit, metric.unit),
            metric.better,
            metric.scope == "session",
            metric.signed,
        )
        for metric in CATALOGUE.values()
        if metric.scope in ("turn", "session")
    },
    **{
        rate.name: ThresholdMetric(rate.name, "share", rate.better, bool(rate.of_metric))
        for rate in RATES.values()
    },
    **{
        name: ThresholdMetric(name, cast(Unit, unit), "lower", True, only=OfParts(name))
        for name, (unit, _) in OF_PARTS.items()
    },
}
"""The metrics that may have thresholds, by name."""


def metric_named(name: str) -> ThresholdMetric:
    """Return the metric of this name.

    Raise UsageError if there is no such metric, or if the metric cannot have thresholds.
    """
    if name in THRESHOLD_METRICS:
        return THRESHOLD_METRICS[name]
    if name in CATALOGUE:
        raise UsageError(
            f"{name} cannot be a threshold: it is counted over events, so its variance between"
            " sessions is unknown"
        )
    raise UsageError(
        f"there is no metric {quoted(name)}{meant_metric(name, THRESHOLD_METRICS)} {see('metrics')}"
        " lists them"
    )


def quoted(text: str) -> str:
    """Return a text in quotes. It is on one line, and shortened if it is long."""
    return f'"{excerpt(text, 60)}"'


def near(name: str, known: Iterable[str]) -> str:
    """Return a piece of an error message: `; did you mean ttfa?`, or `;` if no known name is
    similar.
    """
    return did_you_mean(name, known) or ";"


_LIMIT = re.compile(rf"(-?(?:{WRITTEN_NUMBER}))\s*([A-Za-z%×/]*)")
_STEP = re.compile(rf"([+-])\s*({WRITTEN_NUMBER})\s*([a-z%×]*)")
_AND = re.compile(r"\s+and\s+")


class LimitForm(NamedTuple):
    """The syntax of a limit in one unit.

    `factors` is the factor of each suffix. `limits` is examples of limits. `threshold` is an
    example of a threshold.
    """

    factors: Mapping[str, int | Fraction]
    limits: str
    threshold: str


FORMS: dict[Unit, LimitForm] = {
    "ms": LimitForm({"": 1, "ms": 1, "s": 1000}, "800, 800ms or 0.8s", "p(95)<800"),
    "×": LimitForm({"": 1, "x": 1, "×": 1}, "1.2", "p(5)>1.2"),
    "n": LimitForm({"": 1}, "2", "p(95)<2"),
    "%": LimitForm({"": 1, "%": 1}, "80 or 80%", "med>60"),
    SLOPE: LimitForm({"": 1, "ms": 1}, "20 or 20ms", "med<20"),
    BYTES_PER_S: LimitForm(
        {"": 1, "B/s": 1, "kB/s": 1_000, "MB/s": 1_000_000},
        "30000, 30kB/s or 0.03MB/s",
        "med>30kB/s",
    ),
    "share": LimitForm({"": 1, "%": Fraction(1, 100)}, "0.01 or 1%", "rate<0.01"),
}
POINTS: Mapping[str, int | Fraction] = {"": 1, "pt": Fraction(1, 100)}
"""The suffixes that the margin of a rate may have, each with its factor."""


def limit_of(text: str, metric: ThresholdMetric) -> float:
    """Parse a limit, such as `800ms`, in the unit of the metric. Raise UsageError with the
    allowed forms.
    """
    match = _LIMIT.fullmatch(text)
    form = FORMS[metric.unit]
    if not match or match[2] not in form.factors:
        raise UsageError(
            f"{quoted(text)} is not a limit of {metric.name}: write it as {form.limits}"
        )
    limit = float(Fraction(match[1]) * form.factors[match[2]])
    if metric.unit == "share" and not 0 <= limit <= 1:
        raise UsageError(
            f"{quoted(text)} is not a limit of {metric.name}: a rate is from 0 to 1, such as 0.01"
            " or 1%"
        )
    return limit


def read_margin(text: str, metric: ThresholdMetric) -> Margin:
    """Parse a margin, such as `+20%`, `+30ms`, or `+20% and +30ms`. If more is better, the sign
    is a minus: `-10%`.
    """
    sizes: dict[str, float] = {}
    for piece in _AND.split(text):
        match = _STEP.fullmatch(piece)
        size = _size(match[1], Fraction(match[2]), match[3], metric) if match else None
        if size is None or size[0] in sizes:
            sign = "negative"
            example = "-1pt" if metric.unit == "share" else "-10%"
            if metric.better != "higher":
                sign = "positive"
                example = MARGINS.get(metric.unit, "+20%")
            raise UsageError(
                f"{quoted(text)} is not a margin of {metric.name}: {metric.better} values are"
                f" better, so the margin is {sign}: write {example}"
            )
        sizes[size[0]] = size[1]
    return Margin(**sizes)


MARGINS: dict[Unit, str] = {
    "ms": "+20%, or +20% and +30ms",
    "share": "+0.01 or +1pt",
    SLOPE: "+20ms, per 1,000 tokens",
}
"""Examples of margins on metrics of which less is better. Other units have only `+20%`."""


def _size(
    sign: str, number: Fraction, unit: str, metric: ThresholdMetric
) -> tuple[str, float] | None:
    """Convert one piece of a margin. Return (the name of a field of `Margin`, its value).

    Return None if the metric cannot have such a margin. If more is better, a margin of −10 %
    accepts 0.9 of the baseline. The field `ratio` is written for metrics of which less is better,
    so its value is then 1/0.9 − 1.
    """
    is_higher = metric.better == "higher"
    if sign != ("-" if is_higher else "+"):
        return None
    if metric.unit == "share":
        return (
            ("points", float(number * POINTS[unit]))
            if unit in POINTS and number * POINTS[unit] < 1
            else None
        )
    if metric.unit == SLOPE:
        return ("plus", float(number)) if unit == "ms" else None
    if unit == "%" and is_higher:
        return ("ratio", float(1 / (1 - number / 100) - 1)) if number < 100 else None
    if unit == "%":
        return "ratio", float(number / 100)
    if unit in ("ms", "s") and metric.unit == "ms" and not is_higher:
        return "plus", float(number * FORMS["ms"].factors[unit])
    return None


SIGNS: dict[str, Sign] = {"<": "<", "<=": "<=", ">": ">", ">=": ">="}
_SHORT = re.compile(r"^([a-z]+)(\d{1,18}(?:\.\d{1,18})?m?s?)$")
"""A statistic with its number but without brackets, such as p95 or within2000ms."""
FILTERS = ("step", "target", "turn_type", "measured_from")
SHAPE = 'write METRIC: ["p(95)<800"]'
_PARTS = re.compile(r"([^<>=!~]*)([<>=!~]+)(.*)", re.DOTALL)
_NAMED = re.compile(r"([^{}]*)(?:\{([^{}]*)\})?")


@dataclass(frozen=True)
class Threshold:
    """One line of a thresholds file.

    `limit` is the absolute limit in the unit of the metric; None if the threshold is relative.
    """

    text: str
    metric: str
    statistic: Statistic
    sign: Sign
    limit: float | None
    margin: Margin | None
    step: str = ""
    target: str = ""
    turn_type: str = ""
    """The turn type: `regular`, or the names from `bench.catalogue.metrics.TURN_TYPES`. If it is
    "", each turn type is evaluated separately.
    """
    measured_from: str = ""
    """The instant from which latency is measured, from `bench.catalogue.metrics.MEASURED_FROM`. If
    it is "", each instant is evaluated separately.
    """
    abort: bool = False
    """True if the run stops as soon as the threshold fails. Only an absolute threshold may do
    this."""

    @property
    def p(self) -> float | None:
        return self.statistic.p

    @property
    def about(self) -> MetricSpec:
        """The spec, without a margin, of the value that the threshold limits."""
        stratum = (
            Stratum(turn_type="" if self.turn_type == REGULAR else self.turn_type)
            if self.turn_type
            else None
        )
        return MetricSpec(self.metric, self.statistic, stratum=stratum, step=self.step)

    @property
    def spec(self) -> MetricSpec:
        """The spec, with the margin, of the value that a relative threshold compares."""
        assert self.margin is not None, f"{self.text} is absolute"
        return replace(self.about, margin=self.margin, primary=True)

    @property
    def source_text(self) -> str:
        """The complete text of the threshold, such as `ttfa{step:greeting}: p(95)<800`."""
        return f"{self.filter_text}: {self.text}"

    @property
    def filter_text(self) -> str:
        """The metric with its filters as text, such as `ttfa{step:greeting}`."""
        named = ",".join(f"{key}:{value}" for key in FILTERS if (value := getattr(self, key)))
        return f"{self.metric}{f'{{{named}}}' if named else ''}"


def parse(metric: str, text: str, *, abort: bool = False) -> Threshold:
    """Parse one threshold. Raise UsageError with the allowed forms.

    `metric` may have a filter: `ttfa{step:greeting}`. `abort` is that of the threshold.
    """
    name, filters = _named(metric)
    threshold_metric = metric_named(name)
    match = _PARTS.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{quoted(text)} is not a threshold: write an aggregate, a sign and a limit, "
            f"{FORMS[threshold_metric.unit].threshold}"
        )
    aggregate, sign, bound = (piece.strip() for piece in match.groups())
    if not aggregate:
        first = threshold_metric.aggregates[0].replace("N", "95")
        raise UsageError(f"{quoted(text)} has no aggregate; did you mean {first}{text.strip()}?")
    statistic = _statistic(aggregate, threshold_metric)
    if sign not in SIGNS:
        raise UsageError(
            f"{quoted(text)} has the operator {quoted(sign)}; allowed: {', '.join(SIGNS)}"
        )
    for of_turns in ("step", "turn_type", "measured_from"):
        if of_turns in filters and threshold_metric.of_sessions:
            raise UsageError(
                f"{name} is a metric of sessions, which have no {of_turns}: write {name} without it"
            )
    if "measured_from" in filters and (name not in CATALOGUE or CATALOGUE[name].begin != ORIGIN):
        raise UsageError(f"{name} is measured from one instant only: remove measured_from")
    threshold_metric = threshold_metric.of(statistic)
    if threshold_metric.only is not None:
        bound = bound.removeprefix("+")  # an increase of the peak itself, not over a baseline
    # a margin has a sign and a unit, or an `and`; anything else is a limit
    relative = (
        bound.startswith("+")
        or (bound.startswith("-") and bound.endswith(("%", "pt")))
        or " and " in bound
    )
    if relative and abort:
        raise UsageError(
            f"{text.strip()} is relative, so it cannot have `abort`: --until-decided stops a run by"
            " relative thresholds"
        )
    # a limit in the wrong direction is a mistake, because the worst values would pass
    if relative and threshold_metric.signed:
        raise UsageError(
            f"{threshold_metric.name} may be negative, so a relative margin is undefined: give it a"
            " limit"
        )
    if threshold_metric.better == "neither":
        if relative:
            raise UsageError(
                f"{threshold_metric.name} has no better direction: it can have a limit, but no"
                " margin"
            )
    elif (sign[0] == "<") != (threshold_metric.better == "lower"):
        better, right = ("less", "<") if threshold_metric.better == "lower" else ("more", ">")
        raise UsageError(
            f"{threshold_metric.name} has the operator {sign}, but {better} of it is better: write"
            f" {right}"
        )
    return Threshold(
        text=text.strip(),
        metric=name,
        statistic=statistic,
        sign=SIGNS[sign],
        limit=None if relative else limit_of(bound, threshold_metric),
        margin=read_margin(bound, threshold_metric) if relative else None,
        abort=abort,
        **filters,
    )


def read_thresholds(path: Path) -> tuple[Threshold, ...]:
    """Read a YAML file of thresholds. Raise UsageError with the file, the line, and the allowed
    forms.
    """
    return tuple(threshold for _, threshold in placed_thresholds(read_yaml(path, "the file")))


_LINE = re.compile(r"\s*(\w+(?:\{[^{}]*\})?)\s*(:?)\s*(.+)", re.ASCII | re.DOTALL)
"""A metric with its filters, a colon, and a condition. Without the colon, it is a threshold with
a mistake."""


@dataclass(frozen=True)
class _LineValue(PythonValue):
    """A part of `line`, a threshold on the command line."""

    line: str = ""

    def error(self, problem: str, code: str = INVALID_VALUE) -> UsageError:
        return UsageError(f"--thresholds {quoted(self.line)}: {problem}")


def threshold_tables(given: Iterable[str]) -> Iterator[tuple[Path | None, LocatedValue]]:
    """Yield the table of each value of `--thresholds`, with its file; None for a threshold in one
    line.

    Raise UsageError if a value is neither a readable file nor a threshold such as `ttfa:
    p(95)<800`.
    """
    for text in given:
        line = _LINE.fullmatch(text) if "<" in text or ">" in text else None
        if line is None:
            path = Path(text)
            yield path, read_yaml(path, "the file")
            continue
        metric = line[1]
        colon = line[2]
        condition = line[3].strip()
        if not colon:
            aggregate = "rate" if condition.startswith(tuple(SIGNS)) else ""
            meant = quoted(f"{metric}: {aggregate}{condition}")
            raise UsageError(
                f"--thresholds {quoted(text)} has no colon after the metric: write {meant}"
            )
        yield None, _LineValue("--thresholds", {metric: condition}, line=text)


def requested_thresholds(given: Iterable[str]) -> tuple[Threshold, ...]:
    """Return the thresholds of all values of `--thresholds`. Raise UsageError."""
    return tuple(
        found for _, table in threshold_tables(given) for _, found in placed_thresholds(table)
    )


def placed_thresholds(root: LocatedValue) -> list[tuple[LocatedValue, Threshold]]:
    """Return the thresholds of a table in a file or a script, each with its location.

    Raise UsageError if the table has no threshold, or one that `parse` rejects.
    """
    if root.within("steps"):
        raise root.error("is a script, not thresholds")
    thresholds = []
    mistakes = Mistakes()
    for value, metric, text, abort in _entries(root, mistakes):
        try:
            thresholds.append((value, parse(metric, text, abort=abort)))
        except UsageError as error:
            mistakes.errors.append(value.error(str(error)))
    mistakes.refuse()
    if not thresholds:
        raise root.error(f"{root.name} contains no threshold: {SHAPE}")
    return thresholds


def parse_all(texts: Mapping[str, Iterable[str]]) -> list[Threshold]:
    """Parse the thresholds of a table that has the form of the result of `by_metric`.

    Raise UsageError if a threshold cannot be parsed.
    """
    return [parse(metric, str(text)) for metric, of_metric in texts.items() for text in of_metric]


class Recorded(NamedTuple):
    """The thresholds that are recorded with a run, and why this version cannot read others, by
    their texts.
    """

    thresholds: list[Threshold]
    unread: dict[str, str]


def recorded(document: Mapping[str, Any]) -> Recorded:
    """Return the thresholds that are recorded with a run, and why this version cannot read others,
    by their texts.

    `document` is the content of run.json. Another version of the tool may have written it.
    """
    found = Recorded([], {})
    for metric, texts in (document.get("thresholds") or {}).items():
        for text in texts:
            try:
                found.thresholds.append(parse(metric, text))
            except UsageError as error:
                found.unread[excerpt(f"{metric}: {text}", 60)] = str(error)
    return found


def by_metric(thresholds: Iterable[Threshold]) -> dict[str, list[str]]:
    """Return the texts of thresholds, grouped by metric with its filters, for JSON.

    A text that is repeated is listed once.
    """
    texts: dict[str, list[str]] = {}
    for threshold in thresholds:
        of_metric = texts.setdefault(threshold.filter_text, [])
        if threshold.text not in of_metric:
            of_metric.append(threshold.text)
    return texts


def _entries(
    root: LocatedValue, mistakes: Mistakes
) -> Iterator[tuple[LocatedValue, str, str, bool]]:
    """Yield each threshold as (its value in the file, metric, text, `abort`).

    For every other entry, add an error to `mistakes`.
    """
    content = root.content()
    if content is None:
        return
    if not isinstance(content, dict):
        raise root.error(SHAPE)
    for metric, value in content.items():
        inner = value.content()
        items = inner if isinstance(inner, list) else [value]
        if not items:
            mistakes.errors.append(value.error(f"{metric} has no threshold: {SHAPE}"))
        for item in items:
            table = item.content()
            if isinstance(table, dict) and not table.keys().isdisjoint(THRESHOLD.table.fields):
                entry: dict[str, Any] | None = None
                with mistakes.gather():
                    entry = THRESHOLD.table.read(item)
                if entry is not None:
                    yield item, metric, entry["threshold"], entry["abort"]
                continue
            if not (item.source_text or "").strip():
                mistakes.errors.append(item.error(SHAPE))
                continue
            yield item, metric, str(item.source_text), False


def _named(text: str) -> tuple[str, dict[str, str]]:
    match = _NAMED.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{quoted(text)} is not a metric: write ttfa, or ttfa{{step:greeting}} with a filter"
        )
    filters: dict[str, str] = {}
    for filter_text in match[2].split(",") if match[2] is not None else ():
        key, colon, value = (piece.strip() for piece in filter_text.partition(":"))
        if key not in FILTERS or not colon or not value or key in filters:
            raise UsageError(
                f"{quoted(text)} has a filter {quoted(filter_text)}; allowed: step:NAME,"
                f" target:NAME, turn_type:NAME and measured_from:{' or '.join(MEASURED_FROM_TEXTS)}"
            )
        if key == "turn_type" and value != REGULAR:
            names = [name.strip() for name in value.split("+")]
            if not set(names) <= set(TURN_TYPES):
                raise UsageError(
                    f"{quoted(value)} is not a turn type; allowed: {REGULAR},"
                    f" {', '.join(TURN_TYPES)}, or several with + between them"
                )
            value = turn_type_of(names)  # the parts of the turn type, in their fixed order
        filters[key] = value
    if (instant := filters.get("measured_from")) is not None and instant not in MEASURED_FROM_TEXTS:
        raise UsageError(
            f"{quoted(instant)} is not an instant to measure from; allowed:"
            f" {', '.join(MEASURED_FROM_TEXTS)}"
        )
    return match[1].strip(), filters


def _statistic(text: str, metric: ThresholdMetric) -> Statistic:
    if text in ONLY_IN_K6:
        raise UsageError(
            f"{text} of {metric.name} cannot be a threshold: it depends on a single turn, or on the"
            " length of the run: use a quantile such as p(99), or a rate, such as failure_rate:"
            " rate<0.01"
        )
    if text == "avg" and metric.unit == "ms":
        raise UsageError(
            f"avg of {metric.name} cannot be a threshold: a single timeout changes it; use med or"
            " p(95)"
        )
    if text == "rate" and metric.unit == "%" and metric.only is None:
        raise UsageError(
            f"rate of {metric.name} cannot be a threshold: each"
            f" {'session' if metric.of_sessions else 'turn'} has a value in %; use avg or p(95),"
            " with a limit such as 1%"
        )
    if parsed := _read(text, metric):
        return parsed
    closed = _closed(text)
    hint = f"; did you mean {closed}?" if closed != text and _read(closed, metric) else ";"
    raise UsageError(
        f"{quoted(text)} is not an aggregate of {metric.name}{hint} allowed:"
        f" {', '.join(metric.aggregates)}"
    )


def _read(aggregate: str, metric: ThresholdMetric) -> Statistic | None:
    if metric.only is not None:
        return metric.only if aggregate == metric.only.aggregate else None
    known = (kind for kind in STATISTICS if kind.aggregates(metric.unit, metric.better))
    return next(filter(None, (kind.read(aggregate) for kind in known)), None)


def _closed(aggregate: str) -> str:
    """Return an aggregate such as `p95` or `within2s` with parentheses: `p(95)`, `within(2s)`."""
    return _SHORT.sub(r"\1(\2)", aggregate)


def metric_option(text: str, default: str) -> tuple[ThresholdMetric, Statistic]:
    """Parse a metric with its statistic, such as `ttfa:p95`. Raise UsageError with the allowed
    values.

    If the text names no statistic, `default` is used; a metric without quantiles has its first
    statistic instead.
    """
    name, _, aggregate = text.partition(":")
    metric = metric_named(name.strip())
    written = aggregate.strip() or (
        default if "p(N)" in metric.aggregates else metric.aggregates[0]
    )
    if parsed := _read(_closed(written), metric):
        return metric, parsed
    if metric.unit == "share":
        raise UsageError(f"{metric.name} is a rate: write {option_of_text('metric', metric.name)}")
    or_share = f" or {metric.name}:within2000" if "within(N)" in metric.aggregates else ""
    instead = option_of_text("metric", f"{metric.name}:{default}")
    raise UsageError(f"{quoted(aggregate)} is not a quantile: write {instead}{or_share}")
