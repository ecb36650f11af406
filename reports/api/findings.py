"""The frame of findings: a row for each metric that a check or a comparison judged."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd
from msgspec import structs

from reports.api.frames import COUNT, FLAG, NUMBER, REASON, TEXT, dtypes_of
from reports.engine.judge import Judged
from reports.pages.check.report import written_finding
from reports.results.value import Reason
from reports.text.reasons import use

COUNTS = ("turns", "sessions", "failed")
DTYPES = dtypes_of(
    (
        TEXT,
        (
            "run_id",
            "threshold",
            "title",
            "target",
            "metric",
            "statistic",
            "measured_from",
            "turn_type",
        ),
    ),
    (TEXT, ("script", "step", "unit")),
    (FLAG, ("primary",)),
    (TEXT, ("result", "verdict")),
    (FLAG, ("published", "usable")),
    (TEXT, REASON),
    (FLAG, ("provisional",)),
    (NUMBER, ("value", "low", "high", "bound")),
    (TEXT, ("operator",)),
    (NUMBER, ("limit", "baseline", "difference", "corrected")),
    (TEXT, ("scale", "margin", "direction")),
    (COUNT, ("analysis", "more_sessions")),
    (FLAG, ("in_failures",)),
    (COUNT, (*COUNTS, *(f"baseline_{name}" for name in COUNTS))),
    (NUMBER, ("completed_share", "effective_sessions")),
    (COUNT, ("required", "available")),
    (TEXT, ("required_unit", "sentence")),
)
"""The columns of the frame, with their dtypes."""


def finding_rows(found: Iterable[Judged], invalid: Iterable[Reason]) -> Iterator[dict[str, Any]]:
    """Yield the row of each finding. `invalid` is the reasons why the values may not be used."""
    refused = [*invalid]
    for judged in found:
        row = finding_row(judged)
        published = not pd.isna(row["value"])
        yield row | use(judged.reason, published=published, invalid=refused, note=row["note"])


def finding_row(judged: Judged) -> dict[str, Any]:
    """Return a finding with its sentences as a flat row.

    A value, or the low end of its interval, is inf if it lies among failed turns.
    """
    finding = written_finding(judged)
    sizes = [of.effective_sessions for of in judged.targets if of.sessions]
    row: dict[str, Any] = (
        dict.fromkeys(DTYPES) | structs.asdict(finding.value) | structs.asdict(finding)
    )
    row |= {"value": finding.value.value, "difference": None}
    row |= dict.fromkeys((*COUNTS, "effective_sessions"))
    if judged.estimate or judged.relative:  # else the metric is uncertain
        row |= vars(judged.counts) | {"effective_sessions": min(sizes, default=None)}
    if short := judged.shortfall:
        row |= {
            "required": short.needed,
            "available": short.there,
            "required_unit": f"{short.unit}s",
        }
    if not judged.relative:
        row |= {"low": finding.value.low, "high": finding.value.high, "margin": None}
    else:
        row["margin"] = judged.spec.margin_text(sign=True)
        row |= {f"baseline_{name}": getattr(judged.targets[0], name) for name in COUNTS}
        difference = judged.difference
        (of_baseline, of_candidate) = judged.shortfalls
        if difference is None:
            row["sentence"] = None
        elif not of_baseline:
            row["baseline"] = difference.baseline
        if difference and not of_candidate:
            row["value"] = difference.candidate
        if judged.published:
            row |= dict(zip(("difference", "low", "high"), judged.published.shares, strict=True))
    row["in_failures"] = row["value"] == math.inf
    unbounded = [name for name in ("baseline", "high", "bound") if row[name] == math.inf]
    unbounded += [name for name in ("value", "low", "high", "bound") if row[name] == -math.inf]
    unknown = [name for name in ("value", "low", "high", "bound") if row[name] != row[name]]  # NaN
    return row | dict.fromkeys([*unbounded, *unknown])
