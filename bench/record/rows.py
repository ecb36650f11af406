"""Rows of turns, sessions and seconds, and the removal of secrets and audio from messages. Pure.

Rows and messages contain no secrets, and audio only if it is to be recorded. The columns of each
table are in `bench.catalogue.columns`. Hundreds of turns end per second, so the row of a turn is a
tuple (`TURN_COLUMNS`). `hide` removes secrets from texts. The caller that stores a row cleans its
texts, other than JSON (`TextSanitizer`).
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Annotated, Any, TypedDict

import msgspec

from bench.catalogue.causes import decoded, encoded
from bench.catalogue.columns import (
    CAUSE,
    DETAIL_CHARACTERS,
    SESSIONS,
    TOKENS,
    TURN_ARRIVALS,
    TURN_INSTANTS,
    TURN_SENDS,
    TURNS,
    names_of,
    token_column,
)
from bench.files.safe_io import MAX_DEPTH, readable_json
from bench.files.sanitize import escape_control
from bench.observe.inputs import NO_JSON
from bench.observe.observation import SessionObservation, TurnObservation, TurnScore
from bench.wire.dialect import BINARY, BinaryMessage, Dialect, Peer
from bench.wire.events import LIMITED, WITH_AUDIO, EventKind, RateLimit, ServerEvent

# Secrets are removed in three places, because each has another form of the text: in the message, on
# arrival (`Hide` of the keyring); in decoded JSON, where a secret with a quotation mark is not
# escaped (`without_secrets`); and in the texts of rows (`TextSanitizer`). A text is hidden first,
# then escaped, then truncated: in any other order, a part of a secret could be left.
#
# Columns of a batch are cleaned together. Hundreds of turns end per second, and nearly all of their
# texts need nothing, which one look at the joined texts shows (`clean_column`).
Hide = Callable[[str], str]
HIDDEN_SETTINGS = frozenset({"client_secret"})
MAX_SENT_CHARACTERS = 4096
"""The maximum length of a recorded client event, without its audio, in bytes. A longer event is
not recorded."""
LINE_BREAKS = bytes.maketrans(b"\r\n", b"  ")
UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)


def sent_event(message: bytes, dialect: Dialect, hide: Hide, *, record_audio: bool) -> msgspec.Raw:
    """Return a client event as JSON; NO_JSON if the event is longer than MAX_SENT_CHARACTERS."""
    without_audio = dialect.without_audio(message) if message else message
    if not message or len(without_audio) > MAX_SENT_CHARACTERS:
        return NO_JSON
    return clean(message if record_audio else without_audio, hide)


def received_events(
    events: Sequence[ServerEvent],
    message: bytes,
    dialect: Dialect,
    hide: Hide,
    *,
    record_audio: bool,
) -> msgspec.Raw:
    """Return a server's message as JSON. Unless `record_audio` is True, audio is removed; the
    ids remain.
    """
    if dialect.has_binary_texts:
        message = bytes(message)
    if record_audio or not any(
        event.kind in WITH_AUDIO or event.other_dialect or is_unknown_of_agent(event, dialect)
        for event in events
    ):
        return clean(message, hide)
    try:
        stripped = dialect.without_audio(message)
    except UNREADABLE:
        stripped = dialect.without_audio(readable_json(message))
    return clean(stripped, hide)


def is_unknown_of_agent(event: ServerEvent, dialect: Dialect) -> bool:
    """Return whether an agent's event is unknown, or belongs to another call. Such an event may
    also contain audio.
    """
    return event.kind is EventKind.UNKNOWN and dialect.peer is Peer.AGENT


def clean(raw: bytes, hide: Hide) -> msgspec.Raw:
    """Return a message as JSON on one line, without secrets; a binary one as the value of a key,
    in base64.
    """
    if isinstance(raw, BinaryMessage):
        return msgspec.Raw(msgspec.json.encode({BINARY: bytes(raw)}))
    try:
        try:
            value = msgspec.json.decode(raw)
        except UNREADABLE:
            raw = readable_json(raw)
            value = msgspec.json.decode(raw)
        cleaned = without_secrets(value, hide)
        raw = raw if cleaned == value else msgspec.json.encode(cleaned)
    # the unreadable text is in a part of the message that decoding skips; otherwise there would be
    # no event
    except UNREADABLE:
        raw = hide(raw.decode("utf-8", "replace")).encode()
    return msgspec.Raw(raw.translate(LINE_BREAKS))


def without_secrets(value: Any, hide: Hide, depth: int = MAX_DEPTH // 2) -> Any:
    """Return a decoded JSON value without secrets. In an encoded one, `hide` finds no secret with
    quotation marks.

    Values that are nested deeper than `depth` levels become null, because a replay could not read
    the log with them.
    """
    match value:
        case str():
            return hide(value)
        case list() | dict() if not depth:
            return None
        case list():
            return [without_secrets(element, hide, depth - 1) for element in value]
        case dict():
            hidden = {hide(k): None if k in HIDDEN_SETTINGS else v for k, v in value.items()}
            return {k: without_secrets(v, hide, depth - 1) for k, v in hidden.items()}
    return value


UNTRUSTED = frozenset(
    {
        "outcome",
        CAUSE,
        "close_reason",
        "service_session_id",
        "response_id",
        "answer_response_id",
        "item_id",
        "model",
        "backend_model",
        "region",
        "request_id",
        "input_text",
        "reply_text",
        "mcp_error",
        "input_transcription_error",
        "other_hosts",
    }
)
"""The columns with texts from a service, or from an exception in a user's code. All others are
our own."""
SPOKEN = frozenset({"input_text", "reply_text"})
"""The columns of transcripts. Their texts are not escaped, because they are stored as JSON."""
TRUNCATED = frozenset({"close_reason", "mcp_error", "input_transcription_error"})


class TextSanitizer:
    """A cleaner of the texts in columns. `hide` removes secrets at any position in a text."""

    def __init__(self, hide: Hide) -> None:
        self._redact = hide

    def clean(self, column: str, text: str) -> str:
        """Remove secrets from a text of a column, then escape and truncate it: `hide` finds only
        complete secrets. Of causes, each text is cleaned.
        """
        if column == CAUSE:
            return encoded(decoded(text), partial(self.clean, "close_reason"))
        text = text.encode("utf-8", "replace").decode()
        cleaned = self._redact(text) if column in UNTRUSTED else text
        cleaned = escape_control(cleaned) if column in UNTRUSTED - SPOKEN else cleaned
        return cleaned[:DETAIL_CHARACTERS] if column in TRUNCATED else cleaned

    def clean_row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {
            column: self.clean(column, value) if isinstance(value, str) else value
            for column, value in row.items()
        }

    def clean_column(self, column: str, texts: Sequence[str | None]) -> Sequence[str | None]:
        """Clean each text of a column.

        First check all as one joined text, because usually none has to be cleaned. For secrets
        each text is a line, because a short truncated secret is found only at the end of a line.
        """
        present = [text for text in texts if text]
        if column == CAUSE:
            cleaned = {text: self.clean(column, text) for text in set(present)}
            return [text and cleaned[text] for text in texts]
        joined = " ".join(present)
        lines = "\n".join(present)
        has_secret = column in UNTRUSTED and self._redact(lines) != lines
        if not has_secret and self.clean(column, joined) == joined:
            return texts
        return [text and self.clean(column, text) for text in texts]


HIDDEN_HEADERS = frozenset({"set-cookie", "authorization", "api-key"})
NO_TOKENS = (None,) * len(TOKENS)
VALUES = names_of(TURNS, "same", "or null")
OR_NULL = names_of(TURNS, "or null")
SESSION_VALUES = names_of(SESSIONS, "same")
SESSION_OR_NULL = names_of(SESSIONS, "or null")


IDENTITY = names_of(TURNS, "identity")
"""The columns that identify the session of a row, in the order of the argument `identity` of
`turn_row`."""
TEXTS = tuple(name for group in TURNS if group.kind in ("label", "text") for name in group.names)
TURN_COLUMNS = (
    *IDENTITY,
    "start_utc_ns",
    "delta_gap_max_ns",
    "delta_gap_p95_ns",
    *VALUES,
    *names_of(TURNS, "instant"),
    *names_of(TURNS, "error"),
    *names_of(TURNS, "width"),
    *names_of(TURNS, "tokens"),
    *TurnScore._fields,
)
"""The columns of `turns`, in the order of the tuples that `turn_row` returns."""


def turn_row(
    identity: tuple[Any, ...], turn: TurnObservation, utc_offset_ns: int
) -> tuple[Any, ...]:
    """Return the row of a turn, before its texts are cleaned. `turn_columns` cleans them."""
    start_ns = turn.start_ns
    usage = turn.usage
    at_ns = {name: instant_ns - start_ns for name, instant_ns in turn.instants.items()}
    return (
        *identity,
        start_ns + utc_offset_ns,
        *_longest_gaps(turn.gaps_ns),
        *_values(turn),
        *map(at_ns.get, TURN_INSTANTS),
        *map(turn.uncertainties_ns.get, TURN_ARRIVALS),
        *map(turn.widths_ns.get, TURN_SENDS),
        *(NO_TOKENS if usage is None or usage.unread else _token_counts(usage)),
        *turn.quality,
    )


_values = attrgetter(*VALUES)
_token_counts = attrgetter(*TOKENS)


def turn_columns(
    rows: Sequence[tuple[Any, ...]], sanitizer: TextSanitizer
) -> dict[str, Sequence[Any]]:
    """Return the columns of several rows that `turn_row` returned. Empty texts become null.

    The texts of all rows are cleaned together, because cleaning each row separately takes twice as
    long.
    """
    columns: dict[str, Sequence[Any]] = dict(
        zip(TURN_COLUMNS, zip(*rows, strict=True), strict=True)
    )
    columns |= {name: [text or None for text in columns[name]] for name in OR_NULL}
    return columns | {name: sanitizer.clean_column(name, columns[name]) for name in TEXTS}


def _longest_gaps(gaps_ns: Sequence[int]) -> tuple[int | None, int | None]:
    """Return (the longest gap, the smallest gap that at least 95 % of the gaps do not exceed)."""
    if not gaps_ns:
        return None, None
    gaps = sorted(gaps_ns)
    return gaps[-1], gaps[-(-95 * len(gaps) // 100) - 1]


class TranscriptLine(TypedDict):
    """A line of transcripts.jsonl: the service's transcript of the caller's speech in a turn,
    and the reply.
    """

    session_id: str
    service_session_id: str | None
    turn: Annotated[int, msgspec.Meta(ge=0)]
    step: str
    response_id: str | None
    item_id: str | None
    input_text: str | None
    reply_text: str | None


def transcript_line(
    session_id: str, service_session_id: str, turn: TurnObservation
) -> TranscriptLine:
    """Return the line of transcripts.jsonl for a turn."""
    return {
        "session_id": session_id,
        "service_session_id": service_session_id or None,
        "turn": turn.turn,
        "step": turn.step,
        "response_id": turn.response_id or None,
        "item_id": turn.item_id or None,
        "input_text": turn.input_text or None,
        "reply_text": turn.reply_text or None,
    }


def session_row(
    session: SessionObservation, utc_offset_ns: int, hide: Hide = str
) -> dict[str, Any]:
    """Return the columns of `sessions` that come from the observation of the session."""
    row: dict[str, Any] = {
        "start_utc_ns": session.start_ns + utc_offset_ns,
        "unknown_events": sum(session.unknown_events.values()),
        "model": session.model,
        "backend_model": session.backend_model,
        "region": session.headers.get("x-ms-region"),
        "request_id": session.headers.get("apim-request-id") or session.headers.get("x-request-id"),
        "effective_settings": _json(session.effective_settings, HIDDEN_SETTINGS, hide),
        "response_headers": _json(session.headers, HIDDEN_HEADERS, hide),
    }
    usage = session.stray_usage
    # otherwise an incomplete count would seem complete
    known = usage is not None and not usage.unread
    tokens = {token_column(name): getattr(usage, name) for name in TOKENS} if known else {}
    row |= {f"{name}_at_ns": at_ns - session.start_ns for name, at_ns in session.instants.items()}
    row |= {
        f"{name}_uncertainty_ns": ns
        for name, ns in (*session.uncertainties_ns.items(), *session.widths_ns.items())
    }
    row |= {name: session.column(name) for name in SESSION_VALUES}
    return row | {name: session.column(name) or None for name in SESSION_OR_NULL} | tokens


def _json(value: Mapping[str, Any], left_out: frozenset[str], hide: Hide) -> str | None:
    stored = {name: setting for name, setting in value.items() if name not in left_out}
    return json.dumps(without_secrets(stored, hide)) if stored else None


@dataclass
class SecondCounts:
    calls_offered: int = 0
    calls_blocked: int = 0
    calls_delayed: int = 0
    calls_not_started: int = 0
    calls_backed_off: int = 0
    session_starts: int = 0
    turns_started: int = 0
    turns_ended: int = 0
    turns_failed: int = 0
    events: int = 0
    audio_bytes_sent: int = 0
    audio_bytes_received: int = 0
    wire_bytes_sent: int = 0
    wire_bytes_received: int = 0
    receive_delay_max_ns: int = 0
    throttled: int = 0
    requests_limit: int | None = None
    requests_remaining: int | None = None
    tokens_limit: int | None = None
    tokens_remaining: int | None = None

    def add(self, limits: Iterable[RateLimit]) -> None:
        """Record the last value of each rate limit that the service reported, and the smallest
        remaining amount.
        """
        for limit in limits:
            if limit.name in LIMITED:
                limit_column = f"{limit.name}_limit"
                remaining_column = f"{limit.name}_remaining"
                setattr(
                    self,
                    limit_column,
                    getattr(self, limit_column) if limit.limit is None else limit.limit,
                )
                amounts = (limit.remaining, getattr(self, remaining_column))
                setattr(
                    self,
                    remaining_column,
                    min((amount for amount in amounts if amount is not None), default=None),
                )
