"""Runs of every schema that was ever written are still reported; `stored/` holds a small one of each older one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import reports
from bench.run.folder import SCHEMA_VERSION
from reports import render
from reports.summary.summary import summarise

STORED = Path(__file__).parent / "stored"


@pytest.mark.parametrize("schema", range(1, SCHEMA_VERSION))
def test_a_run_of_an_older_schema_is_still_reported(tmp_path: Path, schema: int) -> None:
    folder = shutil.copytree(STORED / f"schema-{schema}", tmp_path / "run")
    run = reports.load(folder, everything=False)
    paths = render.write(run)

    assert run.document["schema"] == schema
    assert "VALID" in paths.markdown.read_text()
    assert json.loads(paths.json.read_text())["answers"][0]["turns"] == 16


def test_a_run_of_schema_1_has_the_measures_of_its_columns_and_no_others() -> None:
    summary = summarise(reports.load(STORED / "schema-1", everything=False))

    assert {figures.measure for figures in summary.measures} == {
        *("ttfa", "transcript_first", "transcript_total", "transcript_lead", "response_total"),
        "audio_speed",
    }
    assert summary.answers[0].figures.n == 16
    assert not summary.heard
    assert not summary.breakdowns
