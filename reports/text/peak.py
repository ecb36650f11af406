"""The texts of a load with a peak. Its results are the headline of its report, because a median of
the whole run mixes the peak with the times before and after it.
"""

import math
from collections.abc import Callable, Iterable

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


def peak_headline(values: Iterable[Value], *, named: bool) -> str:
    """Return what happened to callers of the target that recovered last, without intervals; "" if
    the load had no peak. `named` adds the name of the target.
    """
    rows = by_subject(value for value in values if not value.group)
    if not rows:
        return ""

    def recovered_ms(row: ValuesOfSubject) -> float:
        value = row["recovery_time value"]
        is_open = value.reason is not None and value.reason.code == "not_recovered"
        return math.inf if is_open else -1.0 if value.reason else value.value

    subject, row = max(rows.items(), key=lambda entry: recovered_ms(entry[1]))
    refused, harm = row["refused_share"], row["harm p95"]
    after_ms = recovered_ms(row)
    parts = [] if math.isnan(refused.value) else [f"{percent(refused.value, 1)} of calls refused"]
    if harm.reason is None:
        slower = "slower" if harm.value >= 0 else "faster"
        parts.append(f"others {percent(abs(harm.value), 100)} {slower}")
    if after_ms >= 0:
        is_over = math.isfinite(after_ms)
        parts.append(
            f"recovery after {format_duration(after_ms / 1000)}" if is_over else "no recovery"
        )
    on = f" on {subject.target}" if named else ""
    return f"The peak{on}: {', '.join(parts) or 'its results are unknown'}"


def value_text(value: Value | None, write: Callable[[float], str]) -> str:
    """Return a value with its interval and its reason; a dash without any of them."""
    reason = reason_text(value.reason if value else None)
    if value is None or math.isnan(value.value) or value.reason == NEVER_LEFT:
        return reason or NONE
    text = write(value.value)
    if not math.isnan(value.low):
        text += f" ({write(value.low)} to {'∞' if math.isnan(value.high) else write(value.high)})"
    return f"{reason}; estimate {text}" if reason else text
