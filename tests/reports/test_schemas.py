"""Every JSON file that the tool writes has a schema. The file conforms to its schema for any
numbers.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from bench.record import folder as run_folder
from bench.record.calibration import load_calibration, save_calibration
from reports.analysis.summary.summary import summarise
from reports.data.runs import load_for_report
from reports.pages.run_report.document import summary_data
from reports.results.json_entries import JsonEntry, Known, Number, Rounded, text_of, to_json_data
from tests.calibrate.builders import build_calibration
from tests.reports import synthetic
from tests.reports.schema_problems import problems, problems_of_lines
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan, target_keys

STORED = Path(__file__).parent / "stored"
FULL = Plan(
    sessions=24,
    turns=6,
    targets=("direct", "direct.quick"),
    paired=True,
    usage=True,
    limited=True,
    failed=0.1,
    refused=1,
    unattributed_commits=2,
    early=3,
)
INCIDENT = {
    "at_utc_ns": synthetic.BEGAN_NS + 5,
    "worker": 0,
    "kind": "auth_refresh",
    "text": "HTTP 503",
}
DECISION_PLAN = (
    {"pairs": 500, "analyses": [50, 100], "alpha": 0.05}
    | {"primary_metrics": {"ttfa": ["p(95)<+20%"]}}
    | {"spending": "a t^2", "bootstrap_samples": 2000}
)
MORE = target_keys(FULL) | {
    "incidents": [INCIDENT],
    "sequential_plan": DECISION_PLAN,
    "warmup_s": 60.0,
}
PLANS = {
    "one": Plan(),
    "nothing": Plan(sessions=0),
    "text": Plan(text=True, simulated=False, warmup_s=10),
    "mixed": Plan(sessions=30, kinds=("vad", "typed", "manual"), targets=("a", "b"), early=40),
    "full": FULL,
}


@pytest.mark.parametrize("name", PLANS)
def test_documents_of_generated_runs_match_their_schemas(name: str) -> None:
    summary = summary_of(PLANS[name], **(MORE if name == "full" else {}))

    data = summary_data(summary)

    assert problems("run", summary.run.metadata) == []
    assert problems("summary", data) == []
    assert json.loads(text_of(data), parse_constant=pytest.fail) == data


def test_the_stored_run_matches_its_schemas() -> None:
    folder = STORED
    assert problems("run", run_folder.read_document(folder)) == []
    assert problems("summary", summary_data(summarise(load_for_report(folder)))) == []
    for log in sorted((folder / "events").glob("*.jsonl")):
        assert problems_of_lines("event-log", log) == []


def test_a_saved_calibration_matches_its_schema(tmp_path: Path) -> None:
    path = save_calibration(build_calibration(), tmp_path)

    assert load_calibration(path) is not None
    assert problems("calibration", json.loads(path.read_text(encoding="utf-8"))) == []


class Row(JsonEntry, frozen=True):
    """An entry that has one field of each type."""

    number: Number
    figure: Rounded
    name: Known
    sessions: int = msgspec.field(name="of_sessions")


def test_a_value_of_another_type_is_reported_with_its_path() -> None:
    with pytest.raises(
        msgspec.ValidationError, match=r"Expected `int`, got `str` - at `\$\.of_sessions`"
    ):
        to_json_data(Row(number=1.0, figure=1.0, name="", sessions="4"))  # type: ignore[arg-type]


def test_a_document_contains_only_the_fields_of_its_declared_type() -> None:
    class Wide(Row, frozen=True, kw_only=True):
        colour: int

    class Table(JsonEntry, frozen=True):
        rows: list[Row]

    assert to_json_data(Table([Wide(1.0, 2.0, "a", 3, colour=1)])) == {
        "rows": [{"number": 1.0, "figure": 2.0, "name": "a", "of_sessions": 3}]
    }
