"""The lines of an event log: one for the session, then one per thing that its timeline was told, in that order.

An instant is absolute CLOCK_MONOTONIC nanoseconds. Fields that have their default are left out of a line, and a field
that a reader does not know is skipped; what an older reader would misread raises `SCHEMA_VERSION`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from bench.measures import Limits
from bench.observe.turn import TurnPlan

SCHEMA_VERSION = 2
NO_JSON = msgspec.Raw()


class Line(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="what"):
    """Any line; `what` says which."""


class Opened(Line, frozen=True, tag="session"):
    """The first line: what the session is, and what its timeline was made with. `about["dialect"]` is always there.

    `intended_ns`: when the session was meant to start; absent where nobody had planned it.
    """

    schema: int
    tool: str
    about: Mapping[str, Any]
    start_ns: int
    wanted: int
    limits: Limits
    service_responds: bool = False
    intended_ns: int | None = None


class Connected(Line, frozen=True, tag="connected"):
    """The phases of connecting, the response headers that are no secret, and the wait for a token before.

    `errors_ns`: how much earlier each phase may really have ended.
    """

    instants: dict[str, int]
    headers: dict[str, str]
    token_wait_ns: int = 0
    errors_ns: dict[str, int] = {}


class Begun(Line, frozen=True, tag="begin"):
    """A turn begins."""

    at_ns: int
    plan: TurnPlan


class Sent(Line, frozen=True, tag="sent"):
    """A client event was handed to the kernel, in a call that took `width_ns`.

    `ticket`: by which later lines say when it really left. `event`: what it said, its audio cut unless that is kept;
    left out where it is long.
    """

    name: str
    at_ns: int
    wire_bytes: int
    width_ns: int = 0
    ticket: int = 0
    audio_bytes: int = 0
    moments: dict[str, int] = {}
    late: bool = False
    event: msgspec.Raw = NO_JSON


class Transmitted(Line, frozen=True, tag="transmitted"):
    """The kernel said when the message with this ticket left, or when the peer's TCP acknowledged it."""

    ticket: int
    at_ns: int
    acknowledged: bool = False


class Expected(Line, frozen=True, tag="expect"):
    """The script insists on an event of a kind (`bench.protocol.events.Kind`, in lower case)."""

    kind: str
    until_ns: int


class CutAudio(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is left of a delta's audio: its decoded size, -1 where it is no base64, and its first audible sample."""

    bytes: int
    audible: int | None = None


class Received(Line, frozen=True, tag="received"):
    """A message of the server arrived; its stamp is off by `error_ns` at most, `wire_bytes` is the size of its frames.

    `event`: the message, with all events in it. `audio`: instead of its audio, where that was cut. `unreadable`: why
    there is no event, `text` then holds the beginning of what came.
    """

    at_ns: int
    wire_bytes: int
    error_ns: int = 0
    kernel: bool = True
    event: msgspec.Raw = NO_JSON
    audio: CutAudio | None = None
    unreadable: str | None = None
    text: str = ""


class Measured(Line, frozen=True, tag="measured"):
    """What the kernel knew of the way to the peer (`TCP_INFO`), service or proxy, when the last turn ended."""

    rtt_ns: int
    min_rtt_ns: int
    retransmits: int
    scope: Literal["service", "proxy"] = "service"


class Expired(Line, frozen=True, tag="expire"):
    """Something was due by now, and did not come."""

    at_ns: int


class GaveUp(Line, frozen=True, tag="give_up"):
    """What the service has under way is waited for no longer."""


class Failed(Line, frozen=True, tag="fail"):
    """The session ends, unless something else ended it before."""

    outcome: str
    at_ns: int
    detail: str = ""


class Closed(Line, frozen=True, tag="closed"):
    """The connection is gone; `ours`: we ended it, for what came broke a rule."""

    code: int
    at_ns: int
    reason: str = ""
    ours: bool = False


class Finished(Line, frozen=True, tag="finish"):
    """The script was played to its end."""

    at_ns: int


class Taken(Line, frozen=True, tag="take"):
    """Turns that are over were handed out."""

    at_ns: int


AnyLine = (
    Opened
    | Connected
    | Begun
    | Sent
    | Transmitted
    | Expected
    | Received
    | Measured
    | Expired
    | GaveUp
    | Failed
    | Closed
    | Finished
    | Taken
)
