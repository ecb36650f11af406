"""The JSON Schema of scripts, for editors. `python -m bench.plan.schema` prints it; `make schema` writes it."""

from __future__ import annotations

import json

from bench.plan.script import SCRIPT
from bench.shapes import Schema


def script_schema() -> Schema:
    """What `fields.py` and `steps.py` declare, as JSON Schema (draft 2020-12)."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A script of Realtime Bench"}
    return head | SCRIPT.schema()


if __name__ == "__main__":
    print(json.dumps(script_schema(), indent=2))
