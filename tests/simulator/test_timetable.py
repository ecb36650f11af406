"""Who is due next, of all connections."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from bench.clock import monotonic_ns
from bench.simulator.serving.server import Alarm, Timetable
from tests.simulator_process import GUARD_S

PLANS = st.lists(st.tuples(st.sampled_from("abcd"), st.one_of(st.none(), st.integers(0, 20))))


def planned(*plans: tuple[str, int | None]) -> Timetable[str]:
    timetable: Timetable[str] = Timetable()
    for who, due_ns in plans:
        timetable.plan(who, due_ns)
    return timetable


@given(plans=PLANS, now_ns=st.integers(0, 20))
def test_who_is_due_comes_once_by_the_instant_planned_last(plans: list[tuple[str, int | None]], now_ns: int) -> None:
    last = dict(plans)
    due = {who: due_ns for who, due_ns in last.items() if due_ns is not None and due_ns <= now_ns}

    taken = list(planned(*plans).take(now_ns))

    assert sorted(taken) == sorted(due)
    assert [due[who] for who in taken] == sorted(due.values())


@given(plans=PLANS)
def test_the_next_look_is_never_too_late(plans: list[tuple[str, int | None]]) -> None:
    timetable = planned(*plans)
    due = [due_ns for due_ns in dict(plans).values() if due_ns is not None]

    next_ns = timetable.next_due_ns()

    assert not due or (next_ns is not None and next_ns <= min(due))


def test_one_who_is_planned_again_while_others_are_taken_comes_again_where_due() -> None:
    timetable = planned(("a", 1), ("b", 5))

    taken = []
    for who in timetable.take(5):
        taken.append(who)
        if taken == ["a"]:
            timetable.plan("a", 3)
            timetable.plan("b", 9)

    assert taken == ["a", "a"]
    assert list(timetable.take(9)) == ["b"]


@dataclass(eq=False)
class Bell:
    """Notes when it is told to send, and who was told before."""

    told: list[Bell]
    due_ns: int = 0
    late_ns: int = -1
    fails: bool = False

    def send_due(self, now_ns: int) -> None:
        self.told.append(self)
        self.late_ns = now_ns - self.due_ns
        if self.fails:
            raise ValueError("as a test wants it")


def rung(*delays_ms: float, fails: int | None = None) -> list[Bell]:
    """Bells in the order in which they were planned, each with what was told."""

    async def run() -> list[Bell]:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: None)
        alarm, told, now_ns = Alarm(loop), list[Bell](), monotonic_ns()
        bells = [Bell(told, now_ns + int(ms * 1e6), fails=place == fails) for place, ms in enumerate(delays_ms)]
        for bell in bells:
            alarm.plan(bell, bell.due_ns)
        while len(told) < len(bells):
            await asyncio.sleep(0.001)
        return bells

    return asyncio.run(asyncio.wait_for(run(), GUARD_S))


def test_nobody_is_told_before_the_instant_and_an_earlier_one_need_not_wait_for_a_later() -> None:
    late, early = rung(40, 5)

    assert late.told == [early, late]
    assert early.late_ns >= 0
    assert late.late_ns >= 0


def test_one_who_fails_does_not_silence_the_others() -> None:
    first, second = rung(1, 5, fails=0)

    assert first.told == [first, second]
