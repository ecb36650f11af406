"""The environment variables that other clients of a service read, and this tool does not. Pure.

A user who sets one of them expects that it decides about the server, the deployment or the key. The
tool reads few variables, so that no key is sent to a server for which it is not intended.
Therefore it names a variable that is set and not used, and what to set in its place.
"""

from collections.abc import Iterator, Mapping
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from bench.target.address import split_url
from bench.target.target import unquoted
from bench.target.target_settings import KeyNames, SettingError, TargetSettings
from bench.wire.addresses import is_loopback
from bench.wire.service import FIRST_REGION, MODEL, REGION, Service

ENDPOINT = "AZURE_OPENAI_ENDPOINT"
DEPLOYMENT = "AZURE_OPENAI_DEPLOYMENT_NAME"
API_KEY = "AZURE_OPENAI_API_KEY"
API_VERSION = "OPENAI_API_VERSION"
NO_MODEL = "NAME"
UNREAD = {
    # the addresses of services
    "OPENAI_BASE_URL": "openai",
    "OPENAI_API_BASE": "openai",
    "GOOGLE_GEMINI_BASE_URL": "gemini",
    "GOOGLE_VERTEX_BASE_URL": "vertex-ai",
    "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "nova-sonic",
    "AWS_ENDPOINT_URL": "nova-sonic",
    "LITELLM_PROXY_API_BASE": "litellm",
    # other names of variables
    "AZURE_OPENAI_BASE_URL": ENDPOINT,
    "AZURE_OPENAI_API_BASE": ENDPOINT,
    "AZURE_API_BASE": ENDPOINT,
    "AZURE_OPENAI_DEPLOYMENT": DEPLOYMENT,
    "AZURE_OPENAI_DEPLOYMENT_ID": DEPLOYMENT,
    "AZURE_OPENAI_KEY": API_KEY,
    "AZURE_API_KEY": API_KEY,
    "AZURE_OPENAI_API_VERSION": API_VERSION,
    "AZURE_API_VERSION": API_VERSION,
    "GOOGLE_API_KEY": "GEMINI_API_KEY",
    "LITELLM_PROXY_API_KEY": "LITELLM_API_KEY",
    "ZHIPUAI_API_KEY": "ZHIPU_API_KEY",
    "ZAI_API_KEY": "ZHIPU_API_KEY",
}
"""The variables of the services' SDKs, of LiteLLM and of LangChain, each with the variable that
this tool reads, or with the service whose address it sets."""


def unread(environ: Mapping[str, str], read: str) -> str:
    """Return a notice about a variable that is set in place of `read`, which is not set; "" if
    there is none.
    """
    is_read = bool(unquoted(environ.get(read, "")))
    name = None if is_read else next(_set(environ, read), None)
    return "" if name is None else f"{name} is set, but not used: {read} is read in its place"


def unread_address(
    environ: Mapping[str, str], service: Service, settings: TargetSettings, names: KeyNames
) -> str:
    """Return a notice about a variable with an address of a service that is not used; "" if there
    is none.
    """
    for name in _set(environ, service.name):
        try:
            parts = split_url(unquoted(environ[name]), "url", name)
        except SettingError:  # its text may have a password, and is not shown
            parts = urlsplit("https://HOST")
        if not service.has_host(parts.hostname or ""):
            url = _url_at(parts, service, settings)
            return f"{name} is set, but not used: to call its server, set {names['url']} {url}"
    return ""


def _set(environ: Mapping[str, str], read: str) -> Iterator[str]:
    """Yield the variables that are set in place of `read`."""
    return (
        name for name, other in UNREAD.items() if other == read and unquoted(environ.get(name, ""))
    )


def _url_at(base: SplitResult, service: Service, settings: TargetSettings) -> str:
    """Return the service's URL on the server of `base`, which an SDK extends by a path."""
    model = quote(settings.model or service.model or NO_MODEL, safe="")
    own = service.url.replace(MODEL, model).replace(REGION, settings.region or FIRST_REGION)
    _, _, path, query, _ = urlsplit(own)
    folder = base.path.rstrip("/")
    # an SDK's base often ends with the beginning of the path, such as /v1
    common = max((n for n in range(len(path)) if folder.endswith(path[:n])), default=0)
    is_local = base.scheme in ("http", "ws") and is_loopback(base.hostname or "")
    scheme = service.links[0].schemes[0 if is_local else 1]
    return urlunsplit((scheme, base.netloc, folder + path[common:], query, ""))
