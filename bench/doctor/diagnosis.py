"""The diagnosis of a refusal, or of a session that failed. Pure.

The input is an outcome and the service's messages; the output is a remedy. docs/troubleshooting.md,
"Messages and what to do", lists the messages for users.

A `CheckFinding` is the result of one check, in plain data, with its remedy.
"""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import msgspec

from bench.catalogue import outcomes
from bench.catalogue.causes import Cause, Code, codes_in, numbers_of, text_of
from bench.files.sanitize import escape_control, excerpt
from bench.files.validation import either
from bench.record.replay import ReplayedSession
from bench.services.registry import (
    SERVICES,
    UNGREETED,
    agent_dialects,
    dialect_remedy,
    known_path,
    logged_dialect,
    plain_path,
    route_at,
)
from bench.target.target import Credential, EntraSignIn, Target
from bench.transport.challenges import challenges
from bench.wire.dialect import Dialect, Peer
from bench.wire.events import EventKind
from bench.wire.findings import CheckFinding
from bench.wire.service import RefusedRequest, Signed

NAME_WIDTH = 16
STATE_WIDTH = 8


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
    """Yield the finding as lines of at most `width` columns. The first line starts with the
    result of the check.
    """
    margin = " " * (STATE_WIDTH + 1 + NAME_WIDTH + 1)
    first = f"{finding.result:<{STATE_WIDTH}} {finding.name:<{NAME_WIDTH}} "
    wrapped = partial(textwrap.wrap, width=width, break_on_hyphens=False)
    yield from wrapped(finding.message, initial_indent=first, subsequent_indent=margin) or [
        first.rstrip()
    ]
    yield from wrapped(
        finding.remedy, initial_indent=f"{margin}→ ", subsequent_indent=f"{margin}  "
    )


RECEIVED = frozenset(
    {outcomes.NO_REPLY, "timeout:response", "timeout:turn", outcomes.NO_MEDIA, outcomes.NO_SOUND}
)
"""The outcomes whose causes state what the client received. The remedy for such an outcome
depends on them."""
OF_SCHEMES = {
    "basic": (
        "the server requires a user and a password: set --auth basic, with USER:PASSWORD in the"
        " variable of --api-key-env"
    ),
    "bearer": (
        "the server requires a bearer token: set --api-key-env, and --api-key-header Authorization"
        " if the key is sent in another header, or sign in with --auth entra"
    ),
}
"""The remedies if a server accepts only one scheme of `WWW-Authenticate`, by its name in lower
case."""


@dataclass(frozen=True)
class Refusal:
    """A service's refusal of a session or turn.

    `outcome` is the outcome of the session or turn, and `causes` are its causes. `wait_s` is the
    wait that the service requests, in seconds; None if it requests no wait. `claims` are the public
    claims of the token that the client sent. `greeting` is the session object in `session.created`.
    """

    outcome: str
    causes: Sequence[Cause]
    wait_s: float | None = None
    claims: Mapping[str, str] = field(default_factory=dict)
    greeting: Mapping[str, Any] = field(default_factory=dict)

    @property
    def message(self) -> str:
        """The text of the causes. That of a service begins with its error code, if the outcome does
        not end with this code.
        """
        return outcomes.detail_text(self.outcome, text_of(self.causes))


@outcomes.computed
# The most specific remedy that is known for certain is given, and only one. So the order of the
# questions is that of their certainty:
#
#   1. the service speaks another dialect, which its own messages show
#   2. the dialect has remedies of its own for refusals
#   3. the server may be an agent that was not named as one
#   4. what the words of the refusal name, such as a limit or a region
#   5. the step that failed: the proxy, the age of sessions
#   6. the status of the refusal: what each service says about it, then what HTTP says
#   7. the row of the outcome, which holds for any service
#
# Reports ask only for the fourth and the last one, because they do not know how the client called
# the target.
def explain(refusal: Refusal, target: Target) -> str:
    """Return the remedy for a refusal; "" if none is known."""
    family, code, _ = outcomes.parsed(refusal.outcome)
    if remedy := dialect_remedy(refusal.outcome, refusal.message, target.dialect, refusal.greeting):
        return remedy
    own = target.dialect.remedies
    if own.of_refusal is not None:
        return outcomes.remedy_of(refusal.outcome, refusal.causes, own)
    if (remedy := _agent_remedy(refusal.outcome, target)) and not refusal.greeting:
        return remedy
    if family is outcomes.Family.THROTTLED or outcomes.named_remedy(
        refusal.outcome, refusal.message
    ):
        remedy = outcomes.remedy_of(refusal.outcome, refusal.causes, own)
        return _later(remedy, refusal.wait_s)
    if own.in_doctor and (remedy := doctor_remedy(target.dialect, refusal.outcome, refusal.causes)):
        return remedy
    if refusal.outcome == "connect_failed:proxy":
        # an HTTP proxy opens a tunnel on CONNECT; a SOCKS proxy has its own command
        proxy = target.network_path.proxy
        request = "CONNECT" if proxy is None or proxy.scheme == "http" else "connections"
        requirement = f"it must allow {request} to port {target.port}"
        if Code.OTHER_LOGIN in codes_in(refusal.causes):
            return outcomes.remedy_of(refusal.outcome, refusal.causes)
        login = "if it requires user and password, put them into its URL"
        return f"the proxy refuses the connection: see its message; {login}; {requirement}"
    if outcomes.EXPIRED in (refusal.outcome, code):
        return (
            "the service ends sessions before a turn can be complete: check the deployment's limits"
        )
    if (status := outcomes.refusal_status(refusal.outcome)) is not None:
        return _status(status, refusal, target)
    return outcomes.remedy_of(refusal.outcome, refusal.causes, own)


def _agent_remedy(outcome: str, target: Target) -> str:
    """Return the remedy if the server may be an agent that is called like a realtime service;
    otherwise "".
    """
    path = known_path(plain_path(target.resource.partition("?")[0]))
    if target.dialect.peer is Peer.AGENT or target.service != "other" or route_at(path):
        return ""
    if (
        outcome != "timeout:session"
        and outcomes.parsed(outcome).family is not outcomes.Family.PROTOCOL_ERROR
    ):
        return ""
    return (
        f"the server does not speak the {target.dialect.name} dialect: if it is an agent, use"
        f" --dialect {either(agent_dialects(path))}; otherwise check the path"
    )


def _status(status: int, refusal: Refusal, target: Target) -> str:
    path = target.resource.partition("?")[0]
    signed = signed_by(target)
    known = target.known_service
    refused = RefusedRequest(
        status,
        refusal.message,
        refusal.claims,
        target.service,
        target.host,
        known_path(plain_path(path)),
        target.resource.partition("?")[2],
        target.model,
        signed,
    )
    # every service is asked, and not only that of the target: a gateway passes on the messages of
    # the service behind it
    explanations = (
        service.explain(refused, service)
        for service in SERVICES.values()
        if service.explain is not None
    )
    if remedy := next(filter(None, explanations), "") or outcomes.version_remedy(refusal.causes):
        return remedy
    match status:
        case 400:
            return (
                "the request is not what the service expects: compare path and query with the"
                " deployment's page"
            )
        case 401:
            return unauthorized(refusal.causes, refusal.claims, target)
        case 403 if signed == "nothing" and not (
            known and known.clouds and known.has_host(target.host)
        ):
            return outcomes.NO_KEY
        case 403:
            return (
                "the key or token is refused, or is not allowed to do this: check that it belongs"
                " to this server (see the variable that --api-key-env names), that it may use this"
                " model, and that this address may connect"
            )
        case 404:
            return (
                f"the server has no path {path}: check that the host is that of the resource, and"
                " that the path is that of the dialect"
            )
        case _ if status >= 500:
            return _later(outcomes.OUT_OF_ORDER, refusal.wait_s)
    general = outcomes.OUTCOMES["connect_failed"]
    return outcomes.remedy_of_cause(general.causes, refusal.causes) or general.remedy


def _later(advice: str, wait_s: float | None) -> str:
    return advice if wait_s is None else f"{advice}; the service requests a delay of {wait_s:.3g} s"


def hint(replayed: ReplayedSession, target: Target | None = None) -> str:
    """Return the first known remedy for a failed session or one of its turns; "" if no remedy is
    known.

    If `target` is None, as for a log, only the remedy for a wrong dialect can be found. All other
    remedies depend on the target and on how the client called it.
    """
    greetings = (
        p.event
        for p in replayed.passages
        if p.event is not None and p.event.kind is EventKind.SESSION_CREATED
    )
    greeting = next((event.session for event in greetings), None) or UNGREETED
    session = replayed.session
    ended = [
        (session.outcome, session.causes),
        *((turn.outcome, turn.causes) for turn in replayed.turns),
    ]
    if target is None:
        dialect = logged_dialect(replayed.opened.about)
        remedies = (
            dialect_remedy(outcome, text_of(causes), dialect, greeting) for outcome, causes in ended
        )
    else:
        refusals = (Refusal(outcome, causes, greeting=greeting) for outcome, causes in ended)
        remedies = (explain(refusal, target) for refusal in refusals)
    return next(filter(None, remedies), "")


def doctor_remedy(dialect: Dialect, outcome: str, causes: Sequence[Cause]) -> str:
    """Return the remedy for an outcome of a call of the doctor; "" if the dialect has remedies
    and none for it.
    """
    own = dialect.remedies
    if (
        not own.in_doctor
        or outcome in own.rows
        or outcome in RECEIVED
        or Code.NO_READ in codes_in(causes)
    ):
        return outcomes.remedy_of(outcome, causes, own)
    return own.in_doctor.get(outcome, "")


def signed_by(target: Target) -> Signed:
    """Return the kind of credentials with which the client signs in to a target."""
    if target.auth is None:
        return "nothing"
    return "entra" if isinstance(target.auth, EntraSignIn) else "key"


def unauthorized(causes: Sequence[Cause], claims: Mapping[str, str], target: Target) -> str:
    """Return the remedy for status 401. `claims` are the public claims of the token that the
    client sent.
    """
    signed = signed_by(target)
    known = target.known_service
    if remedy := _other_sign_in(causes, target):
        return remedy
    if signed == "nothing":
        is_azure = known is not None and known.clouds
        return outcomes.NO_KEY + (", or sign in with --auth entra" if is_azure else "")
    if signed == "entra":
        aud = claims.get("aud")
        sent = f" (the token is for {aud})" if aud else ""
        return (
            f"the token is refused{sent}: check that it is for this cloud and tenant, and that this"
            " machine's clock is right"
        )
    if known is None or not known.key_page or not known.has_host(target.host):
        return (
            f"the key in the header {_sent_header(target)[0]} is refused: check the variable that"
            " --api-key-env names, and that the server reads the key from this header"
            " (--api-key-header)"
        )
    key_page = known.key_page.replace("{host}", target.host)
    return f"the key is wrong, or that of another resource: copy {key_page} again"


def _sent_header(target: Target) -> tuple[str, str]:
    """Return (header, scheme) with which the client signs in; ("", "") if it does not sign in."""
    match target.auth:
        case Credential(name=name, scheme=scheme):
            return name, scheme
        case EntraSignIn():
            return "Authorization", "Bearer"
    return "", ""


def _other_sign_in(causes: Sequence[Cause], target: Target) -> str:
    """Return the remedy if the server's challenges name other ways to sign in than that of the
    client; otherwise "".

    Gateways name the header of their key, as Azure API Management does. The scheme says nothing at
    a resource of Azure, which accepts both keys and tokens.
    """
    remedies = []
    header, scheme = _sent_header(target)
    known = target.known_service
    required = numbers_of(Code.CHALLENGE, causes) or {}
    for name, parameters in challenges(required.get("challenge", "")):
        key = excerpt(parameters.get("name", ""))
        if key and parameters.get("type", "").lower() == "query":
            if f"{key}=" in target.resource:
                return ""
            remedies.append(
                f"the server reads the key from the query: add {key}=${{VARIABLE}} to the URL"
            )
        elif key:
            if key.lower() == header.lower():
                return ""
            remedies.append(
                f"the server reads the key from the header {key}: set --api-key-header {key}, with"
                " the key in the variable of --api-key-env"
            )
        elif name.lower() == scheme.lower() or (
            known and known.clouds and known.has_host(target.host)
        ):
            return ""
        else:
            other = f"the server does not accept the header {header}, see its WWW-Authenticate"
            remedies.append(
                OF_SCHEMES.get(
                    name.lower(), f"{other}: name the header of the key with --api-key-header"
                )
            )
    return remedies[0] if remedies else ""
