"""The microphone: what is due when, to the nanosecond, however often it is asked and whatever is said."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.line import Microphone
from bench.plan.prepared import OutgoingMessage
from bench.protocol.base import Act
from tests.examples import thorough

MS = 1_000_000
AT_NS = 5_000 * MS


def recorded(name: str, duration_ms: float = 100) -> OutgoingMessage:
    return OutgoingMessage(Act.APPEND, name, b"", round(duration_ms * MS))


def taken(microphone: Microphone, count: int) -> list[tuple[str, float]]:
    """(what, when in ms after it was opened) of the next chunks."""
    return [(message.name, (due_ns - AT_NS) / MS) for message, due_ns in (microphone.take() for _ in range(count))]


def test_a_closed_microphone_records_nothing() -> None:
    microphone = Microphone([recorded("quiet")])

    assert (microphone.due_ns, microphone.speaking) == (None, False)


QUIET, NOISE = recorded("quiet"), recorded("noise", 20)
COURSES: dict[str, tuple[list[OutgoingMessage], int, list[OutgoingMessage], list[OutgoingMessage], int | None, Any]] = {
    # (between turns; chunks taken; speech, and what is recorded after it; when it is hushed; the next chunks)
    "a chunk is due when its last sample has been recorded":
        ([], 0, [recorded("a"), recorded("b"), recorded("c", 33)], [], None, [("a", 100), ("b", 200), ("c", 233)]),
    "between turns an open microphone records the same again and again":
        ([recorded("x"), recorded("y", 50)], 0, [], [], None, [("x", 100), ("y", 150), ("x", 250), ("y", 300)]),
    "whoever begins to speak does so after the chunk that is being recorded":
        ([QUIET], 2, [recorded("a", 20), recorded("b", 20)], [NOISE], None,
         [("quiet", 300), ("a", 320), ("b", 340), ("noise", 360), ("noise", 380)]),
    "whoever falls silent leaves the rest unsaid and no gap":
        ([QUIET], 0, [recorded("a"), recorded("b")], [recorded("quiet", 50)], 2, [("quiet", 250), ("quiet", 300)]),
}  # fmt: skip


@pytest.mark.parametrize(("between", "before", "speech", "after", "hushed", "chunks"), COURSES.values(), ids=COURSES)
def test_an_open_microphone_records_without_a_gap(
    between: list[OutgoingMessage], before: int, speech: list[OutgoingMessage], after: list[OutgoingMessage],
    hushed: int | None, chunks: list[tuple[str, float]],
) -> None:  # fmt: skip
    microphone = Microphone(between)
    microphone.open(AT_NS)
    taken(microphone, before)
    if speech:
        microphone.speak(speech, after)
    assert microphone.speaking is bool(speech)
    if hushed is not None:
        taken(microphone, hushed)
        microphone.hush()
        assert not microphone.speaking

    assert taken(microphone, len(chunks)) == chunks
    assert (microphone.due_ns is None) == (not between and not after)
    assert not microphone.speaking


def test_a_microphone_that_is_switched_off_between_turns_begins_anew() -> None:
    microphone = Microphone()
    microphone.open(AT_NS)
    microphone.speak([recorded("a")], ())
    first = taken(microphone, 1)
    microphone.open(AT_NS + 950 * MS)
    microphone.speak([recorded("a")], ())

    assert first + taken(microphone, 1) == [("a", 100), ("a", 1_050)]


CHUNKS = st.lists(
    st.integers(1, 10**9).map(lambda ns: OutgoingMessage(Act.APPEND, "x", b"", ns)), min_size=1, max_size=5
)


@thorough
@given(between=CHUNKS, turns=st.lists(st.tuples(st.integers(0, 9), CHUNKS, CHUNKS, st.integers(0, 9)), max_size=6))
def test_nothing_drifts_over_any_number_of_turns(
    between: list[OutgoingMessage],
    turns: list[tuple[int, list[OutgoingMessage], list[OutgoingMessage], int]],
) -> None:
    microphone, sent_ns = Microphone(between), AT_NS
    microphone.open(AT_NS)
    for pause, speech, after, hushed_after in turns:
        for _ in range(pause):
            message, due_ns = microphone.take()
            sent_ns += message.duration_ns or 0
            assert due_ns == sent_ns
        microphone.speak(speech, after)
        said = 0
        while microphone.speaking and said < hushed_after:
            message, due_ns = microphone.take()
            sent_ns += message.duration_ns or 0
            said += 1
            assert due_ns == sent_ns
        microphone.hush()

    assert microphone.due_ns is not None
    assert microphone.due_ns > sent_ns
