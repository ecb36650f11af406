"""Computes how far each measure of stored rows can be off: `bench.measures.bound_ns` for a whole table.

Bounds are in the measure's own unit, NaN where nobody knows: a row of an older version has that of its first delta
alone.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bench.measures import FIRST_DELTAS, ORIGIN, SESSION_ARRIVALS, SESSION_SENDS, TURN_ARRIVALS, TURN_SENDS, Measure
from bench.units import NS_PER_MS

Floats = npt.NDArray[np.float64]
ARRIVALS = {"turn": TURN_ARRIVALS, "session": SESSION_ARRIVALS}
SENDS = {"turn": TURN_SENDS, "session": SESSION_SENDS}
SPEED = ("first_audio_at_ns", "last_audio_at_ns", "first_audio_error_ns", "last_audio_error_ns", "audio_speed")
STOPPED = ("silent_error_ns", "stall_error_ns")
BY_COLUMN = {
    "stall": ("stall_error_ns",),
    "dead_air": ("stall_error_ns",),
    "function_time": ("call_done_error_ns",),
    "audio_wasted": STOPPED,
    "overlap": STOPPED,
    "audio_speed": SPEED,
}
"""Measures that are no difference of two instants, and what their bounds are made of. `stalls` goes with `stall`; how
much audio came after a reply was stopped hangs on the order of events alone."""


def columns_of(measure: Measure) -> list[str]:
    """The columns that `bounds` needs of a measure; none where it has no bound, for it hangs on no stamp."""
    if measure.column:
        return list(BY_COLUMN.get(measure.name, ()))
    arrivals, sends = ARRIVALS[measure.scope], SENDS[measure.scope]
    slack = [
        *(f"{name}_error_ns" for name in (measure.end, *measure.begins) if name in arrivals),
        *(f"{name}_width_ns" for name in measure.begins if name in sends),
    ]
    beside = ["requested_at_ns"] if measure.begin == ORIGIN else []
    older = ["stamp_error_ns"] if measure.end in FIRST_DELTAS else []  # a row of an older version has this bound alone
    return [*slack, *beside, *older]


def bounds(rows: pa.Table, measure: Measure) -> Floats:
    """Compute the bound of each row."""
    if measure.name == "audio_speed":
        return _of_speed(*(_floats(rows, name) for name in SPEED))
    if measure.column:
        parts = [_floats(rows, name) for name in BY_COLUMN[measure.name]]
        unknown = np.logical_and.reduce([np.isnan(part) for part in parts])
        return np.where(unknown, np.nan, np.nansum(parts, axis=0)) / NS_PER_MS
    earlier, later = _error(rows, measure.end, measure.scope), _begins_later(rows, measure)
    begins_earlier = _error(rows, measure.begin, measure.scope)
    bound: Floats = np.maximum(earlier + later, begins_earlier) / NS_PER_MS
    return bound


def _begins_later(rows: pa.Table, measure: Measure) -> Floats:
    """How much later than stamped the begin of a measure may really have been sent; 0 where it is no send."""
    if measure.begin == ORIGIN:
        asked = ~np.isnan(_floats(rows, "requested_at_ns"))
        return np.where(asked, _width(rows, "requested"), _width(rows, "speech_end"))
    return _width(rows, measure.begin) if measure.begin in SENDS[measure.scope] else np.zeros(len(rows))


def _error(rows: pa.Table, instant: str, scope: str) -> Floats:
    """How much earlier than stamped an instant may really have been; 0 where it is no arrival."""
    if instant not in ARRIVALS[scope]:
        return np.zeros(len(rows))
    errors_ns = _floats(rows, f"{instant}_error_ns")
    if instant not in FIRST_DELTAS or "stamp_error_ns" not in rows.column_names:
        return errors_ns
    return np.where(np.isnan(errors_ns), _floats(rows, "stamp_error_ns"), errors_ns)


def _width(rows: pa.Table, instant: str) -> Floats:
    """How much later than stamped a send may really have been; 0 where an older version did not say."""
    widths_ns: Floats = np.nan_to_num(_floats(rows, f"{instant}_width_ns"))
    return widths_ns


def _of_speed(first: Floats, last: Floats, first_error: Floats, last_error: Floats, speed: Floats) -> Floats:
    """Bound a speed: s over d was really s·d over d − last_error to d + first_error; inf where that may be nothing."""
    span = last - first
    with np.errstate(divide="ignore", invalid="ignore"):
        slower, faster = first_error / (span + first_error), last_error / (span - last_error)
        bound: Floats = speed * np.maximum(slower, np.where(faster < 0, np.inf, faster))
    return bound


def _floats(rows: pa.Table, column: str) -> Floats:
    values: Floats = rows[column].to_numpy().astype(np.float64)
    return values
