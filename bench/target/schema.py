"""The JSON Schema of `targets.yaml`, for editors; `python -m bench.target.schema` prints it."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from bench.target.settings import TargetsFile


def targets_schema() -> dict[str, Any]:
    """What `settings.py` declares, as JSON Schema (draft 2020-12)."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Targets of Realtime Bench"}
    return head | msgspec.json.schema(TargetsFile)


if __name__ == "__main__":
    print(json.dumps(targets_schema(), indent=2))
