"""check.json: a check for programs, with its JSON Schema in `check.schema.json`. What does not exist is null."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

from reports.gate.items import Checked, Grade, Item, OnInconclusive
from reports.gate.sentences import headline

SCHEMA = 1


@dataclass(frozen=True)
class Document:
    """The file. `exit_code`: 0 passed, 1 regressed or over a threshold, 3 inconclusive, 4 invalid or without data."""

    schema: Annotated[int, msgspec.Meta(ge=1)]
    exit_code: Literal[0, 1, 3, 4]
    headline: str
    run_id: str
    scenario: str
    labels: dict[str, str]
    simulated: bool
    verdict: Literal["VALID", "INVALID", "NOT JUDGED"]
    against: str | None
    on_inconclusive: OnInconclusive
    grades: dict[Grade, int]
    items: tuple[Item, ...]
    void: tuple[str, ...]
    differs: tuple[str, ...]
    notices: tuple[str, ...]
    warnings: tuple[str, ...]


def as_data(checked: Checked) -> dict[str, Any]:
    """The check as lists, dictionaries, strings and numbers."""
    encoded = msgspec.json.encode(
        {
            "schema": SCHEMA,
            "exit_code": checked.status,
            "headline": headline(checked).replace("\u00a0", " "),
            "run_id": checked.run_id,
            "scenario": checked.scenario,
            "labels": checked.labels,
            "simulated": checked.simulated,
            "verdict": checked.verdict,
            "against": checked.against or None,
            "on_inconclusive": checked.on_inconclusive,
            "grades": {grade: len(checked.of(grade)) for grade in ("passed", "failed", "unsure", "void")},
            "items": checked.items,
            "void": checked.void,
            "differs": checked.differs,
            "notices": checked.notices,
            "warnings": checked.warnings,
        }
    )
    data: dict[str, Any] = msgspec.json.decode(encoded)
    return data


def as_json(checked: Checked) -> str:
    """The file's text."""
    return json.dumps(as_data(checked), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
