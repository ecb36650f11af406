"""The arguments of a simulated function call are valid for the schema of the function."""

from __future__ import annotations

from typing import Any

import jsonschema
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtbench_simulator.responses.function_calls import arguments, invalid_arguments
from tests.simulator.builders import (
    JSON,
)

SIMPLE = st.one_of(
    st.just({"type": "string"}),
    st.builds(
        lambda least, more: {"type": "string", "minLength": least, "maxLength": least + more},
        st.integers(0, 40),
        st.integers(0, 20),
    ),
    st.builds(
        lambda kind, least, more: {"type": kind, "minimum": least, "maximum": least + more},
        st.sampled_from(["integer", "number"]),
        st.integers(-50, 500),
        st.integers(0, 5),
    ),
    st.just({"type": ["null", "boolean"]}),
    st.builds(lambda word: {"enum": [word, "other"]}, st.text(max_size=5)),
    st.builds(lambda word: {"const": word}, st.text(max_size=5)),
    st.builds(lambda word: {"type": "string", "default": word}, st.text(max_size=5)),
    st.just({"$ref": "#/$defs/colour"}),
)
NAMES = st.text("abc", min_size=1, max_size=3)


def object_of(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(NAMES, inner, max_size=3).flatmap(
        lambda properties: st.sets(
            st.sampled_from(sorted(properties)) if properties else st.nothing()
        ).map(
            lambda required: {
                "type": "object",
                "properties": properties,
                "required": sorted(required),
            }
        )
    )


SCHEMAS = object_of(
    st.recursive(
        SIMPLE,
        lambda inner: (
            object_of(inner)
            | st.builds(
                lambda items, least: {"type": "array", "items": items, "minItems": least},
                inner,
                st.integers(0, 2),
            )
            | st.builds(lambda choice: {"anyOf": [{"type": "null"}, choice]}, inner)
        ),
        max_leaves=6,
    )
).map(lambda schema: schema | {"$defs": {"colour": {"enum": ["red", "green"]}}})


@given(schema=SCHEMAS, seed=st.integers(0, 100))
def test_arguments_match_their_schema_with_only_the_required_properties(
    schema: dict[str, Any], seed: int
) -> None:
    values = arguments(schema, np.random.default_rng(seed))

    jsonschema.validate(values, schema)
    assert list(values) == schema["required"]
    assert arguments(schema, np.random.default_rng(seed)) == values


@given(schema=SCHEMAS)
def test_unfit_arguments_lack_a_required_property_and_have_an_undeclared_one(
    schema: dict[str, Any],
) -> None:
    values = invalid_arguments(schema, np.random.default_rng(1))

    assert values["undeclared"] is True
    assert [name for name in schema["required"] if name not in values] == schema["required"][:1]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"const": 1, "example": 2, "default": 3, "enum": [4]}, 1),
        ({"example": 2, "default": 3, "enum": [4]}, 2),
        ({"type": "integer", "default": 3, "enum": [4]}, 3),
        ({"examples": ["a", "b"], "enum": [4]}, "a"),
        ({"type": "integer", "enum": [4, 5]}, 4),
    ],
)
def test_a_value_in_the_schema_has_priority_over_its_type(
    schema: dict[str, Any], value: Any
) -> None:
    parameters = {"type": "object", "properties": {"it": schema}, "required": ["it"]}

    assert arguments(parameters, np.random.default_rng(1)) == {"it": value}


def test_a_recursive_schema_gives_finite_arguments() -> None:
    names = [str(number) for number in range(20)]
    schema = {
        "type": "object",
        "properties": {name: {"$ref": "#"} for name in names},
        "required": names,
    }

    assert len(msgspec.json.encode(arguments(schema, np.random.default_rng(1)))) < 100_000


@given(schema=JSON | st.dictionaries(st.sampled_from(["properties", "required", "type"]), JSON))
def test_any_schema_gives_arguments(schema: Any) -> None:
    assert isinstance(arguments(schema, np.random.default_rng(1)), dict)
