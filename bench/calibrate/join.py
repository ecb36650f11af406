"""Joins a run's rows with the truth: how wrong each measure is, turn by turn; pure.

The error of a measure is its figure less what it truly was, by the catalogue's definition of it. The error of an
instant is how much later than the truth the row has it: so a figure's two ends can be told apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bench.calibrate.truth import Truth, instants
from bench.measures import CATALOGUE
from bench.plan.speech import Speech
from bench.run.calibration import Spread
from bench.units import NS_PER_MS

MEASURES = ("ttfa", "transcript_first", "transcript_total", "response_total", "turn_detection", "speech_detected")
"""Those that the truth log can tell."""
INSTANTS = ("requested", "speech_begin", "speech_end", "speech_started", "speech_stopped",
            "first_audio", "first_transcript", "transcript_done", "response_done")  # fmt: skip
COLUMNS = ("service_session_id", "response_id", "turn", "outcome", "origin", "audio", "vad_splits",
           "start_ns", "start_utc_ns", *(f"{name}_at_ns" for name in INSTANTS))  # fmt: skip
"""What of a turn's row is looked at."""
Errors = dict[str, list[int]]
"""Nanoseconds, by measure or instant."""


class Joined(NamedTuple):
    """The errors of measures, and of the instants that they are made of.

    `unjoined`: good turns of which the truth does not tell every measure that the row has.
    """

    measures: Errors
    instants: Errors
    unjoined: int


def joined(rows: Iterable[Mapping[str, Any]], truth: Truth, speeches: Mapping[str, Speech]) -> Joined:
    """Join the rows of good turns with the truth.

    `speeches`: where speech is in each recording, by the name that rows have of it.

    A turn in which the service took a pause for the end of speech cannot be joined: it has several ends.
    """
    measures: Errors = defaultdict(list)
    instants_: Errors = defaultdict(list)
    unjoined = 0
    for row in rows:
        if row["outcome"] == "ok":
            true = {} if row["vad_splits"] else instants(truth, row, speeches.get(row["audio"] or ""))
            seen = _seen(row)
            told = _measured(true, row["origin"])
            measured = _measured(seen, row["origin"])
            for name in (name for name in MEASURES if name in told and name in measured):
                measures[name].append(measured[name] - told[name])
            for name in (name for name in INSTANTS if name in true and name in seen):
                instants_[name].append(seen[name] - true[name])
            unjoined += not measured.keys() <= told.keys()
    return Joined(dict(measures), dict(instants_), unjoined)


def _measured(at_ns: Mapping[str, int], origin: str | None) -> dict[str, int]:
    """Compute every measure that these instants make."""
    ends = ((name, *_ends(name, origin)) for name in MEASURES)
    return {name: at_ns[end] - at_ns[begin] for name, begin, end in ends if {begin, end} <= at_ns.keys()}


def _seen(row: Mapping[str, Any]) -> dict[str, int]:
    """The row's own instants, absolute."""
    return {name: row["start_ns"] + at_ns for name in INSTANTS if (at_ns := row[f"{name}_at_ns"]) is not None}


def _ends(measure: str, origin: str | None) -> tuple[str, str]:
    """The instants whose difference a measure is."""
    found = CATALOGUE[measure]
    return (origin or "") if found.begin == "origin" else found.begin, found.end


def spreads(errors: Errors) -> dict[str, Spread]:
    """The quantiles of errors by their names: how large they are, whichever way."""
    return {name: spread(np.abs(np.array(values, np.int64)) / NS_PER_MS) for name, values in errors.items() if values}


def spread(values_ms: npt.NDArray[np.float64]) -> Spread:
    """Quantiles of at least one value."""
    p50, p99, p999 = (float(np.quantile(values_ms, p, method="inverted_cdf")) for p in (0.5, 0.99, 0.999))
    return Spread(len(values_ms), p50, p99, p999, float(values_ms.max()))
