"""Writes the JSON Schemas of check.json and of stored baselines beside this file: `python -m reports.gate.schema`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from reports.gate.baselines import Baseline
from reports.gate.document import Document

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FILES: dict[str, Any] = {"check.schema.json": Document, "baseline.schema.json": Baseline}
HERE = Path(__file__).parent


def text(kind: Any) -> str:
    """The schema of one kind of file."""
    return json.dumps({"$schema": DIALECT, **msgspec.json.schema(kind)}, indent=2) + "\n"


if __name__ == "__main__":
    for name, kind in FILES.items():
        (HERE / name).write_text(text(kind), encoding="utf-8")
