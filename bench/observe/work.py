"""The work that a timeline has for its session: one value for each thing that is to be done now.

`Timeline.work` gives it, and whoever does it tells the timeline in the inputs that it always tells.
"""

from __future__ import annotations

from typing import NamedTuple

from bench.observe.observation import TurnObservation
from bench.protocol.events import FunctionCall, Usage


class Pay(NamedTuple):
    """Tell of the tokens of responses that are done; whatever they belong to, each is told once."""

    usage: Usage


class Cancel(NamedTuple):
    """Have the service end the response under way: its reply was interrupted."""

    event_id: str


class Truncate(NamedTuple):
    """Tell the service how much of an item was heard of a reply that was stopped, so that it knows what we know."""

    item_id: str
    heard_ms: int
    event_id: str


class Retrieve(NamedTuple):
    """Have the service show what it keeps of an item that it says it has cut."""

    item_id: str
    event_id: str


class TellPlayed(NamedTuple):
    """Tell the service that all that came before a mark of its was played, or dropped."""

    mark: str


class MeasureNetwork(NamedTuple):
    """Measure the network: a turn has ended, and nobody has said yet what the way to the peer was like then."""


class HandOut(NamedTuple):
    """Pass on a turn that is over and awaits nothing more."""

    turn: TurnObservation


class AskForResponse(NamedTuple):
    """Ask for the turn's response: a VAD that starts none has committed all of the speech."""


class CallFunction(NamedTuple):
    """Have a function called, whose output is told once it is handed over."""

    call: FunctionCall


class GoOn(NamedTuple):
    """Ask for the response that goes on from what the functions returned."""


Work = Pay | Cancel | Truncate | Retrieve | TellPlayed | MeasureNetwork | HandOut | AskForResponse | CallFunction | GoOn
