"""The conformance set in docs/conformance: this tool, and a reader without its code, give the
values in it.
"""

from __future__ import annotations

import ast
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.base.units import NS_PER_MS
from bench.catalogue.metrics import CATALOGUE, DEFINITIONS_VERSION
from bench.record.replay import replay_log
from reports.statistics.quantiles import quantile
from tests.conformance import independent

FOLDER = Path(__file__).parents[2] / "docs/conformance"
LOGS = sorted(FOLDER.glob("*.jsonl"))
BOUNDED = ("ttfa", "transcript_first", "voice_to_voice")
"""The metrics whose bounds are in the set."""
GOOD = ("ok", "interrupted")
SET: dict[str, Any] = json.loads((FOLDER / "values.json").read_text())


def of_this_tool(log: Path) -> list[dict[str, Any]]:
    """Return the values of a log as this tool computes them, in the form of values.json."""
    turns = []
    for turn in replay_log(log).turns:
        values_ms = {name: ns / NS_PER_MS for name, ns in turn.metrics_ns().items()}
        errors = {
            name: (turn.bound_ns(CATALOGUE[name]) or 0) / NS_PER_MS
            for name in values_ms
            if name in BOUNDED
        }
        turns.append(
            {
                "outcome": turn.outcome,
                "measured_from": turn.measured_from,
                "values_ms": {
                    name: value for name, value in values_ms.items() if name in SET["metrics"]
                },
                "uncertainty_ms": errors,
            }
        )
    return turns


def read(value: float | str) -> float:
    return math.inf if value == "inf" else float(value)


def test_each_log_has_values() -> None:
    assert [log.name for log in LOGS] == list(SET["logs"])


def test_the_set_names_the_definitions_that_this_tool_has() -> None:
    assert SET["definitions_version"] == DEFINITIONS_VERSION


@pytest.mark.parametrize(
    "turns_of", [independent.turns_of, of_this_tool], ids=["independent", "this tool"]
)
@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.stem)
def test_a_log_has_the_values_of_the_set(log: Path, turns_of: Any) -> None:
    expected = SET["logs"][log.name]
    turns = turns_of(log)

    assert [turn | {"values_ms": pytest.approx(turn["values_ms"])} for turn in turns] == expected


def test_turns_that_failed_are_infinite_in_quantiles() -> None:
    for entry in SET["quantiles"]:
        turns = [turn for log in LOGS for turn in SET["logs"][log.name]]
        counted = [turn for turn in turns if turn["measured_from"] == entry["measured_from"]]
        values = [
            turn["values_ms"][entry["metric"]] if turn["outcome"] in GOOD else math.inf
            for turn in counted
        ]

        assert len(counted) == entry["turns"]
        for p, value in entry["quantiles"].items():
            assert independent.quantile(values, float(p)) == read(value)
            assert quantile(np.sort(values), float(p)) == read(value)


def test_the_independent_reader_shares_no_code_with_this_tool() -> None:
    nodes = ast.walk(ast.parse(Path(independent.__file__).read_text()))
    modules = {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}

    assert modules == {"__future__", "collections.abc", "pathlib", "typing"}
