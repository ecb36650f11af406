"""Thresholds as k6 users write them, and relative ones: text → `Threshold`.

ttfa: ["p(95)<800", "med<500"]             against a limit, in the unit of the measure
failures: ["rate<0.01"]
ttfa: ["p(95)<+20%", "p(95)<+20% and +30ms"]   against the baseline
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

from bench.errors import ScriptError, UsageError
from bench.measures import BYTES_PER_S, SLOPE, TRAITS, traits_of
from bench.yaml_file import Value, read_yaml
from reports.question import Kind, Question
from reports.statistics.differences import Margin
from reports.strata import PLAIN, Stratum
from reports.thresholds.gated import OTHERS, Gated, gated, quoted
from reports.thresholds.limits import is_relative, limit_of, margin_of

Sign = Literal["<", "<=", ">", ">="]
SIGNS: dict[str, Sign] = {"<": "<", "<=": "<=", ">": ">", ">=": ">="}
FILTERS = ("step", "target", "traits")
SHAPE = 'write a measure with one text or a list of texts, such as ttfa: ["p(95)<800"]'
SIGNED = frozenset({"transcript_lead", "idle_prompt", "renewal_gap"})
"""Measures whose values may lie on either side of nought."""
_PARTS = re.compile(r"([^<>=!~]*)([<>=!~]+)(.*)", re.DOTALL)
_QUANTILE = re.compile(r"p\(\s*(\d{1,18}(?:\.\d{1,18})?|\.\d{1,18})\s*\)")
_NAMED = re.compile(r"([^{}]*)(?:\{([^{}]*)\})?")


@dataclass(frozen=True)
class Threshold:
    """One line of a thresholds file. `limit`: absolute, in the unit of the measure; None where it is relative."""

    text: str
    measure: str
    kind: Kind
    p: float | None
    sign: Sign
    limit: float | None
    margin: Margin | None
    step: str = ""
    target: str = ""
    traits: str = ""
    """Names of `bench.measures.TRAITS`, or `plain`; empty for turns of all traits, each by itself."""

    @property
    def about(self) -> Question:
        """The figure that it is a threshold of."""
        stratum = Stratum(traits="" if self.traits == PLAIN else self.traits) if self.traits else None
        return Question(self.measure, self.kind, Margin(), self.p, stratum=stratum, step=self.step)

    @property
    def question(self) -> Question:
        """What a relative threshold asks of a comparison."""
        assert self.margin is not None, f"{self.text} is absolute"
        return replace(self.about, margin=self.margin, gated=True)

    @property
    def figure(self) -> str:
        """ttfa p95, failure rate: what it is a threshold of, without the target."""
        return self.about.name

    @property
    def written(self) -> str:
        """ttfa{step:greeting}: p(95)<800."""
        named = ",".join(f"{key}:{value}" for key in FILTERS if (value := getattr(self, key)))
        return f"{self.measure}{f'{{{named}}}' if named else ''}: {self.text}"


def parse(measure: str, text: str) -> Threshold:
    """One threshold. `measure` may have a filter: `ttfa{step:greeting}`. Raises UsageError saying what is allowed."""
    name, filters = _named(measure)
    of, match = gated(name), _PARTS.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{quoted(text)} is no threshold: write an aggregate, a sign and a limit, {_example(of)}")
    aggregate, sign, rest = (part.strip() for part in match.groups())
    kind, p = _aggregate(aggregate, of)
    if sign not in SIGNS:
        raise UsageError(f"{quoted(text)} has the operator {quoted(sign)}; allowed: {', '.join(SIGNS)}")
    for of_turns in ("step", "traits"):
        if of_turns in filters and of.of_sessions:
            raise UsageError(f"{name} is a measure of sessions, which have no {of_turns}: write {name} without it")
    relative = is_relative(rest)
    _check_direction(sign, of, relative)
    return Threshold(
        text=text.strip(),
        measure=name,
        kind=kind,
        p=p,
        sign=SIGNS[sign],
        limit=None if relative else limit_of(rest, of),
        margin=margin_of(rest, of) if relative else None,
        **filters,
    )


def read(path: Path) -> tuple[Threshold, ...]:
    """A YAML file of thresholds. Raises UsageError with file, line and what is allowed."""
    thresholds = []
    for value, measure, text in _entries(read_yaml(path, "the file")):
        try:
            thresholds.append(parse(measure, text))
        except UsageError as error:
            raise value.error(str(error)) from None
    if not thresholds:
        raise ScriptError(path, None, 'holds no threshold: write a measure with its limits, ttfa: ["p(95)<800"]')
    return tuple(thresholds)


def _entries(root: Value) -> Iterator[tuple[Value, str, str]]:
    """(value, measure, text) of each threshold. Raises ScriptError with its place."""
    content = root.content()
    if content is None:
        return
    if not isinstance(content, dict):
        raise root.error(SHAPE)
    for measure, value in content.items():
        inner = value.content()
        items = inner if isinstance(inner, list) else [value]
        if not items:
            raise value.error(f"{measure} has no threshold: {SHAPE}")
        for item in items:
            if not (item.written or "").strip():
                raise item.error(SHAPE)
            yield item, measure, str(item.written)


def _named(text: str) -> tuple[str, dict[str, str]]:
    """The name of a measure and its filters."""
    match = _NAMED.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{quoted(text)} is no measure: write ttfa, or ttfa{{step:greeting}} with a filter")
    filters: dict[str, str] = {}
    for part in match[2].split(",") if match[2] is not None else ():
        key, colon, value = (piece.strip() for piece in part.partition(":"))
        if key not in FILTERS or not colon or not value or key in filters:
            raise UsageError(
                f"{quoted(text)} has a filter {quoted(part)}; allowed: step:LABEL, target:LABEL and traits:NAME"
            )
        filters[key] = _traits(value) if key == "traits" else value
    return match[1].strip(), filters


def _traits(text: str) -> str:
    """Traits, their names in their order."""
    names = [name.strip() for name in text.split("+")]
    if text != PLAIN and not set(names) <= set(TRAITS):
        known = f"{PLAIN}, {', '.join(TRAITS)}, or several with + between them"
        raise UsageError(f"{quoted(text)} is no trait of turns; allowed: {known}")
    return traits_of(names) or text


def _aggregate(text: str, of: Gated) -> tuple[Kind, float | None]:
    """(kind, p of a quantile) of an aggregate of this measure."""
    quantile = _QUANTILE.fullmatch(text)
    if text in OTHERS:
        raise UsageError(f"{text} of {of.name} is no gate: {OTHERS[text]}")
    if text == "avg" and of.unit == "ms":
        raise UsageError(f"avg of {of.name} is no gate: one timeout moves it; gate a quantile, med or p(95)")
    known = "p(N)" if quantile else text
    if known not in of.aggregates:
        raise UsageError(f"{quoted(text)} is no aggregate of {of.name}; allowed: {', '.join(of.aggregates)}")
    if quantile is None:
        return ("rate", None) if text == "rate" else ("mean", None) if text == "avg" else ("quantile", 0.5)
    p = float(Fraction(quantile[1]) / 100)
    if not 0 < p < 1:
        raise UsageError(f"{quoted(text)} is no quantile: N of p(N) lies between 0 and 100")
    return "quantile", p


def _check_direction(sign: str, of: Gated, relative: bool) -> None:
    """Raise UsageError for a limit on the wrong side, a slip: it would be kept by what is worst."""
    if relative and of.name in SIGNED:
        raise UsageError(f"{of.name} may be negative, and is no multiple of a baseline: it can have a limit, no margin")
    if of.better == "neither":
        if relative:
            raise UsageError(f"{of.name} has no better direction: it can have a limit, no margin")
    elif (sign[0] == "<") != (of.better == "lower"):
        better, right = ("less", "<") if of.better == "lower" else ("more", ">")
        raise UsageError(f"{of.name} has the operator {sign}, and {better} of it is better: write {right}")


def _example(of: Gated) -> str:
    return {
        "share": "rate<0.01", "×": "p(5)>1.2", "n": "p(95)<2", "%": "med>60", "ms": "p(95)<800", SLOPE: "med<20",
        BYTES_PER_S: "med>30kB/s",
    }[of.unit]  # fmt: skip
