"""The simulator says how late it was."""

from __future__ import annotations

import pytest

from bench.simulator.serving.connection import _SimulatedProtocol
from bench.simulator.truth import LatenessCounts, Served, summary


def late(*late_ns: int) -> LatenessCounts:
    lateness = LatenessCounts()
    for one_ns in late_ns:
        lateness.add(one_ns)
    return lateness


def served(lateness: LatenessCounts, *, sessions: int = 1, refused: int = 0, struck: int = 0) -> Served:
    return Served(sessions, refused, struck, 0.5, lateness)


def test_a_punctual_simulator_gives_its_figures_without_a_warning() -> None:
    punctual = late(*[250_000] * 1000)

    assert punctual.quantile_ms(0.99) == 0.3
    assert summary([served(punctual)]) == (
        "SIMULATED: 1 sessions, 1000 events sent, handed − due: p50 ≤ 0.3 ms, p99 ≤ 0.3 ms, max 0.2 ms"
    )


def test_a_late_simulator_warns() -> None:
    assert "WARN" in summary([served(late(*[0] * 980, *[6_000_000] * 20))])


def test_an_idle_simulator_was_not_late() -> None:
    assert "WARN" not in summary([served(late())])


def test_what_workers_served_is_added_up_and_the_latest_of_them_is_named() -> None:
    words = summary([served(late(0, 0), sessions=2, refused=1, struck=4), served(late(3_000_000), sessions=3)])

    assert words.startswith("SIMULATED: 5 sessions, 1 refused, 4 faults, 3 events sent")
    assert "p50 ≤ 0.1 ms, p99 ≤ 3.1 ms (of 2 workers the latest: p99 ≤ 3.1 ms), max 3.0 ms" in words


def test_one_late_worker_among_punctual_ones_is_warned_of() -> None:
    assert "WARN" in summary([served(late(*[0] * 100_000)), served(late(6_000_000))])


@pytest.mark.parametrize(("late_ms", "said"), [(4.0, None), (29.3, "29.4")])
def test_answers_say_that_the_simulator_is_late_where_it_warns(late_ms: float, said: str | None) -> None:
    protocol = _SimulatedProtocol(late(round(late_ms * 1_000_000)))
    response = protocol.reject(404, "")

    protocol.send_response(response)

    assert response.headers.get("x-rtbench-simulator-late-ms") == said
