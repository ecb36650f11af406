"""The texts of a load with a peak. Its results are the headline of its report, because a median of
the whole run mixes the peak with the times before and after it.
"""

import math
from collections.abc import Callable, Iterable, Iterator

from reports.formatting import NONE, change, format_duration, percent
from reports.results.value import Reason, Value, ValuesOfSubject, by_subject
from reports.text.reasons import reason_text

NEVER_LEFT = Reason("never_left")


def peak_results(values: ValuesOfSubject) -> list[str]:
    """Return the results of a target: what happened to callers, and when it was over."""
    refused, harm, recovery = (
        values[name] for name in ("refused_share", "harm p95", "recovery_time value")
    )
    recovered = value_text(recovery, lambda at_ms: format_duration(at_ms / 1000))
    return [
        f"refused share of the peak: {value_text(refused, lambda share: percent(share, 1))}",
        f"harm to calls in progress: {value_text(harm, lambda of: change(1 + of / 100))}",
        f"recovery time: {recovered}",
    ]


def peak_texts(values: Iterable[Value], *, named: bool) -> Iterator[str]:
    """Yield the results of each target in one text. `named` adds the name of the target."""
    whole = (value for value in values if not value.group)
    for subject, row in by_subject(whole).items():
        target = f"{subject.target}: " if named else ""
        yield target + "; ".join(peak_results(row))


def value_text(value: Value | None, write: Callable[[float], str]) -> str:
    """Return a value with its interval and its reason; a dash without any of them."""
    reason = reason_text(value.reason if value else None)
    if value is None or math.isnan(value.value) or value.reason == NEVER_LEFT:
        return reason or NONE
    text = write(value.value)
    if not math.isnan(value.low):
        text += f" ({write(value.low)} to {'∞' if math.isnan(value.high) else write(value.high)})"
    return f"{reason}; estimate {text}" if reason else text
