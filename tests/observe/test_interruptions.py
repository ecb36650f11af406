"""A cue word in a long reply."""

from __future__ import annotations

from bench.files.values import MAX_TEXT_CHARACTERS
from bench.observe.inputs import InterruptionAwaited
from bench.plan.turn_plan import InterruptTrigger
from tests.helpers import GA, Talk, at, created, delta


def test_a_cue_word_is_found_after_any_length_and_the_stored_text_is_limited() -> None:
    talk, long = Talk(service_responds=True), "blah " * (MAX_TEXT_CHARACTERS // 8)
    talk.ask(0)
    talk.timeline.apply(InterruptionAwaited("speech"))
    talk.hear(100, created("r1"), delta(GA, "audio", "r1"))
    (turn,) = talk.timeline.turns.all
    for place, words in enumerate([*[long] * 5, "Your Par", "cel", ", "]):
        assert turn.trigger_ns(InterruptTrigger(text="parcel")) is None
        talk.hear(200 + place, delta(GA, "transcript", "r1", words))

    assert turn.trigger_ns(InterruptTrigger(text="parcel")) == at(207)
    assert not turn.reply.heard().contains("blah " * (MAX_TEXT_CHARACTERS // 5))
