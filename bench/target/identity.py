"""The request for one token from Microsoft Entra ID, by azure-identity.

The result is a token, with the credential that returned it, or the reasons why no credential
returned one.

azure-identity is imported at the first sign-in, because gevent must patch the standard library
before that. All blocking operations of azure-identity (sockets, the Azure CLI) then switch to other
greenlets, so it runs in a plain greenlet. A thread of gevent's pool cannot start processes, as each
first request does (`uname`).
"""

import base64
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from traceback import walk_tb
from typing import Any

import certifi

from bench.base.clock import now_with_realtime
from bench.base.errors import RtbenchError
from bench.base.units import NS_PER_S
from bench.catalogue.causes import in_words
from bench.catalogue.outcomes import OUTCOMES, remedy_of_cause
from bench.files.safe_io import read_json
from bench.target.network_path import environment_proxy_secrets, proxy_secrets, proxy_url
from bench.target.target import Credential, EntraSignIn, redacted
from bench.transport.gevent_patch import LimitReached, keep_error_output
from bench.transport.interface import Proxy

# A sign-in ends in one of two ways: a `Token`, or a `SignInError` with one line. The text of
# azure-identity passes four steps before it is that line: secrets are hidden, the text is split by
# credential of the chain, links, tokens and quoted answers are removed, and credentials that are
# not set up here are only named. What is left is what the user has to change.
FIRST_RETRIES = 2
"""The retries of azure-identity at the start, after a 429 or 500. Later, `TokenRenewer` retries
instead."""
CONNECT_LIMIT_S = 3
READ_LIMIT_S = 10
FETCH_LIMIT_S = 30
"""The time limit for fetching a token, and for each program that azure-identity runs.

azure-identity itself limits each connect and each read, but not the total time. A first call of the
Azure CLI on a busy machine needs up to 15 s.
"""
WHY_LENGTH = 200
WHY_IN_CHAIN_LENGTH = 110

SECRET_VARIABLES = (
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_PASSWORD",
    "IDENTITY_HEADER",
    "MSI_SECRET",
)
"""The environment variables that azure-identity reads and that must never be shown, besides
those of proxies."""

REMEDIES = {
    "default": (
        "sign in with `az login`, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET,"
        " or use a key"
    ),
    "managed_identity": (
        "assign a managed identity to this machine; if it has several, set client_id"
    ),
    "service_principal": (
        "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET (or _CERTIFICATE_PATH)"
    ),
    "workload_identity": "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_FEDERATED_TOKEN_FILE",
    "azure_cli": "sign in with `az login`",
}
PROGRAMS = {
    "AzureCliCredential": ("the Azure CLI", "az account get-access-token"),
    "AzurePowerShellCredential": ("PowerShell", "pwsh -c Get-AzAccessToken"),
    "AzureDeveloperCliCredential": ("the Azure Developer CLI", "azd auth token"),
}
"""The programs that credentials run, each with a command that also requests a token."""
_CLAIMS = ("aud", "tid", "appid", "azp", "oid", "exp")
_TOKEN_LIKE = re.compile(r"[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}(\.[A-Za-z0-9_-]*)?")
_QUOTED_ANSWER = re.compile(r"\{.*\}|Content: .*", re.DOTALL)
_LINKS = re.compile(
    r"(See|Visit|To mitigate|For more|Please refer)[^.]*?https://\S+( to troubleshoot this"
    r" issue)?\.?|https://\S+"
)
_MISLEADING = re.compile(
    r"configuration not found in environment\. Token request error: \(\w+\) (None, None)?"
)
"""azure-identity's misleading text if the endpoint of a managed identity refuses, with any
status."""
_UNAVAILABLE = re.compile(r"^(\w+Credential:) \w+Credential authentication unavailable[.,]? ?")
_FAILED = re.compile(
    r"Failed to invoke (?:(Azure (?:Developer )?CLI)|(PowerShell)\. Enable debug.*)"
)
"""azure-identity's text if a program failed, and printed no reason, or one that it does not
show."""
_UNANSWERED = re.compile(r"Failed to invoke (the Azure CLI|PowerShell|the Azure Developer CLI)")
"""azure-identity's text if a program ran longer than its time limit."""
_NOT_SET_UP = re.compile(
    r"(\w+)Credential(?!.*AADSTS)(?:$|.*(?:not fully configured|No accounts were found"
    r"|'azure-identity-broker'|not found on path|is not installed|could not be found))"
)
"""The reason of a credential in a chain that lacks its settings, account or program here."""


class SignInError(RtbenchError):
    """The error if a sign-in returns no token. Its line has the credentials, why each failed,
    and the remedy.
    """

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(f"{reason}: {remedy}" if remedy else reason)
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True)
class Token:
    """A bearer token of a credential class, with its public claims, and its end in CLOCK_MONOTONIC.

    `has_stated_end` is False if its issuer did not state its end.
    """

    bearer: Credential
    expires_ns: int
    issuer: str
    claims: Mapping[str, str] = field(default_factory=dict)
    has_stated_end: bool = True


Fetch = Callable[[EntraSignIn, int], Token]
"""A function that returns a token, or raises SignInError. Its arguments are the sign-in and the
number of retries."""


def fetch_token(entra: EntraSignIn, retries: int) -> Token:
    """Request a token with a new credential object, because one repeats its token for 30 s.
    Raise SignInError.
    """
    try:
        with _certificates(entra.ca) as trusted, _credential(entra, retries, trusted) as credential:
            options = {"tenant_id": entra.tenant_id} if entra.tenant_id else {}
            try:
                info = credential.get_token_info(entra.scope, options=options)
            except LimitReached as interruption:
                raise TimeoutError(unanswered(_asked(credential, interruption))) from None
        return read_token(str(info.token), int(info.expires_on), _issuer(credential))
    except (
        Exception
    ) as error:  # azure-identity passes on any exception of its responses, files and processes
        raise sign_in_error(entra, error) from None


def read_token(secret: str, expires_s: int, issuer: str) -> Token:
    """Return a token with the received secret. `expires_s` is the end of the token's life, in Unix
    time.

    Raise SignInError if the token has expired, or cannot be sent in a header.
    """
    now_ns, wall_ns = now_with_realtime()
    left_ns = expires_s * NS_PER_S - wall_ns
    if not secret or not all("!" <= character <= "~" for character in secret):
        raise SignInError(f"{issuer}: the response has no token that can be sent in a header")
    if left_ns <= 0:
        raise SignInError(
            f"{issuer}: the token expired {-left_ns / NS_PER_S:.0f} s ago; is this machine's clock"
            " right?"
        )
    return Token(
        Credential("Authorization", secret, "Bearer"),
        now_ns + left_ns,
        issuer,
        public_claims(secret),
    )


def public_claims(secret: str) -> dict[str, str]:
    """Return the claims about audience, identity and expiry of a token; {} if it is not a JWT
    (RFC 7519).
    """
    try:
        payload = secret.split(".")[1]
        claims = read_json(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return {name: str(claims[name]) for name in _CLAIMS if name in claims}
    except (IndexError, ValueError, TypeError):
        return {}


def sign_in_error(entra: EntraSignIn, error: Exception) -> SignInError:
    """Return a one-line error. azure-identity's own text has many lines, with links and even
    with responses.
    """
    proxy = [*proxy_secrets(entra.proxy)] if isinstance(entra.proxy, Proxy) else []
    # azure-identity replaces what the Azure CLI prints about a subscription
    printed = str(getattr(error.__cause__, "stderr", None) or "").strip()
    message = printed or str(getattr(error, "message", None) or error or type(error).__name__)
    text = redacted(message, [*environment_secrets(), *proxy])
    _, chain, attempts = text.partition("Attempted credentials:")
    max_length = WHY_IN_CHAIN_LENGTH if chain else WHY_LENGTH
    public_reasons = [
        public_reason(reason, max_length)
        for reason in (attempts.split("\n\t") if chain else [text])
    ]
    reasons = "; ".join(_causes_first(filter(None, public_reasons))) or type(error).__name__
    silent = [
        command
        for program, command in PROGRAMS.values()
        if unanswered(program) in reasons or unexplained(program) in reasons
    ]
    remedy = remedy_of_cause(OUTCOMES["connect_failed:token"].causes, [in_words(reasons)])
    remedy = remedy.replace("SCOPE` (`scope` of the target)", f"{entra.scope}`")
    remedy = remedy or REMEDIES.get(entra.kind, REMEDIES["default"])
    if silent:
        remedy = f"run `{silent[0]}` to see why"
    return SignInError(f"signing in through Entra ID failed ({reasons})", remedy)


def unanswered(asked: str) -> str:
    """Return the reason of a sign-in that took too long. `asked` is a program or a credential."""
    return f"{asked} did not answer within {FETCH_LIMIT_S} s"


def unexplained(program: str) -> str:
    """Return the reason of a sign-in whose program failed without a reason."""
    return f"{program} failed and stated no reason"


def _causes_first(reasons: Iterable[str]) -> list[str]:
    """Return the reasons of credentials that are set up here, and one with the names of the
    others.
    """
    reasons = list(reasons)
    not_set_up = [match[1] for match in map(_NOT_SET_UP.match, reasons) if match]
    causes = [reason for reason in reasons if not _NOT_SET_UP.match(reason)]
    return [*causes, f"not set up: {', '.join(not_set_up)}"] if not_set_up else causes


def _asked(credential: Any, interruption: BaseException) -> str:
    """Return the program, or the class of the credential, whose answer an interruption cut off.

    A chain asks one credential after the other.
    """
    links = getattr(credential, "credentials", (credential,))
    methods_of = [frame.f_locals.get("self") for frame, _ in walk_tb(interruption.__traceback__)]
    asked = next((link for link in links if any(link is each for each in methods_of)), credential)
    name = type(asked).__name__
    return PROGRAMS[name][0] if name in PROGRAMS else name


def public_reason(message: str, max_length: int) -> str:
    """Return the message of one credential on one line, without links, tokens and quoted
    responses.
    """
    message = message.partition("\nTo mitigate this issue")[0]
    message = _TOKEN_LIKE.sub("***", _QUOTED_ANSWER.sub("{…}", message))
    message = " ".join(_MISLEADING.sub("endpoint refused: ", _LINKS.sub("", message)).split())
    message = _FAILED.sub(
        lambda match: unexplained(f"the {match[1]}" if match[1] else match[2]), message
    )
    message = _UNANSWERED.sub(lambda match: unanswered(match[1]), message)
    message = _UNAVAILABLE.sub(r"\1 ", message).rstrip(" .:")
    return message if len(message) <= max_length else message[: max_length - 1] + "…"


def environment_secrets() -> Iterator[Credential]:
    """Yield the secrets that azure-identity reads from this process's environment."""
    yield from (Credential(name, os.environ.get(name, "")) for name in SECRET_VARIABLES)
    yield from environment_proxy_secrets(os.environ)


def proxies_of(entra: EntraSignIn) -> dict[str, str]:
    """Return the proxies for azure-identity, in the form that `requests` needs.

    An empty proxy means a direct connection. The endpoints of managed identities have no TLS. They
    are on this machine or on its host, and need no proxy. If no proxy is set here, the
    environment's variables determine it.
    """
    direct = {"http": ""}
    if isinstance(entra.proxy, Proxy) and entra.kind != "managed_identity":
        return direct | {"https": proxy_url(entra.proxy)}
    return (
        direct
        if entra.proxy is None and entra.kind != "managed_identity"
        else direct | {"https": ""}
    )


@contextmanager
def _certificates(ca: Path | None) -> Iterator[dict[str, Any]]:
    """Yield azure-identity's setting for a file with the usual authorities and `ca`; {} if `ca`
    is None.
    """
    if ca is None:
        yield {}
        return
    default = Path(os.environ.get("REQUESTS_CA_BUNDLE", ""))
    with tempfile.NamedTemporaryFile(suffix=".pem") as bundle:
        usual = default if default.is_file() else Path(certifi.where())
        bundle.write(usual.read_bytes() + b"\n" + ca.read_bytes())
        bundle.flush()
        yield {"connection_verify": bundle.name}


def _credential(entra: EntraSignIn, retries: int, trusted: Mapping[str, Any]) -> Any:
    """Return a new credential object of the kind that `entra` names. Its constructor may raise
    any exception.
    """
    _silence()
    keep_error_output()
    from azure import identity

    network = {
        "retry_total": retries,
        "connection_timeout": CONNECT_LIMIT_S,
        "read_timeout": READ_LIMIT_S,
        "proxies": proxies_of(entra),
        **trusted,
    }
    authority = {"authority": entra.authority} if entra.authority else {}
    client: dict[str, Any] = {"client_id": entra.client_id} if entra.client_id else {}
    match entra.kind:
        case "managed_identity":
            return identity.ManagedIdentityCredential(**client, **network)
        case "service_principal":
            return _service_principal(entra, network | authority)
        case "workload_identity":
            tenant = {"tenant_id": entra.tenant_id} if entra.tenant_id else {}
            return identity.WorkloadIdentityCredential(**client, **tenant, **authority, **network)
        case "azure_cli":
            return identity.AzureCliCredential(process_timeout=FETCH_LIMIT_S)
        case _:
            managed = {"managed_identity_client_id": entra.client_id} if entra.client_id else {}
            tenants = {"additionally_allowed_tenants": [entra.tenant_id]} if entra.tenant_id else {}
            limits = network | {"process_timeout": FETCH_LIMIT_S}
            return identity.DefaultAzureCredential(**managed, **tenants, **authority, **limits)


def _service_principal(entra: EntraSignIn, settings: dict[str, Any]) -> Any:
    """Return the credential of a service principal.

    If the target names no client and no tenant, everything comes from the environment. Otherwise
    the environment provides the secret or the certificate, and the ids that the target does not
    name.
    """
    from azure import identity

    if entra.client_id is None and entra.tenant_id is None:
        return identity.EnvironmentCredential(**settings)
    client = entra.client_id or os.environ.get("AZURE_CLIENT_ID", "")
    tenant = entra.tenant_id or os.environ.get("AZURE_TENANT_ID", "")
    if secret := os.environ.get("AZURE_CLIENT_SECRET"):
        return identity.ClientSecretCredential(tenant, client, secret, **settings)
    path = os.environ.get("AZURE_CLIENT_CERTIFICATE_PATH")
    password = os.environ.get("AZURE_CLIENT_CERTIFICATE_PASSWORD")
    return identity.CertificateCredential(tenant, client, path, password=password, **settings)


def _issuer(credential: Any) -> str:
    """Return the name of the credential class that returned the token.

    Of a chain, it is that of the successful credential. The class of a wrapped credential follows
    it.
    """
    link = getattr(credential, "_successful_credential", None) or credential
    inner = getattr(link, "_credential", None)
    name = type(link).__name__
    return name if inner is None else f"{name} ({type(inner).__name__})"


def _silence() -> None:
    """Silence azure-identity's log. It repeats the errors in many lines and, at level DEBUG,
    contains headers.
    """
    for name in ("azure", "msal"):
        logger = logging.getLogger(name)
        logger.propagate = False
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
