"""By how much another clock is ahead."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.load.leading.link import ClockOffset, best, offset_of

TIMES = st.integers(0, 10**12)


@given(st.integers(-(10**15), 10**15), TIMES, TIMES, TIMES, st.integers(0, 10**18))
def test_an_offset_is_never_wrong_by_more_than_it_says(
    ahead_ns: int, there_ns: int, answering_ns: int, back_ns: int, sent_ns: int
) -> None:
    received_ns = sent_ns + there_ns + ahead_ns
    answered_ns = received_ns + answering_ns
    offset = offset_of(sent_ns, received_ns, answered_ns, answered_ns - ahead_ns + back_ns)

    assert abs(offset.ahead_ns - ahead_ns) <= offset.error_ns
    assert offset.error_ns <= (there_ns + back_ns) // 2 + 1


def test_the_quickest_exchange_says_most() -> None:
    assert best([ClockOffset(5, 90), ClockOffset(7, 3), ClockOffset(1, 40)]) == ClockOffset(7, 3)
    assert best([]) is None
