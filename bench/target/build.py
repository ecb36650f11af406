"""A target made of its settings, wherever they were written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench.installation import tool_version
from bench.money import Prices, prices_of
from bench.target.address import Address, endpoint_address, url_address
from bench.target.credentials import cleaned, unquoted
from bench.target.network_path import network_path_of
from bench.target.prices import load_price_table
from bench.target.services import MODEL, SERVICES, KnownService
from bench.target.settings import KeyNames, Surroundings, TargetSettings
from bench.target.signing import auth_of
from bench.target.target import Target, as_label
from bench.target.urls import Headers, SettingError, filled_resource, further_headers, subprotocols


def build_target(settings: TargetSettings, around: Surroundings) -> Target:
    """The target that the settings describe; without a label it has its host's. Raises SettingError or UsageError."""
    settings = (
        settings if settings.service is None else with_service_defaults(settings, SERVICES[settings.service], around)
    )
    address = _address(settings, around.names)
    resource, of_url = filled_resource(address.resource, around.environ)
    way, way_notices = network_path_of(settings, around, address)
    auth, of_auth, sign_in_notices = auth_of(settings, around, address, way)
    further, of_headers = further_headers(settings.headers or {}, around.environ)
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
        headers=_merged((("User-Agent", f"rtbench/{tool_version()}"), *address.headers), further),
        subprotocols=offered,
        secrets=(*of_url, *of_auth, *of_headers, *of_offered),
        session=settings.session or {},
        way=way,
        region=settings.region,
        connect_rate_per_min=settings.connect_rate,
        prices=_prices(settings, around.price_file),
        model=address.asked_for,
        notices=address.notices + sign_in_notices + way_notices,
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


def _merged(ours: Headers, further: Headers) -> Headers:
    """Our headers and the user's, whose win where both set one (in any case of letters)."""
    given = {name.lower() for name, _ in further}
    return (*(header for header in ours if header[0].lower() not in given), *further)


def with_service_defaults(settings: TargetSettings, known: KnownService, around: Surroundings) -> TargetSettings:
    """Fill settings that are not given from what is known of their service. Raises SettingError.

    The service's usual key goes to its own address alone: with a `url` the key is named.
    """
    if settings.url is not None:
        return settings
    model = settings.model or known.model
    if MODEL not in known.url:
        named = replace(settings, url=known.url, session=_with_model(settings.session or {}, model))
    elif model is None:
        raise SettingError("model", f"the target needs `model`, the name of a model of {known.title}")
    else:
        named = replace(settings, url=known.url.replace(MODEL, quote(model, safe="")))
    return replace(named, model=None, key_env=settings.key_env or _usual_key(settings, known, around))


def _with_model(session: dict[str, Any], model: str | None) -> dict[str, Any]:
    """The settings of a session that names its model itself."""
    return session if model is None else session | {"extra": {"model": model, **session.get("extra", {})}}


def _usual_key(settings: TargetSettings, known: KnownService, around: Surroundings) -> str | None:
    """The variable that clients of the service read its key from, unless the target signs in otherwise."""
    if known.key_env is None or settings.headers or settings.auth not in (None, "key", "basic"):
        return None
    is_set = bool(unquoted(around.environ.get(known.key_env, "")))
    if known.hosts and not is_set:
        problem = f"{known.key_env} is not set: it is the key of {known.title}, unless `key_env` names another variable"
        raise SettingError("service", problem)
    return known.key_env if is_set else None
