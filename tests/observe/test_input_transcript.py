"""The transcript of a turn's speech, and how far its deltas lag behind the speech."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.clock import Arrival
from bench.catalogue.metrics import MIN_SPEECH_NS
from bench.observe.caller import MAX_DELTAS, InputTranscript, TranscriptLag
from bench.wire.events import EventKind, ServerEvent, ServiceFailure
from tests.examples import thorough
from tests.helpers import MS, S

WORDS = ("one ", "two ", "six ", "ten ", "any ", "all ")
"""Words with the same number of characters, so that an even pace is exact."""


def part(text: str) -> ServerEvent:
    return ServerEvent(EventKind.INPUT_DELTA, text=text)


def whole(text: str, item_id: str = "item_1") -> ServerEvent:
    return ServerEvent(EventKind.INPUT_TRANSCRIBED, item_id=item_id, text=text)


def streamed(
    words: list[str], arrivals_ns: list[int], *, final: str | None = None, error_ns: int = 0
) -> InputTranscript:
    """Return a transcript whose words arrived as deltas at these instants, followed by the final
    text.
    """
    transcript = InputTranscript()
    for word, at_ns in zip(words, arrivals_ns, strict=True):
        transcript.add_delta(part(word), Arrival(at_ns, error_ns))
    transcript.end_segment(whole("".join(words) if final is None else final))
    return transcript


@thorough
@given(
    count=st.integers(5, 60),
    lag_ms=st.integers(0, 5_000),
    start_ns=st.integers(0, 1 << 50),
    speech_ms=st.integers(3_000, 600_000),
)
def test_a_constant_lag_at_an_even_pace_is_measured_exactly(
    count: int, lag_ms: int, start_ns: int, speech_ms: int
) -> None:
    words = [WORDS[number % len(WORDS)] for number in range(count)]
    spoken_ns = [start_ns + speech_ms * MS * number // count for number in range(1, count + 1)]
    transcript = streamed(words, [at_ns + lag_ms * MS for at_ns in spoken_ns])

    assert transcript.lag(start_ns, start_ns + speech_ms * MS, 0) == TranscriptLag(
        lag_ms * MS, lag_ms * MS, 0, 0
    )


@thorough
@given(
    st.lists(st.integers(-2_000, 9_000), min_size=5, max_size=40),
    st.integers(0, 30),
    st.integers(0, 20),
)
def test_the_median_and_the_maximum_are_those_of_the_deltas_and_the_uncertainty_is_added(
    lags_ms: list[int], error_ms: int, width_ms: int
) -> None:
    words, speech_ns = ["word "] * len(lags_ms), len(lags_ms) * S
    arrivals_ns = [number * S + lag_ms * MS for number, lag_ms in enumerate(lags_ms, 1)]
    lag = streamed(words, arrivals_ns, error_ns=error_ms * MS).lag(0, speech_ns, width_ms * MS)

    assert lag is not None
    ordered = sorted(lags_ms)
    middle = ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]
    uncertainty_ns = (error_ms + width_ms) * MS
    assert lag == TranscriptLag(middle * MS // 2, max(lags_ms) * MS, uncertainty_ns, uncertainty_ns)


@thorough
@given(
    st.lists(
        st.tuples(st.integers(-2_000, 9_000), st.integers(0, 50), st.floats(0, 1)),
        min_size=5,
        max_size=40,
    )
)
def test_the_true_median_and_maximum_are_within_the_uncertainties(
    deltas: list[tuple[int, int, float]],
) -> None:
    """The true arrival of each delta is anywhere between its timestamp minus its uncertainty,
    and its timestamp.
    """

    def lag_of(arrivals: list[Arrival]) -> TranscriptLag:
        transcript = InputTranscript()
        for arrival in arrivals:
            transcript.add_delta(part("word "), arrival)
        transcript.end_segment(whole("word " * len(arrivals)))
        lag = transcript.lag(0, len(arrivals) * S, 0)
        assert lag is not None
        return lag

    at_ns = [number * S + lag_ms * MS for number, (lag_ms, _, _) in enumerate(deltas, 1)]
    seen = lag_of(
        [Arrival(at, error_ms * MS) for at, (_, error_ms, _) in zip(at_ns, deltas, strict=True)]
    )
    true = lag_of(
        [
            Arrival(at - round(share * error * MS), 0)
            for at, (_, error, share) in zip(at_ns, deltas, strict=True)
        ]
    )
    median, longest, median_bound, longest_bound, *_ = seen
    assert median - median_bound - 1 <= true.transcript_lag_ns <= median
    assert longest - longest_bound <= true.transcript_lag_max_ns <= longest


@pytest.mark.parametrize(
    ("words", "final", "speech_ns"),
    [
        pytest.param(["word "] * 4, None, 10 * S, id="too few deltas"),
        pytest.param(["word "] * 8, None, MIN_SPEECH_NS - 1, id="too short speech"),
        pytest.param(["word "] * 8, "word " * 9, 10 * S, id="deltas are missing"),
        pytest.param(
            ["word " * number for number in range(1, 9)],
            "word " * 8,
            10 * S,
            id="each delta has all words",
        ),
        pytest.param(["word "] * 8, "", 10 * S, id="no final text"),
        pytest.param(["w "] * (MAX_DELTAS + 1), None, 10 * S, id="too many deltas"),
    ],
)
def test_the_lag_is_unknown(words: list[str], final: str | None, speech_ns: int) -> None:
    transcript = streamed(words, list(range(len(words))), final=final)

    assert transcript.lag(0, speech_ns, 0) is None


def test_a_missing_transcript_has_no_lag() -> None:
    transcript = InputTranscript()
    for number in range(8):
        transcript.add_delta(part("word "), Arrival(number * S, 0))

    assert transcript.lag(0, 10 * S, 0) is None


def test_a_delta_without_text_is_not_the_first() -> None:
    transcript = InputTranscript()

    assert [
        transcript.add_delta(part(text), Arrival(0, 0)) for text in ("", " \n", "Hi", " there")
    ] == [
        False,
        False,
        True,
        False,
    ]
    assert transcript.deltas == 2


@thorough
@given(st.permutations(range(6)), st.integers(0, 5))
def test_segments_are_in_the_order_of_their_commits_and_count_once(
    order: list[int], again: int
) -> None:
    transcript = InputTranscript()
    for number in range(6):
        transcript.add_segment(f"item_{number}")
    for number in [*order, again]:
        transcript.end_segment(whole(f"text{number}", f"item_{number}"))

    assert transcript.text == "text0 text1 text2 text3 text4 text5"
    assert transcript.ended == 6


def test_the_first_failure_is_reported() -> None:
    transcript = InputTranscript()
    for code in ("first", "second"):
        failure = ServiceFailure(code=code)
        transcript.end_segment(
            ServerEvent(EventKind.INPUT_NOT_TRANSCRIBED, item_id=code, failure=failure)
        )

    assert (transcript.failed, transcript.ended) == (2, 2)
    assert transcript.failure == ServiceFailure(code="first")
