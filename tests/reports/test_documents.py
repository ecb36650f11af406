"""Documents for programs: what a type makes is as its schema says, whatever the numbers are."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec import inspect

from bench.cli.schemas import schemas
from reports.comparisons.outputs import CompareDocument
from reports.gate.outputs import CheckDocument
from reports.looks.decision import DecisionDocument
from reports.records import Known, Number, Record, Rounded, data_of, read_document, text_of
from reports.sample_size import SizeDocument
from reports.summary.arms import ArmFacts
from reports.text.document import SummaryDocument
from reports.wording.settings import FACTS

KINDS: dict[str, type[Record]] = {
    "summary": SummaryDocument,
    "compare": CompareDocument,
    "decision": DecisionDocument,
    "sample-size": SizeDocument,
    "check": CheckDocument,
}
SCHEMAS = schemas()


class Row(Record, frozen=True):
    """A row."""

    number: Number
    figure: Rounded
    name: Known
    sessions: int = msgspec.field(name="of_sessions")


def values_of(kind: inspect.Type) -> st.SearchStrategy[Any]:
    """Objects that a document of this type may be made from; its numbers may be NaN, infinite, or numpy's."""
    match kind:
        case inspect.Metadata(extra_json_schema={"type": "number"}):
            return st.floats(allow_nan=False, allow_infinity=False, width=32)
        case inspect.Metadata():
            return values_of(kind.type)
        case inspect.CustomType():
            return st.text(max_size=3) if issubclass(kind.cls, str) else st.floats() | st.floats().map(np.float64)
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
        case inspect.StructType():
            return st.builds(kind.cls, **{field.name: values_of(field.type) for field in kind.fields})
        case inspect.DataclassType():
            return st.builds(kind.cls, **{field.name: values_of(field.type) for field in kind.fields})
    raise AssertionError(kind)


@cache
def made_of(name: str) -> st.SearchStrategy[Any]:
    """What a document is made from: to go through all of its types takes longer than to make one."""
    return values_of(inspect.type_info(KINDS[name]))


@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # of the strategy of so large a document
@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=10, phases=[Phase.reuse, Phase.generate])  # the shrinking of so large a document takes minutes
@given(data=st.data())
def test_what_a_type_makes_is_as_its_schema_says(name: str, data: st.DataObject) -> None:
    document = data_of(data.draw(made_of(name)))

    assert [error.json_path for error in Draft202012Validator(SCHEMAS[name]).iter_errors(document)] == []
    assert [*document] == [field.encode_name for field in msgspec.structs.fields(KINDS[name])]


@given(st.floats(width=32))
def test_a_number_that_does_not_exist_is_null(value: float) -> None:
    row = data_of(Row(number=value, figure=value, name="", sessions=1))

    assert row["number"] == (value if math.isfinite(value) else None)
    assert row["figure"] == (float(f"{value:.6g}") if math.isfinite(value) else None)
    assert row["name"] is None


def test_a_value_of_another_type_is_told_with_its_place() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"Expected `int`, got `str` - at `\$\.of_sessions`"):
        data_of(Row(number=1.0, figure=1.0, name="", sessions="4"))  # type: ignore[arg-type]


def test_a_document_that_was_read_is_the_one_that_was_written() -> None:
    row = Row(number=math.nan, figure=1 / 3, name="", sessions=4)
    read = read_document(text_of(data_of(row)).encode(), Row)

    assert (math.isnan(read.number), read.figure, read.name, read.sessions) == (True, 0.333333, "", 4)


def test_a_document_is_as_its_type_says_whatever_more_what_was_computed_holds() -> None:
    class Wide(Row, frozen=True, kw_only=True):
        colour: int

    class Table(Record, frozen=True):
        rows: list[Row]

    assert data_of(Table([Wide(1.0, 2.0, "a", 3, colour=1)])) == {
        "rows": [{"number": 1.0, "figure": 2.0, "name": "a", "of_sessions": 3}]
    }


def test_every_fact_of_an_arm_has_its_key_in_the_summary() -> None:
    keys = {field.name for field in msgspec.structs.fields(ArmFacts)}

    assert keys == {"target", *FACTS}
