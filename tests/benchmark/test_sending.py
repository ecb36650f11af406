"""The cost of a chunk."""

from __future__ import annotations

import pytest

from bench.cores import Reading
from tests.benchmark.sending import cost
from tests.benchmark.watch import Sample, Watched

MS = 1_000_000


def test_only_chunks_count_that_were_sent_while_all_talked() -> None:
    half_a_core = Watched([Sample(Reading(at * MS, at / 2000, 0.0, 0.0), 0) for at in range(0, 3001, 100)])
    one = [("one", at * MS) for at in range(0, 2001, 50)]
    other = [("other", at * MS) for at in range(1000, 3001, 50)]

    each_us, each_s = cost(sorted([*one, *other], key=lambda append: append[1]), half_a_core)

    assert each_s == pytest.approx(40)
    assert each_us == pytest.approx(500_000 / 40)
