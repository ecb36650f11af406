"""A target that names its service, in the words of one that says everything itself. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import quote

from bench.target.credentials import unquoted
from bench.target.services import MODEL, KnownService
from bench.target.settings import Surroundings, TargetSettings
from bench.target.urls import SettingError


def at_service(settings: TargetSettings, known: KnownService, around: Surroundings) -> TargetSettings:
    """The settings with what is known of their service, where they say nothing else. Raises SettingError.

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
