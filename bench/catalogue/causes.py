"""The causes of outcomes: codes with numbers, their texts, and their form in rows. Pure.

A cause is a `Code` with its numbers, while a session runs and in rows (`encoded`, `decoded`).
Decisions and remedies read the code. `text_of` writes the text when the outcome is shown. So a text
may get other words at any time, but no code another name.

Only words that this tool has no code for are stored as text (`in_words`): those of services, of the
system, and of the ends of open connections and telephone calls. The codes in such words, and in the
rows of versions that stored only texts, are found by the words of the codes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum, unique
from functools import cache, lru_cache
from string import Formatter
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from bench.base.errors import RtbenchError

NO_NUMBERS: Mapping[str, Any] = MappingProxyType({})


@unique
class Code(Enum):
    """The codes of causes. The value is the text, with the numbers in braces."""

    __hash__ = object.__hash__  # as in `EventKind`

    TEXT = "{text}"
    """A text without a code: of a service, of the system, or of a fault."""
    SERVICE_REPORTED = "the service reported: {text}"
    """An earlier error of the service, after a cause that this tool found."""

    # A turn whose next event did not come. The limit follows.
    UNHEARD = (
        "the service detected no speech (does it have a VAD, does it detect turns, is its threshold"
        " too high?)"
    )
    UNDETECTED = (
        "the service's VAD noticed no end of speech (noise above its threshold is speech to it)"
    )
    NOTHING_CAME = "nothing came"
    IMPATIENT = "the caller heard nothing"
    NOTHING_AUDIBLE = "no audible audio was received"
    NO_MORE_ITEMS = "neither another item nor response.done came"
    NO_END = "response.done did not come"
    NO_PAUSE = "the reply had no silence that ends it (reply_silence_ms)"
    NOT_OVER = "the turn was not over"
    ONLY_FILLERS = "only fillers (each shorter than answer_min_ms) were received"
    NO_TRANSCRIPT = "no transcript of the caller's audio came"
    NO_WHOLE_TRANSCRIPT = "neither more text nor the finished transcript of the caller's audio came"
    CALL_NOT_ENDED = "the MCP call did not end"
    NOT_DONE = "the backend did not complete the delegated task"
    NOT_SPOKEN = "nothing was said after the result of the delegated task"
    EVENT_NOT_IN_TIME = "the script expects {event}, and it did not come in time"
    NOT_ANSWERED = (
        "the agent had not answered when the caller spoke again, or when the recording ended"
    )

    # What was received of a reply that never began.
    NO_MESSAGE = "no message was received"
    NO_PACKET = "no RTP packet with the agreed audio was received"
    NO_AUDIO = "{arrivals} came, but none of them has audio"
    ONLY_TONES = (
        "{arrivals} came with {audio_s:.1f} s of audio, but only tones are audible, such as ring"
        " tones or beeps ({tones})"
    )
    INAUDIBLE = (
        "{arrivals} came with {audio_s:.1f} s of audio, but none of it is audible (silence, even"
        " noise, or another format than {format})"
    )
    PACKETS_WITHOUT_AUDIO = (
        "no RTP packet with the agreed audio was received; in the call: {packets}"
    )
    DUPLICATES = "{packets:,} duplicates"
    OTHER_TYPES = "{packets:,} packets with another payload type"
    OTHER_KEY = "{packets:,} packets that SRTP rejected"
    OTHER_SOURCE = "{packets:,} packets of another source"
    NO_RTP = "{packets:,} datagrams that are no RTP"

    REPLY_COMPLETE = "the reply arrived completely ({received})"

    # Other ends of turns and sessions.
    NO_STATUS = "response.done has no status"
    BASE64_FORM = "it has {form}"
    NOT_RUN = (
        "this process did not run when the limit ended (give it an idle core, or lower the load):"
        " it is not known whether {doubted}"
    )
    UNSENT_SPEECH = "{unsent_ms:,} ms of the caller's speech were not sent"
    TEXT_SESSION = (
        "the session is a text session: {setting} of the service's session is without audio"
    )
    NO_FUNCTIONS = (
        "the service delegated a task to the client, and the script has no functions (`tools`) that"
        " could do it"
    )
    DELEGATED_OUTSIDE = (
        "the service delegated a task to the client while no turn was open, so nothing can do it"
    )
    TOOLS_NOT_LISTED = "the tools of the MCP server {server} were not listed"
    IDLE_BEFORE = "no message had passed for {idle_s} s"
    NO_READ = "the peer accepted no data for {limit_s:g} s"
    LOOKUPS_FULL = (
        "{lookups} name lookups are open in this process, and none has ended within {limit_s:g} s"
    )
    NO_PAIR = "no pair of UDP ports from {first} to {last} is free"

    # The opening of a connection.
    WITH_REMEDY = "{problem}; {remedy}"
    """A problem of a connection with its own remedy, such as a certificate that is not trusted."""
    CHALLENGE = "WWW-Authenticate: {challenge}"
    REDIRECTS = "it redirects to {location}"
    SIGN_IN_PAGE = "it sends callers to the sign-in page {location}"
    OTHER_VERSION = "the api-version of the request is {version}, and the known ones are {known}"
    """`none` is no version, or no known ones."""
    NOT_OFFERED = "the server chose the {kind} {name}, which was not offered"
    NO_ACCEPT_HEADER = "the answer has no Sec-WebSocket-Accept"
    OTHER_ACCEPT_HEADER = "the answer's Sec-WebSocket-Accept does not match this request's key"
    OTHER_LOGIN = "it accepts only {schemes}, which this tool does not support"
    CLOSED_WITHOUT_ANSWER = "the service closed the connection without an answer"
    CONNECTION_BROKE = "the connection broke"
    CUT_ANSWER = "the answer to {request} ended after {arrived}"
    REQUEST_UNANSWERED = "{request} was not answered"
    NOT_HTTP = "the answer to {request} is not HTTP"
    NO_UPGRADE = "the answer is not a WebSocket upgrade"
    IGNORED_SETTING = (
        "{name}: {requested} was requested, and session.updated says {reported}: the service"
        " ignores the setting"
    )
    SETTINGS_UNCONFIRMED = "session.updated was not received"

    # Telephone calls.
    NO_CALL = "the agent did not call within {limit_s} s"
    ONLY_RANG = "it only rang"
    NO_RESPONSE_TO_INVITE = "there was no response to INVITE"
    MALFORMED = "{messages:malformed message was|malformed messages were} ignored"
    UNMATCHED = "{messages:response to no request was|responses to no request were} ignored"
    OF_OTHER_CALLS = "{messages:message of no call was|messages of no call were} ignored"
    LAST_RESPONSE = "the last response was {status}"
    UNANSWERED_REDIRECTION = "the call was redirected to {host}, which did not answer"
    UNNAMED_REDIRECTION = "the call was redirected to {host}, which the target does not name"
    REDIRECTED = "the call was redirected to {host}"
    FOREIGN_HOST = (
        "the peer names {host} for {purpose}, but the called host is on this machine, and this one"
        " is not"
    )
    REQUIRES_SRTP = "the peer requires SRTP"
    REQUIRES_DTLS_SRTP = "the peer requires DTLS-SRTP"
    WITHOUT_SRTP = "the peer does not use SRTP"
    NO_SRTP_KEY = "the peer has no SRTP key that is supported"
    LOGIN_REFUSED = "the peer refused the user or the password"
    NO_DIGEST = "its kind of sign-in is not supported"
    HUNG_UP = "the peer hung up"
    OWN_HANG_UP = "this tool hung up"
    NO_KEYS = "the peer accepts no telephone events"
    OTHER_CODEC = "the peer answers with a codec that was not offered"
    NO_ACK = "the peer sent no ACK of the response to its INVITE"
    NOT_REFRESHED = "the session was not refreshed in time"
    UNANSWERED = "the peer did not answer a request in the call"
    FORGOTTEN = "the peer no longer knows the call"
    HELD = "the agent held the call"
    NO_BUFFERS = "this machine could not send the packets, because it has no memory for them"
    CANNOT_SEND = "this machine could not send the packets: {reason}"

    # Calls over WebRTC.
    CHECKS_FROM = "its checks come from {source}, to which nothing may be sent"
    OTHER_CERTIFICATE = (
        "the certificate of the peer's DTLS does not have the fingerprint of its session"
        " description"
    )
    NO_CHANNEL = "data channel"
    NO_DESCRIPTION = "session description"
    OF_CHANNEL = "channel"

    # TURN servers, after "the TURN server" and its name.
    TURN_SERVER = "the TURN server {server} {problem}"
    TURN_LOGIN = "refuses the user or the password ({status})"
    TURN_FULL = "has no allocation left for this user ({status})"
    TURN_EXHAUSTED = "has no capacity left ({status})"
    TURN_REFUSED = "refuses the allocation ({reason})"
    TURN_WITHOUT_ADDRESS = "refuses the allocation: its answer has no relayed address"
    TURN_SILENT = "does not answer"
    TURN_UNSIGNED = "answers without a signature by this password"
    TURN_REDIRECTS = "sends its clients to {other} (300 Try Alternate)"
    TURN_ENDED = "has ended the allocation ({status})"
    TURN_FORBIDDEN = "refuses to relay to {hosts}"
    TURN_UNREACHED = "is not reached: {reason}"
    TURN_NO_TLS = "completes no TLS handshake"
    TURN_DISTRUSTED = "has a certificate that is not trusted"
    TURN_OTHER_NAME = "has a certificate for other names"
    TURN_NOT_VALID = "has a certificate that is not valid today"

    WITHOUT_RELAY = "without it, {problem}"
    """The failure of a connection whose relay failed, too."""
    LATE = "{problem} within {limit_s:g} s"

    # Words of the system and of services.
    STREAM_FAILED = "RST_STREAM INTERNAL_ERROR"
    NO_RESOLVER = "emporary failure"
    UNREACHABLE = "Network is unreachable"
    NO_ROUTE = "No route to host"
    NO_ADDRESS = "Cannot assign requested address"
    NO_LISTENER = "Connection refused"
    FILES_OF_SYSTEM = "in system"
    UNKNOWN_CA = "alert unknown ca"
    BAD_CERTIFICATE = "alert bad certificate"
    UNKNOWN_CERTIFICATE = "alert certificate unknown"
    DECRYPT_ERROR = "alert decrypt error"
    ONLY_TRANSCRIBES = "transcription session"
    ASSERTION_EXPIRED = "AADSTS700024"
    NEEDS_MFA = "AADSTS50076"
    NEEDS_MFA_SETUP = "AADSTS50079"
    SECRET_EXPIRED = "AADSTS7000222"
    SECRET_WRONG = "AADSTS7000215"
    OF_SUBSCRIPTION = "ubscription"
    ENTRA_UNREACHED = "Max retries exceeded"


class Limit(NamedTuple):
    """A limit of time, in seconds, with its name among the timeouts of a script."""

    limit_s: float
    stage: str


# Why texts are not compared while a session runs: a text changes its words, and contains numbers,
# names and words of the service. A condition on it would be right until then. A code has no such
# parts. Texts are compared only where there is nothing else, which is in rows that were stored.
class Cause(NamedTuple):
    """The cause of an outcome. `numbers` are the numbers and names of the text.

    Two of them need no braces: the text of `limit`, a `Limit`, and of `because`, another cause,
    follow the text.
    """

    code: Code
    numbers: Mapping[str, Any] = NO_NUMBERS

    @property
    def text(self) -> str:
        return _text(self, NO_NUMBERS)

    def because(self, cause: Cause) -> Cause:
        """Return this cause with its own cause."""
        return self._replace(numbers={**self.numbers, "because": cause})


NO_CAUSE = Cause(Code.TEXT, {"text": ""})
"""The cause of an outcome that needs none. It has no text."""


class Ending(NamedTuple):
    """An outcome and its cause."""

    outcome: str
    cause: Cause = NO_CAUSE


class ConnectError(RtbenchError):
    """A failure to open a session: its outcome, such as `connect_failed:401`, its causes, and the
    response's headers. A cause that has no code is a text.
    """

    def __init__(
        self,
        outcome: str,
        causes: str | Cause | Sequence[Cause],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(outcome, causes)
        self.outcome = outcome
        self.causes: tuple[Cause, ...]
        match causes:
            case str():
                self.causes = (in_words(causes),)
            case Cause():
                self.causes = (causes,)
            case _:
                self.causes = tuple(causes)
        self.headers = headers or {}

    @property
    def detail(self) -> str:
        return text_of(self.causes)

    def __str__(self) -> str:
        return f"{self.outcome}: {self.detail}"


def in_words(text: str) -> Cause:
    """Return the cause that a text states which this tool has not written."""
    return Cause(Code.TEXT, {"text": text})


def sip_status(status: int, phrase: str) -> str:
    """Return the text of the status with which a telephone call was refused or ended."""
    return f"SIP {status} {phrase}".strip()


def status_of(detail: str) -> str:
    """Return the status of SIP with which the detail of a telephone call begins; "" without one."""
    found = _SIP_STATUS.match(detail)
    return "" if found is None else found[1]


def text_of(causes: Sequence[Cause], limits: Mapping[str, str] = NO_NUMBERS) -> str:
    """Return the text of several causes: the detail of an outcome. `limits` are names of limits, by
    their stage.

    A limit without a name is that of the script.
    """
    return "; ".join(filter(None, (_text(cause, limits) for cause in causes)))


def changed(causes: Sequence[Cause], code: Code, to: Cause) -> tuple[Cause, ...]:
    """Return causes in which `to` replaces each cause of a code, also within other causes."""
    return tuple(_changed(cause, code, to) for cause in causes)


def _changed(cause: Cause, code: Code, to: Cause) -> Cause:
    if cause.code is code:
        return to
    inner = {
        name: _changed(value, code, to)
        for name, value in cause.numbers.items()
        if isinstance(value, Cause)
    }
    return cause._replace(numbers={**cause.numbers, **inner}) if inner else cause


def codes_in(causes: Sequence[Cause]) -> frozenset[Code]:
    """Return the codes of causes, also of causes within causes, and in words. The words of the
    service, at the end, state no cause.
    """
    return frozenset(cause.code for cause in _each(causes))


def numbers_of(code: Code, causes: Sequence[Cause]) -> Mapping[str, Any] | None:
    """Return the numbers and names of a code in causes; None if they do not contain the code."""
    return next((cause.numbers for cause in _each(causes) if cause.code is code), None)


def report_in(causes: Sequence[Cause]) -> str | None:
    """Return the words of the service after those of this tool; None without a report."""
    numbers = numbers_of(Code.SERVICE_REPORTED, causes)
    return None if numbers is None else str(numbers["text"])


def _each(causes: Sequence[Cause]) -> Iterator[Cause]:
    for cause in causes:
        yield cause
        if cause.code is Code.TEXT:
            yield from _in_words(str(cause.numbers["text"]))
        yield from _each([value for value in cause.numbers.values() if isinstance(value, Cause)])


@lru_cache(maxsize=256)
def _in_words(text: str) -> tuple[Cause, ...]:
    """Return the causes in a text, by the words of their codes."""
    words, reported, message = text.partition(_REPORTED)
    found = [
        Cause(code, match.groupdict())
        for code in Code
        if code not in _WITHOUT_WORDS and (match := _pattern(code).search(words))
    ]
    report = [Cause(Code.SERVICE_REPORTED, {"text": message})] if reported else []
    return (*found, *report)


# The form in a row is JSON: `[{"code": "nothing_audible", "limit": {"limit_s": 12, "stage":
# "first_delta"}, "because": {"code": "no_message"}}]`. A folder may come from another person, so
# what cannot be read, or cannot be written as a text, is shown as the words that it is.
MAX_NESTED = 8
"""The maximum depth of causes within causes in a row."""


def encoded(causes: Sequence[Cause], cleaned: Callable[[str], str] = str) -> str:
    """Return causes as a value of the column `cause`; "" for causes without a text. `cleaned` is a
    function that cleans each text in them.
    """
    stored = as_data(causes, cleaned)
    return msgspec.json.encode(stored).decode() if stored else ""


def decoded(stored: str) -> tuple[Cause, ...]:
    """Return the causes in a value of the column `cause`. Rows of earlier versions have texts."""
    try:
        return from_data(msgspec.json.decode(stored)) if stored else ()
    except (
        msgspec.MsgspecError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
    ):
        return (in_words(stored),)


def as_data(causes: Sequence[Cause], cleaned: Callable[[str], str] = str) -> list[dict[str, Any]]:
    """Return causes as JSON objects. `cleaned` is as in `encoded`."""
    return [_data(cause, cleaned) for cause in causes if cause != NO_CAUSE]


def cleaned(causes: Sequence[Cause], clean: Callable[[str], str]) -> tuple[Cause, ...]:
    """Return causes whose texts a function has cleaned."""
    return tuple(_read(_data(cause, clean)) for cause in causes)


def from_data(stored: Sequence[Any]) -> tuple[Cause, ...]:
    """Return the causes in JSON objects. Raise LookupError, TypeError, ValueError or AttributeError
    for others.
    """
    causes = tuple(_read(cause) for cause in stored)
    if not text_of(causes):
        raise ValueError("there are no causes")
    return causes


def _data(value: Any, cleaned: Callable[[str], str]) -> Any:
    match value:
        case Cause(code, numbers):
            stored = {name: _data(number, cleaned) for name, number in numbers.items()}
            return {"code": code.name.lower(), **stored}
        case Limit():
            return value._asdict()
        case str():
            return cleaned(value)
    return value


def _read(value: Any, depth: int = 0) -> Any:
    if depth > MAX_NESTED:
        raise ValueError("too many causes within causes")
    match value:
        case {"code": str(name), **numbers}:
            read = {str(key): _read(number, depth + 1) for key, number in numbers.items()}
            return Cause(Code[name.upper()], read)
        case {"limit_s": limit_s, "stage": stage}:
            return Limit(limit_s, stage)
        case str() | int() | float():
            return value
    raise ValueError("this is no cause")


_SIP_STATUS = re.compile(r"SIP ([3-6]\d\d)\b")
_REPORTED = Code.SERVICE_REPORTED.value.format(text="")
_WITHOUT_WORDS = frozenset({Code.TEXT, Code.SERVICE_REPORTED, Code.LATE})


class _Formatter(Formatter):
    """Writes the number before one of two nouns, `{n:packet was|packets were}`, and causes
    within causes.
    """

    def __init__(self, limits: Mapping[str, str]) -> None:
        self._limits = limits

    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, Cause):
            return _text(value, self._limits)
        one, is_counted, several = format_spec.partition("|")
        if is_counted:
            return f"{value:,} {one if value == 1 else several}"
        return format(value, format_spec)


def _text(cause: Cause, limits: Mapping[str, str]) -> str:
    numbers = cause.numbers
    if cause.code is Code.TEXT:  # also of each success
        text = str(numbers["text"])
    else:
        text = _Formatter(limits).vformat(cause.code.value, (), numbers)
    if (limit := numbers.get("limit")) is not None:
        text += (
            f" within {limit.limit_s:g} s ({limits.get(limit.stage) or f'timeout `{limit.stage}`'})"
        )
    if (because := numbers.get("because")) is not None:
        text += f": {_text(because, limits)}"
    return text


@cache
def _pattern(code: Code) -> re.Pattern[str]:
    """Return the pattern of a code's text, with a group for each number."""
    # the numbers and nouns of a text are groups, and the words between them must match exactly
    pattern = ""
    for words, name, spec, _ in Formatter().parse(code.value):
        pattern += re.escape(words)
        if name and "|" in (spec or ""):
            nouns = "|".join(map(re.escape, (spec or "").split("|")))
            pattern += rf"(?P<{name}>[\d,]+) (?:{nouns})"
        elif name:
            pattern += f"(?P<{name}>.*?)"
    return re.compile(
        pattern.removesuffix("?)") + ")" if pattern.endswith("?)") else pattern, re.DOTALL
    )
