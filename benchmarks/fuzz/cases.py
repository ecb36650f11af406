"""The cases of a subject, by number: the same number is the same case, always and everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from benchmarks.fuzz.subjects import SUBJECTS


def play(subject: str, first: int, cases: int) -> Iterator[int]:
    """Play so many cases, and yield the number of each before it is played."""
    make, _ = SUBJECTS[subject]
    with make() as check:
        for number in range(first, first + cases):
            yield number
            check(Random(f"{subject} {number}"))
