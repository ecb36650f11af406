"""The code of `docs/api.md` runs. The columns and types on this page are those of the frames."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rtbench
from bench.catalogue.columns import UNCERTAINTY_COLUMNS
from bench.record.folder import SCHEMAS, TableName
from reports.api.run import Run
from reports.data.runs import SESSION_METRICS, TURN_METRICS
from tests.reports import synthetic
from tests.reports.shared import write_summary
from tests.reports.synthetic import Plan

ROOT = Path(__file__).parents[2]
PAGE = "\n".join(
    (ROOT / "docs" / page).read_text(encoding="utf-8")
    for page in ("api.md", "conformance/columns.md")
)
TEXT = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
"""The page without its code blocks."""
STORED = ROOT / "tests" / "reports" / "stored"
NAMED = "runs/20261120T091400Z-voice_turns"
"""The run that the page's code loads."""
PLAN = Plan(
    sessions=60,
    turns=5,
    targets=("direct", "gateway"),
    kinds=("vad", "typed"),
    failed=0.08,
    warmup_s=5,
    usage=True,
)


def names_in(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def rows_of(heading: str) -> list[list[str]]:
    """Return the rows of the table under this heading of the page. A row is a list of cells."""
    table = PAGE[PAGE.index(heading) :].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Return five runs: one with all data, one with text only, one without sessions, one killed,
    and one stored.
    """
    folder = tmp_path_factory.mktemp("loaded")
    full = Plan(targets=("a", "b"), paired=True, usage=True, limited=True, failed=0.1, refused=1)
    return [
        rtbench.load(synthetic.write(folder / "full", full)),
        rtbench.load(synthetic.write(folder / "text", Plan(text=True))),
        rtbench.load(synthetic.write(folder / "nothing", Plan(sessions=0))),
        rtbench.load(synthetic.write_killed(folder / "killed", Plan(sessions=20))),
        rtbench.load(STORED),
    ]


def test_the_page_s_code_runs_and_its_quantiles_equal_those_of_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_summary(synthetic.write(tmp_path / NAMED, PLAN))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "docs/api.md", "exec"), names)

    first = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)[0].splitlines()
    assert set(first[0].split()) < set(names["run"].quantiles("ttfa").columns) < names_in(TEXT)
    answers = json.loads((tmp_path / NAMED / "summary.json").read_text())["results"]
    frame = names["run"].quantiles("ttfa")
    assert len(answers) == 4
    assert len(frame) == 4 * len(answers)
    for answer in answers:
        of_origin = frame[
            (frame["target"] == answer["target"])
            & (frame["measured_from"] == answer["measured_from"])
        ]
        median = of_origin.set_index("p").loc[0.5]
        assert answer["failed"] > 0
        assert answer["p50"]["reported"]
        np.testing.assert_allclose(
            [median[key] for key in ("value", "low", "high")],
            [answer["p50"][key] for key in ("value", "low", "high")],
            rtol=1e-5,
        )


def test_the_page_lists_exactly_the_derived_columns(loaded: list[Run]) -> None:
    times = {"turns": TURN_METRICS, "sessions": SESSION_METRICS}
    named = {
        next(iter(names_in(frame))): names_in(columns)
        for frame, columns in rows_of("| frame | derived")
    }
    for frame, metrics in times.items():
        named[frame] = named[frame] - {"<metric>_ms"} | {
            f"{metric.name}_ms" for metric in metrics if metric.unit == "ms"
        }

    assert named == {
        name: set(getattr(loaded[0], name).columns) - set(schema.names)
        for name, schema in SCHEMAS.items()
    }


def test_columns_have_the_types_that_the_page_gives(loaded: list[Run]) -> None:
    *named, (_, other, _) = rows_of("| columns | dtype")
    allowed = {name: names_in(dtype) for columns, dtype, _ in named for name in names_in(columns)}

    def expected(column: str) -> set[str]:
        return allowed.get(column) or (
            allowed["_ms"] if column.endswith("_ms") else names_in(other)
        )

    wrong = {
        (run.folder.name, table, column, str(dtype))
        for run in loaded
        for table in SCHEMAS
        for column, dtype in getattr(run, table).dtypes.items()
        if str(dtype) not in expected(str(column))
    }
    assert wrong == set()


def test_every_column_with_a_type_on_the_page_exists(loaded: list[Run]) -> None:
    there = {column for table in SCHEMAS for column in getattr(loaded[0], table).columns}

    assert {
        name for columns, _, _ in rows_of("| columns | dtype") for name in names_in(columns)
    } - there == {"_ms"}


@pytest.mark.parametrize("table", SCHEMAS)
def test_integer_columns_are_int64_even_with_missing_values(
    loaded: list[Run], table: TableName
) -> None:
    for run in loaded:
        frame = (
            getattr(run, table)
            if table != "turns"
            else run.turns.join(run.uncertainty[list(UNCERTAINTY_COLUMNS)])
        )
        numbers = [field.name for field in SCHEMAS[table] if str(field.type) == "int64"]
        assert {str(frame[name].dtype) for name in numbers} == {"Int64"}


def test_the_page_lists_all_public_names() -> None:
    assert all(f"`{name}`" in PAGE for name in rtbench.__all__)
