"""Actions are taken as finished lists; the inputs that their execution causes are applied
between two lists.
"""

from __future__ import annotations

from bench.observe.inputs import (
    Action,
    DeliverTurn,
    MeasureNetwork,
    NetworkMeasured,
    ReportUsage,
)
from tests.helpers import GA, Talk, at, reply


def ended() -> Talk:
    talk = Talk()
    talk.ask(100)
    talk.hear(200, *reply(GA, "r1"))
    return talk


def test_each_list_is_determined_after_the_inputs_of_the_lists_before_it() -> None:
    talk, kinds = ended(), list[type[Action]]()
    talk.timeline.expire(at(300))
    for actions in talk.timeline.due_actions(at(300)):
        kinds += map(type, actions)
        for action in actions:
            if isinstance(action, MeasureNetwork):
                talk.timeline.apply(NetworkMeasured(900, 700, 2))
            elif isinstance(action, DeliverTurn):
                assert action.turn.network_rtt_ns == 700, (
                    "the measurement is in the turn that is delivered after it"
                )

    assert kinds == [ReportUsage, MeasureNetwork, DeliverTurn]
