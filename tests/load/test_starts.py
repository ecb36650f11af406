"""Pairs that ask at once start one after another, and the loop looks at its sockets between them."""

from __future__ import annotations

from typing import Any, cast

import gevent

from bench.clock import monotonic_ns
from bench.load.playing.arm import Arm, Pacer
from bench.load.playing.starts import Start, Starts
from bench.transport.loop import LoopWatch


def test_the_loop_polls_between_two_starts_that_were_asked_for_at_once() -> None:
    starts = Starts([Arm(cast(Any, None), cast(Any, None), cast(Any, None), Pacer(None))], lambda: False)
    watch = LoopWatch.of_hub()
    begun: list[tuple[int, Start]] = []

    def start() -> None:
        taken = starts.wait(monotonic_ns())
        assert taken is not None
        begun.append((watch.polls, taken))

    with gevent.Timeout(30):  # joinall would count its own from the last poll, however long ago
        gevent.joinall([gevent.spawn(start) for _ in range(20)], raise_error=True)
    polls = [polled for polled, _ in begun]

    assert len(set(polls)) == 20
    asked_ns = [taken.intended_ns for _, taken in begun]
    assert asked_ns == sorted(asked_ns)
