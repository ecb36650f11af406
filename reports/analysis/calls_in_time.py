"""Calls and latencies by the part of a run in which they are."""

import numpy as np
import pandas as pd

from bench.base.units import NS_PER_MS
from bench.catalogue.outcomes import Family, is_own_limit, parsed
from bench.record.metric_values import floats
from reports.data.parts import START, Parts
from reports.data.samples import MetricSamples
from reports.data.turns import FAILED
from reports.statistics.counting import Floats

STATUS = r"^((?:HTTP|SIP) \d+)"
"""The status with which the service refused a call, in the detail of its outcome."""


def calls_of(rows: pd.DataFrame, parts: Parts) -> pd.DataFrame:
    """Return a row for each call, from the rows of its sessions: the indexes of the parts in which
    it began and ended; whether it is new (`offered`), which an attempt to come back is not; whether
    it opened, was refused (the service did not open it), dropped (the service closed it), or failed
    (otherwise, after it opened).
    """
    began_ns = floats(rows, START)
    ended_ns = began_ns + rows["ended_at_ns"].to_numpy(float, na_value=np.inf)
    outcomes = rows["outcome"].astype(str)
    is_open = rows["session_updated_at_ns"].notna()
    has_failed = rows["outcome_class"] == "failed"
    is_new = rows["attempt"].isna()
    is_closed = outcomes.map(lambda outcome: parsed(outcome).family) == Family.CLOSED
    return pd.DataFrame(
        {
            "began_ns": began_ns,
            "ended_ns": ended_ns,
            "part": parts.part_at(began_ns),
            "end_part": parts.part_at(ended_ns),
            "offered": is_new,
            "opened": is_open,
            "refused": has_failed & ~is_open & is_new & ~outcomes.map(is_own_limit).astype(bool),
            "dropped": has_failed & is_open & is_closed,
            "failed": has_failed & is_open & ~is_closed,
            "status": rows["detail"].astype(str).str.extract(STATUS, expand=False).fillna(outcomes),
            "retry_after_ms": rows["retry_after_ns"].astype(float) / NS_PER_MS,
        }
    )


def latencies_of(samples: MetricSamples, target: int) -> tuple[Floats, int]:
    """Return the main latency of each turn of a run, in ms: inf if the turn failed, NaN if it has
    none; and the number of successful turns of the target that lack it.
    """
    turns = samples.turns
    latency = np.full(turns.rows.size, np.nan)
    lacking = 0
    for stratum, main in samples.mains.items():
        of_stratum = turns.stratum[turns.step] == turns.strata.index(stratum)
        latency[of_stratum] = turns.value(main)[of_stratum]
        lacking += samples[main].unscored_of(target, turns.steps_in(stratum)).size
    latency[turns.kind == FAILED] = np.inf
    return latency, lacking
