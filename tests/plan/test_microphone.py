"""The microphone: what is due when, to the nanosecond, however often it is asked and whatever is said."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.plan.microphone import Microphone
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


def test_a_chunk_is_due_when_its_last_sample_has_been_recorded() -> None:
    microphone = Microphone()
    microphone.open(AT_NS)
    microphone.speak([recorded("a"), recorded("b"), recorded("c", 33)], ())

    assert taken(microphone, 3) == [("a", 100), ("b", 200), ("c", 233)]
    assert (microphone.due_ns, microphone.speaking) == (None, False)


def test_between_turns_an_open_microphone_records_the_same_again_and_again() -> None:
    microphone = Microphone([recorded("x"), recorded("y", 50)])
    microphone.open(AT_NS)

    assert taken(microphone, 4) == [("x", 100), ("y", 150), ("x", 250), ("y", 300)]
    assert not microphone.speaking


def test_whoever_begins_to_speak_does_so_after_the_chunk_that_is_being_recorded() -> None:
    microphone = Microphone([recorded("quiet")])
    microphone.open(AT_NS)
    taken(microphone, 2)
    microphone.speak([recorded("a", 20), recorded("b", 20)], [recorded("noise", 20)])

    assert microphone.speaking
    assert taken(microphone, 5) == [("quiet", 300), ("a", 320), ("b", 340), ("noise", 360), ("noise", 380)]


def test_whoever_falls_silent_leaves_the_rest_unsaid_and_no_gap() -> None:
    microphone = Microphone([recorded("quiet")])
    microphone.open(AT_NS)
    microphone.speak([recorded("a"), recorded("b")], [recorded("quiet", 50)])
    taken(microphone, 2)
    microphone.hush()

    assert not microphone.speaking
    assert taken(microphone, 2) == [("quiet", 250), ("quiet", 300)]


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
