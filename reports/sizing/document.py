"""What `rtbench size --json` prints, with its JSON Schema in `size.schema.json`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import field

from reports.schemas.document import Closed, Number, Values, about, data_of
from reports.sizing.size import Size
from reports.statistics.power import LEVEL

SCHEMA = 1
Range = tuple[Number, Number, Number]


class SizeDocument(Closed):
    """Ranges are [least, likely, most]; null where the pilot does not tell."""

    schema: Literal[1]
    like: str
    targets: list[str]
    measure: str
    kind: Literal["quantile", "rate"]
    p: float | None
    effect: float = field(name="detect")
    margin: float
    power: float
    level: float
    gates: Annotated[int, about("gates of the check that share the level by Holm, for which it is planned")]
    paired: bool
    pilot_sessions: int
    sessions: tuple[int, int, int]
    sessions_alone: Annotated[int, about("the likely number, were this the only gate")]
    sessions_to_pass: Annotated[
        int | None, about("of a rate: without so many in each arm it cannot pass at the margin, though none fails")
    ]
    seconds: Range
    usd: Range
    power_of_pilot: Number
    turns_per_session: Number
    sigma: Number
    icc: Number
    deff50: Number = field(name="deff_p50")
    deff95: Number = field(name="deff_p95")
    cheapest_by_time: int | None = field(name="cheapest_turns_by_time")
    cheapest_by_usd: int | None = field(name="cheapest_turns_by_usd")


def as_data(size: Size) -> dict[str, Any]:
    """The size as lists, dictionaries, strings and numbers."""
    like = str(size.run.document.get("run_id") or size.run.folder.name)
    own = {"schema": SCHEMA, "like": like, "level": LEVEL, "pilot_sessions": size.pilot.sessions}
    return data_of(SizeDocument, Values(size, size.asked, size.asked.question, size.spread, **own))
