"""What stands behind the sign of a threshold: a limit in the measure's unit, or a margin against a baseline; pure."""

from __future__ import annotations

import re
from fractions import Fraction

from bench.errors import UsageError
from bench.measures import BYTES_PER_S, SLOPE
from reports.statistics.differences import Margin
from reports.thresholds.gated import Gated, Unit, quoted

_NUMBER = r"\d{1,18}(?:\.\d{1,18})?|\.\d{1,18}"  # of more digits int refuses to make a number, or float
_LIMIT = re.compile(rf"(-?(?:{_NUMBER}))\s*([A-Za-z%×/]*)")
_STEP = re.compile(rf"([+-])\s*({_NUMBER})\s*([a-z%×]*)")
_AND = re.compile(r"\s+and\s+")
UNITS: dict[Unit, dict[str, Fraction]] = {
    "ms": {"": Fraction(1), "ms": Fraction(1), "s": Fraction(1000)},
    "×": {"": Fraction(1), "x": Fraction(1), "×": Fraction(1)},
    "n": {"": Fraction(1)},
    "%": {"": Fraction(1), "%": Fraction(1)},
    SLOPE: {"": Fraction(1), "ms": Fraction(1)},
    BYTES_PER_S: {"": Fraction(1), "B/s": Fraction(1), "kB/s": Fraction(1_000), "MB/s": Fraction(1_000_000)},
    "share": {"": Fraction(1), "%": Fraction(1, 100)},
}
"""How a limit of each unit may be written, and what it is multiplied by."""
POINTS = {"": Fraction(1), "pt": Fraction(1, 100)}
"""How the margin of a rate may be written."""
EXAMPLES: dict[Unit, str] = {
    "ms": "800, 800ms or 0.8s", "×": "1.2", "n": "2", "%": "80 or 80%", SLOPE: "20 or 20ms", "share": "0.01 or 1%",
    BYTES_PER_S: "30000, 30kB/s or 0.03MB/s",
}  # fmt: skip


def is_relative(text: str) -> bool:
    """Whether a margin is meant, and no limit: it has a sign and may stand for itself, or an `and`."""
    return text.startswith("+") or (text.startswith("-") and text.endswith(("%", "pt"))) or " and " in text


def limit_of(text: str, gated: Gated) -> float:
    """An absolute limit in the measure's unit."""
    match, units = _LIMIT.fullmatch(text), UNITS[gated.unit]
    if not match or match[2] not in units:
        raise UsageError(f"{quoted(text)} is no limit of {gated.name}: write it as {EXAMPLES[gated.unit]}")
    limit = float(Fraction(match[1]) * units[match[2]])
    if gated.unit == "share" and not 0 <= limit <= 1:
        raise UsageError(f"{quoted(text)} is no limit of {gated.name}: a rate is from 0 to 1, such as 0.01 or 1%")
    return limit


def margin_of(text: str, gated: Gated) -> Margin:
    """How much worse than the baseline is accepted: `+20%`, `+30ms`, both with `and`; `-10%` where more is better."""
    sizes: dict[str, float] = {}
    for part in _AND.split(text):
        match = _STEP.fullmatch(part)
        size = _size(match[1], Fraction(match[2]), match[3], gated) if match else None
        if size is None or size[0] in sizes:
            raise UsageError(f"{quoted(text)} is no margin of {gated.name}: {_allowed(gated)}")
        sizes[size[0]] = size[1]
    return Margin(**sizes)


def _size(sign: str, number: Fraction, unit: str, gated: Gated) -> tuple[str, float] | None:
    """(field of a Margin, its value) of one part; None where it is no margin of this measure.

    A margin of −10 % accepts 0.9 of the baseline, which is a ratio of 1/0.9 when worse is downwards.
    """
    if sign != ("-" if gated.better == "higher" else "+"):
        return None
    if gated.unit == "share":
        return ("points", float(number * POINTS[unit])) if unit in POINTS and number * POINTS[unit] < 1 else None
    if gated.unit == SLOPE:
        return ("plus", float(number)) if unit == "ms" else None
    if unit == "%" and gated.better == "lower":
        return "ratio", float(number / 100)
    if unit == "%":
        return ("ratio", float(1 / (1 - number / 100) - 1)) if number < 100 else None
    if unit in ("ms", "s") and gated.unit == "ms" and gated.better == "lower":
        return "plus", float(number * UNITS["ms"][unit])
    return None


def _allowed(gated: Gated) -> str:
    """What a margin of this measure may be."""
    if gated.unit == "share" and gated.better == "higher":
        return "more of it is better, so what is accepted is less: write -1pt (one percentage point)"
    if gated.unit == "share":
        return "write +0.01 or +1pt (one percentage point)"
    if gated.unit == SLOPE:
        return "it may be negative, and is no multiple of a baseline: write +20ms, which is of 1,000 tokens"
    if gated.better == "higher":
        return "more of it is better, so what is accepted is less: write -10%"
    return "write +20%" + (", +30ms, or +20% and +30ms (then both must be exceeded)" if gated.unit == "ms" else "")
