"""Actions are taken as finished lists; the inputs that their execution causes are applied between two lists."""

from __future__ import annotations

from collections.abc import Iterator

from bench.observe import inputs
from bench.observe.due_actions import NONE, DueActions
from bench.observe.inputs import (
    Action,
    CancelResponse,
    ConnectionClosed,
    DeliverTurn,
    MeasureNetwork,
    NetworkMeasured,
    ReportUsage,
    TruncateItem,
)
from tests.helpers import GA, Talk, at, reply
from tests.observe.playing import playing


def due_at(talk: Talk, at_ms: float) -> DueActions:
    talk.timeline.expire(at(at_ms))
    return DueActions(talk.timeline, at(at_ms))


def ended() -> Talk:
    talk = Talk()
    talk.ask(100)
    talk.hear(200, *reply(GA, "r1"))
    return talk


def interrupted() -> Talk:
    talk = playing("client")
    talk.timeline.apply(inputs.ClientInterrupted(at(1_000)))
    return talk


def test_taken_actions_are_finished_so_that_inputs_may_be_applied_while_they_are_executed() -> None:
    for talk in (ended(), interrupted()):
        due = due_at(talk, 1_000)
        while actions := due.take():
            assert isinstance(actions, list), "neither a generator nor a view of the timeline's state"
            taken = list(actions)
            for _ in actions:
                talk.timeline.apply(ConnectionClosed(1006, at(1_000), "lost"))
            assert actions == taken


def test_no_input_changes_the_actions_that_were_taken_before() -> None:
    talk = interrupted()
    first = due_at(talk, 1_000).take()
    talk.send(1_000, "response.cancel")
    talk.send(1_001, "conversation.item.truncate")
    talk.hear(1_010, *reply(GA, "r2"))

    assert [type(action) for action in first] == [CancelResponse, TruncateItem]


def test_each_list_is_determined_after_the_inputs_of_the_lists_before_it() -> None:
    talk, kinds = ended(), list[type[Action]]()
    due = due_at(talk, 300)
    while actions := due.take():
        kinds += map(type, actions)
        for action in actions:
            if isinstance(action, MeasureNetwork):
                talk.timeline.apply(NetworkMeasured(900, 700, 2))
            elif isinstance(action, DeliverTurn):
                assert action.turn.network_rtt_ns == 700, "the measurement is in the turn that is delivered after it"

    assert kinds == [ReportUsage, MeasureNetwork, DeliverTurn]


def test_actions_that_are_taken_to_the_end_end_even_if_no_input_answers_them() -> None:
    for talk in (ended(), interrupted()):
        lists: Iterator[object] = iter(due_at(talk, 1_000).take, NONE)

        assert 0 < len(list(lists)) < 10
