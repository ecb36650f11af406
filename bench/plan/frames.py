"""A script becomes ready messages: everything a session sends is encoded once, before the first session opens.

What is left for a session is to pace and to send. One `PreparedScript` serves any number of sessions.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from bench.errors import ScriptError
from bench.measures import Limits
from bench.plan.audio import chunks
from bench.plan.script import AskTurn, Pause, Script, TextTurn, Turn, WavTurn
from bench.protocol.dialects import (
    Dialect,
    SessionSettings,
    append_audio,
    commit_audio,
    create_response,
    session_update,
    text_item,
)

InputKind = Literal["text", "none", "audio"]


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """One client event, encoded. `name`: its type on the wire. `audio_bytes`: decoded audio inside.

    `due_ns`: when it is to be sent, from the start of the caller's speech; None: as soon as the one before it is sent.
    """

    name: str
    data: bytes = field(repr=False)
    due_ns: int | None = None
    audio_bytes: int = 0


@dataclass(frozen=True)
class PreparedTurn:
    """One turn: first `inputs` in order, then `request`, which asks for the response.

    `number` counts from 1 in the session. The ids of all its events begin with `event_prefix`, so an error's `event_id`
    tells its turn. `chunk_ns`: length of a paced chunk; None where nothing is paced.
    """

    number: int
    label: str
    kind: InputKind
    event_prefix: str
    inputs: tuple[OutgoingMessage, ...]
    request: OutgoingMessage
    wants_audio: bool
    chunk_ns: int | None

    @property
    def request_event_id(self) -> str:
        return _request_event_id(self.event_prefix)


@dataclass(frozen=True)
class PreparedScript:
    """A script in the words of one dialect."""

    name: str
    digest: str
    dialect: Dialect
    limits: Limits
    session_update: bytes = field(repr=False)
    transcribes: bool
    """Whether the service is asked for a transcript of the caller's audio."""
    steps: tuple[PreparedTurn | Pause, ...]

    @property
    def turns(self) -> tuple[PreparedTurn, ...]:
        return tuple(step for step in self.steps if isinstance(step, PreparedTurn))


def prepare(script: Script, dialect: Dialect) -> PreparedScript:
    """Encode everything that a session of this script sends. Raises ScriptError for what the dialect cannot say."""
    if dialect is Dialect.GA and script.session.temperature is not None:
        problem = "temperature is a setting of the preview dialect, GA has none: remove it, or use --dialect preview"
        raise ScriptError(script.path, script.temperature_line, problem)
    return PreparedScript(
        name=script.name,
        digest=script.digest,
        dialect=dialect,
        limits=script.limits,
        session_update=session_update(dialect, script.session, "session-update"),
        transcribes=script.session.input_transcription is not None,
        steps=tuple(_prepared_steps(script, dialect)),
    )


def _prepared_steps(script: Script, dialect: Dialect) -> Iterator[PreparedTurn | Pause]:
    number = 0
    for step in script.steps:
        if isinstance(step, Pause):
            yield step
        else:
            number += 1
            yield _prepared_turn(step, number, dialect, script.session)


def _prepared_turn(turn: Turn, number: int, dialect: Dialect, session: SessionSettings) -> PreparedTurn:
    prefix = f"turn-{number}-"  # its last dash keeps turn 1 apart from turn 10
    request = create_response(dialect, turn.response, _request_event_id(prefix))
    return PreparedTurn(
        number=number,
        label=turn.label,
        kind=_kind(turn),
        event_prefix=prefix,
        inputs=tuple(_inputs(turn, prefix)),
        request=OutgoingMessage("response.create", request),
        wants_audio=(turn.response.output or session.output) == "audio",
        chunk_ns=turn.chunk_ms * 1_000_000 if isinstance(turn, WavTurn) and turn.paced else None,
    )


def _request_event_id(prefix: str) -> str:
    return f"{prefix}response"


def _kind(turn: Turn) -> InputKind:
    match turn:
        case TextTurn():
            return "text"
        case AskTurn():
            return "none"
        case WavTurn():
            return "audio"


def _inputs(turn: Turn, prefix: str) -> Iterator[OutgoingMessage]:
    match turn:
        case TextTurn():
            yield OutgoingMessage("conversation.item.create", text_item(turn.text, f"{prefix}item"))
        case WavTurn():
            yield from _appends(turn, prefix)
            yield OutgoingMessage("input_audio_buffer.commit", commit_audio(f"{prefix}commit"))


def _appends(turn: WavTurn, prefix: str) -> Iterator[OutgoingMessage]:
    for number, chunk in enumerate(chunks(turn.audio, turn.chunk_ms), 1):
        data = append_audio(base64.b64encode(chunk.data).decode("ascii"), f"{prefix}append-{number}")
        due_ns = chunk.due_ns if turn.paced else None
        yield OutgoingMessage("input_audio_buffer.append", data, due_ns, len(chunk.data))
