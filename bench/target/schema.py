"""The JSON Schema of `targets.yaml`, for editors; `python -m bench.target.schema` prints it."""

from __future__ import annotations

import json

from bench.shapes import Schema
from bench.target.settings import TARGETS


def targets_schema() -> Schema:
    """What `settings.py` declares, as JSON Schema (draft 2020-12)."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Targets of Realtime Bench"}
    return head | TARGETS.schema()


if __name__ == "__main__":
    print(json.dumps(targets_schema(), indent=2))
