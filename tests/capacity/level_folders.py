"""The run folder of a level."""

from __future__ import annotations

import json
from pathlib import Path

from bench.base.clock import utc_ns
from bench.record.document import SCHEMA_VERSION


def folder_of(tmp_path: Path, state: str) -> Path:
    (tmp_path / "run.json").write_text(
        json.dumps({"state": state, "started_utc_ns": utc_ns(), "schema": SCHEMA_VERSION})
    )
    return tmp_path
