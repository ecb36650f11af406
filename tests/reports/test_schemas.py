"""Every JSON file that the tool writes has a schema. The file conforms to its schema for any numbers."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec import inspect

from bench.record import folder as run_folder
from bench.record.calibration import load_calibration, save_calibration
from bench.record.document import SCHEMA_VERSION
from reports.analysis.check.results import CheckDocument
from reports.analysis.sample_size import SampleSize
from reports.analysis.sequential.decision import DecisionDocument
from reports.analysis.summary.summary import RunResults, summarise
from reports.analysis.summary.targets import TargetFacts
from reports.data.runs import load_for_report
from reports.pages.comparisons.document import CompareDocument
from reports.pages.run_report.document import summary_data
from reports.results.json_entries import JsonEntry, Known, Number, Rounded, read_document, text_of, to_json_data
from reports.text.settings import FACTS
from tests.calibrate.builders import build_calibration
from tests.reports import synthetic
from tests.reports.schema_problems import ROOT, SCHEMAS, problems, problems_of_lines
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan, target_keys
from tools.schemas import schema_text, write

FOR_EDITORS = sorted((ROOT / "scenarios").rglob("*.schema.json"))
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
MORE = target_keys(FULL) | {"incidents": [INCIDENT], "sequential_plan": DECISION_PLAN, "warmup_s": 60.0}
PLANS = {
    "one": Plan(),
    "nothing": Plan(sessions=0),
    "text": Plan(text=True, simulated=False, warmup_s=10),
    "mixed": Plan(sessions=30, kinds=("vad", "typed", "manual"), targets=("a", "b"), early=40),
    "full": FULL,
}


def test_every_schema_is_valid_draft_2020_12() -> None:
    for schema in (*SCHEMAS.values(), *(json.loads(path.read_text(encoding="utf-8")) for path in FOR_EDITORS)):
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        Draft202012Validator.check_schema(schema)


def test_every_schema_rejects_an_empty_document_and_a_list() -> None:
    assert [name for name in SCHEMAS if not problems(name, {}) or not problems(name, [])] == []


def test_every_schema_is_in_the_list_of_formats() -> None:
    page = (ROOT / "docs" / "run-folder.md").read_text(encoding="utf-8")
    names = [*(f"{name}.schema.json" for name in SCHEMAS), *(path.name for path in FOR_EDITORS)]

    assert [name for name in names if name not in page] == []


def test_the_schemas_are_written_completely(tmp_path: Path) -> None:
    write(tmp_path)

    assert {path.name: json.loads(path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()} == {
        f"{name}.schema.json": json.loads(schema_text(schema)) for name, schema in SCHEMAS.items()
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


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"schema": SCHEMA_VERSION + 1}, "$.schema"),
        ({"validity": None}, "$.validity"),
        ({"targets": [{"name": "a"}]}, "$.targets[0]"),
        ({"unheard_of": 1}, "$"),
    ],
)
def test_a_schema_violation_is_reported_with_its_path(change: dict[str, Any], path: str) -> None:
    document = summary_of(Plan()).run.metadata

    assert {problem.partition(":")[0] for problem in problems("run", document | change)} == {path}


KINDS: dict[str, type[JsonEntry]] = {
    "summary": RunResults,
    "compare": CompareDocument,
    "decision": DecisionDocument,
    "sample-size": SampleSize,
    "check": CheckDocument,
}


class Row(JsonEntry, frozen=True):
    """An entry that has one field of each type."""

    number: Number
    figure: Rounded
    name: Known
    sessions: int = msgspec.field(name="of_sessions")


CUSTOM: dict[type, st.SearchStrategy[Any]] = {
    str: st.text(max_size=3),
    int: st.integers(0, 2**40),
    float: st.floats() | st.floats().map(np.float64),
}


def values_of(kind: inspect.Type) -> st.SearchStrategy[Any]:
    """Return a strategy for objects of this type. Their numbers may be NaN, infinite, or numbers of numpy."""
    match kind:
        case inspect.Metadata(extra_json_schema={"type": "number"}):
            return st.floats(allow_nan=False, allow_infinity=False, width=32)
        case inspect.Metadata():
            return values_of(kind.type)
        case inspect.CustomType():
            return next(values for plain, values in CUSTOM.items() if issubclass(kind.cls, plain))
        case inspect.FloatType():
            least = kind.gt if kind.gt is not None else kind.ge if kind.ge is not None else 0.0
            return st.floats(least + 0.01, least + 0.49)
        case inspect.IntType():
            return st.integers(1, 2**40)
        case inspect.StrType():
            return st.text(max_size=3)
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
        case inspect.AnyType():
            return st.text(max_size=3) | st.booleans()
        case inspect.LiteralType():
            return st.sampled_from(kind.values)
        case inspect.UnionType():
            return st.one_of([values_of(part) for part in kind.types])
        case inspect.ListType() | inspect.VarTupleType():
            return st.lists(values_of(kind.item_type), min_size=kind.min_length or 0, max_size=2)
        case inspect.TupleType():
            return st.tuples(*map(values_of, kind.item_types))
        case inspect.DictType():
            return st.dictionaries(values_of(kind.key_type), values_of(kind.value_type), max_size=2)
        case inspect.StructType() | inspect.DataclassType():
            return st.builds(kind.cls, **{field.name: values_of(field.type) for field in kind.fields})
        case inspect.TypedDictType():
            return st.fixed_dictionaries({field.encode_name: values_of(field.type) for field in kind.fields})
    raise AssertionError(kind)


@cache
def made_of(name: str) -> st.SearchStrategy[Any]:
    """Return the strategy for the document `name`.

    The strategy is cached, because to build it takes longer than to draw an example.
    """
    return values_of(inspect.type_info(KINDS[name]))


@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # the strategy of such a document is large
@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=10, phases=[Phase.reuse, Phase.generate])  # Shrinking such a document takes minutes.
@given(data=st.data())
def test_every_document_of_a_type_matches_its_schema(name: str, data: st.DataObject) -> None:
    document = to_json_data(data.draw(made_of(name)))

    assert [error.json_path for error in Draft202012Validator(SCHEMAS[name]).iter_errors(document)] == []
    assert [*document] == [field.encode_name for field in msgspec.structs.fields(KINDS[name])]


@given(st.floats(width=32))
def test_nan_and_infinity_are_written_as_null(value: float) -> None:
    row = to_json_data(Row(number=value, figure=value, name="", sessions=1))

    assert row["number"] == (value if math.isfinite(value) else None)
    assert row["figure"] == (float(f"{value:.6g}") if math.isfinite(value) else None)
    assert row["name"] is None


def test_a_value_of_another_type_is_reported_with_its_path() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"Expected `int`, got `str` - at `\$\.of_sessions`"):
        to_json_data(Row(number=1.0, figure=1.0, name="", sessions="4"))  # type: ignore[arg-type]


def test_a_document_round_trips() -> None:
    row = Row(number=math.nan, figure=1 / 3, name="", sessions=4)
    read = read_document(text_of(to_json_data(row)).encode(), Row)

    assert (math.isnan(read.number), read.figure, read.name, read.sessions) == (True, 0.333333, "", 4)


def test_a_document_contains_only_the_fields_of_its_declared_type() -> None:
    class Wide(Row, frozen=True, kw_only=True):
        colour: int

    class Table(JsonEntry, frozen=True):
        rows: list[Row]

    assert to_json_data(Table([Wide(1.0, 2.0, "a", 3, colour=1)])) == {
        "rows": [{"number": 1.0, "figure": 2.0, "name": "a", "of_sessions": 3}]
    }


def test_every_fact_of_a_target_has_its_key_in_the_summary() -> None:
    keys = {field.name for field in msgspec.structs.fields(TargetFacts)}

    assert keys == {"target", *FACTS}
