"""Azure: its clouds, the addresses of its realtime services, and the remedies for its refusals.
Pure.

The addresses are those of its reference of the Realtime API.
"""

# Azure answers many mistakes with the same status, and its text names only the symptom. `explain`
# therefore looks at the request as well: its path, its query, how it was signed, and the public
# claims of its token. A remedy is returned only if these facts leave one cause. Otherwise the
# general remedy of the status is shown.

import re

from bench.catalogue.model_retirements import retirements
from bench.catalogue.outcomes import NO_DEPLOYMENT, REALTIME_MODELS
from bench.files.validation import either
from bench.services.openai.dialect import GA
from bench.services.openai.preview import PREVIEW
from bench.wire.service import Cloud, KeyHeader, RefusedRequest, Route, Service

CLOUDS = {
    "azure.com": Cloud("https://cognitiveservices.azure.com/.default"),
    "azure.us": Cloud("https://cognitiveservices.azure.us/.default", "login.microsoftonline.us"),
    "azure.cn": Cloud("https://cognitiveservices.azure.cn/.default", "login.chinacloudapi.cn"),
}
"""The clouds by their domains: public, US government, China."""
ROLES = "Cognitive Services OpenAI User", "Cognitive Services User"
GA_ROUTE = Route("/openai/v1/realtime", GA, needs=("model",), versions=(), roles=ROLES)
PREVIEW_VERSIONS = ("2024-10-01-preview", "2025-04-01-preview")
PREVIEW_ROUTE = Route(
    "/openai/realtime",
    PREVIEW,
    needs=("deployment",),
    versions=PREVIEW_VERSIONS,
    connects_per_min=30.0,  # the service's quota is tens of new connections per minute
)
AZURE_SCHEDULE = "Microsoft's retirement schedule of Foundry models, July 2026"
RETIREMENTS = retirements(
    ("gpt-4o-realtime-preview-2024-10-01", "2025-03-26", "learn.microsoft.com, legacy models"),
    ("gpt-realtime-mini-2025-10-06", "2026-07-23", AZURE_SCHEDULE),
    ("gpt-realtime-mini-2025-12-15", "2026-12-15", AZURE_SCHEDULE),
    ("gpt-realtime-1.5", "2027-02-23", AZURE_SCHEDULE),
    ("gpt-realtime", "2027-02-28", AZURE_SCHEDULE),
    ("gpt-realtime-2", "2027-05-06", AZURE_SCHEDULE),
    ("gpt-realtime-2.1", "2027-06-25", AZURE_SCHEDULE),
    ("gpt-realtime-2.1-mini", "2027-06-25", AZURE_SCHEDULE),
)
NO_API_VERSIONS = dict.fromkeys(
    ("2024-10-01", "2024-12-17", "2025-06-03", "2025-08-28", "2025-10-06", "2025-12-15"),
    "a model version, not an api-version",
) | dict.fromkeys(("v1", "preview", "latest"), "no api-version of a realtime service")
"""What some people take for api-versions: versions of models, and api-versions of Azure's other
services."""
_API_VERSION = re.compile(r"api[\s_-]?version", re.IGNORECASE)
_NO_KEYS = re.compile(r"AuthenticationTypeDisabled|key[- ]based authentication", re.IGNORECASE)


def explain(refused: RefusedRequest, service: Service) -> str:
    """Return the remedy for a status; "" if it is none of Azure's. `service` is Azure."""
    message = refused.message
    routes = (route for route in service.routes if route.pattern.fullmatch(refused.path))
    route = next(routes, None)
    if route is not None and (remedy := route.explain(refused)):
        return remedy
    ga, preview, *_ = service.routes
    match refused.status:
        case 400 if re.search(r"op+erationnotsupported", message, re.IGNORECASE):
            return (
                f"the deployment{f' {refused.model}' if refused.model else ''} is not a deployment"
                f" of a realtime model: deploy {either(REALTIME_MODELS)}, and use that deployment"
            )
        case 400 if _API_VERSION.search(message):
            known = " or ".join((route and route.versions) or preview.versions or ())
            undated = (
                ""
                if route and route.title and route.versions
                else f", or the path {ga.path}, which needs none"
            )
            return f"the service does not support this api-version: use {known}{undated}"
        case 401 if route is not None and route.versions == () and "api-version=" in refused.query:
            return (
                f"remove api-version from the URL: {route.path} has none, and Azure answers 401 if"
                " there is one"
            )
        case 401 if "PermissionDenied" in message or (
            refused.signed == "entra" and "lack" in message.lower()
        ):
            role, other = (route and route.roles) or ga.roles
            identity = refused.claims.get("oid") or refused.claims.get("appid") or "OBJECT_ID"
            return (
                f"the identity has no role on the resource: give it {role!r} (or {other!r}): "
                f'az role assignment create --assignee {identity} --role "{role}" --scope'
                " RESOURCE_ID; "
                "it takes effect within five minutes"
            )
        case 403 if _NO_KEYS.search(message):
            return (
                "the resource does not accept keys: unset the key and sign in (`az login`), or use"
                " --auth entra"
            )
        case 403 if refused.service == service.name and (
            refused.signed != "nothing" or service.has_host(refused.host)
        ):
            return (
                "network rules block this machine, or the resource is disabled: allow this address"
                " in the resource's Networking page, or connect through its private endpoint"
            )
        case 404 if NO_DEPLOYMENT in message:
            return (
                f"{refused.host} has no deployment called {refused.model}: list its deployments"
                " with `az cognitiveservices account deployment list -g GROUP -n RESOURCE -o"
                " table`; use the deployment's name, not the model's; a new deployment is ready"
                " after five minutes"
            )
        case 431:
            return "there are more than ten custom headers: remove some from the target's `headers`"
    return ""


AZURE = Service(
    "azure",
    "Azure",
    GA,
    routes=(GA_ROUTE, PREVIEW_ROUTE),
    hosts=tuple(
        f"{kind}.{domain}"
        for domain in CLOUDS
        for kind in ("openai", "cognitiveservices", "services.ai")
    ),
    folder="/openai/",
    key_header=KeyHeader("api-key", ""),
    api_key_env="AZURE_OPENAI_API_KEY",
    clouds=CLOUDS,
    has_deployments=True,
    retirements=RETIREMENTS,
    transcription="separate",
    telemetry_name="azure.ai.openai",
    key_page="Key 1 of {host} (Keys and Endpoint)",
    explain=explain,
)
