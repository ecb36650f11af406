"""The simulator says how late it was."""

from bench.simulator.lateness import Lateness


def test_a_punctual_simulator_gives_its_figures_without_a_warning() -> None:
    lateness = Lateness()
    for _ in range(1000):
        lateness.add(250_000)

    assert lateness.quantile_ms(0.99) == 0.3
    assert "WARN" not in lateness.summary()


def test_a_late_simulator_warns() -> None:
    lateness = Lateness()
    for late_ns in [0] * 980 + [6_000_000] * 20:
        lateness.add(late_ns)

    assert lateness.summary().startswith("WARN")


def test_an_idle_simulator_was_not_late() -> None:
    assert "WARN" not in Lateness().summary()
