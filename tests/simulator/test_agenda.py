"""Several series, merged by their instants."""

from bench.simulator.agenda import Agenda


def test_steps_come_by_instant_and_in_one_instant_in_the_order_of_adding() -> None:
    agenda: Agenda[str] = Agenda()
    agenda.add([(10, "a1"), (30, "a2")])
    agenda.add([(10, "b1"), (20, "b2")])

    assert list(agenda.take(30)) == [(10, "a1"), (10, "b1"), (20, "b2"), (30, "a2")]
    assert agenda.next_due_ns() is None


def test_a_series_is_not_torn_apart_by_another_in_the_same_instant() -> None:
    agenda: Agenda[str] = Agenda()
    agenda.add([(10, "a1"), (10, "a2")])
    agenda.add([(10, "b1"), (10, "b2")])

    assert [step for _, step in agenda.take(10)] == ["a1", "a2", "b1", "b2"]


def test_nothing_comes_before_its_instant() -> None:
    agenda: Agenda[str] = Agenda()
    agenda.add([(10, "a")])

    assert list(agenda.take(9)) == []
    assert agenda.next_due_ns() == 10


def test_a_dropped_series_never_comes() -> None:
    agenda: Agenda[str] = Agenda()
    series = agenda.add([(10, "a"), (20, "b")])
    agenda.add([(30, "c")])

    series.drop()

    assert list(agenda.take(30)) == [(30, "c")]


def test_a_series_is_asked_for_its_next_step_only_when_the_one_before_was_taken() -> None:
    agenda: Agenda[str] = Agenda()
    said: list[str] = []
    agenda.add((due, " ".join(said)) for due in (1, 2, 3))

    seen = []
    for due, step in agenda.take(3):
        seen.append(step)
        said.append(str(due))

    assert seen == ["", "1", "1 2"]


def test_one_who_stops_in_between_takes_the_rest_another_time() -> None:
    agenda: Agenda[str] = Agenda()
    agenda.add([(10, "a"), (20, "b")])
    for _, step in agenda.take(30):
        assert step == "a"
        break

    assert agenda.next_due_ns() == 20
    assert list(agenda.take(30)) == [(20, "b")]
