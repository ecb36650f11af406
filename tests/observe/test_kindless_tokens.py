"""Tokens whose kind the service did not report: which of them may be audio."""

from __future__ import annotations

import pytest

from bench.services.openai.dialect import GA
from bench.wire.events import TokenUsage
from tests.helpers import Talk, created, delta, done

TOTALS = {"total_tokens": 60, "input_tokens": 20, "output_tokens": 40}
TEXT = TokenUsage(text_in=20, text_out=40)


def respond(talk: Talk, at_ms: float, number: int, kind: str = "audio", *, sent: int = 0) -> None:
    talk.ask(at_ms, number, audio_bytes=sent, wants_audio=kind == "audio")
    talk.hear(at_ms + 100, created(f"r{number}"), delta(GA, kind, f"r{number}"))
    talk.hear(at_ms + 200, done(f"r{number}", usage=TOTALS))
    talk.take(at_ms + 300)


def kindless(talk: Talk) -> list[tuple[int, int]]:
    usages = [turn.usage or TokenUsage() for turn in talk.taken]
    assert [(usage.text_in, usage.text_out) for usage in usages] == [(20, 40)] * len(usages)
    return [(usage.kindless_in, usage.kindless_out) for usage in usages]


def test_the_output_of_a_spoken_reply_may_be_audio_and_later_the_input_too() -> None:
    talk = Talk()
    respond(talk, 0, 1)
    respond(talk, 1_000, 2)

    assert kindless(talk) == [(0, 40), (20, 40)]


def test_the_input_of_a_spoken_turn_may_be_audio() -> None:
    talk = Talk()
    respond(talk, 0, 1, "text", sent=4_800)

    assert kindless(talk) == [(20, 0)]


def test_tokens_of_typed_turns_with_written_replies_are_text() -> None:
    talk = Talk()
    respond(talk, 0, 1, "text")
    respond(talk, 1_000, 2, "text")

    assert kindless(talk) == [(0, 0), (0, 0)]


@pytest.mark.parametrize(("kind", "counts"), [("audio", (20, 40)), ("text", (0, 0))])
def test_a_response_of_no_turn_may_be_audio_if_the_service_has_spoken(
    kind: str, counts: tuple[int, int]
) -> None:
    talk = Talk()
    respond(talk, 0, 1, kind)
    talk.hear(1_000, created("r_stray"), done("r_stray", usage=TOTALS))
    stray = talk.timeline.session().stray_usage

    assert stray is not None
    assert (stray.kindless_in, stray.kindless_out) == counts
