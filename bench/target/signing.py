"""How a target is signed in to: by a key, through Microsoft Entra ID, or not at all. Fetches nothing."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, NamedTuple

from bench.protocol.voice_live import VOICE_LIVE
from bench.target.address import Address, azure_cloud
from bench.target.credentials import Credential, cleaned
from bench.target.network_path import NONE
from bench.target.services import SERVICES
from bench.target.settings import PUBLIC_SCOPE, AuthSettings, KeyNames, Surroundings, TargetSettings
from bench.target.target import Auth, Entra
from bench.target.urls import SettingError
from bench.transport.base import NetworkPath, Proxy

BASIC = "Basic"
CLOUDS: Mapping[str, tuple[str, str | None]] = {
    "azure.com": (PUBLIC_SCOPE, None),
    "azure.us": ("https://cognitiveservices.azure.us/.default", "login.microsoftonline.us"),
    "azure.cn": ("https://cognitiveservices.azure.cn/.default", "login.chinacloudapi.cn"),
}
"""Cloud → scope of its tokens, and the host that signs in; None for azure-identity's own."""
VOICE_LIVE_SCOPE = "https://ai.azure.com/.default"
"""What the tokens of Voice Live's own client are for, in the public cloud (azure-ai-voicelive 1.3.1)."""


class SignedIn(NamedTuple):
    """What signs in; what else of it must be shown nowhere; and what to read of it before a run."""

    auth: Auth
    secrets: tuple[Credential, ...] = ()
    notices: tuple[str, ...] = ()


def auth_of(settings: TargetSettings, around: Surroundings, address: Address, way: NetworkPath) -> SignedIn:
    """Raises SettingError, and UsageError for a key that no header can hold."""
    auth, names = settings.auth, around.names
    if auth is None or auth == "key" or auth == "basic":
        return _by_key(settings, around, address)
    if settings.key_env is not None:
        raise SettingError("auth", f"{names['auth']} and {names['key_env']} are two ways to sign in: leave one out")
    entra = _by_entra(AuthSettings(type=auth) if isinstance(auth, str) else auth, names, address)
    told: Proxy | Literal["none"] | None = None if settings.proxy is None else way.proxy or NONE
    return SignedIn(replace(entra, proxy=told, ca=way.ca))


def _by_key(settings: TargetSettings, around: Surroundings, address: Address) -> SignedIn:
    names = around.names
    if settings.key_env is not None:
        key = _key(settings.key_env, around)
        if settings.auth == "basic" or (settings.auth is None and _takes_basic(address)):
            return _basic(key)
        azure = address.service == "azure"
        return SignedIn(Credential("api-key", key) if azure else Credential("Authorization", key, "Bearer"))
    if settings.auth is not None:
        name = f"{names['auth']} {settings.auth}"
        raise SettingError("auth", f"{name} needs {names['key_env']}, the name of the key's variable")
    if address.service == "other" or address.loopback or settings.headers or settings.subprotocols:
        return SignedIn(None)
    return SignedIn(None, notices=(f"no key is sent: {names['key_env']} NAME sends the one in the variable NAME",))


def _takes_basic(address: Address) -> bool:
    known = SERVICES.get(address.service)
    return known is not None and known.basic


def _basic(key: str) -> SignedIn:
    """Basic authentication (RFC 7617): a user and a password with a colon between them, or what base64 made of both."""
    if ":" not in key:
        return SignedIn(Credential("Authorization", key, BASIC))
    coded = base64.b64encode(key.encode()).decode()
    return SignedIn(
        Credential("Authorization", coded, BASIC), (Credential("key", key), Credential("key", key.partition(":")[2]))
    )


def _key(variable: str, around: Surroundings) -> str:
    source = around.names["key_env"]
    key = cleaned(around.environ.get(variable, ""), source if source == variable else f"the variable of {source}")
    if not key:  # without its name, for some give the key itself
        problem = f"{source} names a variable that is not set: it wants the variable's name, not the key"
        raise SettingError("key_env", problem)
    return key


def _by_entra(auth: AuthSettings, names: KeyNames, address: Address) -> Entra:
    cloud = azure_cloud(address.host)
    if auth.scope is None and address.service != "azure" and not address.loopback:
        remedy = "name the scope of its tokens, in the `auth` of a targets.yaml"
        raise SettingError("auth", f"{names['auth']} is for Azure, and {address.host} is not there: {remedy}")
    scope, authority = CLOUDS[cloud or "azure.com"]
    if address.dialect is VOICE_LIVE and scope == PUBLIC_SCOPE:
        scope = VOICE_LIVE_SCOPE
    return Entra(
        scope=auth.scope or scope,
        kind="default" if auth.type == "entra" else auth.type,
        authority=auth.authority or authority,
        client_id=auth.client_id,
        tenant_id=auth.tenant_id,
    )
