"""The editor's schemas name the key that is wrong, and not only that something is."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from bench.plan.script import script_schema
from bench.target.target_settings import targets_schema

SCRIPT, TARGETS = Draft202012Validator(script_schema()), Draft202012Validator(targets_schema())
STEPS: dict[str, Any] = {
    "text": {"text": "Hello"},
    "audio": {"audio": "a.wav"},
    "request_response": {"request_response": None},
    "wait_for": {"wait_for": "greeting"},
    "interrupt": {"interrupt": {"after": 1}},
    "sound": {"sound": {"audio": "a.wav", "kind": "noise"}},
    "pause": {"pause": 1},
    "expect": {"expect": {"event": "committed", "within": 1}},
    "message": {"message": {"role": "user", "text": "Hello"}},
    "send": {"send": {"type": "response.cancel"}},
}
UNKNOWN = "('naxme' was unexpected)"


def best(validator: Draft202012Validator, tree: Any) -> Any:
    return best_match(validator.iter_errors(tree))


def script(step: Any) -> dict[str, Any]:
    return {"steps": [{"text": "Hello"}, step]}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_a_misspelt_key_of_a_step_is_named(step: dict[str, Any]) -> None:
    assert best(SCRIPT, script(step)) is None

    found = best(SCRIPT, script(step | {"naxme": "x"}))
    assert UNKNOWN in found.message
    assert list(found.path) == ["steps", 1]


@pytest.mark.parametrize("verb", ["interrupt", "sound", "expect", "message", "request_response"])
def test_a_misspelt_key_under_a_step_is_named(verb: str) -> None:
    inner = STEPS[verb][verb] or {}

    found = best(SCRIPT, script({verb: inner | {"naxme": "x"}}))
    assert UNKNOWN in found.message
    assert list(found.path) == ["steps", 1, verb]


@pytest.mark.parametrize("verb", STEPS)
def test_a_misspelt_step_is_named(verb: str) -> None:
    assert UNKNOWN in best(SCRIPT, script({"naxme": STEPS[verb][verb]})).message


@pytest.mark.parametrize(
    "tree",
    [
        {"pause": {"median": 2, "sigma": 0.5, "naxme": 1}},
        {"text": "Hello", "success": {"reply_contains": "yes", "naxme": 1}},
        {"text": "Hello", "expected_calls": [{"name": "find", "naxme": 1}]},
    ],
)
def test_a_misspelt_key_of_what_may_be_written_in_several_ways_is_named(tree: dict[str, Any]) -> None:
    assert UNKNOWN in best(SCRIPT, script(tree)).message


@pytest.mark.parametrize(
    "session",
    [
        {"turn_detection": {"type": "server_vad", "naxme": 1}},
        {"turn_detection": {"type": "azure_semantic_vad", "naxme": 1}},
        {"voice": {"type": "openai", "name": "alloy", "naxme": 1}},
        {"truncation": {"retention_ratio": 0.5, "naxme": 1}},
    ],
)
def test_a_misspelt_key_of_a_setting_is_named(session: dict[str, Any]) -> None:
    assert UNKNOWN in best(SCRIPT, {"session": session, "steps": [{"text": "Hello"}]}).message


@pytest.mark.parametrize(
    "target",
    [
        {"naxme": 1},
        {"auth": {"type": "entra", "naxme": 1}},
        {"variants": {"quick": {"naxme": 1}}},
        {"prices": {"usd_per_minute": 1, "naxme": 1}},
    ],
)
def test_a_misspelt_key_of_a_target_is_named(target: dict[str, Any]) -> None:
    assert UNKNOWN in best(TARGETS, {"targets": {"one": {"url": "ws://127.0.0.1:1/v1"} | target}}).message
