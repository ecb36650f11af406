"""Makes a target of its settings, wherever they were written: its address, how it is signed in to, its prices. Pure.

A target is signed in to by a key, through Microsoft Entra ID, or not at all. Nothing is fetched here.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import quote

from bench.installation import tool_version
from bench.money import Prices, prices_of
from bench.protocol.voice_live import VOICE_LIVE
from bench.target.address import Address, azure_cloud, endpoint_address, url_address
from bench.target.credentials import Credential, cleaned, unquoted
from bench.target.network_path import NONE, network_path_of
from bench.target.prices import load_price_table
from bench.target.services import MODEL, SERVICES, KnownService
from bench.target.target import Auth, Entra, Target, as_label
from bench.target.target_settings import PUBLIC_SCOPE, AuthSettings, KeyNames, Surroundings, TargetSettings
from bench.target.urls import SettingError, filled_resource, further_headers, subprotocols
from bench.transport.interface import NetworkPath, Proxy

BASIC = "Basic"
CLOUDS: Mapping[str, tuple[str, str | None]] = {
    "azure.com": (PUBLIC_SCOPE, None),
    "azure.us": ("https://cognitiveservices.azure.us/.default", "login.microsoftonline.us"),
    "azure.cn": ("https://cognitiveservices.azure.cn/.default", "login.chinacloudapi.cn"),
}
"""Cloud → scope of its tokens, and the host that signs in; None for azure-identity's own."""
VOICE_LIVE_SCOPE = "https://ai.azure.com/.default"
"""What the tokens of Voice Live's own client are for, in the public cloud (azure-ai-voicelive 1.3.1)."""


def build_target(settings: TargetSettings, around: Surroundings) -> Target:
    """The target that the settings describe; without a label it has its host's. Raises SettingError or UsageError."""
    settings = (
        settings if settings.service is None else with_service_defaults(settings, SERVICES[settings.service], around)
    )
    address = _address(settings, around.names)
    resource, of_url = filled_resource(address.resource, around.environ)
    network_path, path_notices = network_path_of(settings, around, address)
    auth, of_auth, sign_in_notices = auth_of(settings, around, address, network_path)
    further, of_headers = further_headers(settings.headers or {}, around.environ)
    ours = (("User-Agent", f"rtbench/{tool_version()}"), *address.headers)
    theirs = {name.lower() for name, _ in further}  # who win where both set one
    offered, of_offered = subprotocols(settings.subprotocols or (), around.environ)
    return Target(
        label=settings.label or as_label(address.host),
        host=address.host,
        port=address.port,
        tls=address.tls,
        resource=resource,
        dialect=address.dialect,
        service=address.service,
        auth=auth,
        headers=(*(header for header in ours if header[0].lower() not in theirs), *further),
        subprotocols=offered,
        secrets=(*of_url, *of_auth, *of_headers, *of_offered),
        session=settings.session or {},
        network_path=network_path,
        region=settings.region,
        connect_rate_per_min=settings.connect_rate,
        prices=_prices(settings, around.price_file),
        model=address.asked_for,
        notices=address.notices + sign_in_notices + path_notices,
    )


def _address(settings: TargetSettings, names: KeyNames) -> Address:
    if settings.url is not None:
        if settings.endpoint is not None:
            other = "url" if settings.service is None else "service"
            raise SettingError("endpoint", f"endpoint and {other} both say where the service is: leave one out")
        for key in ("deployment", "model", "api_version"):
            if getattr(settings, key) is not None:
                raise SettingError(key, f"{key} goes with `endpoint`: a `url` says it itself")
        return url_address(settings.url, settings, names)
    if settings.endpoint is None:
        raise SettingError("endpoint", "the target needs `endpoint` (Azure), `service` or `url` (any service)")
    if settings.deployment is not None and settings.model is not None:
        raise SettingError("model", "model and deployment are two names of the same: leave one out")
    deployment = settings.deployment or settings.model
    if deployment is None:
        raise SettingError("deployment", "the target needs `deployment`, the name of a deployment of a realtime model")
    return endpoint_address(cleaned(settings.endpoint, names["endpoint"]), deployment, settings, names)


def _prices(settings: TargetSettings, price_file: Path | None) -> Prices | None:
    match settings.prices:
        case None:
            return None
        case Prices() as own:
            return own
        case str() as model:
            table = load_price_table(price_file)
            prices = prices_of(table.models, model)
            if prices is None:
                raise SettingError("prices", f"prices names no model of {table.name}: {', '.join(table.models)}")
            return prices


def with_service_defaults(settings: TargetSettings, known: KnownService, around: Surroundings) -> TargetSettings:
    """Fill settings that are not given from what is known of their service. Raises SettingError.

    The service's usual key goes to its own address alone: with a `url` the key is named.
    """
    if settings.url is not None:
        return settings
    model = settings.model or known.model
    if MODEL not in known.url:
        session = settings.session or {}
        extra = {} if model is None else {"extra": {"model": model, **session.get("extra", {})}}
        named = replace(settings, url=known.url, session=session | extra)
    elif model is None:
        raise SettingError("model", f"the target needs `model`, the name of a model of {known.title}")
    else:
        named = replace(settings, url=known.url.replace(MODEL, quote(model, safe="")))
    return replace(named, model=None, key_env=settings.key_env or _usual_key(settings, known, around))


def _usual_key(settings: TargetSettings, known: KnownService, around: Surroundings) -> str | None:
    """The variable that clients of the service read its key from, unless the target signs in otherwise."""
    if known.key_env is None or settings.headers or settings.auth not in (None, "key", "basic"):
        return None
    is_set = bool(unquoted(around.environ.get(known.key_env, "")))
    if known.hosts and not is_set:
        problem = f"{known.key_env} is not set: it is the key of {known.title}, unless `key_env` names another variable"
        raise SettingError("service", problem)
    return known.key_env if is_set else None


class SignedIn(NamedTuple):
    """What signs in; what else of it must be shown nowhere; and what to read of it before a run."""

    auth: Auth
    secrets: tuple[Credential, ...] = ()
    notices: tuple[str, ...] = ()


def auth_of(settings: TargetSettings, around: Surroundings, address: Address, path: NetworkPath) -> SignedIn:
    """Raises SettingError, and UsageError for a key that no header can hold."""
    auth, names = settings.auth, around.names
    if auth is None or auth == "key" or auth == "basic":
        return _by_key(settings, around, address)
    if settings.key_env is not None:
        raise SettingError("auth", f"{names['auth']} and {names['key_env']} are two ways to sign in: leave one out")
    entra = _by_entra(AuthSettings(type=auth) if isinstance(auth, str) else auth, names, address)
    told: Proxy | Literal["none"] | None = None if settings.proxy is None else path.proxy or NONE
    return SignedIn(replace(entra, proxy=told, ca=path.ca))


def _by_key(settings: TargetSettings, around: Surroundings, address: Address) -> SignedIn:
    names = around.names
    if settings.key_env is not None:
        key = _key(settings.key_env, around)
        known = SERVICES.get(address.service)
        if settings.auth == "basic" or (settings.auth is None and known is not None and known.basic):
            return _basic(key)
        azure = address.service == "azure"
        return SignedIn(Credential("api-key", key) if azure else Credential("Authorization", key, "Bearer"))
    if settings.auth is not None:
        name = f"{names['auth']} {settings.auth}"
        raise SettingError("auth", f"{name} needs {names['key_env']}, the name of the key's variable")
    if address.service == "other" or address.loopback or settings.headers or settings.subprotocols:
        return SignedIn(None)
    return SignedIn(None, notices=(f"no key is sent: {names['key_env']} NAME sends the one in the variable NAME",))


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
