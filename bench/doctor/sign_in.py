"""The remedies if a service does not accept the key or token of the client (status 401). Pure."""

from __future__ import annotations

from collections.abc import Mapping

from bench.catalogue.causes import CHALLENGE
from bench.files.sanitize import excerpt
from bench.target.credentials import Credential
from bench.target.target import EntraSignIn, Target
from bench.transport.challenges import challenges
from bench.wire.service import Signed

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
    signed, known = signed_by(target), target.known_service
    if remedy := _other_sign_in(message, target):
        return remedy
    if signed == "nothing":
        return f"{NO_KEY}, or sign in with --auth entra" if known and known.clouds else NO_KEY
    if signed == "entra":
        aud = claims.get("aud")
        sent = f" (the token is for {aud})" if aud else ""
        return (
            f"the token is refused{sent}: check that it is for this cloud and tenant, and that this machine's clock "
            "is right"
        )
    if known is None or not known.key_page or not (known.has_host(target.host) or target.loopback):
        return (
            f"the key in the header {_sent_header(target)[0]} is refused: check the variable that --api-key-env names, "
            "and that the server reads the key from this header (--api-key-header)"
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


def _other_sign_in(message: str, target: Target) -> str:
    """Return the remedy if the server's challenges name other ways to sign in than that of the client; otherwise "".

    Gateways name the header of their key, as Azure API Management does. The scheme says nothing at a resource of Azure,
    which accepts both keys and tokens.
    """
    remedies = []
    (header, scheme), known = _sent_header(target), target.known_service
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
        elif name.lower() == scheme.lower() or (known and known.clouds and known.has_host(target.host)):
            return ""
        else:
            other = f"the server does not accept the header {header}, see its WWW-Authenticate"
            remedies.append(OF_SCHEMES.get(name.lower(), f"{other}: name the header of the key with --api-key-header"))
    return remedies[0] if remedies else ""
