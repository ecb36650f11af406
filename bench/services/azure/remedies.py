"""The remedies for statuses with which Azure refuses an upgrade. Pure."""

from __future__ import annotations

import re

from bench.catalogue.outcomes import NO_DEPLOYMENT, REALTIME_MODELS
from bench.files.validation import either
from bench.wire.service import RefusedRequest, Service

_API_VERSION = re.compile(r"api[\s_-]?version", re.IGNORECASE)
_NO_KEYS = re.compile(r"AuthenticationTypeDisabled|key[- ]based authentication", re.IGNORECASE)


def explain(refused: RefusedRequest, service: Service) -> str:
    """Return the remedy for a status; "" if it is none of Azure's. `service` is Azure."""
    message, route = refused.message, next((route for route in service.routes if route.path == refused.path), None)
    ga, preview, *_ = service.routes
    match refused.status:
        case 400 if re.search(r"op+erationnotsupported", message, re.IGNORECASE):
            return (
                f"the deployment{f' {refused.model}' if refused.model else ''} is not a deployment of a realtime "
                f"model: deploy {either(REALTIME_MODELS)}, and use that deployment"
            )
        case 400 if _API_VERSION.search(message):
            known = " or ".join((route and route.versions) or preview.versions or ())
            undated = "" if route and route.title and route.versions else f", or the path {ga.path}, which needs none"
            return f"the service does not support this api-version: use {known}{undated}"
        case 401 if route is not None and route.versions == () and "api-version=" in refused.query:
            return f"remove api-version from the URL: {route.path} has none, and Azure answers 401 if there is one"
        case 401 if "PermissionDenied" in message or (refused.signed == "entra" and "lack" in message.lower()):
            role, other = (route and route.roles) or ga.roles
            identity = refused.claims.get("oid") or refused.claims.get("appid") or "OBJECT_ID"
            return (f"the identity has no role on the resource: give it {role!r} (or {other!r}): "
                    f'az role assignment create --assignee {identity} --role "{role}" --scope RESOURCE_ID; '
                    "it takes effect within five minutes")  # fmt: skip
        case 403 if _NO_KEYS.search(message):
            return "the resource does not accept keys: unset the key and sign in (`az login`), or use --auth entra"
        case 403 if refused.service == service.name and (refused.signed != "nothing" or service.has_host(refused.host)):
            return ("network rules block this machine, or the resource is disabled: allow this address in the "
                    "resource's Networking page, or connect through its private endpoint")  # fmt: skip
        case 404 if NO_DEPLOYMENT in message:
            return (
                f"{refused.host} has no deployment called {refused.model}: list its deployments with `az "
                "cognitiveservices account deployment list -g GROUP -n RESOURCE -o table`; use the deployment's "
                "name, not the model's; a new deployment is ready after five minutes"
            )
        case 431:
            return "there are more than ten custom headers: remove some from the target's `headers`"
    return ""
