"""Folders that compute contain no finished sentence. `reports/text` and the pages write the
sentences.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from reports.analysis.summary.run_validity import PlaybackSetup
from reports.text.settings import packetisation_note

ROOT = Path(__file__).parents[2] / "reports"
WITHOUT_TEXTS = (
    "results",
    "statistics",
    "metrics/statistic_types",
    "metrics/thresholds.py",
    "data",
    "analysis/summary",
    "analysis/comparisons",
    "analysis/sequential",
    "analysis/check",
    "analysis/trends",
    "analysis/reference",
)
OF_SCHEMA_OR_ERROR = re.compile(r"Error$|^Meta$|^field$|^described$")


def finished_texts(path: Path) -> Iterator[str]:
    """Yield the strings of four or more words that are no docstrings, errors, or descriptions of
    a schema.
    """
    tree = ast.parse(path.read_text())
    skipped: set[int] = set()
    for node in ast.walk(tree):
        called = node.func if isinstance(node, ast.Call) else None
        name = getattr(called, "id", getattr(called, "attr", ""))
        if isinstance(node, ast.Raise) or OF_SCHEMA_OR_ERROR.search(name):
            skipped |= {id(part) for part in ast.walk(node)}
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(id(node.value))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or id(node) in skipped:
            continue
        text = node.value
        if (
            isinstance(text, str)
            and " " in text.strip()
            and len(re.findall(r"(?<!_)\b[A-Za-z]{2,}\b(?!_)", text)) >= 4
        ):
            yield f"{path.relative_to(ROOT)}:{node.lineno}: {text}"


def test_folders_that_compute_contain_no_finished_sentence() -> None:
    places = [ROOT / place for place in WITHOUT_TEXTS]
    modules = [
        path for place in places for path in ([place] if place.is_file() else place.rglob("*.py"))
    ]

    assert [text for path in modules for text in finished_texts(path)] == []
    assert [*finished_texts(ROOT / "text" / "reasons.py")]


@pytest.mark.parametrize(
    ("chunks_ms", "is_stated"), [((), False), ((100,), False), ((20, 100), True)]
)
def test_packetisation_is_noted_if_chunks_of_several_sizes_change_the_reading(
    chunks_ms: tuple[float, ...], is_stated: bool
) -> None:
    setup = PlaybackSetup((50,), chunks_ms, (), "")

    assert bool(packetisation_note(setup)) == is_stated
