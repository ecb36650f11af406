"""The format of numbers and times, and round numbers for bins and axes.

Numbers have three digits, real minus signs, and no-break spaces. Times are in UTC.
"""

import math
from collections.abc import Iterable
from datetime import UTC, datetime

from bench.base.units import NS_PER_MS, NS_PER_S, byte_unit
from bench.catalogue.pricing import dollars

NBSP = "\u00a0"
NONE = "–"
AT_LEAST = "at least "
"""The beginning of an amount that is a lower bound."""


def format_number(value: float | None) -> str:
    """Return a number with three digits, such as 1,960, 0.8, or −12.3; an en dash if it is
    unknown.
    """
    if value is None or math.isnan(value):
        return NONE
    if math.isinf(value):
        return "∞"
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    text = f"{rounded:,.{min(max(digits, 0), 9)}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")


def count(number: float) -> str:
    """Return a count with all digits, such as 4,000."""
    return f"{int(number):,}".replace("-", "−")


def plural(number: int, noun: str, nouns: str = "") -> str:
    """Return a count with its noun, such as `1 turn` or `2 turns`. `nouns` is the plural if it
    is irregular.
    """
    return f"{count(number)}{NBSP}{noun if number == 1 else nouns or f'{noun}s'}"


def percent(value: float, total: float) -> str:
    """Return a value as a share of `total`, such as `0.78 %`; a dash if `total` is 0.

    Shares below 10 % have two digits.
    """
    if not total or math.isnan(value):
        return NONE
    share = 100 * value / total
    return f"{format_number(share if share >= 9.95 else float(f'{share:.2g}'))}{NBSP}%"


def change(ratio: float) -> str:
    """Return a ratio as a relative change, such as `+30 %` or `−4 %`; 0 has no sign."""
    share = round(100 * (ratio - 1))
    return f"{share:+,}{NBSP}%".replace("-", "−") if share else f"0{NBSP}%"


def usd(value: float) -> str:
    """Return an amount of money, such as `2.31 USD` or `0.0058 USD`; a dash if the amount is
    unknown.
    """
    return NONE if math.isnan(value) else f"{dollars(value)}{NBSP}USD"


def ms(value: float) -> str:
    """Return a time in ms or s, such as `640 ms` or `1.24 s`."""
    if not math.isfinite(value):
        return format_number(value)
    return (
        f"{format_number(value)}{NBSP}ms"
        if abs(value) < 999.5
        else f"{format_number(value / 1000)}{NBSP}s"
    )


def format_ms_list(*values: float) -> list[str]:
    """Return several durations of one sentence in the same unit, which is ms if seconds would be
    too coarse.
    """
    if max(values, default=0) >= 999.5 and min(values) >= 95:
        seconds = [
            f"{value / 1000:.2f}" if value < 9995 else format_number(value / 1000)
            for value in values
        ]
        return [f"{value}{NBSP}s" for value in seconds]
    return [f"{format_number(value)}{NBSP}ms" for value in values]


def quantity(value: float) -> str:
    """Return a number of bytes in a suitable unit, such as `448 MB`."""
    size, name = byte_unit(value)
    return f"{format_number(value / size)}{NBSP}{name}"


def format_duration(seconds: float) -> str:
    """Return a duration, such as `42 s`, `1 min 40 s`, `20 min`, or `1 h 30 min`."""
    if seconds < 99.5 and seconds != 60:
        return f"{format_number(round(seconds, 1) if seconds < 10 else round(seconds))}{NBSP}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 10 and rest:
        return f"{minutes}{NBSP}min {rest}{NBSP}s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes}{NBSP}min"
    hours, remainder = divmod(minutes, 60)
    return f"{hours}{NBSP}h" + (f" {remainder}{NBSP}min" if remainder else "")


def format_utc(utc_ns: int) -> str:
    """Return a UTC time, such as `20 Nov 2026, 09:14 UTC`."""
    at = datetime.fromtimestamp(utc_ns / NS_PER_S, UTC)
    return f"{at.day} {at:%b %Y, %H:%M} UTC"


def format_utc_ms(utc_ns: int) -> str:
    """Return a UTC time with its milliseconds, as logs have it, such as
    `2026-11-20T09:14:05.250Z`.
    """
    at = datetime.fromtimestamp(utc_ns // NS_PER_S, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{utc_ns % NS_PER_S // NS_PER_MS:03d}Z"


def clock(seconds: float, *, long: bool) -> str:
    """Return a time since the start of the run, such as `12.3 s`. If `long`, it has the form
    `4:07`.
    """
    if not long:
        return f"{seconds:.1f}{NBSP}s"
    full_seconds = int(seconds)
    return f"{full_seconds // 60}:{full_seconds % 60:02d}"


def instant(seconds: float, step_s: float) -> str:
    """Return the label of a tick of a time axis: 0, 20 s, 2 min, or 2:30 if the step is no
    multiple of a minute.
    """
    if not seconds:
        return "0"
    return clock(seconds, long=True) if seconds >= 60 and step_s % 60 else format_duration(seconds)


def join_present(separator: str, *texts: str) -> str:
    """Return the texts with a separator between them. Texts that are "" are left out."""
    return separator.join(filter(None, texts))


def join_words(words: list[str]) -> str:
    """Join words as `a, b and c`."""
    return (
        words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""
    )


def breakable(text: str) -> str:
    """Return a text with ordinary spaces in place of its no-break spaces."""
    return text.replace(NBSP, " ")


def capitalize(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def excerpt(label: str, length: int = 18) -> str:
    """Return a label, shortened to fit next to a plot.

    The part after the dot, which identifies the variant, and brackets at the end, which identify
    the run, stay.
    """
    if len(label) <= length:
        return label
    tail = label[label.index(".") :] if label.count(".") == 1 else ""
    if label.endswith(")") and " (" in label:
        tail = label[label.rindex(" (") :]
    tail = tail if len(tail) < length else ""
    return f"{label[: length - 1 - len(tail)]}…{tail}"


SECONDS = (
    1,
    2,
    5,
    10,
    15,
    20,
    30,
    60,
    120,
    300,
    600,
    900,
    1200,
    1800,
    3600,
    7200,
    14400,
    21600,
    43200,
    86400,
)


def nice(value: float) -> float:
    """Return the smallest of the round numbers 1, 2, 2.5 and 5, each times a power of ten, that
    is at least `value`.
    """
    if value <= 0:
        return 1.0
    base = 10.0 ** math.floor(math.log10(value))
    return next(m * base for m in (1, 2, 2.5, 5, 10) if m * base >= value * (1 - 1e-9))


def time_step(length_s: float, max_steps: int) -> float:
    """Return the smallest round step in seconds that divides `length_s` into at most `max_steps`
    steps.
    """
    return next(
        (float(s) for s in SECONDS if length_s / s <= max_steps), nice(length_s / max_steps)
    )


def count_step(largest: float, max_steps: int) -> int:
    """Return the smallest round integer step (1, 2, 5, 10, 20, 25, …) with which `max_steps`
    steps reach `largest`.
    """
    step = nice(max(1.0, largest / max_steps))
    return 5 if step == 2.5 else int(step)


def log_range(values: Iterable[float]) -> tuple[float, float]:
    """Return the two ends of a logarithmic axis that shows all positive finite values; their
    ratio is at least two.
    """
    positive = [value for value in values if 0 < value < math.inf]
    low, high = (min(positive), max(positive)) if positive else (1.0, 10.0)
    if high < 2 * low:
        middle = math.sqrt(low * high)
        low = middle / math.sqrt(2)
        high = middle * math.sqrt(2)
    return low / 1.06, high * 1.06


def nines(p: float) -> float:
    """Return the number of nines of p: 0.9 → 1, 0.99 → 2, 0.999 → 3."""
    return -math.log10(1 - p)
