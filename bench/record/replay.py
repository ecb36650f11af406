"""The replay of an event log: it returns the observations of the live session, and its messages.

The replay does not have data that was never written: request headers, secret settings, and secrets
in the service's messages.

The first line of a log describes the session. After it, there is one line for each input of its
timeline, in the order of the inputs. An instant is in absolute CLOCK_MONOTONIC nanoseconds. A field
that has its default value is left out of a line. A reader ignores a field that it does not know. If
an older reader would misread a change, the change raises `SCHEMA_VERSION`.
"""

# A replay is the live path without the transport: each line becomes the input from which it was
# written, and goes into a `Timeline`. Messages are decoded again by the dialect of the log's
# session. Two facts are restored from the line instead: the positions of sound, because the log
# usually has no audio, and the name of a message that could not be decoded.
#
# A process may be killed while it writes a line. A last line without its end is ignored, and the
# session is then unfinished. Any other damage is an error: a replay with a missing input would give
# wrong values.

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec

from bench.base.clock import Arrival
from bench.base.errors import UsageError
from bench.files.safe_io import read_json
from bench.observe import inputs
from bench.observe.inputs import NO_JSON, AnyLogged, Input, SessionStart
from bench.observe.observation import SessionObservation, TurnObservation
from bench.observe.timeline import Timeline
from bench.services.registry import logged_dialect
from bench.sound.item_sounds import ENDS
from bench.wire.audio import AudioFormatName
from bench.wire.connection import ReceivedMessage
from bench.wire.dialect import Decode, MessageKind, decoder_of
from bench.wire.events import WITH_AUDIO, EventKind, ServerEvent, StrippedAudio

SCHEMA_VERSION = 9
OLDEST_READ = 7
"""The oldest version that is read. Until version 8, a plan repeats properties of the dialect."""


class LogHeader(SessionStart, frozen=True, kw_only=True, tag="session"):
    """The first line: the session, and the parameters of its timeline.

    `about` has the run, session, target, script, dialect (always) and formats, and the URL if the
    session is a probe. Replies are detected in audio of `about["output_format"]`.
    """

    schema: int
    tool: str
    about: Mapping[str, Any]


class LoggedAudio(msgspec.Struct, frozen=True, omit_defaults=True):
    """The data of a delta whose audio was removed from the log.

    `bytes` is the size of the decoded audio, or -1 if the audio is not base64. The other fields are
    those of `StrippedAudio`. If the message has no audio, it ends an item, and they state what this
    end decides.
    """

    bytes: int
    audible: int | None = None
    until: int | None = None
    uncertainty_ns: int = 0
    tones: int = 0
    pending: int | None = None
    end_uncertainty_ns: int = 0
    form: str = ""


class LoggedMessage(Input, frozen=True, tag="received"):
    """A message of the server, in frames of `wire_bytes` bytes.

    It arrived at most `uncertainty_ns` before its timestamp. `event` is the message, with all
    events in it. `audio` replaces the audio of the message, if the audio was removed. `unreadable`
    is the reason why the message has no event; `text` is then the start of the message. `unknown`
    is set if an agent's message is unknown, or belongs to another call; it is the name under which
    the message is counted.
    """

    at_ns: int
    wire_bytes: int
    uncertainty_ns: int = 0
    kernel: bool = True
    event: msgspec.Raw = NO_JSON
    audio: LoggedAudio | None = None
    unreadable: str | None = None
    unknown: str = ""
    text: str = ""


AnyLine = LogHeader | LoggedMessage | AnyLogged

NO_BYTES = b""


@dataclass(frozen=True)
class WireTransfer:
    """A message on the wire, with the size of its decoded audio. It has an `event`, or it is
    ours, with a purpose.
    """

    at_ns: int
    name: str
    audio_bytes: int
    event: ServerEvent | None = None
    message_kind: MessageKind | None = None


@dataclass(frozen=True)
class ReplayedSession:
    """A replayed session. `cut` is true if the log ends before the session, which then counts as
    unfinished.
    """

    opened: LogHeader
    session: SessionObservation
    turns: tuple[TurnObservation, ...]
    passages: tuple[WireTransfer, ...]
    cut: bool


def replay_log(path: Path) -> ReplayedSession:
    """Read and replay a log. Raise UsageError if the file is not a log, has another version, or
    is damaged.
    """
    try:
        with path.open("rb") as file:
            return _replayed(path, file)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}; name an event log (events/*.jsonl)"
        ) from None


class _LogReader:
    """A reader that applies the lines of a log to a new timeline."""

    def __init__(self, opened: LogHeader) -> None:
        self._dialect = logged_dialect(opened.about)
        self._decode = decoder_of(self._dialect)
        name = opened.about.get("output_format")
        reply_format = cast("AudioFormatName", str(name)) if name else None
        self.timeline = Timeline(opened, self._dialect, reply_format=reply_format)
        self.turns: list[TurnObservation] = []
        self.passages: list[WireTransfer] = []
        self.last_ns = opened.start_ns

    def apply(self, line: AnyLine) -> None:
        self.last_ns = max(self.last_ns, getattr(line, "at_ns", self.last_ns))
        match line:
            case LogHeader():
                raise ValueError("only the first line may describe the session")
            case LoggedMessage():
                events = logged_events(line, self._decode)
                for event in events:
                    audio_bytes = (
                        max(0, event.payload_bytes) if event.kind is EventKind.AUDIO_DELTA else 0
                    )
                    self.passages.append(WireTransfer(line.at_ns, event.name, audio_bytes, event))
                arrival = Arrival(line.at_ns, line.uncertainty_ns, line.kernel)
                message = ReceivedMessage(NO_BYTES, arrival, line.wire_bytes)
                self.timeline.apply(inputs.Received(events, message))
            case _:
                if isinstance(line, inputs.Sent):
                    kind = self._dialect.message_kinds.get(line.name)
                    self.passages.append(
                        WireTransfer(line.at_ns, line.name, line.audio_bytes, message_kind=kind)
                    )
                self.timeline.apply(line)
                self.turns += self.timeline.pop_delivered()


def logged_events(line: LoggedMessage, decode: Decode) -> Sequence[ServerEvent]:
    """Return the same events that were decoded when the message of this line arrived. `decode`:
    that of the session.
    """
    if line.unreadable is not None:
        return (ServerEvent(EventKind.MALFORMED, reason=line.unreadable),)
    if line.unknown:
        return (ServerEvent(EventKind.UNKNOWN, line.unknown),)
    events = decode(bytes(line.event))
    if line.audio is None:
        return events
    audio = line.audio
    stripped_audio = StrippedAudio(
        audio.audible,
        audio.until,
        audio.uncertainty_ns,
        tones=audio.tones,
        pending=audio.pending,
        end_error_ns=audio.end_uncertainty_ns,
        form=audio.form,
    )
    stripped = {"payload_bytes": audio.bytes, "payload": stripped_audio}
    kinds = WITH_AUDIO if any(event.kind in WITH_AUDIO for event in events) else ENDS
    first = next((event for event in events if event.kind in kinds), None)
    return [
        (
            msgspec.structs.replace(event, **stripped)
            if event.kind in WITH_AUDIO or event is first
            else event
        )
        for event in events
    ]


# Reading the file.


def _replayed(path: Path, file: Iterator[bytes]) -> ReplayedSession:
    opened = _opened(path, next(file, NO_BYTES))
    number = 1
    is_complete = True
    try:
        reader = _LogReader(opened)
        for text in file:
            number += 1
            is_complete = text.endswith(b"\n")
            if is_complete:
                reader.apply(read_json(text, AnyLine))
    except (KeyError, ValueError, OverflowError):
        raise UsageError(
            f"{path}:{number}: this line is damaged; an event log must be unchanged"
        ) from None
    is_unfinished = not (is_complete and reader.timeline.is_over)
    if is_unfinished:
        reader.timeline.apply(
            inputs.SessionFailed("unfinished", reader.last_ns, "the log ends here")
        )
        reader.turns += reader.timeline.pop_turns(reader.last_ns)
    return ReplayedSession(
        opened,
        reader.timeline.session(),
        tuple(reader.turns),
        tuple(reader.passages),
        is_unfinished,
    )


def _opened(path: Path, text: bytes) -> LogHeader:
    try:
        head = read_json(text)
        schema = int(head["schema"])
        if head["action"] != "session":
            raise ValueError
        if schema > SCHEMA_VERSION:
            raise UsageError(
                f"{path} was written by a newer rtbench (schema {schema}): upgrade to read it"
            )
        if schema < OLDEST_READ:
            raise UsageError(
                f"{path} was written by an older rtbench (schema {schema}): record it again"
            )
        return cast(LogHeader, read_json(text, LogHeader))
    except (ValueError, KeyError, TypeError, OverflowError):
        raise UsageError(
            f"{path} is not an event log: its first line does not describe a session"
        ) from None
