"""A short run of `make fuzz` that has the same cases each time."""

from __future__ import annotations

import json
from random import Random

import pytest

from tools.fuzz.cases import play
from tools.fuzz.damage import damaged_bytes, damaged_document
from tools.fuzz.subjects import SUBJECTS


@pytest.mark.parametrize("subject", SUBJECTS)
def test_no_mutated_input_causes_an_unexpected_error(subject: str) -> None:
    cases = SUBJECTS[subject][1]

    assert len(list(play(subject, 0, cases))) == cases


def test_mutated_input_differs_from_the_original() -> None:
    """If the changed input were equal to the original, the cases would test nothing."""
    document = {
        "type": "response.create",
        "response": {"output_modalities": ["text"], "metadata": {"a": "b"}},
    }
    whole = json.dumps(document).encode()
    spoilt = [
        (damaged_bytes(Random(n), whole), damaged_document(Random(n), document)) for n in range(100)
    ]

    assert sum(data != whole for data, _ in spoilt) > 90
    assert sum(other != document for _, other in spoilt) > 80
