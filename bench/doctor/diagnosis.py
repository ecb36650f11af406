"""The diagnosis of a refusal, or of a session that failed. Pure.

The input is an outcome and the service's messages; the output is a remedy. docs/troubleshooting.md, "Messages and what
to do", lists the messages for users. A wrong dialect is recognized in two ways: by the service's error messages, and by
the form in which the service describes a session.

A `CheckFinding` is the result of one check, in plain data, with its remedy.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from bench.catalogue.metrics import NO_MEDIA, NO_READ, NO_SOUND, OTHER_LOGIN, UNFINISHED, refusal_status
from bench.catalogue.remedies import (
    CLASSES,
    NO_CREDIT,
    NO_DEPLOYMENT,
    OUT_OF_ORDER,
    REALTIME_MODELS,
    computed,
    remedy_of,
)
from bench.doctor.sign_in import NO_KEY, signed_by, unauthorized
from bench.files.sanitize import escape_control
from bench.files.validation import either
from bench.observe.observation import detail_text
from bench.record.replay import ReplayedSession
from bench.services.azure.service import GA_ROUTE, PREVIEW_ROUTE, azure_cloud
from bench.services.openai.ga import GA
from bench.services.openai.preview import PREVIEW
from bench.services.registry import DIALECTS, route_at
from bench.services.voice_live import VOICE_LIVE_ROUTE
from bench.target.address import agent_dialects, known_path
from bench.target.target import Target
from bench.wire.dialect import Dialect, Peer
from bench.wire.events import EventKind

FindingState = Literal["pass", "warning", "fail", "skipped"]

NAME_WIDTH, STATE_WIDTH = 16, 8


@dataclass(frozen=True)
class CheckFinding:
    """The result of one check.

    `message` states what was found, with the measured value. `remedy` is "" if there is nothing to do.
    """

    name: str
    result: FindingState
    message: str
    remedy: str = ""


class CheckedTarget(msgspec.Struct, frozen=True):
    """A target and the findings about it."""

    name: str
    url: str
    dialect: str
    service: str
    findings: list[CheckFinding]


class DoctorDocument(msgspec.Struct, frozen=True):
    """The output of `rtbench doctor --json`."""

    schema: Literal[3]
    result: Literal["pass", "fail"]
    machine: list[CheckFinding]
    targets: list[CheckedTarget]


def warning_unless(good: bool, name: str, message: str, remedy: str) -> CheckFinding:
    """Return a finding. If `good` is True, the check passes. Otherwise the finding is a warning with the remedy."""
    return CheckFinding(name, "pass", message) if good else CheckFinding(name, "warning", message, remedy)


def without_repeated_remedies(
    findings: Iterable[CheckFinding], earlier: Iterable[CheckFinding]
) -> Iterator[CheckFinding]:
    """Yield the findings, but without remedies that an earlier finding has."""
    remedies = {finding.remedy for finding in earlier}
    for finding in findings:
        yield replace(finding, remedy="") if finding.remedy in remedies else finding


def any_failed(findings: Iterable[CheckFinding]) -> bool:
    return any(finding.result == "fail" for finding in findings)


def printable_finding(finding: CheckFinding, hide: Callable[[str], str] = str) -> CheckFinding:
    """Return the finding without secrets and without terminal control sequences.

    A service's message may contain both. `hide` removes secrets from a text.
    """
    message, remedy = (escape_control(hide(text)) for text in (finding.message, finding.remedy))
    return replace(finding, message=message, remedy=remedy)


def lines(finding: CheckFinding, width: int) -> Iterator[str]:
    """Yield the finding as lines of at most `width` columns. The first line starts with the result of the check."""
    margin = " " * (STATE_WIDTH + 1 + NAME_WIDTH + 1)
    first = f"{finding.result:<{STATE_WIDTH}} {finding.name:<{NAME_WIDTH}} "
    wrapped = partial(textwrap.wrap, width=width, break_on_hyphens=False)
    yield from wrapped(finding.message, initial_indent=first, subsequent_indent=margin) or [first.rstrip()]
    yield from wrapped(finding.remedy, initial_indent=f"{margin}→ ", subsequent_indent=f"{margin}  ")


OWN_PARAMETERS: dict[Dialect, tuple[str, ...]] = {
    GA: ("type", "audio", "output_modalities"),
    PREVIEW: ("modalities", "voice", "input_audio_format", "output_audio_format", "input_audio_transcription",
              "input_audio_noise_reduction", "turn_detection", "temperature", "max_response_output_tokens"),
}  # fmt: skip
"""For each dialect, the top-level keys of a request's `session` or `response` that only this dialect has."""
OWN_SHAPE: dict[Dialect, tuple[str, ...]] = {
    GA: ("output_modalities", "audio"),
    PREVIEW: ("modalities", "input_audio_format", "output_audio_format"),
}
"""For each dialect, the top-level keys of a service's `session` object that only this dialect has."""
UNGREETED: Mapping[str, Any] = MappingProxyType({})
"""The session object if the service has not described its session."""
OTHER_CAUSES = UNFINISHED | {"ok", "throttled", "session_expired"}
"""The outcomes that a wrong dialect never causes. The text after the colon of an outcome is left out."""
REMEDIES: dict[Dialect, str] = {
    GA: "the service uses the GA dialect: use --dialect ga. This tool uses preview if --dialect, a target's "
    f"`dialect` or OPENAI_API_VERSION sets it, or if the path is {PREVIEW_ROUTE.path}",
    PREVIEW: "the service uses the preview dialect: use --dialect preview. This tool uses GA if --dialect or a "
    f"target's `dialect` sets it, if OPENAI_API_VERSION is not set, and for other paths than {PREVIEW_ROUTE.path}",
}
"""The remedies if the client uses the wrong dialect, by the dialect that the service uses."""
SIBLINGS: dict[Dialect, Dialect] = {GA: PREVIEW, PREVIEW: GA}
"""For each dialect, the dialect with which it is easily confused, because both have the same addresses."""
_PARAMETER = re.compile(r"'(?:session|response)\.(\w+)")
_API_VERSION = re.compile(r"api[\s_-]?version", re.IGNORECASE)
_NO_KEYS = re.compile(r"AuthenticationTypeDisabled|key[- ]based authentication", re.IGNORECASE)


def shape_of(session: Mapping[str, Any]) -> Dialect | None:
    """Return the dialect in which a service described its session; None if the form fits both dialects, or neither."""
    shapes = [dialect for dialect, names in OWN_SHAPE.items() if any(name in session for name in names)]
    return shapes[0] if len(shapes) == 1 else None


def dialect_remedy(outcome: str, message: str, dialect: Dialect, greeting: Mapping[str, Any] = UNGREETED) -> str:
    """Return the remedy if the client's wrong dialect caused the outcome; otherwise "".

    `message` is the service's text. `dialect` is the dialect that the client used. `greeting` is the session object in
    `session.created`.
    """
    other = SIBLINGS.get(dialect)
    if other is None:
        return ""
    stage, _, cause = outcome.partition(":")
    is_confused = stage not in OTHER_CAUSES and shape_of(greeting) is other
    match cause:
        case "dialect":
            is_confused = True
        case "missing_required_parameter":
            is_confused |= dialect is PREVIEW and "'session.type'" in message
        case "unknown_parameter" if match := _PARAMETER.search(message):
            is_confused |= match[1] in OWN_PARAMETERS[dialect]
    return REMEDIES[other] if is_confused else ""


RECEIVED = frozenset({"timeout:first_delta", "timeout:response", "timeout:turn", NO_MEDIA, NO_SOUND})
"""The outcomes whose detail states what the client received. The remedy for such an outcome depends on this detail."""


@dataclass(frozen=True)
class Refusal:
    """A service's refusal of a session or turn.

    `outcome` is the outcome of the session or turn. `message` is the service's text, with its error code. `wait_s` is
    the wait that the service requests, in seconds; None if it requests no wait. `claims` are the public claims of the
    token that the client sent. `greeting` is the session object in `session.created`.
    """

    outcome: str
    message: str
    wait_s: float | None = None
    claims: Mapping[str, str] = field(default_factory=dict)
    greeting: Mapping[str, Any] = field(default_factory=dict)


@computed
def explain(refusal: Refusal, target: Target) -> str:
    """Return the remedy for a refusal; "" if none is known."""
    cause = refusal.outcome.partition(":")[2]
    if remedy := dialect_remedy(refusal.outcome, refusal.message, target.dialect, refusal.greeting):
        return remedy
    own = target.dialect.remedies
    if own.of_refusal is not None:
        return remedy_of(refusal.outcome, refusal.message, own)
    if (remedy := _agent_remedy(refusal.outcome, target)) and not refusal.greeting:
        return remedy
    if own.in_doctor and (remedy := doctor_remedy(target.dialect, refusal.outcome, refusal.message)):
        return remedy
    if refusal.outcome == "connect_failed:proxy":
        proxy = target.network_path.proxy  # an HTTP proxy opens a tunnel on CONNECT; a SOCKS proxy has its own command
        request = "CONNECT" if proxy is None or proxy.scheme == "http" else "connections"
        requirement = f"it must allow {request} to port {target.port}"
        if OTHER_LOGIN in refusal.message:
            return remedy_of(refusal.outcome, refusal.message)
        login = "if it requires user and password, put them into its URL"
        return f"the proxy refuses the connection: see its message; {login}; {requirement}"
    if refusal.outcome.startswith("throttled:"):
        return _throttled(refusal, target)
    if "session_expired" in (refusal.outcome, cause):
        return "the service ends sessions before a turn can be complete: check the deployment's limits"
    if (status := refusal_status(refusal.outcome)) is not None:
        return _status(status, refusal, target)
    return remedy_of(refusal.outcome, refusal.message)


def _agent_remedy(outcome: str, target: Target) -> str:
    """Return the remedy if the server may be an agent that is called like a realtime service; otherwise ""."""
    path = known_path(target.resource.partition("?")[0].rstrip("/"))
    if target.dialect.peer is Peer.AGENT or target.service != "other" or route_at(path):
        return ""
    if outcome != "timeout:session" and not outcome.startswith("protocol_error:"):
        return ""
    return (
        f"the server does not speak the {target.dialect.name} dialect: if it is an agent, use --dialect "
        f"{either(agent_dialects(path))}; otherwise check the path"
    )


def _status(status: int, refusal: Refusal, target: Target) -> str:
    message, path = refusal.message, target.resource.partition("?")[0]
    azure_path = known_path(path.rstrip("/"))
    match status:
        case 400 if re.search(r"op+erationnotsupported", message, re.IGNORECASE):
            return (
                f"the deployment{f' {target.model}' if target.model else ''} is not a deployment of a realtime "
                f"model: deploy {either(REALTIME_MODELS)}, and use that deployment"
            )
        case 400 if _API_VERSION.search(message):
            route = route_at(azure_path)
            known = " or ".join((route and route.versions) or PREVIEW_ROUTE.versions or ())
            undated = "" if route is VOICE_LIVE_ROUTE else f", or the path {GA_ROUTE.path}, which needs none"
            return f"the service does not support this api-version: use {known}{undated}"
        case 400:
            return "the request is not what the service expects: compare path and query with the deployment's page"
        case 401:
            return unauthorized(refusal.message, refusal.claims, target)
        case 403 if _NO_KEYS.search(message):
            return "the resource does not accept keys: unset the key and sign in (`az login`), or use --auth entra"
        case 403 if azure_cloud(target.host) is None and signed_by(target) == "nothing":
            return NO_KEY
        case 403 if target.service != "azure":
            return (
                "the key or token is refused, or is not allowed to do this: check that it belongs to this server "
                "(see the variable that --api-key-env names), that it may use this model, and that this address may "
                "connect"
            )
        case 403:
            return ("network rules block this machine, or the resource is disabled: allow this address in the "
                    "resource's Networking page, or connect through its private endpoint")  # fmt: skip
        case 404 if NO_DEPLOYMENT in message:
            return (
                f"{target.host} has no deployment called {target.model}: list its deployments with `az "
                "cognitiveservices account deployment list -g GROUP -n RESOURCE -o table`; use the deployment's "
                "name, not the model's; a new deployment is ready after five minutes"
            )
        case 404:
            return (
                f"the server has no path {path}: check that the host is that of the resource, and that the path is "
                "that of the dialect"
            )
        case 431:
            return "there are more than ten custom headers: remove some from the target's `headers`"
        case _ if status >= 500:
            return _later(OUT_OF_ORDER, refusal.wait_s)
    return CLASSES["connect_failed"]


def _throttled(refusal: Refusal, target: Target) -> str:
    if "insufficient_quota" in refusal.message:
        return NO_CREDIT
    advice = "the deployment's quota of tokens or requests per minute is spent: raise it, or shorten the turns"
    if refusal.outcome == "throttled:handshake":
        advice = ("the deployment's quota of connections (preview) or requests per minute is spent: raise it on the "
                  "deployment's page, or start fewer sessions (--connect-rate)")  # fmt: skip
    return _later(advice, refusal.wait_s)


def _later(advice: str, wait_s: float | None) -> str:
    return advice if wait_s is None else f"{advice}; the service requests a delay of {wait_s:.3g} s"


def hint(replayed: ReplayedSession, target: Target | None = None) -> str:
    """Return the first known remedy for a failed session or one of its turns; "" if no remedy is known.

    If `target` is None, as for a log, only the remedy for a wrong dialect can be found. All other remedies depend on
    the target and on how the client called it.
    """
    greetings = (
        p.event for p in replayed.passages if p.event is not None and p.event.kind is EventKind.SESSION_CREATED
    )
    greeting = next((event.session for event in greetings), None) or UNGREETED
    session = replayed.session
    ended = [(session.outcome, session.detail), *((turn.outcome, turn.detail) for turn in replayed.turns)]
    if target is None:
        dialect = DIALECTS[replayed.opened.about["dialect"]]
        remedies = (dialect_remedy(outcome, detail, dialect, greeting) for outcome, detail in ended)
    else:
        refusals = (Refusal(outcome, detail_text(outcome, detail), greeting=greeting) for outcome, detail in ended)
        remedies = (explain(refusal, target) for refusal in refusals)
    return next(filter(None, remedies), "")


def doctor_remedy(dialect: Dialect, outcome: str, detail: str) -> str:
    """Return the remedy for an outcome of a call of the doctor; "" if the dialect has remedies and none for it."""
    own = dialect.remedies
    if not own.in_doctor or outcome in RECEIVED or NO_READ in detail:
        return remedy_of(outcome, detail, own)
    return own.in_doctor.get(outcome, "")
