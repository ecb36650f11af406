"""A stored baseline: some values of a run, and the conditions of the measurement. It is small enough for git."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from reports.strata import Stratum

SCHEMA = 2
PS = (0.5, 0.75, 0.9, 0.95, 0.99)


class StoredQuantiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The quantiles of one metric at the levels PS.

    - `values` is null for a quantile that is among failed turns
    - `variances` is the variance of the log of each quantile, between sessions
    - `infinite` is the share of resamples in which the quantile is among failed turns
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
    """The turn type; "" in older files, which do not have this key."""

    @property
    def stratum(self) -> Stratum:
        """The stratum. Both of its parts are "" if all turns of the run belong to one stratum."""
        return Stratum(self.measured_from, self.turn_type)


class StoredRate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A share of turns. `variance` is its variance between sessions; null with fewer than two sessions."""

    name: str
    share: float
    variance: float | None
    n: int
    sessions: int


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
    quantiles: tuple[StoredQuantiles, ...]
    rates: tuple[StoredRate, ...]
    labels: dict[str, str]
