"""Several series of steps, merged by their instants."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from bench.simulator.wire import Ids, Outbox, OutboxStep, Outgoing


def outbox() -> Outbox:
    return Outbox(Ids("0" * 12), np.random.default_rng(1), obfuscated=False)


def step(due_ns: int, word: str) -> OutboxStep:
    return due_ns, lambda at_ns: Outgoing(at_ns, word, b"")


def due(planned: Outbox, now_ns: int) -> list[tuple[int, str]]:
    return [(event.due_ns, event.type) for event in planned.due(now_ns)]


Steps = list[tuple[int, str]]
COMES: dict[str, tuple[list[Steps], int, Steps, int | None]] = {
    # (series, now, what is due, when the next is)
    "steps come by instant and in one instant in the order of adding":
        ([[(10, "a1"), (30, "a2")], [(10, "b1"), (20, "b2")]], 30,
         [(10, "a1"), (10, "b1"), (20, "b2"), (30, "a2")], None),
    "a series is not torn apart by another in the same instant":
        ([[(10, "a1"), (10, "a2")], [(10, "b1"), (10, "b2")]], 10,
         [(10, "a1"), (10, "a2"), (10, "b1"), (10, "b2")], None),
    "nothing comes before its instant": ([[(10, "a")]], 9, [], 10),
}  # fmt: skip


@pytest.mark.parametrize(("series", "now_ns", "came", "next_ns"), COMES.values(), ids=COMES)
def test_series_are_merged_by_their_instants(
    series: list[Steps], now_ns: int, came: Steps, next_ns: int | None
) -> None:
    planned = outbox()
    for steps in series:
        planned.plan([step(*one) for one in steps])

    assert due(planned, now_ns) == came
    assert planned.next_due_ns() == next_ns


def test_a_dropped_series_never_comes() -> None:
    planned = outbox()
    series = planned.plan([step(10, "a"), step(20, "b")])
    planned.plan([step(30, "c")])

    series.drop()

    assert due(planned, 30) == [(30, "c")]


def test_a_series_is_asked_for_its_next_step_only_when_the_one_before_was_taken() -> None:
    planned, said = outbox(), list[str]()

    def steps() -> Iterator[OutboxStep]:
        for due_ns in (1, 2, 3):
            yield step(due_ns, " ".join(said))

    planned.plan(steps())

    seen = []
    for event in planned.due(3):
        seen.append(event.type)
        said.append(str(event.due_ns))

    assert seen == ["", "1", "1 2"]


def test_one_who_stops_in_between_takes_the_rest_another_time() -> None:
    planned = outbox()
    planned.plan([step(10, "a"), step(20, "b")])
    for event in planned.due(30):
        assert event.type == "a"
        break

    assert planned.next_due_ns() == 20
    assert due(planned, 30) == [(20, "b")]
