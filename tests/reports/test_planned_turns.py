"""The planned turns of a run: their labels are those that its started turns have."""

from __future__ import annotations

import pytest

from reports.data.planned_turns import planned_turns

TURN = {"step": "say", "measured_from": "speech_end", "greeting": False}
DOCUMENT = {"scripts": [{"target": "west", "name": name, "plan": [TURN]} for name in ("a", "b")]}


@pytest.mark.parametrize(
    ("started", "labels"), [(["a"], ["say", "b: say"]), (["a", "b"], ["a: say", "b: say"]), ([], ["a: say", "b: say"])]
)
def test_a_script_that_started_no_turn_does_not_share_the_steps_of_another_one(
    started: list[str], labels: list[str]
) -> None:
    assert [turn.label for turn in planned_turns(DOCUMENT, ["west"], started)] == labels
