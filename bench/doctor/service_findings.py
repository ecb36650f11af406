"""Findings from the data that a service sends: headers, greeting, rate limits, and the tokens of a
turn. Pure.

An agent sends only audio, so findings about a call with an agent are derived from its audio.
"""

# `bench.doctor.service_checks` makes the calls, and yields these findings in the order of a
# connection: the upgrade, the greeting, the settings, the turn, and the limits of the service. A
# finding that lacks its data is `skipped`, and never `pass`.

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

import msgspec

from bench.base.units import NS_PER_MINUTE, NS_PER_MS, NS_PER_S, duration_text
from bench.catalogue.causes import NO_NUMBERS, Cause, Code, decoded, encoded, text_of
from bench.catalogue.metrics import TRANSCRIPT, WAITS, awaited
from bench.catalogue.model_retirements import SOON_DAYS
from bench.catalogue.outcomes import NO_MEDIA, NO_REPLY, NO_SOUND, REALTIME_MODELS, detail_text
from bench.catalogue.pricing import TurnPricing, cost_usd, dollars, minutes_usd
from bench.doctor.diagnosis import Refusal, doctor_remedy, explain
from bench.files.sanitize import excerpt, top_counts
from bench.files.validation import either
from bench.files.values import stated_end_s
from bench.observe.observation import SessionObservation, TurnObservation
from bench.services.registry import DIALECT_REMEDIES, SIBLINGS, UNGREETED, retirement_of, shape_of
from bench.target.price_table import GIVE_PRICES
from bench.target.target import Target
from bench.wire.audio import AudioFormat
from bench.wire.dialect import OTHER_STREAM, Dialect, is_simulated
from bench.wire.events import RateLimit, TokenUsage, wait_of
from bench.wire.findings import CheckFinding, warning_unless
from bench.wire.settings import text_at

# Each finding quotes what the service sent and what it means for a run: the model, the limits, the
# cost of a turn. Nothing here fails because of a value that is merely unusual. A failure is what
# would fail each session of a run. A warning is what would spoil or shorten one.
#
# The Date header has whole seconds, and its response travels for a while, so a difference up to
# CLOSE_S is none. Up to SKEW_S, the difference is stated, and is no warning.
CLOSE_S = 2.0
SKEW_S = 60.0
IDS = ("x-ms-region", "apim-request-id", "x-request-id", "x-ms-deployment-name", "openai-version")
"""The headers that identify a request. The service's support team asks for their values."""
TOKENS = {
    kind: kind.replace("_", " ")
    for kind in ("text_in", "audio_in", "image_in", "text_out", "audio_out")
}


def explain_refusal(
    name: str,
    observed: SessionObservation,
    target: Target,
    claims: Mapping[str, str],
    redact: Callable[[str], str],
    greeting: Mapping[str, Any] = UNGREETED,
) -> CheckFinding:
    """Return the finding about a session that failed, with its remedy.

    `claims` are the public claims of the token that the client sent. `greeting` is the session
    object in `session.created`. `redact` is a function that removes secrets from a text. If a
    service cuts its message within a secret, `redact` detects the rest of the secret only at the
    end of the text. Therefore it is applied before anything is added to the message.
    """
    wait_ns = (
        wait_of(observed.headers) if observed.retry_after_ns is None else observed.retry_after_ns
    )
    detail = redact(detail_text(observed.outcome, observed.detail))
    message = f"{_simulated(observed.headers)}{observed.outcome}: {detail}{_ids(observed.headers)}"
    refusal = Refusal(
        observed.outcome,
        decoded(encoded(observed.causes, redact)),
        None if wait_ns is None else wait_ns / NS_PER_S,
        claims,
        greeting,
    )
    return CheckFinding(name, "fail", message, explain(refusal, target))


def _failed(
    name: str,
    observed: SessionObservation | TurnObservation,
    remedy: Callable[[Sequence[Cause]], str],
    limits: Mapping[str, str] = NO_NUMBERS,
) -> CheckFinding:
    """Return the finding about a turn that failed, or about a session that failed before its turn.

    `remedy` is a function that returns the remedy. Its argument is the causes of the failure.
    `limits` are the names of limits in this text that are not those of a script.
    """
    detail = detail_text(observed.outcome, text_of(observed.causes, limits))
    return CheckFinding(
        name,
        "fail",
        f"{observed.outcome}: {detail}" if detail else observed.outcome,
        remedy(observed.causes),
    )


def check_upgrade(observed: SessionObservation, target: Target) -> CheckFinding:
    """Return the finding about a successful upgrade, or about an answered telephone call."""
    took_ms = observed.metrics_ns()["connect_upgrade"] / NS_PER_MS
    headers = observed.headers
    message = f"{_simulated(headers)}{target.link.opened} in {took_ms:.1f} ms"
    if chosen := headers.get("sec-websocket-protocol"):
        message += f"; subprotocol {chosen}"
    elif target.subprotocols:
        message += "; the service chose none of the offered subprotocols"
    return CheckFinding(target.link.steps[0], "pass", message + _ids(headers))


def _simulated(headers: Mapping[str, str], session: Mapping[str, Any] = UNGREETED) -> str:
    return "SIMULATED: " if is_simulated(headers, session) else ""


def _ids(headers: Mapping[str, str]) -> str:
    """Return the ids in the headers as text. If several headers contain the same id, the text
    contains the id once.
    """
    names = {headers[name]: name for name in reversed(IDS) if headers.get(name)}
    texts = [f"{name} {value}" for value, name in reversed(names.items())]
    return f"; {', '.join(texts)}" if texts else ""


def service_clock(date: str | None, now_ns: int) -> CheckFinding:
    """Compare this machine's wall clock with the service's wall clock.

    `date` is the response's Date header, which contains the service's time in whole seconds (RFC
    9110 §6.6.1); None if there is no such header. `now_ns` is the time of this machine.
    """
    try:
        ahead_s = now_ns / NS_PER_S - parsedate_to_datetime(date or "").timestamp()
    except (ValueError, TypeError):
        return CheckFinding("clock difference", "skipped", "the response has no date header")
    off_s = ahead_s - 0.5  # on average, half of the second in the header has passed
    message = (
        f"this machine's wall clock is {abs(off_s):,.0f} s {'ahead of' if off_s > 0 else 'behind'}"
        " the service's"
    )
    if abs(off_s) <= CLOSE_S:
        message = "this machine's wall clock agrees with the service's"
    remedy = "set the clock (NTP): services refuse tokens if it is wrong"
    return warning_unless(abs(off_s) <= SKEW_S, "clock difference", message, remedy)


def compression(headers: Mapping[str, str], *, requested: bool) -> CheckFinding:
    if not requested:
        return CheckFinding("compression", "pass", "not requested")
    agreed = headers.get("sec-websocket-extensions", "")
    compressed = "permessage-deflate" in agreed
    message = agreed if compressed else "requested, but the service declines"
    return warning_unless(compressed, "compression", message, "omit --compression")


def check_greeting(
    greeting: Mapping[str, Any], observed: SessionObservation, now_s: float
) -> CheckFinding:
    """Report the model that answers, the maximum duration of the session, and the time until
    `session.created`.
    """
    parts = [
        f"model {greeting['model']}" if greeting.get("model") else "the service names no model"
    ]
    expires = stated_end_s(greeting.get("expires_at"), now_s)
    if expires is not None and expires > now_s:
        parts.append(f"ends in at most {duration_text(expires - now_s)}")
    instants = observed.instants
    parts.append(
        "session.created after"
        f" {(instants['session_created'] - instants['opened']) / NS_PER_MS:.1f} ms"
    )
    return CheckFinding("session", "pass", f"{_simulated({}, greeting)}{', '.join(parts)}")


def check_retirement(
    greeting: Mapping[str, Any], service: str, today: date, backend: str | None = None
) -> Iterator[CheckFinding]:
    """Yield the day on which the service retires the model that answers, and that of its backend.

    If the day is near, the finding is a warning. `today` is the current day in UTC.
    """
    successors = (
        f"compare it with its successor while both are available: {either(REALTIME_MODELS[:2])}"
    )
    remedies = {
        str(greeting.get("model") or ""): successors,
        backend or "": "name another model in `delegation`",
    }
    for model, remedy in {} if is_simulated({}, greeting) else remedies.items():
        if (retirement := retirement_of(service, model)) is not None:
            message = f"{model} {retirement.text(today)}"
            yield warning_unless(
                retirement.days_left(today) > SOON_DAYS, "model retirement", message, remedy
            )


BACKEND_TASKS = "tasks that the model delegates are for a backend of the service"


def check_backend_setting(target: Target) -> Iterator[CheckFinding]:
    """Yield a failure if a target lets a backend do delegated tasks, but does not name the
    backend's model.
    """
    delegation = target.session.get("delegation")
    is_own_key = "delegation" in target.dialect.setting_keys.session
    is_backed = (
        is_own_key and isinstance(delegation, Mapping) and "responses" in delegation.values()
    )
    if is_backed and text_at(target.dialect.backend_model, target.session) is None:
        remedy = (
            "write `delegation: {type: responses, responses: {model: NAME}}` in the target's"
            " `session`"
        )
        yield CheckFinding(
            "target", "fail", f"{BACKEND_TASKS}, but `delegation` names no model of it", remedy
        )


def check_delegation(greeting: Mapping[str, Any], paid: TurnPricing) -> CheckFinding:
    """Report who does the tasks that the model delegates. `paid` are the prices of the backend's
    tokens.
    """
    delegation = _part(greeting, "delegation")
    if delegation.get("type") != "responses":
        message = (
            "tasks that the model delegates are for the client: the functions of a script (`tools`)"
            " do them"
        )
        return CheckFinding("delegation", "pass", message)
    if paid.prices is not None:
        prices = (
            f"${paid.prices.text_input:g} for a million tokens of input,"
            f" ${paid.prices.text_output:g} of output"
        )
        return CheckFinding(
            "delegation", "pass", f"{BACKEND_TASKS}, {paid.model or 'an unnamed model'}: {prices}"
        )
    if paid.model:
        problem = f", {paid.model}: no price of {paid.model} is known"
    else:
        problem = ", whose model it does not name: no price is known"
    return CheckFinding("delegation", "warning", BACKEND_TASKS + problem, GIVE_PRICES)


def in_other_dialect(greeting: Mapping[str, Any], dialect: Dialect) -> Iterator[CheckFinding]:
    """Yield a warning if the service described its session in another dialect than `dialect`,
    which the client uses.
    """
    shape = shape_of(greeting)
    if shape is not None and shape is SIBLINGS.get(dialect):
        message = (
            f"session.created has the form of the {shape.name} dialect, but the target uses"
            f" {dialect.name}"
        )
        yield CheckFinding("dialect", "warning", message, DIALECT_REMEDIES[shape])


def settings_in(session: Mapping[str, Any]) -> str:
    """Return the settings of a session that affect latency, as text.

    In the preview dialect, these settings are at the top level of the session object. In GA, they
    are nested.
    """
    audio = _part(session, "audio")
    input_settings = _part(audio, "input")
    output_settings = _part(audio, "output")
    known_of_input = {**session, **input_settings}
    detection = _part(known_of_input, "turn_detection")
    is_reported = "turn_detection" in known_of_input
    silence = detection.get("silence_duration_ms")
    values = {
        "voice": _named(output_settings.get("voice", session.get("voice")), "name"),
        "turn detection": (
            (str(detection.get("type", "")) if detection else "none" if is_reported else "")
            + (f" ({silence} ms of silence)" if silence else "")
        ),
        "input": _named(input_settings.get("format", session.get("input_audio_format")), "type"),
        "output": _named(output_settings.get("format", session.get("output_audio_format")), "type"),
    }
    return ", ".join(f"{name} {value}" for name, value in values.items() if value)


def _named(value: object, key: str) -> object:
    return value.get(key) if isinstance(value, Mapping) else value


def _part(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = parent.get(name)
    return value if isinstance(value, Mapping) else {}


def check_reply(
    turn: TurnObservation,
    target: Target,
    paid: TurnPricing,
    greeting: Mapping[str, Any] = UNGREETED,
) -> CheckFinding:
    """Report the latency of the turn's first output, and the cost of the turn.

    `paid` is the model and prices of the turn. `greeting` is the session object in
    `session.created`.
    """
    if turn.outcome != "ok":
        wait_s = None if turn.retry_after_ns is None else turn.retry_after_ns / NS_PER_S
        return _failed(
            "turn",
            turn,
            lambda causes: explain(
                Refusal(turn.outcome, causes, wait_s, greeting=greeting), target
            ),
        )
    metrics_ns = turn.metrics_ns()
    name = next((name for name in WAITS if name in metrics_ns), None)
    latency = f"{name} {metrics_ns[name] / NS_PER_MS:.0f} ms, " if name else ""
    is_transcribed = (awaited(turn.instants) or ("", ""))[0] == TRANSCRIPT
    no_price = f"unpriced: no price of {paid.model or 'this model'} is known"
    cost = no_price if is_transcribed else billed_tokens(turn.usage, paid)
    if paid.prices and paid.prices.usd_per_minute:
        by_minute = (
            f"${paid.prices.usd_per_minute:g} per minute{' of audio' if is_transcribed else ''}"
        )
        cost = f"{cost}, and {by_minute}" if paid.prices.of_tokens else by_minute
    heard = f"transcript {excerpt(turn.input_text)!r}, " if is_transcribed else ""
    return CheckFinding("turn", "pass", f"{heard}{latency}{cost}")


def check_delegating_reply(
    turn: TurnObservation,
    session: SessionObservation,
    target: Target,
    minutes: TurnPricing,
    tokens: TurnPricing,
) -> CheckFinding:
    """Report the latency and the cost of a turn in which the model may delegate tasks.

    `minutes` is the pricing of the session's minutes. `tokens` is the pricing of the tokens of its
    backend.
    """
    if turn.outcome != "ok":
        return check_reply(turn, target, tokens, session.effective_settings)
    texts = [*delegation_texts(turn, session), billed_minutes(session, minutes)]
    if turn.usage is not None:
        texts.append(billed_tokens(turn.usage, tokens))
    return CheckFinding("turn", "pass", "; ".join(filter(None, texts)))


def delegation_texts(turn: TurnObservation, session: SessionObservation) -> Iterator[str]:
    """Yield texts about the first sound of a reply, and about the tasks that the model
    delegated.
    """
    metrics_ns = turn.metrics_ns()
    first_ns = metrics_ns.get("voice_to_voice")
    answer_ns = metrics_ns.get("function_voice_to_voice")
    if not turn.delegations:
        yield (
            "nothing was delegated"
            if first_ns is None
            else f"reply after {_ms(first_ns)}, nothing was delegated"
        )
        return
    if first_ns is not None and first_ns != answer_ns:
        yield f"filler after {_ms(first_ns)}"
    yield "no answer" if answer_ns is None else f"answer after {_ms(answer_ns)}"
    done_by = session.backend_model or "the client"
    added_ns = metrics_ns.get("function_call_added")
    waited_ns = metrics_ns.get("function_call_to_answer")
    when = "" if added_ns is None else f" after {_ms(added_ns)}"
    took = "" if waited_ns is None else f", {_ms(waited_ns)} before the answer"
    yield (
        f"{turn.delegations} task{'' if turn.delegations == 1 else 's'} delegated to"
        f" {done_by}{when}{took}"
    )


def _ms(ns: int) -> str:
    return f"{ns / NS_PER_MS:,.0f} ms"


def billed_audio(audio_ns: int, paid: TurnPricing) -> str:
    """Return the duration of the audio of a session that only transcribes, and its cost."""
    if paid.prices is None or not paid.prices.usd_per_minute:
        return f"no price of {paid.model or 'this model'} is known"
    return _duration_usd(
        audio_ns, " of audio", paid, minutes_usd(paid.prices, audio_ns / NS_PER_MINUTE, 0)
    )


def billed_minutes(session: SessionObservation, paid: TurnPricing) -> str:
    """Return the billed duration of a session and its cost; "" if its minutes have no price of
    their own.
    """
    if paid.prices is None:
        return f"no price of {paid.model or 'this model'} is known"
    opened_ns = session.instants.get("opened")
    ended_ns = session.instants.get("ended")
    if not paid.prices.usd_per_minute or opened_ns is None or ended_ns is None:
        return ""
    billed_ns = ended_ns - opened_ns if session.billed_ns is None else session.billed_ns
    usd = minutes_usd(
        paid.prices, billed_ns / NS_PER_MINUTE, (session.paused_ns or 0) / NS_PER_MINUTE
    )
    unconfirmed = " (not confirmed by the service)" if session.billed_ns is None else ""
    return _duration_usd(billed_ns, unconfirmed, paid, usd)


def _duration_usd(duration_ns: int, note: str, paid: TurnPricing, usd: float) -> str:
    rate = paid.prices.usd_per_minute if paid.prices else 0.0
    model = paid.model or "the session"
    return (
        f"{duration_ns / NS_PER_S:.0f} s{note} of {model} at ${rate:g} per minute: ${dollars(usd)}"
    )


def billed_tokens(reported: TokenUsage | None, paid: TurnPricing) -> str:
    if reported is None:
        return "unpriced: the service reported no tokens"
    if reported.unread:
        return "unpriced: the service reported tokens that cannot be read"
    usage = msgspec.structs.asdict(reported)
    parts = [f"{usage[kind]} {word}" for kind, word in TOKENS.items() if usage[kind]]
    tokens = f"tokens: {', '.join(parts) or 'none'}"
    if paid.prices is None:
        return f"{tokens}; no price of {paid.model or 'this model'} is known"
    # tokens without a kind are priced as text here, and may be audio, which costs more
    least = "at least " if reported.as_audio is not reported else ""
    return f"{tokens}; {least}${dollars(cost_usd(paid.prices, usage))}"


def check_rate_limits(limits: tuple[RateLimit, ...]) -> CheckFinding:
    if not limits:
        return CheckFinding("limits", "skipped", "the service reported none")
    texts = []
    for limit in limits:
        remaining = "?" if limit.remaining is None else f"{limit.remaining:,}"
        maximum = "" if limit.limit is None else f" of {limit.limit:,}"
        reset = "" if limit.reset_s is None else f", reset in {limit.reset_s:.3g} s"
        texts.append(f"{limit.name}: {remaining}{maximum} left{reset}")
    return CheckFinding("limits", "pass", "; ".join(texts))


AUDIBLE_S = 12
MAX_RESPONSE_S = 40
"""Two maximum times, in seconds, for a greeting or an answer of an agent. AUDIBLE_S is the time
until it is audible. MAX_RESPONSE_S is the time until it ends."""
LIMITS = {"first_delta": AUDIBLE_S, "response": MAX_RESPONSE_S, "turn": MAX_RESPONSE_S}
# Raw samples have no header, so a wrong sample rate shows only in their pace: if samples of 24 kHz
# are taken for 8 kHz, three seconds of audio arrive in each second. This conclusion needs an agent
# that sends at the speed of playback. One that sends faster has any pace, so only the ratios of
# common sample rates are a finding. They differ by a third or more, and NEAR is much smaller.
PACES = (1 / 3, 1 / 2, 2 / 3, 3 / 2, 2.0, 3.0)
"""The ratios between the sample rates that are common in telephony and for models."""
NEAR = 0.04
PAUSE_NS = 200 * NS_PER_MS
MIN_SEGMENT_NS = 800 * NS_PER_MS
"""PAUSE_NS is the shortest pause that separates two segments of audio. MIN_SEGMENT_NS is the
minimum duration of a segment in which the pace of audio is measured."""
UNANSWERED = frozenset({NO_REPLY, NO_MEDIA, NO_SOUND})
"""The outcomes of a greeting that did not come."""
UNSENT = (
    "the next call, in which the caller speaks first, decides: if it is answered, remove `wait_for:"
    " greeting` from the script"
)
SILENT = "remove `wait_for: greeting` from the script, unless the agent should speak first"
UNREAD = (
    "they affect no metric, and a provider ignores them: if they are meant for another provider,"
    " set --dialect"
)
STREAMLESS = (
    "put the `streamSid` of the call's `start` message into each message of the agent: Twilio drops"
    " messages with another one or none (its warning 31951)"
)
UNPROMPTED = (
    "check that it waits for its caller after the greeting; music, announcements, and an echo of"
    " the caller also count as speech"
)
SPLIT = (
    "send whole samples: this tool joins the half sample with the next message, but other receivers"
    " drop it, and play noise from then on"
)


UNWRAPPED = (
    "let the service cut the header off what its speech synthesis returns (44 bytes of a simple"
    " file), or request raw samples there: players play the header as a click"
)
UNCOMPRESSED = (
    "let the service send samples in the agreed format: players do not decode files, and play"
    " compressed audio as noise"
)


# An agent may greet its caller, or wait for the caller's words. The first call waits for a
# greeting. If none is audible, this is only a warning: a second call then speaks first
# (`answer_findings`), and decides whether the agent works.
def check_spoken_greeting(
    turn: TurnObservation | None, session: SessionObservation, dialect: Dialect
) -> CheckFinding:
    """Check whether the agent spoke first. Silence is only a warning, because a script can allow
    for it.
    """
    if turn is not None and (greeted_ns := session.metrics_ns().get("greeting")) is not None:
        return CheckFinding(
            "greeting",
            "pass",
            f"the agent speaks first, {greeted_ns / NS_PER_MS:,.0f} ms after the call started",
        )
    if turn is None or turn.outcome in UNANSWERED:
        received = (
            []
            if turn is None
            else [cause for cause in turn.causes if cause.code is Code.NOTHING_AUDIBLE]
        )
        texts = [cause.numbers["because"].text for cause in received if "because" in cause.numbers]
        message = ": ".join([f"no audible audio within {AUDIBLE_S} s of the call", *texts])
        sends_nothing = turn is not None and turn.outcome == NO_MEDIA
        return CheckFinding("greeting", "warning", message, UNSENT if sends_nothing else SILENT)
    return _failed_call("greeting", turn, dialect)


def _failed_call(
    name: str, observed: SessionObservation | TurnObservation, dialect: Dialect
) -> CheckFinding:
    """Return the finding about a call that failed. Its timeouts are those of the doctor, not
    those of a script.
    """
    own_limits = dict.fromkeys(LIMITS, "the limit of the doctor")
    return _failed(name, observed, partial(doctor_remedy, dialect, observed.outcome), own_limits)


def check_answer(
    turn: TurnObservation | None,
    session: SessionObservation,
    pace: AudioPace,
    format: AudioFormat | None,
    dialect: Dialect,
) -> Iterator[CheckFinding]:
    """Yield findings about an agent's answer: its latency, and whether its audio arrives at the
    speed of playback.

    `pace` is the measured pace of the audio. `format` is the playback format; None if the format
    cannot be changed.
    """
    if turn is None or turn.outcome != "ok":
        yield _failed_call("turn", turn or session, dialect)
        return
    waited_ns = turn.metrics_ns().get("voice_to_voice")
    if waited_ns is None:
        message = "the agent spoke before the caller's words ended, so this is no answer to them"
        yield CheckFinding("turn", "warning", message, UNPROMPTED)
    else:
        yield CheckFinding(
            "turn", "pass", f"answered: voice_to_voice {waited_ns / NS_PER_MS:,.0f} ms"
        )
    if format is not None:
        yield check_pace(pace.speed(format), format)
        if format.is_pcm and pace.odd_messages:
            message = (
                "messages with an odd number of bytes, which end within a sample:"
                f" {pace.odd_messages:,}"
            )
            yield CheckFinding("samples", "warning", message, SPLIT)


def check_unread_messages(session: SessionObservation) -> Iterator[CheckFinding]:
    """Yield a warning about messages that do not exist in the dialect. A telephony provider
    would ignore them, too.
    """
    if session.unknown_events:
        wrong_stream = any(name.endswith(OTHER_STREAM) for name in session.unknown_events)
        message = (
            "ignored messages, which this dialect does not have:"
            f" {top_counts(session.unknown_events)}"
        )
        yield CheckFinding("messages", "warning", message, STREAMLESS if wrong_stream else UNREAD)


HEADERS = {b"RIFF": "WAV", b"RF64": "WAV", b"OggS": "Ogg", b"ID3": "MP3", b"fLaC": "FLAC"}
"""The first bytes of files with audio, and their formats."""


# Speech synthesis often returns a file for each sentence. Its header may therefore occur in the
# middle of a reply, so the start of each message is checked.
class FileHeaders:
    """The audio messages of a session, and those among them that begin with the header of a
    file, by their format.
    """

    def __init__(self) -> None:
        self.messages = 0
        self.found = Counter[str]()

    def add(self, audio: bytes) -> None:
        self.messages += 1
        self.found.update(format for start, format in HEADERS.items() if audio.startswith(start))


def check_headers(headers: FileHeaders) -> Iterator[CheckFinding]:
    """Yield a warning if messages begin with the header of a file: their audio should be nothing
    but samples.
    """
    if not headers.found:
        return
    ((format, count),) = headers.found.most_common(1)
    begin = "begins" if count == 1 else "begin"
    message = (
        f"{count:,} of {headers.messages:,} audio messages {begin} with the header of a file"
        f" ({format})"
    )
    yield CheckFinding(
        "samples", "warning", message, UNWRAPPED if format == "WAV" else UNCOMPRESSED
    )


# A pause between two sentences would lower the pace, so only the longest segment without one
# counts. In a short segment, messages that arrive together would decide. The bytes of the first
# message of a segment belong to the time before it, and are not counted.
class AudioPace:
    """The pace at which audio arrives, measured in the longest segment of audio without a pause.

    `odd_messages` is the number of audio messages with an odd number of bytes.
    """

    _began_ns = _last_ns = _bytes = _longest_ns = _longest_bytes = odd_messages = 0

    def add(self, at_ns: int, audio_bytes: int) -> None:
        """Add a message that contains `audio_bytes` bytes of audio and arrived at `at_ns`."""
        self.odd_messages += max(0, audio_bytes) % 2
        if at_ns - self._last_ns > PAUSE_NS:
            self._began_ns = at_ns
            self._bytes = 0
        else:
            self._bytes += audio_bytes
        self._last_ns = at_ns
        if at_ns - self._began_ns > self._longest_ns:
            self._longest_ns = at_ns - self._began_ns
            self._longest_bytes = self._bytes

    def speed(self, format: AudioFormat) -> float | None:
        """Return the seconds of audio that are received per second; None if the longest segment
        is too short.
        """
        if self._longest_ns < MIN_SEGMENT_NS:
            return None
        return format.duration_ns(self._longest_bytes) / self._longest_ns


def check_pace(speed: float | None, format: AudioFormat) -> CheckFinding:
    """Check whether a reply's audio has the sample rate at which it is played.

    If the audio arrives faster or slower by a ratio of PACES, it probably has another sample rate.
    `speed` is the number of seconds of audio that are received per second; None if it is unknown.
    """
    if speed is None:
        return CheckFinding(
            "audio", "skipped", "too little audio was received to determine its speed"
        )
    rate_hz = next(
        (round(format.rate_hz * pace) for pace in PACES if abs(speed / pace - 1) < NEAR), None
    )
    message = (
        f"{speed:.2f} s of audio are received per second, if it is PCM at {format.rate_hz:,} Hz"
    )
    rate = f"{rate_hz or 0:,} Hz"
    remedy = (
        f"if the agent sends at playback speed, its audio has {rate}: set `output_format` of the"
        " script or target"
    )
    return warning_unless(rate_hz is None, "audio", message, remedy)
