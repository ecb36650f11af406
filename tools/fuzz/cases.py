"""The cases of a subject, by number. A number always identifies the same case, on any machine."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from tools.fuzz.subjects import SUBJECTS


def play(subject: str, first: int, cases: int) -> Iterator[int]:
    """Run cases, and yield the number of each before it runs."""
    make, _ = SUBJECTS[subject]
    with make() as check:
        for number in range(first, first + cases):
            yield number
            check(Random(f"{subject} {number}"))
