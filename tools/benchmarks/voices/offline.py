"""The errors of starts and ends that the product finds in recorded voices, by condition: the
table of docs/decisions/0065-onset-detection.md.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np

from tools.benchmarks.voices.conditions import CONDITIONS, Condition, Stream, stream, voice
from tools.benchmarks.voices.corpus import Truth, in_split
from tools.benchmarks.voices.detection import FINDERS, Found
from tools.made_page import table

BY_SPEAKER = 16
"""The number of voices that are joined at most."""
HEAD = (
    "condition",
    "found by",
    "instant",
    "n",
    "bias, ms",
    "p95",
    "beyond, %",
    "bound p50",
    "bound p95",
    "missed",
    "invented",
)


class Value(NamedTuple):
    """An instant that was found by `finder` in a stream.

    `found_s` is None if it was missed.
    """

    condition: str
    path: str
    rate_hz: int
    finder: str
    instant: str
    true_s: float
    found_s: float | None
    bound_s: float
    invented: int

    @property
    def error_ms(self) -> float:
        return 0.0 if self.found_s is None else (self.found_s - self.true_s) * 1_000

    @property
    def beyond_ms(self) -> float:
        """Return how far the error is beyond the bound and the tolerance; at most 0 if it is
        not.
        """
        tolerance_ms = CONDITIONS[self.condition].tolerance_ms
        return abs(self.error_ms) - self.bound_s * 1_000 - tolerance_ms


def seeded(*parts: object) -> np.random.Generator:
    return np.random.default_rng(int(hashlib.sha256(repr(parts).encode()).hexdigest()[:12], 16))


def streams(name: str, split: str, count: int) -> Iterator[tuple[Truth, Stream]]:
    """Yield `count` streams of a condition, with their first recording. Speakers and sample
    rates alternate.
    """
    condition, listed = CONDITIONS[name], in_split(split)
    chosen: list[Truth] = []
    for entry in listed:
        if len(chosen) < count and condition.applies(entry):
            chosen.append(entry)
    for number in range(max(count, len(chosen)) if chosen else 0):
        entry = chosen[number % len(chosen)]
        if number >= len(chosen) * len(condition.rates_hz):
            return
        turn = number // len(chosen)
        rates = condition.rates_hz
        rate_hz = rates[(number % len(chosen) + turn) % len(rates)]
        rng = seeded(name, entry.recording.path, rate_hz)
        yield (
            entry,
            stream(
                condition,
                [voice(one, rate_hz) for one in _spoken(condition, entry, listed, rng)],
                rng,
            ),
        )


def _spoken(
    condition: Condition, entry: Truth, listed: Sequence[Truth], rng: np.random.Generator
) -> list[Truth]:
    if not condition.is_long:
        return [entry]
    others = [
        one
        for one in listed
        if one.recording.speaker == entry.recording.speaker and one is not entry
    ]
    return [entry, *(others[index] for index in rng.permutation(len(others))[: BY_SPEAKER - 1])]


def values(split: str, count: int, name: str) -> list[Value]:
    """Return the values of a condition, of all finders."""
    return [
        value
        for entry, one in streams(name, split, count)
        for finder, find in FINDERS.items()
        for value in _values(name, entry, one, finder, find(one))
    ]


def _values(name: str, entry: Truth, one: Stream, finder: str, spoken: Found) -> list[Value]:
    common = (name, entry.recording.path, one.rate_hz, finder)
    start_s, end_s = one.start / one.rate_hz, one.end / one.rate_hz
    return [
        Value(*common, "start", start_s, spoken.start_s, spoken.start_bound_s, spoken.invented),
        Value(*common, "end", end_s, spoken.end_s, spoken.end_bound_s, spoken.invented),
    ]


def measured(conditions: Sequence[str], split: str, count: int) -> list[Value]:
    in_split(split)
    with ProcessPoolExecutor() as pool:
        by_condition = pool.map(partial(values, split, count), conditions)
        return [value for listed in by_condition for value in listed]


def rows(listed: Sequence[Value]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each condition, finder and instant."""
    groups: dict[tuple[str, str, str], list[Value]] = {}
    for value in listed:
        groups.setdefault((value.condition, value.finder, value.instant), []).append(value)
    for key, group in groups.items():
        known = [value for value in group if value.found_s is not None]
        errors = [value.error_ms for value in known] or [float("nan")]
        bounds = [value.bound_s * 1_000 for value in known] or [float("nan")]
        beyond = [value.beyond_ms > 0 for value in known]
        yield (
            *key,
            f"{len(group)}",
            f"{np.median(errors):.1f}",
            f"{np.quantile(np.abs(errors), 0.95):.1f}",
            f"{100 * np.mean(beyond):.1f}",
            *(f"{np.quantile(bounds, p):.1f}" for p in (0.5, 0.95)),
            f"{len(group) - len(known)}",
            f"{sum(value.invented for value in group)}",
        )


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m tools.benchmarks.voices", description=__doc__)
    made.add_argument(
        "--split", choices=("tuning", "held-out", "all"), default="held-out", help="the speakers"
    )
    made.add_argument(
        "--only", default="", metavar="TEXT", help="only conditions whose name contains this text"
    )
    made.add_argument(
        "--count", type=int, default=150, metavar="N", help="streams by condition (%(default)s)"
    )
    return made


def main(arguments: Sequence[str] = ()) -> None:
    options = parser().parse_args(arguments)
    voices = in_split(options.split)
    speakers = {entry.recording.speaker for entry in voices}
    print(f"Split {options.split}: {len(voices)} voices of {len(speakers)} speakers.\n")
    conditions = [name for name in CONDITIONS if options.only.casefold() in name.casefold()]
    listed = measured(conditions, options.split, options.count)
    print(
        "A value is beyond its bound if its error exceeds the bound by more than 5 ms; in"
        " recordings as they ship, by more than 20 ms, which is how far the two rules agree. `bias`"
        " is the median error, `p95` that of its magnitude.\n"
    )
    print(table(HEAD, rows(listed)))
