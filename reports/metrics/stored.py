"""A stored baseline: some values of a run, and the conditions of the measurement. It is small
enough for git.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from reports.formatting import join_present
from reports.metrics.strata import Stratum

SCHEMA = 4
BY_PARTS = 3
"""The first schema whose files have the variances by parts of the run."""
BY_CODE = 4
"""The first schema whose conditions have their codes as keys. Older files have the keys of
OLD_CONDITIONS."""
PS = (0.5, 0.75, 0.9, 0.95, 0.99)


class StoredQuantiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The quantiles of one metric at the levels PS.

    - `values` is null for a quantile that is among failed turns
    - `variances` is the variance of the log of each quantile, between sessions
    - `infinite` is the share of resamples in which the quantile is among failed turns
    - `by_quarters` and `by_sixths` are the variances if the clusters are quarters or sixths of the
      run, not sessions; null if the quantile is among failed turns. Files before BY_PARTS do not
      have these keys.
    """

    metric: str
    measured_from: str
    n: int
    failed: int
    sessions: int
    values: tuple[float | None, ...]
    variances: tuple[float | None, ...]
    infinite: tuple[float, ...]
    turn_type: str = ""
    # "" in older files, which do not have this key
    by_quarters: tuple[float | None, ...] = ()
    by_sixths: tuple[float | None, ...] = ()

    @property
    def stratum(self) -> Stratum:
        """The stratum. Both of its parts are "" if all turns of the run belong to one stratum."""
        return Stratum(self.measured_from, self.turn_type)


class StoredRate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A share of turns.

    - `variance` is its variance between sessions; null with fewer than two sessions
    - `by_sixths` is its variance if the clusters are sixths of the run. Files before BY_PARTS do
      not have this key.
    """

    name: str
    share: float
    variance: float | None
    n: int
    sessions: int
    by_sixths: float | None = None


class Baseline(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The stored values of one target of one run."""

    schema: Annotated[int, msgspec.Meta(ge=1)]
    run_id: str
    scenario: str
    target: str
    started_utc_ns: int
    tool: str
    valid: Literal[True]
    simulated: bool
    sessions: int
    turns: int
    quantile_levels: tuple[float, ...]
    conditions: dict[str, str]
    """conditions of the measurement, by their codes"""
    quantiles: tuple[StoredQuantiles, ...]
    rates: tuple[StoredRate, ...]
    labels: dict[str, str]


OLD_CONDITIONS = Path(__file__).with_name("old_conditions.json")
"""The file with the keys of conditions before BY_CODE, each with its code."""


def by_code(baseline: Baseline) -> Baseline:
    """Return the baseline with the codes of its conditions as keys. An unknown key remains.

    If a run had several scripts, the old keys of their settings end with ` of ` and the name of the
    script.
    """
    if baseline.schema >= BY_CODE:
        return baseline
    codes: dict[str, str] = json.loads(OLD_CONDITIONS.read_text(encoding="utf-8"))
    pattern = re.compile(f"({'|'.join(map(re.escape, codes))})(?: of (.*))?", re.DOTALL)
    conditions = {}
    for key, text in baseline.conditions.items():
        found = pattern.fullmatch(key)
        conditions[join_present(":", codes[found[1]], found[2]) if found else key] = text
    return msgspec.structs.replace(baseline, conditions=conditions)
