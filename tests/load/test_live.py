"""Which sessions of a run have an event log."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bench.load.live import is_sampled

SHARES = st.fractions(min_value=0, max_value=1, max_denominator=1_000)


@given(SHARES, st.integers(0, 2_000))
def test_of_the_first_sessions_the_share_is_logged_rounded_up(share: Fraction, count: int) -> None:
    assert sum(is_sampled(number, share) for number in range(count)) == math.ceil(count * share)


@given(SHARES.filter(bool))
def test_logged_sessions_are_evenly_spread(share: Fraction) -> None:
    logged = [number for number in range(300) if is_sampled(number, share)]
    gaps = {later - earlier for earlier, later in pairwise(logged)}

    assert logged[0] == 0
    assert gaps <= {math.floor(1 / share), math.ceil(1 / share)}


def test_none_and_all_are_what_they_say() -> None:
    assert not any(is_sampled(number, Fraction(0)) for number in range(50))
    assert all(is_sampled(number, Fraction(1)) for number in range(50))
