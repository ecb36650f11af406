"""Faults on demand: their kinds, places, and times. They are read from a profile, or from one line.

    --fault close,at=next_delta,code=1011,share=0.1

    faults:
      - {kind: close, at: next_delta, code: 1011, share: 0.1}

`injection.py` has their effects on a connection. `KINDS` has every kind; README.md is made
from it.
"""

# `KINDS` is the only list of faults: the options of the command, the keys of a profile, the schema,
# and the tables of the documentation are made from it. A row states where a kind may occur and
# which keys it has. What it does is in `injection` (connections, events) and in the services
# (calls).
#
# The conditions of a fault are independent filters, which all have to hold: the place, the session,
# the response, its input tokens, the time, and the share. They are counted from 1 in the order of
# the server, so `sessions: 2-` spares the first client of a test.

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from bench.base.errors import UsageError
from bench.base.units import NS_PER_S
from bench.files.validation import (
    Choice,
    Field,
    Integer,
    InvalidCombinationError,
    KindOf,
    ListOf,
    Number,
    Schema,
    String,
    StructOf,
    Validator,
    either,
)
from bench.files.yaml_file import LocatedValue, PythonValue
from bench.protocols.sip.header_values import PHRASES
from rtbench_simulator.refusals import (
    AFTER_UPGRADE,
    BEFORE_UPGRADE,
    GOING_AWAY,
    NOTES,
    PostUpgradeRefusal,
    RefusedUpgrade,
    throttled,
)


@dataclass(frozen=True)
class IndexRange:
    """The range from `first` to `last`, both included. If `last` is None, the range has no end."""

    first: float = 0
    last: float | None = None

    @property
    def length(self) -> float | None:
        """The distance of the ends; None if the range has no end."""
        return None if self.last is None else self.last - self.first

    def holds(self, number: float) -> bool:
        return self.first <= number and (self.last is None or number <= self.last)

    def __str__(self) -> str:
        last = "" if self.last is None else f"{self.last:.15g}"
        return last if self.first == self.last else f"{self.first:.15g}-{last}"


ALL = IndexRange()
_RANGE = re.compile(r"(\d+(?:\.\d+)?)(?:(-)(\d+(?:\.\d+)?)?)?")


@dataclass(frozen=True)
class RangeValidator(Validator[IndexRange]):
    """The validator of ranges such as `3`, `2-6` or `4-`.

    If `whole`, the numbers are integers from 1; otherwise any numbers.
    """

    whole: bool

    def read(self, value: LocatedValue) -> IndexRange:
        match = _RANGE.fullmatch(str(value.content()))
        if match is None or (self.whole and (value.source_text or "").find(".") >= 0):
            raise value.type_error(self._allowed)
        first = float(match[1])
        last = float(match[3]) if match[3] else None if match[2] else first
        if (last is not None and last < first) or (self.whole and first < 1):
            raise value.type_error(self._allowed)
        return IndexRange(first, last)

    @property
    def _allowed(self) -> str:
        return "as in 3, 2-6 or 4-" + (", counted from 1" if self.whole else "")

    def schema(self) -> Schema:
        return {"anyOf": [{"type": "number"}, {"type": "string", "pattern": f"^{_RANGE.pattern}$"}]}


PLACES = {
    "tcp": "the TCP connection was accepted; nothing was read from it yet",
    "tls": "the client's TLS hello was received",
    "upgrade": "the upgrade request was received",
    "session": "`session.created`, after the upgrade",
    "settings": "`session.updated`",
    "input": "the first audio or item that the client sends for a response",
    "speech": "`input_audio_buffer.speech_stopped`",
    "response": "`response.created`",
    "first_delta": "the response's first delta of any kind",
    "next_delta": "the deltas after the response's first delta of audio, text or arguments",
    "done": "`response.done`",
    "input_delta": "a delta of the transcript of the caller's audio, once per session",
    "input_transcript": "the finished transcript of the caller's audio, once per session",
}
"""The places of faults. A fault changes or replaces the event at its place. The values are notes
for users."""
OF_TRANSCRIPTS = ("input_delta", "input_transcript")
EVERYWHERE = tuple(name for name in PLACES if name not in OF_TRANSCRIPTS)
IN_SESSION = EVERYWHERE[EVERYWHERE.index("session") :]
ON_EVENTS = tuple(name for name in IN_SESSION if name != "input")
IN_RESPONSE = ("response", "first_delta", "next_delta")
DELTAS = ("first_delta", "next_delta")
IDENTITY = "identity"
EXPIRED = "expired"
BY_TELEPHONE = "by telephone"
OVER_WEBRTC = "over WebRTC"
PERSON_AS_MAILBOX = "person_as_mailbox"
MAILBOX_AS_PERSON = "mailbox_as_person"
EARLY_MESSAGE = "early_message"
OF_AUDIO = ("session", "first_delta", "next_delta")
"""The places in a telephone call after its answer."""
STATUSES = {int(status) for status in HTTPStatus}
ABNORMAL = 1006
"""The code of an end of a connection without a close frame."""
CLOSE_CODES = {*range(1000, 1004), *range(1006, 1015), *range(3000, 5000)}
OF_RESPONSES = ("input", "speech", *IN_RESPONSE, "done")
"""The places that occur once for each response of a session."""
WITH_CONTEXT = (*IN_RESPONSE, "done")
"""The places at which the input tokens of the response are known."""

COUNT: Mapping[str, Any] = {
    "count": Field(Integer(1, 1_000_000), "number of consecutive events", default=1)
}
WAIT: Mapping[str, Any] = {
    "retry_after_s": Field(Number(0, 86_400), "delay that the answer requests, 0 for none")
}


@dataclass(frozen=True)
class FaultKind:
    """A kind of fault: a note, its places, its default place, its own keys, and the keys that limit
    its times.

    `calls` are the only calls that have it; "" if it is a refusal, or if WebSockets have it.
    """

    note: str
    places: Sequence[str]
    default: str
    keys: Mapping[str, Field[Any]]
    when: Sequence[str]
    calls: str = ""

    @property
    def fields(self) -> Mapping[str, Field[Any]]:
        """The keys that a fault of this kind may have, except `kind`."""
        at = (
            {"at": Field(Choice(tuple(self.places)), "the place", default=self.default)}
            if len(self.places) > 1
            else {}
        )
        return at | dict(self.keys) | {key: WHEN[key] for key in self.when}


WHEN: Mapping[str, Field[Any]] = {
    "share": Field(
        Number(0, 1), "share of the possible places that it affects, at random", default=1.0
    ),
    "sessions": Field(
        RangeValidator(whole=True),
        "which sessions, numbered in the order in which they connect",
        default=ALL,
    ),
    "responses": Field(RangeValidator(whole=True), "which responses of a session", default=ALL),
    "context_tokens": Field(
        RangeValidator(whole=False),
        "which responses, by their input tokens (the conversation so far)",
        default=ALL,
    ),
    "requests": Field(RangeValidator(whole=True), "which requests for a token", default=ALL),
    "during_s": Field(
        RangeValidator(whole=False),
        "when, in seconds after the simulator began to listen",
        default=ALL,
    ),
}
OF_A_SESSION = ("share", "sessions", "during_s")
OF_A_RESPONSE = ("share", "sessions", "responses", "context_tokens", "during_s")
OF_A_REQUEST = ("share", "requests")


def _kind(
    note: str, places: Sequence[str], default: str | None = None, /, **keys: Field[Any]
) -> FaultKind:
    when = (
        OF_A_RESPONSE
        if set(places) & set(OF_RESPONSES)
        else OF_A_REQUEST
        if IDENTITY in places
        else OF_A_SESSION
    )
    return FaultKind(note, places, default or places[0], keys, when)


def _kind_of_server(note: str, code: int | None = None) -> FaultKind:
    """Return a kind that the server has, and no single connection. `code` is the default."""
    keys: Mapping[str, Field[Any]] = (
        {}
        if code is None
        else {"code": Field(Integer(1000, 4999), "close code; 1006: TCP reset", default=code)}
    )
    return FaultKind(note, ("tcp",), "tcp", keys, ("during_s",))


def _kind_of_calls(calls: str, note: str, *places: Any, **keys: Field[Any]) -> FaultKind:
    return replace(_kind(f"{note}; only {calls}", *places, **keys), calls=calls)


KINDS = {
    "refused": _kind_of_server("no process listens: TCP connections are refused"),
    "reset": _kind("TCP reset", EVERYWHERE, "next_delta"),
    "hang": _kind(
        "nothing is read or written, pings included, as if the peer were gone",
        (*EVERYWHERE, *OF_TRANSCRIPTS),
        "next_delta",
        duration_s=Field(
            Number(0.001, 86_400),
            "duration, after which the connection continues; left out: without end",
        ),
    ),
    "freeze": _kind(
        "the whole simulator is suspended",
        EVERYWHERE,
        "next_delta",
        duration_s=Field(Number(0.001, 3_600), "duration", default=5.0),
    ),
    "restart": _kind_of_server(
        "all TCP connections end, then nothing listens, as when a server restarts", GOING_AWAY
    ),
    "drain": _kind_of_server(
        "sessions get the event that announces an end, if the protocol has one; connections that"
        " are still open at the end of `during_s` are closed, as when a server is replaced; new"
        " ones are accepted",
        GOING_AWAY,
    ),
    "half": _kind_of_server(
        "every second connection ends, as when one of two workers dies; new ones are accepted",
        ABNORMAL,
    ),
    "blackhole": _kind_of_server(
        "nothing is received or sent, by new connections neither, as when all packets are dropped"
    ),
    "tls_alert": _kind("the TLS handshake fails, with the alert handshake_failure", ("tls",)),
    "http": _kind(
        "an HTTP status instead of the upgrade",
        ("upgrade",),
        status=Field(Integer(300, 599), "the status", default=503),
        **WAIT,
    ),
    "sip": _kind(
        "a SIP status instead of the answer; only by telephone",
        ("upgrade",),
        status=Field(Integer(400, 699), "the status", default=486),
        **WAIT,
    ),
    "early_media": _kind_of_calls(
        BY_TELEPHONE,
        "audio before the answer, after SIP 183",
        ("upgrade",),
        duration_s=Field(Number(0.001, 3_600), "duration until the answer", default=2.0),
        audio=Field(Choice(("ring_tone", "silence")), "the audio", default="ring_tone"),
    ),
    "one_way": _kind_of_calls(
        BY_TELEPHONE, "the agent's audio does not reach the caller", ("upgrade",)
    ),
    "other_port": _kind_of_calls(
        BY_TELEPHONE, "the agent sends its audio from another port than its SDP names", ("upgrade",)
    ),
    "hold": _kind_of_calls(
        BY_TELEPHONE,
        "the agent puts the caller on hold (re-INVITE), and resumes",
        OF_AUDIO,
        "next_delta",
        duration_s=Field(Number(0.001, 3_600), "duration of the hold", default=2.0),
    ),
    "new_port": _kind_of_calls(
        BY_TELEPHONE, "a re-INVITE moves the agent's audio to another port", OF_AUDIO, "next_delta"
    ),
    PERSON_AS_MAILBOX: _kind_of_calls(
        BY_TELEPHONE, "an agent that dials takes a person for a mailbox", ("speech",)
    ),
    MAILBOX_AS_PERSON: _kind_of_calls(
        BY_TELEPHONE, "an agent that dials takes a mailbox for a person", ("speech",)
    ),
    EARLY_MESSAGE: _kind_of_calls(
        BY_TELEPHONE, "an agent that dials speaks before the beep of a mailbox", ("speech",)
    ),
    "dead_candidate": _kind_of_calls(
        OVER_WEBRTC, "no packet reaches the address in the answer", ("upgrade",)
    ),
    "no_dtls": _kind_of_calls(OVER_WEBRTC, "the simulator sends no DTLS", ("upgrade",)),
    "bad_fingerprint": _kind_of_calls(
        OVER_WEBRTC,
        "the DTLS certificate does not have the fingerprint in the answer",
        ("upgrade",),
    ),
    **{
        name: _kind(note, ("upgrade",), **(WAIT if name in BEFORE_UPGRADE else {}))
        for name, note in NOTES.items()
    },
    "close": _kind(
        "the connection is closed",
        IN_SESSION,
        "next_delta",
        code=Field(Integer(1000, 4999), "close code; 1006: without a close frame", default=1011),
    ),
    "session_expired": _kind(
        "the error `session_expired`, and close 1001; in a full-duplex session `session.closed`,"
        " and close 1000",
        IN_SESSION,
        "next_delta",
        reason=Field(
            Choice((EXPIRED, "content", "connection_lost")),
            "the reason in `session.closed`",
            default=EXPIRED,
        ),
    ),
    "error": _kind(
        "an `error` event before the event",
        ON_EVENTS,
        "next_delta",
        code=Field(String(), "code of the error", default="server_error"),
    ),
    "failed": _kind(
        "the response, or the transcription, ends as failed",
        (*IN_RESPONSE, "input_transcript"),
        "response",
        code=Field(String(), "code of the error", default="server_error"),
    ),
    "incomplete": _kind(
        "the response ends as incomplete",
        IN_RESPONSE,
        "next_delta",
        reason=Field(
            Choice(("content_filter", "max_output_tokens")), "the reason", default="content_filter"
        ),
    ),
    "no_audio": _kind("a response without its audio and its tokens", ("response",)),
    "endless": _kind("the same delta is repeated without end", ("next_delta",)),
    "burst": _kind(
        "the rest of the response is sent at once, with its end", IN_RESPONSE, "response"
    ),
    "drip": _kind(
        "the event is sent slowly",
        ON_EVENTS,
        "next_delta",
        bytes_per_s=Field(Number(1, 1e9), "the rate", default=20_000.0),
        **COUNT,
    ),
    "drop": _kind("the event is not sent", (*ON_EVENTS, *OF_TRANSCRIPTS), "next_delta", **COUNT),
    "duplicate": _kind(
        "the event is sent twice", (*ON_EVENTS, *OF_TRANSCRIPTS), "next_delta", **COUNT
    ),
    "reorder": _kind(
        "the event is sent after the next one", (*IN_RESPONSE, "input_delta"), "next_delta", **COUNT
    ),
    "unknown": _kind(
        "an event of an unknown type before the event", ON_EVENTS, "next_delta", **COUNT
    ),
    "bad_json": _kind("only the first half of the event's JSON", ON_EVENTS, "next_delta"),
    "bad_base64": _kind("audio that is not base64", ("next_delta",)),
    "other_dialect": _kind(
        "deltas in the other dialect's spelling", DELTAS, "first_delta", **COUNT
    ),
    "binary": _kind("the event as a binary message", ON_EVENTS, "next_delta", **COUNT),
    "fragmented": _kind(
        "the event in three frames, with pings between them", ON_EVENTS, "next_delta", **COUNT
    ),
    "oversized": _kind(
        "the event, padded to the size `mib`",
        ON_EVENTS,
        "next_delta",
        mib=Field(Number(0.001, 64), "size of the JSON, in MiB", default=17.0),
    ),
    "identity_500": _kind("the identity endpoint returns HTTP 500", (IDENTITY,)),
    "identity_garbage": _kind("the identity endpoint returns a body that is not JSON", (IDENTITY,)),
    "identity_slow": _kind(
        "the identity endpoint answers late",
        (IDENTITY,),
        duration_s=Field(Number(0.001, 3_600), "the delay", default=10.0),
    ),
}


OF_SERVER = frozenset(name for name, kind in KINDS.items() if kind.when == ("during_s",))
"""The kinds that the server has, and no single connection."""


def kinds_of_calls(calls: str) -> frozenset[str]:
    """Return the kinds that only such calls have."""
    return frozenset(name for name, kind in KINDS.items() if kind.calls == calls)


@dataclass(frozen=True)
class Fault:
    """A fault: its kind, its place (`at`), and when it is injected. Keys that its kind does not
    have are None.
    """

    kind: str
    at: str
    share: float = 1.0
    sessions: IndexRange = ALL
    responses: IndexRange = ALL
    context_tokens: IndexRange = ALL
    requests: IndexRange = ALL
    during_s: IndexRange = ALL
    count: int = 1
    duration_s: float | None = None
    status: int | None = None
    retry_after_s: float | None = None
    code: int | str | None = None
    reason: str | None = None
    audio: str | None = None
    bytes_per_s: float | None = None
    mib: float | None = None

    def __str__(self) -> str:
        """Return the fault as one line, which `read_line` reads."""
        defaults = {key: field.default for key, field in KINDS[self.kind].fields.items()}
        values = ((key, getattr(self, key)) for key in defaults)
        settings = (
            f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"
            for key, value in values
            if value != defaults[key]
        )
        return ",".join((self.kind, *settings))

    @property
    def refusal(self) -> RefusedUpgrade | PostUpgradeRefusal | None:
        """The refusal of an upgrade, if the fault is one; otherwise None."""
        if self.kind in AFTER_UPGRADE:
            return AFTER_UPGRADE[self.kind]
        if self.kind == "http":
            status = HTTPStatus(self.status or 0)
            return RefusedUpgrade(status, str(int(status)), status.phrase, self._wait_ns)
        if self.kind == "sip":
            status_number = self.status or 0
            return RefusedUpgrade(
                status_number, str(status_number), PHRASES[status_number], self._wait_ns
            )
        refusal = BEFORE_UPGRADE.get(self.kind)
        if refusal is None or self.retry_after_s is None:
            return refusal
        if refusal.status == HTTPStatus.TOO_MANY_REQUESTS:
            return throttled(self._wait_ns)  # the message of this refusal contains the wait, too
        return replace(refusal, wait_ns=self._wait_ns)

    @property
    def _wait_ns(self) -> int:
        return round((self.retry_after_s or 0) * NS_PER_S)


def _table(kind: str) -> StructOf[Fault]:
    def build(**values: Any) -> Fault:
        fault = Fault(**{"at": KINDS[kind].default} | values)
        if fault.status is not None and fault.status not in (
            PHRASES if kind == "sip" else STATUSES
        ):
            problem = f"must be a valid status of {'SIP' if kind == 'sip' else 'HTTP'}"
            raise InvalidCombinationError("status", problem)
        if isinstance(fault.code, int) and fault.code not in CLOSE_CODES:
            raise InvalidCombinationError(
                "code", "must be a close code that an endpoint may send, or 1006"
            )
        if fault.count > 1 and fault.at not in ("next_delta", "input_delta"):
            problem = "needs the place next_delta or input_delta: every other place occurs once"
            raise InvalidCombinationError("count", problem)
        if fault.responses != ALL and fault.at not in OF_RESPONSES:
            raise InvalidCombinationError(
                "responses", f"needs a place of a response: {either(OF_RESPONSES)}"
            )
        if fault.context_tokens != ALL and fault.at not in WITH_CONTEXT:
            raise InvalidCombinationError(
                "context_tokens", f"needs a later place: {either(WITH_CONTEXT)}"
            )
        return fault

    return StructOf({"kind": Field(Choice((kind,)), "the kind"), **KINDS[kind].fields}, build)


FAULT = KindOf({kind: _table(kind) for kind in KINDS}, key="kind")
FAULTS = ListOf(FAULT)


def read_line(line: str) -> Fault:
    """Return the fault in KIND[,KEY=VALUE]…, the format of the option `--fault`. Raise
    UsageError.
    """
    kind, *settings = (piece.strip() for piece in line.split(","))
    pairs = [setting.partition("=") for setting in settings]
    for key, equals, _ in pairs:
        if not equals:
            raise UsageError(
                f"--fault {line}: '{key}' is not KEY=VALUE, as in close,at=next_delta,code=1011"
            )
    data = {"kind": kind} | {key.strip(): _scalar(text.strip()) for key, _, text in pairs}
    try:
        return FAULT.read(PythonValue("the fault", data))
    except UsageError as error:
        raise UsageError(f"--fault {line}: {error}") from None


def _scalar(text: str) -> int | float | str:
    """Return the number that a text represents in YAML. If it represents none, return the text."""
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
