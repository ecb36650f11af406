"""The end of a run: what it says then, and what is left of one that could not be reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import USAGE_STATUS
from bench.load.leading.looks import (
    close_run,
    holds_rows,
)
from bench.run.document import SCHEMA_VERSION
from tests.load.live_run import Stand


def test_a_report_that_does_not_end_is_ended_and_the_rows_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = Stand(tmp_path)
    stand.play()
    stand.live.close()
    endless = tmp_path / "python"
    endless.write_text("#!/bin/sh\nexec sleep 3600\n")
    endless.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(endless))
    monkeypatch.setattr("bench.load.leading.looks.longest_report_s", lambda folder: 0.01)
    document = {"schema": SCHEMA_VERSION, "started_utc_ns": 0, "warmup_s": 1, "notices": [], "settings": {}}
    closed = close_run(stand.folder, document, "all sessions are done")

    assert (closed.summary, closed.status) == ("", USAGE_STATUS)
    assert closed.problem.endswith(f"was ended; no row is lost: rtbench report {stand.folder}")
    assert holds_rows(stand.folder)
