"""The lines of an event log: one for the session, then one per thing that its timeline was told, in that order.

An instant is absolute CLOCK_MONOTONIC nanoseconds. Fields that have their default are left out of a line, and a field
that a reader does not know is skipped; what an older reader would misread raises `SCHEMA_VERSION`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bench.observe.inputs import NO_JSON, AnyInput, Input, SessionStart

SCHEMA_VERSION = 4


class Opened(SessionStart, frozen=True, kw_only=True, tag="session"):
    """The first line: what the session is, and what its timeline was made with. `about["dialect"]` is always there.

    `about`: run, session, target, script, dialect and formats, of a probe its URL; of these
    `output_format` is the one in which replies are found in the audio.
    """

    schema: int
    tool: str
    about: Mapping[str, Any]


class CutAudio(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is left of a delta's audio: its decoded size, -1 where it is no base64, and else as of `CutPayload`."""

    bytes: int
    audible: int | None = None
    until: int | None = None
    error_ns: int = 0


class LoggedMessage(Input, frozen=True, tag="received"):
    """A message of the server arrived; its stamp is off by `error_ns` at most, `wire_bytes` is the size of its frames.

    `event`: the message, with all events in it. `audio`: instead of its audio, where that was cut. `unreadable`: why
    there is no event, `text` then holds the beginning of what came. `unknown`: of an agent's message that nobody knows,
    or that is not for this call, the name under which it is counted.
    """

    at_ns: int
    wire_bytes: int
    error_ns: int = 0
    kernel: bool = True
    event: msgspec.Raw = NO_JSON
    audio: CutAudio | None = None
    unreadable: str | None = None
    unknown: str = ""
    text: str = ""


AnyLine = Opened | LoggedMessage | AnyInput
