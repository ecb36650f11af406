"""Tests of the reasons of results: each has a code with its numbers, and one sentence."""

from __future__ import annotations

import ast
import json
import re
from importlib import import_module
from pathlib import Path

import pytest

from reports.results.json_entries import JsonEntry
from reports.results.value import Reason, too_few, too_few_to_print
from reports.text.phrases import CHECKS
from reports.text.reasons import OTHERS, SENTENCES, document_data, reason_text

ROOT = Path(__file__).parents[2] / "reports"
BOUNDS = {"lower": 610.0, "upper": 890.0, "unit": "ms", "bounds_from": "parts"}
EXAMPLES = {
    "too few turns to decide: p95 needs 400 per target, 96 on new": too_few(
        "turn", 400, [500, 96], ["old", "new"], 0.95
    ),
    "too few pairs to decide: 20 needed, 8 measured": too_few("pair", 20, [8, 9]),
    "needs 40 sessions": too_few_to_print("session", 40, 12),
    "needs 10 words or characters": too_few_to_print("word", 10, 3),
    "the limit lies within the interval": Reason("within_bounds"),
    "the limit lies between the bounds that parts of the run give, 610 and 890 ms": Reason(
        "within_bounds", BOUNDS
    ),
    "no turn succeeded": Reason("nothing_succeeded"),
    "uncertain in this run: it may be off by 31 ms (p99; limit 20 ms) on red on new": Reason(
        "uncertain",
        {"metrics": [{"value": 31.0, "limit": 20.0, "unit": "ms", "host": "red", "on": "new"}]},
    ),
}


@pytest.mark.parametrize("text", EXAMPLES)
def test_a_reason_has_one_sentence(text: str) -> None:
    assert reason_text(EXAMPLES[text]).replace("\u00a0", " ") == text


def test_every_code_has_a_sentence_and_every_sentence_has_a_reason() -> None:
    codes = set()
    # this module reads reasons of documents
    for path in set(ROOT.rglob("*.py")) - {ROOT / "text" / "reasons.py"}:
        for call in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Name)
                and call.func.id == "Reason"
                and call.args
            ):
                code = call.args[0]
                either = [code.body, code.orelse] if isinstance(code, ast.IfExp) else [code]
                codes |= {text.value for text in either if isinstance(text, ast.Constant)}

    others = [import_module(f"reports.text.{name}").SENTENCES for name in OTHERS]
    written = {code for sentences in (SENTENCES, *others) for code in sentences}
    assert codes | CHECKS.keys() == written
    assert all(re.fullmatch("[a-z_]+", code) for code in written)


class Holder(JsonEntry, frozen=True):
    """A document with reasons."""

    one: Reason | None
    several: list[Reason]


def test_a_document_has_the_text_of_each_reason_beside_its_code_and_its_numbers() -> None:
    inner = Reason("provisional", {"reason": Reason("nothing_measured")})
    data = document_data(Holder(too_few_to_print("turn", 100, 20), [inner]))

    assert json.loads(json.dumps(data)) == {
        "one": {
            "code": "too_few_to_print",
            "numbers": {"unit": "turn", "needed": 100, "there": [20]},
            "text": "needs 100 turns",
        },
        "several": [
            {
                "code": "provisional",
                "numbers": {
                    "reason": {
                        "code": "nothing_measured",
                        "numbers": {},
                        "text": "nothing was measured",
                    }
                },
                "text": "nothing was measured The verdicts are provisional.",
            }
        ],
    }
