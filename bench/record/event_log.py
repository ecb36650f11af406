"""An event log: all inputs of a session's timeline, as JSON lines, so that they can be replayed.

Logging an event costs as much as all other work on the event. So a run logs only a sample of its
sessions. The sample depends on the numbers of the sessions, and is the same in every run.

Audio is removed from the log, unless it is to be recorded. The simulated player needs only the size
of a delta and the position at which the sound of its item begins. The secrets that `hide` removes
are never written, nor are request headers. `bench.record.replay` reads the logs.
"""

# A logged session is an ordinary session with two wrappers. `LoggedTransport` remembers each
# message that is sent. `LoggedTimeline` writes each input, and then applies it. So the file
# contains the inputs of the timeline in their order, and a replay needs nothing else.
#
# A log never ends a session. After a failed write, or when it is full, it ends, and the session
# continues. The log is flushed when turns are delivered: after a kill, it contains all turns whose
# rows may be in the spool.

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from bench.base.clock import Arrival
from bench.base.installation import tool_version
from bench.catalogue.causes import decoded, encoded
from bench.observe import inputs
from bench.observe.timeline import Timeline
from bench.plan.prepared import PreparedScript
from bench.record.recorder import RowContext
from bench.record.replay import SCHEMA_VERSION, LoggedAudio, LoggedMessage, LogHeader
from bench.record.rows import HIDDEN_HEADERS, is_unknown_of_agent, received_events, sent_event
from bench.transport.interface import Transport, WrappedTransport
from bench.wire.audio import AudioFormat, audible_end
from bench.wire.connection import MatchedDelta, ReceivedMessage, SendReceipt, SentChunk
from bench.wire.dialect import Dialect, protocol_fact
from bench.wire.events import WITH_AUDIO, EventKind, ServerEvent, StrippedAudio, base64_form

BUFFER_BYTES = 1 << 16
QUOTED = 300
MAX_BYTES = 1 << 30
"""The maximum size of the log of one session, in bytes. A log of one hour with all audio has
half of this size."""
NO_MESSAGE = b""


def about(run_id: str, labels: RowContext, script: PreparedScript) -> dict[str, Any]:
    """Return the description of a session for the first line of its log."""
    return {
        "run_id": run_id,
        "session_id": labels.session_id,
        "target": labels.target,
        "scenario": labels.scenario,
        "script": script.name,
        "variables_row": script.variables_row,
        "dialect": script.dialect.name,
        "input_format": script.input_format.name,
        "output_format": script.output_format.name,
        **protocol_fact(script.dialect),
    }


class EventLog:
    """The log file of one session, up to MAX_BYTES. It never raises: `error` is the failure that
    ended the log.
    """

    def __init__(self, path: Path, *, hide: Callable[[str], str], record_audio: bool) -> None:
        self.path = path
        self.redact = hide
        self.record_audio = record_audio
        self.error: str | None = None
        self.outgoing = NO_MESSAGE
        """The message that is being sent. `LoggedTransport` sets it. The next line about a sent
        message contains it."""
        self._file: BinaryIO | None = None
        self._left = MAX_BYTES
        self._guarded(self._open)

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("wb", buffering=BUFFER_BYTES)

    def write(self, line: inputs.Input) -> None:
        if self._file is not None and self.error is None and self._left > 0:
            file = self._file
            self._guarded(lambda: self._add(file, msgspec.json.encode(line) + b"\n"))

    def _add(self, file: BinaryIO, data: bytes) -> None:
        self._left -= len(data)
        if self._left > 0:
            file.write(data)
        else:
            print(
                f"rtbench: {self.path} is full at {MAX_BYTES >> 20} MiB; this event log ends here",
                file=sys.stderr,
            )

    def flush(self) -> None:
        if self._file is not None and self.error is None:
            self._guarded(self._file.flush)

    def close(self) -> None:
        if self._file is not None:
            self._guarded(self._file.close)
            self._file = None

    def _guarded(self, action: Callable[[], object]) -> None:
        try:
            action()
        except (
            Exception
        ) as error:  # after any failure the session continues; the log ends here, with a message
            if self.error is None:
                error_text = (
                    error.strerror
                    if isinstance(error, OSError)
                    else f"{type(error).__name__}: {error}"
                )
                self.error = f"cannot write {self.path}: {error_text}; this event log ends here"
                print(f"rtbench: {self.error}", file=sys.stderr)


class LoggedTransport(WrappedTransport):
    """A transport that passes each sent message to the log, so that the log contains the content
    of client events.
    """

    def __init__(self, transport: Transport, log: EventLog) -> None:
        super().__init__(transport)
        self._log = log
        self.transmitted = transport.transmitted
        self.close = transport.close
        self.abort = transport.abort
        self.receive_until = transport.receive_until
        self.flush = transport.flush
        self.keeps_texts = transport.keeps_texts = True

    def send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        self._log.outgoing = message
        return self._transport.send(message, stamped=stamped)

    def try_send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        self._log.outgoing = message
        return self._transport.try_send(message, stamped=stamped)


class LoggedTimeline(Timeline):
    """A timeline that logs each input before it applies it. `about` describes the session in the
    log's first line.
    """

    def __init__(
        self,
        start: inputs.SessionStart,
        dialect: Dialect,
        *,
        log: EventLog,
        about: Mapping[str, Any],
    ) -> None:
        super().__init__(start, dialect, reply_format=about.get("output_format"))
        self._log = log
        log.write(
            LogHeader(
                schema=SCHEMA_VERSION,
                tool=tool_version(),
                about=about,
                **msgspec.structs.asdict(start),
            )
        )
        log.flush()  # so that the file is a valid event log even if the process is killed

    def apply(self, *batch: inputs.AnyInput) -> None:
        for each in batch:
            if isinstance(each, inputs.Received):
                # in a log without audio, replies could not be detected later
                found = self._detect_replies(each.events, each.message.arrival)
                each = msgspec.structs.replace(each, events=found)
            self._log.write(self._line(each))
            if isinstance(each, inputs.TurnsDelivered):
                self._log.flush()
            super().apply(each)

    def needs_audio(self, event: ServerEvent) -> bool:
        """Return False: a matched delta with its audio lacks the message, which the log needs."""
        return False

    def _line(self, session_input: inputs.AnyInput) -> inputs.Input:
        """Return an input as it is logged, without secrets."""
        match session_input:
            case inputs.Received(events, message):
                return self._received_line(events, message)
            case MatchedDelta(_, at_ns, error_ns, _, _, wire_bytes, data):
                message = ReceivedMessage(data, Arrival(at_ns, error_ns), wire_bytes)
                return self._received_line(self._dialect.decode(data), message)
            case SentChunk():
                raise AssertionError("the log needs the content of a chunk, so it gets a `Sent`")
            case _:
                return self._own_line(session_input)

    def _own_line(self, session_input: inputs.AnyLogged) -> inputs.AnyLogged:
        """Return the line of an input that is a line itself. If it is about a sent message, it gets
        the message's content.
        """
        hide = self._log.redact
        session_input = _without_secrets(session_input, hide)
        match session_input:
            case inputs.Connected():
                headers = session_input.headers.items()
                return msgspec.structs.replace(
                    session_input,
                    instants=dict(session_input.instants),  # mapping proxies cannot be encoded
                    headers={
                        hide(name): hide(value)
                        for name, value in headers
                        if name not in HIDDEN_HEADERS
                    },
                    uncertainties_ns=dict(session_input.uncertainties_ns),
                    early_audio=session_input.early_audio if self._log.record_audio else b"",
                )
            case inputs.SessionFailed(cause=cause) if cause.startswith("["):
                # each text is cleaned alone, because in JSON no part of a secret ends a line
                return msgspec.structs.replace(session_input, cause=encoded(decoded(cause), hide))
            case inputs.Sent():
                message = self._log.outgoing
                self._log.outgoing = NO_MESSAGE
                event = sent_event(
                    message, self._dialect, hide, record_audio=self._log.record_audio
                )
                return msgspec.structs.replace(
                    session_input, instants=dict(session_input.instants), event=event
                )
            case _:
                return session_input

    def _received_line(
        self, events: Sequence[ServerEvent], message: ReceivedMessage
    ) -> LoggedMessage:
        log = self._log
        at_ns, uncertainty_ns, kernel = message.arrival
        if unreadable := [event.reason for event in events if event.kind is EventKind.MALFORMED]:
            text = log.redact(message.data.decode("utf-8", "replace"))[:QUOTED]
            return LoggedMessage(
                at_ns,
                message.wire_bytes,
                uncertainty_ns,
                kernel,
                unreadable=log.redact(unreadable[0]),
                text=text,
            )
        raw_event = received_events(
            events, message.data, self._dialect, log.redact, record_audio=log.record_audio
        )
        with_audio = next(
            (event for event in events if event.kind in WITH_AUDIO or is_stripped(event)), None
        )
        stripped_audio = None
        if with_audio is not None and not log.record_audio:
            stripped_audio = strip_audio(
                with_audio, self._format if self._dialect.has_track else None
            )
        unknown = next(
            (event.name for event in events if is_unknown_of_agent(event, self._dialect)), ""
        )
        return LoggedMessage(
            at_ns,
            message.wire_bytes,
            uncertainty_ns,
            kernel,
            event=raw_event,
            audio=stripped_audio,
            unknown=log.redact(unknown),
        )


def _without_secrets(
    session_input: inputs.AnyLogged, hide: Callable[[str], str]
) -> inputs.AnyLogged:
    """Return an input without secrets in its texts.

    Ids and names that a service chose may contain them, as its messages may.
    """
    values = {name: getattr(session_input, name) for name in session_input.__struct_fields__}
    texts = {name: value for name, value in values.items() if type(value) is str}
    cleaned = {name: hidden for name, text in texts.items() if (hidden := hide(text)) != text}
    return msgspec.structs.replace(session_input, **cleaned) if cleaned else session_input


def is_stripped(event: ServerEvent) -> bool:
    """Return whether positions of sound have replaced audio, or the event ends an item whose
    sound they state.
    """
    return isinstance(event.payload, StrippedAudio)


def strip_audio(event: ServerEvent, track: AudioFormat | None = None) -> LoggedAudio:
    """Return the data of an audio event that the simulated player needs.

    If the start of the sound is known, that is the size, and in a track with this format also the
    end of the sound.
    """
    if isinstance(event.payload, StrippedAudio):
        stripped = event.payload
        return LoggedAudio(
            event.payload_bytes,
            stripped.audible,
            stripped.until,
            stripped.error_ns,
            stripped.tones,
            stripped.pending,
            stripped.end_error_ns,
        )
    until = (
        None
        if track is None or event.kind is EventKind.ITEM_RETRIEVED
        else audible_end(event.payload, track)
    )
    form = base64_form(event.payload) if event.payload_bytes < 0 else ""
    return LoggedAudio(event.payload_bytes, until=until, form=form)
