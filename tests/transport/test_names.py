"""Name lookups: how many of them run at the same time, and the durations that are recorded.

The tests replace the resolver.
"""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import gevent.threadpool
import pytest

from bench.base.clock import monotonic_ns
from bench.catalogue.causes import ConnectError
from bench.catalogue.timeouts import Timeouts
from bench.transport.connect import Lookup, look_up, open_tcp
from bench.transport.interface import DIRECT, ConnectTimings, NetworkPath, Proxy
from tests.simulator_process import GUARD_S
from tests.transport.resolver import use_resolver

LOOKUPS_FULL = "name lookups are open in this process, and none has ended"

ENOUGH = Timeouts(tcp=GUARD_S)


@contextmanager
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield server.getsockname()[1]


def opened(
    host: str, port: int, path: NetworkPath = DIRECT, limits: Timeouts = ENOUGH
) -> ConnectTimings:
    phases = ConnectTimings()
    open_tcp(host, port, limits, phases, path).close()
    return phases


def wait_for(event: threading.Event) -> None:
    assert event.wait(GUARD_S)


def test_sixty_simultaneous_sessions_are_looked_up_concurrently(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    together = threading.Barrier(60, timeout=GUARD_S)
    use_resolver(monkeypatch, lambda host: together.wait())
    with listening() as port:
        starts = [gevent.spawn(opened, f"{number}.test", port) for number in range(60)]
        phases = [start.get() for start in starts]

    began = [one.instants["connect_start"] for one in phases]
    assert max(began) <= min(one.instants["dns_done"] for one in phases)


def test_a_wait_for_a_free_thread_is_not_part_of_the_lookup(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free, asked = threading.Event(), threading.Event()

    def resolve(host: str) -> None:
        asked.set()
        if host == "first.test":
            wait_for(free)

    use_resolver(monkeypatch, resolve, threads=1)
    with listening() as port:
        first = gevent.spawn(opened, "first.test", port)
        while not asked.is_set():
            gevent.sleep(0)
        second = gevent.spawn(opened, "second.test", port)
        gevent.sleep(0)
        asked_ns = monotonic_ns()
        free.set()
        in_the_way, waited = first.get().instants, second.get().instants

    assert asked_ns <= in_the_way["dns_done"] <= waited["connect_start"] <= waited["dns_done"]


def test_behind_a_proxy_only_the_times_of_both_lookups_are_added(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[Any] = [(0, 0, 0, "", ("10.0.0.1", 1))]
    lookups = iter([Lookup(found, 100, 130), Lookup(found, 500, 570)])
    monkeypatch.setattr("bench.transport.connect.look_up", lambda *asked: next(lookups))
    monkeypatch.setattr("bench.transport.connect.open_stream", lambda *asked: socket.socket())
    monkeypatch.setattr("bench.transport.connect.tunnel", lambda *asked: None)
    phases = ConnectTimings()
    open_tcp(
        "service.test",
        1,
        ENOUGH,
        phases,
        NetworkPath(Proxy("socks5", "proxy.test", 1, remote_dns=False)),
    ).close()  # type: ignore[attr-defined]

    assert phases.instants["dns_done"] - phases.instants["connect_start"] == 30 + 70


def test_a_lookup_that_waits_too_long_for_a_thread_fails_with_load_generator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free = threading.Event()
    use_resolver(monkeypatch, lambda host: wait_for(free), threads=1)
    # one lookup more than there are threads
    before = [gevent.spawn(look_up, "taken.test", 1, GUARD_S) for _ in range(2)]
    gevent.sleep(0)
    with pytest.raises(ConnectError) as caught:
        look_up("one-more.test", 1, 0.01)
    free.set()
    gevent.joinall(before)

    assert caught.value.outcome == "failed:load_generator"
    assert LOOKUPS_FULL in caught.value.detail


def test_if_no_more_threads_can_be_started_lookups_wait_for_running_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start, started = gevent.threadpool.start_new_thread, itertools.count()

    def start_two(*called: Any) -> Any:
        if next(started) >= 2:
            raise RuntimeError("can't start new thread")
        return start(*called)

    monkeypatch.setattr(gevent.threadpool, "start_new_thread", start_two)
    use_resolver(monkeypatch, lambda host: None)
    lookups = [gevent.spawn(look_up, f"{number}.test", 1, GUARD_S) for number in range(10)]

    assert all(lookup.get().addresses for lookup in lookups)


def test_a_slow_lookup_times_out_without_waiting_for_its_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free = threading.Event()
    use_resolver(
        monkeypatch, lambda host: wait_for(free) if host == "slow.test" else None, threads=2
    )
    with pytest.raises(ConnectError) as caught:
        look_up("slow.test", 1, 0.01)
    found = look_up("quick.test", 1, GUARD_S)
    free.set()

    assert (caught.value.outcome, "slow.test" in caught.value.detail) == ("timeout:dns", True)
    assert found.started_ns <= found.done_ns


def test_a_name_that_is_not_found_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(host: str) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    use_resolver(monkeypatch, fail)
    with pytest.raises(ConnectError) as caught:
        look_up("nowhere.example", 443, GUARD_S)

    assert (caught.value.outcome, caught.value.detail) == (
        "connect_failed:dns",
        "nowhere.example: Name or service not known",
    )
