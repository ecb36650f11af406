"""The errors of documents by their schemas."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from tools.schemas import schemas

ROOT = Path(__file__).parents[2]


def closed(schema: Any) -> Any:
    """Return a copy of the schema that forbids additional properties.

    So a valid document has only described properties.
    """
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    whole = {key: closed(part) for key, part in schema.items()}
    if (
        schema.get("type") == "object"
        and "properties" in schema
        and "additionalProperties" not in schema
    ):
        whole["additionalProperties"] = False
    return whole


@cache
def validator(name: str) -> Draft202012Validator:
    """Return a validator that rejects each property that the schema does not describe."""
    return Draft202012Validator(closed(schemas()[name]))


def problems(name: str, document: Any) -> list[str]:
    """Return the errors of a document against its schema. Each error contains its path."""
    return [
        f"{error.json_path}: {error.message}" for error in validator(name).iter_errors(document)
    ]


def problems_of_lines(name: str, log: Path) -> list[str]:
    return [
        problem
        for line in log.read_text(encoding="utf-8").splitlines()
        for problem in problems(name, json.loads(line))
    ]
