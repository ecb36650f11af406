"""check.json: a check for programs, with its JSON Schema in `check.schema.json`. What does not exist is null."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from reports.gate.items import Checked, Grade, Item, OnInconclusive
from reports.gate.sentences import headline
from reports.schemas.document import Known, Record, Values, data_of, text_of

SCHEMA = 1
GRADES: tuple[Grade, ...] = ("passed", "failed", "unsure", "void")


class CheckDocument(Record):
    """The file. `exit_code`: 0 passed, 1 regressed or over a threshold, 3 inconclusive, 4 invalid or without data."""

    schema: Annotated[int, Meta(ge=1)]
    status: Literal[0, 1, 3, 4] = field(name="exit_code")
    headline: str
    run_id: str
    scenario: str
    labels: dict[str, str]
    simulated: bool
    verdict: Literal["VALID", "INVALID", "NOT JUDGED"]
    against: Known
    on_inconclusive: OnInconclusive
    grades: dict[Grade, int]
    items: tuple[Item, ...]
    void: tuple[str, ...]
    differs: tuple[str, ...]
    notices: tuple[str, ...]
    warnings: tuple[str, ...]


def as_data(checked: Checked) -> dict[str, Any]:
    """The check as lists, dictionaries, strings and numbers."""
    grades = {grade: len(checked.of(grade)) for grade in GRADES}
    opening = headline(checked).replace("\u00a0", " ")
    return data_of(CheckDocument, Values(checked, schema=SCHEMA, headline=opening, grades=grades))


def as_json(checked: Checked) -> str:
    """The file's text."""
    return text_of(as_data(checked))
