"""Every JSON that the tool writes has a schema, and is as it says."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from bench.cli import schemas as writer
from bench.run import folder as run_folder
from bench.run.calibration import load_calibration, save_calibration
from bench.run.document import SCHEMA_VERSION
from reports.records import text_of
from reports.runs import load_for_report
from reports.summary.summary import summarise
from reports.text.document import summary_data
from tests.calibrate.builders import build_calibration
from tests.reports import synthetic
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan, told

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path for package in ("bench", "reports", "scenarios") for path in (ROOT / package).rglob("*.schema.json")
)
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
INCIDENT = {"at_utc_ns": synthetic.BEGAN_NS + 5, "worker": 0, "kind": "auth_refresh", "text": "HTTP 503"}
DECISION_PLAN = (
    {"pairs": 500, "analyses": [50, 100], "alpha": 0.05}
    | {"primary_metrics": {"ttfa": ["p(95)<+20%"]}}
    | {"spending": "a t^2", "bootstrap_samples": 2000}
)
MORE = told(FULL) | {"incidents": [INCIDENT], "sequential_plan": DECISION_PLAN, "warmup_s": 60.0}
PLANS = {
    "one": Plan(),
    "nothing": Plan(sessions=0),
    "text": Plan(text=True, simulated=False, warmup_s=10),
    "mixed": Plan(sessions=30, kinds=("vad", "typed", "manual"), targets=("a", "b"), early=40),
    "full": FULL,
}


def closed(schema: Any) -> Any:
    """The same schema, where a record has no key that it does not name: what is written is to be described whole."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    whole = {key: closed(part) for key, part in schema.items()}
    if schema.get("type") == "object" and "properties" in schema and "additionalProperties" not in schema:
        whole["additionalProperties"] = False
    return whole


@cache
def schemas() -> dict[str, Any]:
    """Every schema, made once."""
    return writer.schemas()


@cache
def validator(name: str) -> Draft202012Validator:
    """What holds a document against a schema that describes it whole."""
    return Draft202012Validator(closed(schemas()[name]))


def problems(name: str, document: Any) -> list[str]:
    """What is not as the schema has it, and where."""
    return [f"{error.json_path}: {error.message}" for error in validator(name).iter_errors(document)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_schema_is_one_of_draft_2020_12(path: Path) -> None:
    schema = json.loads(path.read_text(encoding="utf-8"))

    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(schema)


def test_the_files_are_what_the_code_says() -> None:
    for name, schema in schemas().items():
        file = writer.schema_file(name)

        assert file.read_text(encoding="utf-8") == writer.schema_text(schema), f"{name}: python -m bench.cli.schemas"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_schema_is_in_the_list_of_formats(path: Path) -> None:
    assert path.name in (ROOT / "docs" / "run-folder.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PLANS)
def test_run_and_summary_of_an_invented_run_are_as_their_schemas_say(name: str) -> None:
    summary = summary_of(PLANS[name], **(MORE if name == "full" else {}))

    data = summary_data(summary)

    assert problems("run", summary.run.metadata) == []
    assert problems("summary", data) == []
    assert json.loads(text_of(data), parse_constant=pytest.fail) == data


def test_the_stored_run_is_as_the_schemas_say() -> None:
    folder = STORED
    assert problems("run", run_folder.read_document(folder)) == []
    assert problems("summary", summary_data(summarise(load_for_report(folder)))) == []
    for log in sorted((folder / "events").glob("*.jsonl")):
        assert problems_of_lines("event-log", log) == []


def test_a_calibration_is_saved_as_its_schema_says(tmp_path: Path) -> None:
    path = save_calibration(build_calibration(), tmp_path)

    assert load_calibration(path) is not None
    assert problems("calibration", json.loads(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": SCHEMA_VERSION + 1}, "$.schema"),
        ({"state": "gone"}, "$.state"),
        ({"validity": None}, "$.validity"),
        ({"targets": [{"name": "a"}]}, "$.targets[0]"),
        ({"simulated": None}, "$.simulated"),
        ({"unheard_of": 1}, "$"),
    ],
)
def test_a_document_that_is_not_as_its_schema_says_is_told_where(change: dict[str, Any], said: str) -> None:
    document = summary_of(Plan()).run.metadata

    assert {problem.partition(":")[0] for problem in problems("run", document | change)} == {said}


def problems_of_lines(name: str, log: Path) -> list[str]:
    return [
        problem for line in log.read_text(encoding="utf-8").splitlines() for problem in problems(name, json.loads(line))
    ]
