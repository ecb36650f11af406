"""Conversations that exceed the context of the service: their tokens and truncations, as the
service counts them.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.plan.turns import TextTurn
from rtbench_simulator.conversation.items import ModelHistory
from rtbench_simulator.profile import TokenCache, quiet_profile
from tests.talking import Talked, converse, decoded

ROOM = 900
"""The limit of the context in tokens. A letter of the caller's text counts as a quarter of a
token."""


def talk(lengths: list[int], retained: float) -> Talked:
    """Run a session. `lengths` contains the number of tokens of each turn.

    A truncation retains the share `retained` of the context.
    """
    profile = replace(quiet_profile(), context_limit_tokens=ROOM, cache=TokenCache(0, 64))
    turns = [TextTurn("x" * 4 * tokens, name=f"t{at}") for at, tokens in enumerate(lengths)]
    truncation = (
        {"type": "retention_ratio", "retention_ratio": retained} if retained < 1 else "auto"
    )
    return converse(
        *turns, profile=profile, output="text", input_transcription=None, truncation=truncation
    )


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(5, 400), min_size=2, max_size=10), st.sampled_from([0.5, 0.8, 1.0]))
def test_context_tokens_are_those_the_service_read_and_no_truncation_is_invented(
    monkeypatch: pytest.MonkeyPatch, lengths: list[int], retained: float
) -> None:
    left_out: list[int] = []
    read = ModelHistory.items

    def items(self: ModelHistory, *how: object) -> object:
        before = sum(item.left_out for item in self._conversation.items)
        found = read(self, *how)  # type: ignore[arg-type]
        left_out.append(sum(item.left_out for item in self._conversation.items) - before)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(ModelHistory, "items", items)
        talked = talk(lengths, retained)

    sent_events = [decoded(sent.body) for sent in talked.simulator.said]
    done = [event["response"]["usage"] for event in sent_events if event["type"] == "response.done"]
    assert [turn.outcome for turn in talked.turns] == ["ok"] * len(lengths)
    assert [turn.context_tokens for turn in talked.turns] == [
        usage["input_tokens"] for usage in done
    ]
    cached = [usage["input_token_details"]["cached_tokens"] for usage in done]
    assert [turn.context_cached_tokens for turn in talked.turns] == cached
    for at, turn in enumerate(talked.turns):
        shorter = bool(at) and done[at]["input_tokens"] < done[at - 1]["input_tokens"]
        assert turn.turn_type == ("after_truncation" if shorter else "regular")
        assert left_out[at] or turn.turn_type == "regular"


def test_a_service_that_truncates_to_half_is_detected() -> None:
    talked = talk([300, 300, 300, 300, 30], retained=0.5)

    assert [turn.turn_type for turn in talked.turns].count("after_truncation") >= 1
