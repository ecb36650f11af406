"""A stored baseline: a few values of a run, small enough for git, and the conditions under which they were measured."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from reports.strata import Stratum

SCHEMA = 2
PS = (0.5, 0.75, 0.9, 0.95, 0.99)


class StoredQuantiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The quantiles of one metric at the levels PS.

    - `values`: null if the quantile is among failed turns
    - `variances`: the variances of the logs of the quantiles, between sessions
    - `infinite`: the share of resamples in which the quantile is among failed turns
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
        """The stratum; both parts are empty if the run had turns of one stratum."""
        return Stratum(self.measured_from, self.turn_type)


class StoredRate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A share of turns with its variance between sessions; null with fewer than two sessions."""

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
