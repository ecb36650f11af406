"""The environment variables that other clients of a service read, and this tool does not. Pure.

A user who sets one of them expects that it decides about the server, the deployment or the key. The
tool reads few variables, so that no key is sent to a server for which it is not intended.
Therefore it names a variable that is set and not used, and what to set in its place.
"""

import re
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
_AZURE = (
    r"(?:AZURE_?OPEN_?AI_|AOAI_|AZURE_VOICE_?LIVE_|AZURE_(?:AI_)?(?=API_|ENDPOINT|KEY))(?!.*VAULT)"
    r"\w*"
)
UNREAD = {
    read: re.compile(names)
    for read, names in {
        # the addresses of services
        "openai": "OPENAI_(BASE_URL|API_BASE)",
        "gemini": "GOOGLE_GEMINI_BASE_URL",
        "vertex-ai": "GOOGLE_VERTEX_BASE_URL",
        "nova-sonic": "AWS_ENDPOINT_URL(_BEDROCK_RUNTIME)?",
        "litellm": "LITELLM_PROXY_API_BASE",
        # other names of variables
        ENDPOINT: rf"{_AZURE}(BASE|ENDPOINT|HOST|RESOURCE|URL)\w*",
        DEPLOYMENT: rf"{_AZURE}(DEPLOYMENT|MODEL)\w*",
        API_KEY: rf"{_AZURE}KEY\w*|OPENAI_(API_)?KEY\w*",
        API_VERSION: rf"{_AZURE}VERSION",
        "OPENAI_API_KEY": rf"{_AZURE}KEY\w*",
        "GEMINI_API_KEY": r"(GOOGLE|GENAI)_(AI_|API_)*KEY\w*",
        "LITELLM_API_KEY": r"LITELLM_\w*KEY\w*",
        "ZHIPU_API_KEY": r"(ZHIPUAI|ZAI)_(API_)?KEY\w*",
    }.items()
}
"""The names of variables that the SDKs of services, LiteLLM, LangChain and examples read, by the
variable that this tool reads, or by the service whose address they set."""


def unread(environ: Mapping[str, str], read: str) -> str:
    """Return a notice about a variable that is set in place of `read`, which is not set; "" if
    there is none.
    """
    is_read = bool(unquoted(environ.get(read, "")))
    name = None if is_read else next(_set(environ, read), None)
    return "" if name is None else f"{name} is set, but not used: {read} is read in its place"


def key_variable(environ: Mapping[str, str], read: str) -> str:
    """Return a piece of a notice with the variable that probably contains the key of a service; ""
    if there is none. `read` is the usual variable. No value is read.
    """
    names = [*([read] if read in environ else ()), *_named_like(environ, read)]
    return f", e.g. {names[0]}, which is set" if names else ""


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
    return (name for name in _named_like(environ, read) if unquoted(environ[name]))


def _named_like(environ: Mapping[str, str], read: str) -> Iterator[str]:
    """Yield the variables whose names may mean what `read` means."""
    own = re.compile(read.replace("_API_KEY", r"_(API_)?(KEY|TOKEN)(_?\d)?"))
    return (
        name
        for name in sorted(environ)
        if name != read and any(names.fullmatch(name) for names in (UNREAD.get(read, own), own))
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
