"""The remedies if a service does not accept the key or token of the client (status 401). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from bench.catalogue.metrics import CHALLENGE
from bench.files.sanitize import excerpt
from bench.services.azure.service import GA_ROUTE, azure_cloud
from bench.services.voice_live import VOICE_LIVE_ROUTE
from bench.target.address import known_path
from bench.target.credentials import Credential
from bench.target.target import EntraSignIn, Target
from bench.transport.challenges import challenges

Signed = Literal["key", "entra", "nothing"]
ROLES = ("Cognitive Services OpenAI User", "Cognitive Services User")
NO_KEY = "no key was sent: name the variable that contains it: --api-key-env NAME"
OF_SCHEMES = {
    "basic": "the server requires a user and a password: set --auth basic, with USER:PASSWORD in the variable of "
    "--api-key-env",
    "bearer": "the server requires a bearer token: set --api-key-env, and --api-key-header Authorization if the key is "
    "sent in another header, or sign in with --auth entra",
}
"""The remedies if a server accepts only one scheme of `WWW-Authenticate`, by its name in lower case."""


def signed_by(target: Target) -> Signed:
    """Return the kind of credentials with which the client signs in to a target."""
    if target.auth is None:
        return "nothing"
    return "entra" if isinstance(target.auth, EntraSignIn) else "key"


def unauthorized(message: str, claims: Mapping[str, str], target: Target) -> str:
    """Return the remedy for status 401. `claims` are the public claims of the token that the client sent."""
    signed, path = signed_by(target), known_path(target.resource.partition("?")[0].rstrip("/"))
    if path == GA_ROUTE.path and "api-version=" in target.resource:
        return f"remove api-version from the URL: {GA_ROUTE.path} has none, and Azure answers 401 if there is one"
    if "PermissionDenied" in message or (signed == "entra" and "lack" in message.lower()):
        role, other = ROLES[::-1] if path == VOICE_LIVE_ROUTE.path else ROLES
        identity = claims.get("oid") or claims.get("appid") or "OBJECT_ID"
        return (f"the identity has no role on the resource: give it {role!r} (or {other!r}): "
                f'az role assignment create --assignee {identity} --role "{role}" --scope RESOURCE_ID; '
                "it takes effect within five minutes")  # fmt: skip
    if remedy := _other_sign_in(message, target):
        return remedy
    if signed == "nothing":
        return f"{NO_KEY}, or sign in with --auth entra" if target.service == "azure" else NO_KEY
    if signed == "entra":
        aud = claims.get("aud")
        sent = f" (the token is for {aud})" if aud else ""
        return (
            f"the token is refused{sent}: check that it is for this cloud and tenant, and that this machine's clock "
            "is right"
        )
    if target.service != "azure" or (azure_cloud(target.host) is None and not target.loopback):
        return (
            f"the key in the header {_sent_header(target)[0]} is refused: check the variable that --api-key-env names, "
            "and that the server reads the key from this header (--api-key-header)"
        )
    return f"the key is wrong, or that of another resource: copy Key 1 of {target.host} (Keys and Endpoint) again"


def _sent_header(target: Target) -> tuple[str, str]:
    """Return (header, scheme) with which the client signs in; ("", "") if it does not sign in."""
    match target.auth:
        case Credential(name=name, scheme=scheme):
            return name, scheme
        case EntraSignIn():
            return "Authorization", "Bearer"
    return "", ""


def _other_sign_in(message: str, target: Target) -> str:
    """Return the remedy if the server's challenges name other ways to sign in than that of the client; otherwise "".

    Gateways name the header of their key, as Azure API Management does. The scheme says nothing at an Azure resource,
    which accepts both keys and tokens.
    """
    remedies = []
    header, scheme = _sent_header(target)
    for name, parameters in challenges(message.partition(CHALLENGE)[2]):
        key = excerpt(parameters.get("name", ""))
        if key and parameters.get("type", "").lower() == "query":
            if f"{key}=" in target.resource:
                return ""
            remedies.append(f"the server reads the key from the query: add {key}=${{VARIABLE}} to the URL")
        elif key:
            if key.lower() == header.lower():
                return ""
            remedies.append(
                f"the server reads the key from the header {key}: set --api-key-header {key}, with the key in the "
                "variable of --api-key-env"
            )
        elif name.lower() == scheme.lower() or azure_cloud(target.host) is not None:
            return ""
        else:
            other = f"the server does not accept the header {header}, see its WWW-Authenticate"
            remedies.append(OF_SCHEMES.get(name.lower(), f"{other}: name the header of the key with --api-key-header"))
    return remedies[0] if remedies else ""
