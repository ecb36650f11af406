"""The checks of a target, step by step, from its configuration to a turn.

The upgrade, the session and the turn use the same connection.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from bench.base.clock import monotonic_ns, utc_ns
from bench.base.errors import UsageError
from bench.base.units import NS_PER_MS, NS_PER_S, duration_text
from bench.catalogue.pricing import BilledModel, Prices, TurnPricing, tariff_of
from bench.catalogue.timeouts import Timeouts
from bench.doctor.diagnosis import (
    any_failed,
    printable_finding,
    signed_by,
    without_repeated_remedies,
)
from bench.doctor.machine_checks import check_network
from bench.doctor.service_findings import (
    LIMITS,
    AudioPace,
    FileHeaders,
    check_answer,
    check_backend_setting,
    check_delegating_reply,
    check_delegation,
    check_greeting,
    check_headers,
    check_rate_limits,
    check_reply,
    check_retirement,
    check_spoken_greeting,
    check_unread_messages,
    check_upgrade,
    compression,
    explain_refusal,
    in_other_dialect,
    service_clock,
    settings_in,
)
from bench.observe.inputs import session_start
from bench.observe.observation import SessionObservation, TurnObservation
from bench.observe.timeline import Timeline
from bench.plan.prepared import PreparedScript
from bench.probe import script_of
from bench.session.dial import Dialer, connect
from bench.session.session import Session
from bench.session.session_io import SessionListener
from bench.target.identity import SignInError
from bench.target.network_path import Information
from bench.target.target import Target
from bench.target.tokens import Keyring
from bench.transport.connect import start_first_thread
from bench.transport.interface import Transport
from bench.transport.links import CALL_KEYS, call_of
from bench.transport.rtp_checks import rtcp_round_trip
from bench.wire.audio import AudioFormat
from bench.wire.connection import MatchedDelta, NetworkMeasured, ReceivedMessage, RtpMeasured
from bench.wire.dialect import Dialect, Feature, Peer
from bench.wire.events import EventKind, RateLimit, ServerEvent, audio_payload, limits_in
from bench.wire.findings import CheckFinding, warning_unless

SHOWN_OF_CLAIM = 40
NO_PASSWORD = "no user and password: an agent that requires them refuses the call"
NOTHING_SENT = "neither a key nor a token is sent"
VARIABLES_SENT = (
    "no key or token is sent, except what variables add to the URL or the headers of the upgrade"
)
WORDS = "Say hello, and nothing else."


# The steps have the order in which a call depends on them, and each says what it found even if it
# found nothing wrong:
#
#   target, sign-in → proxy, dns, tcp, tls → key for calls → upgrade → session → turn
#
# After the first step that fails, the later ones are "skipped", with the name of that step, because
# their own failure would name a wrong cause. The upgrade, the session and the turn use one
# connection, so that the doctor costs one session and one turn. Only an agent that did not greet is
# called a second time. It may wait for its caller, which the first call cannot show without
# spoiling the check of the greeting.
#
# Findings are yielded as soon as they are known: a step may wait for seconds, and the user must see
# where.
def examine(
    target: Target, prices: Mapping[str, Prices], *, with_turn: bool
) -> Iterator[CheckFinding]:
    """Yield the findings about a target, from its configuration to a turn. They contain no secrets.

    `prices` are the prices by model. If `with_turn` is False, no turn is run, because a turn costs
    money.
    """
    return _harmless(
        target, lambda keyring: _examine_target(target, keyring, prices, with_turn=with_turn)
    )


def examine_offline(target: Target) -> Iterator[CheckFinding]:
    """Yield the findings about a target that need no network. They contain no secrets."""

    def check(keyring: Keyring) -> Iterator[CheckFinding]:
        yield from configuration(target)
        if signed_by(target) == "entra":
            yield CheckFinding("sign-in", "skipped", "a token is requested over the network")
        else:
            yield examine_sign_in(target, keyring)
        yield CheckFinding("service", "skipped", "network and service are not checked: --offline")

    return _harmless(target, check)


def _harmless(
    target: Target, check: Callable[[Keyring], Iterator[CheckFinding]]
) -> Iterator[CheckFinding]:
    """Yield the findings of `check`, but without secrets and control sequences.

    `check` is called with a keyring for the target.
    """
    keyring = Keyring([target])
    try:
        for finding in check(keyring):
            yield printable_finding(finding, keyring.redact)
    finally:
        keyring.close()


def _examine_target(
    target: Target, keyring: Keyring, prices: Mapping[str, Prices], *, with_turn: bool
) -> Iterator[CheckFinding]:
    start_first_thread()
    earlier = []
    for finding in configuration(target):
        earlier.append(finding)
        yield finding
    yield (sign_in := examine_sign_in(target, keyring))
    earlier.append(sign_in)
    for finding in check_network(target, Timeouts()):
        earlier.append(finding)
        yield finding
    if target.network_path.has_call_key and not any_failed(earlier):
        yield (call_key := examine_call_key(target, keyring))
        earlier.append(call_key)
    if failed := dict.fromkeys(finding.name for finding in earlier if finding.result == "fail"):
        reason = f"needs {', '.join(failed)}"
        yield from (CheckFinding(name, "skipped", reason) for name in target.link.steps)
        return
    source = keyring.answered_by(target)
    dialer = Dialer(target, keyring)
    claims = source.claims if source else {}
    probe = ServiceProbe(dialer, prices, claims, keyring.redact)
    yield from probe.findings(with_turn=with_turn)
    if probe.is_unanswered:  # The agent did not greet; it waits for its caller to speak.
        yield from ServiceProbe(
            dialer, prices, claims, keyring.redact, greets=False
        ).answer_findings()


def configuration(target: Target) -> Iterator[CheckFinding]:
    """Yield findings about a target's configuration: address, dialect, and notices. Open no
    connection.
    """
    message = f"{target.public_url}, {target.dialect.name} dialect"
    if (known := target.known_service) is not None and known.url:
        limit = (
            ""
            if known.minutes is None
            else f", whose sessions last at most {known.minutes} minutes"
        )
        message += f" of {known.title}{limit}"
    yield CheckFinding("target", "pass", message)
    for notice in target.notices:
        # if one file has several targets, a notice starts with the label
        text = notice.removeprefix(f"{target.label}: ")
        yield CheckFinding("target", "pass" if isinstance(notice, Information) else "warning", text)
    yield from check_backend_setting(target)


def examine_sign_in(target: Target, keyring: Keyring) -> CheckFinding:
    """Check the credentials: that a key is set, or, if the target uses Entra ID, that a token
    can be fetched.
    """
    sign_in_kind = signed_by(target)
    takes_password = target.link.credential == "digest"
    if sign_in_kind == "nothing" and target.link.signed_by:
        return CheckFinding("sign-in", "pass", f"{target.link.signed_by} sign the events")
    if sign_in_kind == "nothing":
        nothing = NO_PASSWORD if takes_password and not target.loopback else NOTHING_SENT
        is_usual = bool(target.secrets) or target.loopback or takes_password
        remedy = "set --api-key-env to the name of the key's variable, or set --auth entra"
        return warning_unless(
            is_usual, "sign-in", VARIABLES_SENT if target.secrets else nothing, remedy
        )
    if sign_in_kind == "key":
        name, value = keyring.header(target, 0) or ("", "")
        scheme, _, key = value.rpartition(" ")
        if takes_password:
            return CheckFinding(
                "sign-in", "pass", "a user and a password, of which only digests are sent"
            )
        message = f"a key of {len(key)} characters, in the header {name}"
        return CheckFinding(
            "sign-in", "pass", f"{message} ({scheme})" if scheme == "Basic" else message
        )
    try:
        keyring.open_tokens()
    except UsageError as error:
        return _no_token("sign-in", error)
    source = keyring.answered_by(target)
    if source is None:
        return CheckFinding("sign-in", "pass", "a token")
    # Only the claims that identify the user or the application are reported.
    claims = ", ".join(
        f"{name} {value[:SHOWN_OF_CLAIM]}" for name, value in source.claims.items() if name != "exp"
    )
    validity = f"is valid for {duration_text(source.seconds_left)}, for {source.scope}"
    message = f"{source.credential} issued a token that {validity}" + (
        f" ({claims})" if claims else ""
    )
    return CheckFinding("sign-in", "pass", message)


def examine_call_key(target: Target, keyring: Keyring) -> CheckFinding:
    """Check that the service issues a key for calls."""
    name = CALL_KEYS[target.link].name
    try:
        keyring.open_call_keys()
    except UsageError as error:
        return _no_token(name, error)
    left_s = keyring.call_key_seconds_left(target)
    life = "whose end it does not state"
    if left_s is not None:
        life = f"that is valid for {duration_text(left_s)}"
    return CheckFinding(name, "pass", f"the service issued a key {life}")


def _no_token(name: str, error: UsageError) -> CheckFinding:
    cause = error.__cause__
    reason, remedy = (
        (cause.reason, cause.remedy) if isinstance(cause, SignInError) else (str(error), "")
    )
    return CheckFinding(name, "fail", reason, remedy)


class ProbeListener(SessionListener):
    """A listener that stores the greeting, the rate limits and the turns of a session, and facts
    about its audio.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self.greeting: Mapping[str, Any] = {}
        self.limits: tuple[RateLimit, ...] = ()
        self.turns: list[TurnObservation] = []
        self.pace = AudioPace()
        self.headers = FileHeaders()

    def received(
        self, events: Sequence[ServerEvent], message: ReceivedMessage, handled_ns: int
    ) -> None:
        for event in events:
            if event.kind is EventKind.SESSION_CREATED:
                self.greeting = event.session or {}
            elif event.kind is EventKind.RATE_LIMITS and event.limits:
                self.limits = event.limits
            elif event.kind is EventKind.AUDIO_DELTA:
                self._add_audio(message.arrival.at_ns, event)

    def received_deltas(self, deltas: Sequence[MatchedDelta]) -> None:
        for delta in deltas:  # the transport keeps their messages
            for event in (
                self._dialect.decode(delta.data)
                if delta.event.kind is EventKind.AUDIO_DELTA
                else ()
            ):
                self._add_audio(delta.at_ns, event)

    def _add_audio(self, at_ns: int, event: ServerEvent) -> None:
        self.pace.add(at_ns, event.payload_bytes)
        if isinstance(event.payload, msgspec.Raw):
            self.headers.add(audio_payload(event.payload) or b"")

    def turn_ended(self, turn: TurnObservation) -> None:
        self.turns.append(turn)


class ServiceProbe:
    """A check of a service on one connection.

    `prices` are the prices by model. `claims` are the public claims of the token that the client
    sends. `hide` is a function that removes secrets from a text. `greets` is True if the agent is
    expected to speak first.
    """

    def __init__(
        self,
        dialer: Dialer,
        prices: Mapping[str, Prices],
        claims: Mapping[str, str],
        hide: Callable[[str], str],
        *,
        greets: bool = True,
    ) -> None:
        self._dialer = dialer
        self._target = dialer.target
        self._prices = prices
        self._claims = claims
        self._redact = hide
        self._script = _script(self._target, greets=greets)
        self._listener = ProbeListener(self._script.dialect)
        self.is_unanswered = False
        """True if the agent did not greet. Then the caller has not spoken, and there is no
        answer to check."""

    def findings(self, *, with_turn: bool) -> Iterator[CheckFinding]:
        """Connect, run the checks, and yield each finding as soon as it is known."""
        timeline, transport = self._connected(turns=len(self._script.turns) if with_turn else 0)
        observed = timeline.session()
        answered_ns = utc_ns()
        link = self._target.link
        first, *later = link.steps
        if transport is None:
            yield self._refused(first, timeline)
        else:
            yield check_upgrade(observed, self._target)
            if call := call_of(transport):
                yield from call.check_answer()
        if link.is_http:
            yield service_clock(observed.headers.get("date"), answered_ns)
        if transport is None:
            yield from (CheckFinding(name, "skipped", f"needs {first}") for name in later)
            return
        if "compression" in link.settings:
            yield compression(observed.headers, requested=self._target.network_path.deflate)
        yield from self._session(transport, timeline, with_turn=with_turn)
        if link.is_http:
            yield check_rate_limits(self._listener.limits or limits_in(observed.headers))

    def answer_findings(self) -> Iterator[CheckFinding]:
        """Connect to an agent, speak first, and yield the findings about the agent's answer."""
        timeline, transport = self._connected(turns=1)
        if transport is None:
            yield self._refused("turn", timeline)
            return
        Session(self._script, transport, timeline, self._listener, lambda: False).run()
        turn = self._listener.turns[-1] if self._listener.turns else None
        yield from (media := list(media_findings(transport)))
        answer = self._answer(turn, timeline.session())
        yield from without_repeated_remedies(answer, media)
        yield from check_headers(self._listener.headers)
        yield from check_unread_messages(timeline.session())

    def _answer(
        self, turn: TurnObservation | None, observed: SessionObservation
    ) -> Iterator[CheckFinding]:
        return check_answer(
            turn, observed, self._listener.pace, self._reply_format, self._target.dialect
        )

    def _connected(self, *, turns: int) -> tuple[Timeline, Transport | None]:
        script = self._script
        timeline = Timeline(
            session_start(script, monotonic_ns(), turns),
            script.dialect,
            reply_format=script.output_format.name,
        )
        transport = connect(self._dialer, script, timeline, lambda headers, call_id: None)
        if transport is not None:
            transport.keeps_texts = True
            if call := call_of(transport):
                call.watch_packets()
        return timeline, transport

    @property
    def _reply_format(self) -> AudioFormat | None:
        """The audio format of the replies; None if it cannot be wrong, because it is agreed or
        the only one.
        """
        dialect = self._script.dialect
        return (
            self._script.output_format
            if len(dialect.output_formats) > 1 and not dialect.has_track
            else None
        )

    def _session(
        self, transport: Transport, timeline: Timeline, *, with_turn: bool
    ) -> Iterator[CheckFinding]:
        session = Session(self._script, transport, timeline, self._listener, lambda: False)
        session.open()
        is_ready = timeline.facts.is_ready
        dialect = self._script.dialect
        is_agent = dialect.peer is Peer.AGENT
        has_track = dialect.has_track
        if is_ready and not is_agent:
            now_s = utc_ns() / NS_PER_S
            yield check_greeting(self._listener.greeting, timeline.session(), now_s)
            yield from check_retirement(
                self._listener.greeting,
                self._target.service,
                datetime.fromtimestamp(now_s, UTC).date(),
                timeline.session().backend_model,
            )
            yield CheckFinding(
                "settings",
                "pass",
                f"defaults: {settings_in(self._listener.greeting) or 'not reported'}",
            )
            if self._target.terms.has_backend:
                yield check_delegation(
                    self._listener.greeting, self._tariff(timeline.session().backend_model)
                )
            yield from in_other_dialect(self._listener.greeting, self._target.dialect)
        if is_ready and not has_track:  # otherwise it is known at the end of the call
            yield round_trip(transport.network())
        elif not is_ready and not (is_agent and has_track):
            yield self._refused("session", timeline)
        for step in self._script.steps if with_turn and timeline.facts.is_ready else ():
            if not session.run_step(step):
                break
        session.close()
        if is_agent and with_turn and timeline.facts.is_ready:
            yield from self._call(timeline.session())
            # otherwise the next call is checked, in which the caller speaks
            if not self.is_unanswered:
                yield from media_findings(transport)
        else:
            yield self._turn(timeline, with_turn=with_turn)
            yield from media_findings(transport)
        if not self.is_unanswered:
            yield from check_headers(self._listener.headers)

    def _call(self, observed: SessionObservation) -> Iterator[CheckFinding]:
        """Yield the findings about a call in which the agent was expected to speak first."""
        greeting, *others = *self._listener.turns[:2], None
        yield (first := check_spoken_greeting(greeting, observed, self._target.dialect))
        self.is_unanswered = first.result == "warning"
        if first.result == "pass":
            yield from self._answer(others[0], observed)
        yield from check_unread_messages(observed)

    def _turn(self, timeline: Timeline, *, with_turn: bool) -> CheckFinding:
        if not timeline.facts.is_ready:
            return CheckFinding("turn", "skipped", "needs session")
        if not with_turn:
            return CheckFinding("turn", "skipped", "not run: a turn costs money")
        if not self._listener.turns:
            return self._refused("turn", timeline)
        turn = self._listener.turns[-1]
        session = timeline.session()
        target = self._target
        paid = tariff_of(self._prices, target.terms, BilledModel(session.model))
        if target.terms.has_backend:
            return check_delegating_reply(
                turn, session, target, paid, self._tariff(session.backend_model)
            )
        return check_reply(turn, target, paid, self._listener.greeting)

    def _tariff(self, backend: str | None) -> TurnPricing:
        """Return the pricing of the tokens of a backend."""
        return tariff_of(self._prices, self._target.terms, BilledModel(backend, is_backend=True))

    def _refused(self, name: str, timeline: Timeline) -> CheckFinding:
        return explain_refusal(
            name,
            timeline.session(),
            self._target,
            self._claims,
            self._redact,
            self._listener.greeting,
        )


def recording() -> Path:
    """Return the path of the tool's own recording of a caller."""
    return Path(str(resources.files("scenarios") / "audio" / "late_parcel.wav"))


def _script(target: Target, *, greets: bool) -> PreparedScript:
    """Return a script with one turn. The turn is text if the service accepts text and responds;
    otherwise it is speech.

    If `greets` is True and the target is an agent, the turn follows the agent's greeting.
    """
    if target.output:
        model = (
            target.session.get("input_transcription")
            or target.model
            or target.dialect.transcribers[0]
        )
        return script_of(
            target, recording(), {"turn_detection": "none", "input_transcription": model}
        )
    if Feature.TYPED not in target.dialect.missing_features:
        return script_of(target, WORDS, target.session)
    is_agent = target.dialect.peer is Peer.AGENT
    return script_of(
        target, recording(), target.session, LIMITS if is_agent else {}, greets=greets and is_agent
    )


def media_findings(transport: Transport) -> Iterator[CheckFinding]:
    """Yield the findings about the packets of a call that has ended."""
    if call := call_of(transport):
        yield from call.check_media()


def round_trip(network: NetworkMeasured | RtpMeasured | None) -> CheckFinding:
    if isinstance(network, RtpMeasured):
        return rtcp_round_trip(network)
    if network is None:
        return CheckFinding(
            "round trip", "skipped", "unknown on this system (TCP_INFO needs Linux)"
        )
    to = "the proxy" if network.scope == "proxy" else "the nearest TCP endpoint"
    return CheckFinding(
        "round trip", "pass", f"minimum {network.min_rtt_ns / NS_PER_MS:.2f} ms to {to}"
    )
