"""Which service is called, at which address, in which dialect. Pure, but for a look at the `ca` file.

Two ways: a URL that the user gives, or the environment that Azure's quickstarts use. With a URL nothing of the
environment is read but the key that `--api-key-env` names, so no key goes to a server it was not meant for.
Addresses, queries and headers of each service: Azure's and OpenAI's reference of the Realtime API.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from bench.errors import UsageError
from bench.protocol.dialects import Dialect
from bench.target.credentials import Credential, cleaned, unquoted
from bench.target.target import Service, Target, Way, as_label, is_loopback

ENDPOINT = "AZURE_OPENAI_ENDPOINT"
DEPLOYMENT = "AZURE_OPENAI_DEPLOYMENT_NAME"
API_KEY = "AZURE_OPENAI_API_KEY"
API_VERSION = "OPENAI_API_VERSION"

AZURE_PREVIEW = "/openai/realtime"
AZURE_GA = "/openai/v1/realtime"
OPENAI = "/v1/realtime"
DIALECTS = {AZURE_PREVIEW: Dialect.PREVIEW, AZURE_GA: Dialect.GA, OPENAI: Dialect.GA}
NEEDED = {AZURE_PREVIEW: ("deployment",), AZURE_GA: ("model",), OPENAI: ("model", "call_id", "intent")}
"""One of these must be in the query of such a path."""

API_VERSIONS = ("2024-10-01-preview", "2025-04-01-preview")
MODEL_VERSION = "2024-12-17"  # of gpt-4o-realtime-preview; a page of Azure's once printed it as an api-version
EXAMPLE_URL = "wss://HOST/openai/v1/realtime?model=DEPLOYMENT"
EXAMPLE_ENDPOINT = "https://RESOURCE.openai.azure.com"

_SECRET_QUERY = re.compile(r"(key|token|secret|password|authorization)$")
_HOST_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,62})")


def resolve_target(
    environ: Mapping[str, str],
    *,
    url: str | None = None,
    dialect: str | None = None,
    api_key_env: str | None = None,
    ca: Path | None = None,
) -> Target:
    """The target that options and environment name. `dialect`: ga or preview; `ca`: PEM of who signed the server.

    Raises UsageError, one line that names what to change.
    """
    wanted = None if dialect is None else _named_dialect(dialect)
    checked_ca = None if ca is None else _checked_ca(ca)
    if url is None:
        return _from_environment(environ, wanted, api_key_env, checked_ca)
    return _from_url(environ, unquoted(url), wanted, api_key_env, checked_ca)


def _from_environment(
    environ: Mapping[str, str], wanted: Dialect | None, key_env: str | None, ca: Path | None
) -> Target:
    """Azure, by the variables of its quickstarts."""
    endpoint = _setting(environ, ENDPOINT, f"your resource, e.g. {EXAMPLE_ENDPOINT}, or use --url")
    parts = _endpoint_parts(endpoint)
    deployment = _setting(environ, DEPLOYMENT, "the name of your deployment of a realtime model")
    version = cleaned(environ.get(API_VERSION, ""), API_VERSION)
    dialect = wanted or _azure_dialect(parts, version)
    notices = _azure_notices(dialect, version, bool(_path(parts)))
    credential = Credential("api-key", _api_key(environ, key_env))
    return _target(parts, _azure_resource(dialect, deployment, version), dialect, "azure", credential, ca, notices)


def _endpoint_parts(endpoint: str) -> SplitResult:
    """The endpoint's URL, which is a host and at most `/openai/v1`."""
    if "://" not in endpoint:
        raise UsageError(f"{ENDPOINT} has no scheme: put https:// in front of it, e.g. {EXAMPLE_ENDPOINT}")
    parts = _split(endpoint, ENDPOINT)
    if parts.scheme in ("http", "ws") and not is_loopback(parts.hostname or ""):
        raise UsageError(f"{ENDPOINT} must begin with https://: the key would travel in the clear")
    if parts.scheme not in ("https", "wss", "http", "ws"):
        raise UsageError(f"{ENDPOINT} must begin with https://, e.g. {EXAMPLE_ENDPOINT}")
    if parts.query:
        raise UsageError(f"{ENDPOINT} must end before the `?`, e.g. {EXAMPLE_ENDPOINT}; a whole URL goes to --url")
    if _path(parts) not in ("", "/openai/v1"):
        problem = f"has the path {parts.path}, which is not Azure OpenAI's"
        raise UsageError(f"{ENDPOINT} {problem}: set it to the resource alone, e.g. {EXAMPLE_ENDPOINT}")
    return parts


def _azure_dialect(parts: SplitResult, version: str) -> Dialect:
    if version and _path(parts):
        raise UsageError(f"{ENDPOINT} ends in /openai/v1 (GA) but {API_VERSION} is set (preview): unset {API_VERSION}, "
                         f"or take /openai/v1 off {ENDPOINT}")  # fmt: skip
    return Dialect.PREVIEW if version else Dialect.GA


def _azure_notices(dialect: Dialect, version: str, endpoint_is_ga: bool) -> tuple[str, ...]:
    if dialect is Dialect.GA:
        return (f"{API_VERSION} is ignored: --dialect ga was asked for, GA has no api-version",) if version else ()
    ignored = (f"/openai/v1 in {ENDPOINT} is ignored: --dialect preview was asked for",) if endpoint_is_ga else ()
    if not version:
        return (*ignored, f"{API_VERSION} is not set: using {API_VERSIONS[0]}")
    return ignored + _version_notices(version, API_VERSION)


def _azure_resource(dialect: Dialect, deployment: str, version: str) -> str:
    """Path and query; on Azure GA `model` is the name of the deployment."""
    if dialect is Dialect.GA:
        return f"{AZURE_GA}?{urlencode({'model': deployment})}"
    return f"{AZURE_PREVIEW}?{urlencode({'api-version': version or API_VERSIONS[0], 'deployment': deployment})}"


def _version_notices(version: str, source: str) -> tuple[str, ...]:
    if version == MODEL_VERSION:
        raise UsageError(
            f"{source} is {MODEL_VERSION}, a model version and no api-version: use {' or '.join(API_VERSIONS)}"
        )
    known = version in API_VERSIONS
    return () if known else (f"{source} is {version}; known for realtime are {' and '.join(API_VERSIONS)}",)


def _from_url(
    environ: Mapping[str, str], url: str, wanted: Dialect | None, key_env: str | None, ca: Path | None
) -> Target:
    """Any server that speaks a dialect, at exactly this URL."""
    parts = _url_parts(url)
    path = _path(parts)
    notices = _query_notices(path, dict(parse_qsl(parts.query)))
    if wanted is None and path not in DIALECTS:
        notices += (f"the path {parts.path} tells no dialect: speaking ga (--dialect preview for the other)",)
    dialect = wanted or DIALECTS.get(path, Dialect.GA)
    service = _service(parts.hostname or "", path)
    credential = None
    if key_env is not None:
        key = _api_key(environ, key_env)
        credential = Credential("api-key", key) if service == "azure" else Credential("Authorization", key, "Bearer")
    elif service != "other" and not is_loopback(parts.hostname or ""):
        notices += ("no key is sent: --api-key-env NAME sends the one in the variable NAME",)
    resource = parts.path + (f"?{parts.query}" if parts.query else "")
    return _target(parts, resource, dialect, service, credential, ca, notices)


def _url_parts(url: str) -> SplitResult:
    if not url.lower().startswith(("ws://", "wss://")):
        raise UsageError(f"--url must begin with wss://, or with ws:// to this machine, e.g. {EXAMPLE_URL}")
    parts = _split(url, "--url")
    if parts.scheme == "ws" and not is_loopback(parts.hostname or ""):
        raise UsageError(
            "--url must begin with wss://: ws:// is for servers on this machine (localhost, 127.0.0.1, ::1)"
        )
    if not _path(parts):
        raise UsageError(f"--url needs the path of a realtime service as well, e.g. {EXAMPLE_URL}")
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if _SECRET_QUERY.search(name.lower()):
            raise UsageError(
                "--url holds a key in its query, which would end in files: name its variable by --api-key-env"
            )
    return parts


def _query_notices(path: str, query: Mapping[str, str]) -> tuple[str, ...]:
    """What is wrong, or likely so, with the query of one of the known paths."""
    needed = NEEDED.get(path, ())
    if needed and not any(name in query for name in needed):
        raise UsageError(f"--url must say which model answers at {path}: add ?{needed[0]}=NAME (or &{needed[0]}=NAME)")
    version = query.get("api-version")
    if path == AZURE_GA and version:
        return (f"Azure refuses an api-version at {AZURE_GA} (401): take it out of --url",)
    if path == AZURE_PREVIEW and not version:
        return (f"Azure wants an api-version at {AZURE_PREVIEW}: add &api-version={API_VERSIONS[0]} to --url",)
    return _version_notices(version, "api-version in --url") if path == AZURE_PREVIEW and version else ()


def _service(host: str, path: str) -> Service:
    if host.endswith(".openai.azure.com") or path.startswith("/openai/"):
        return "azure"
    return "openai" if f".{host}".endswith(".api.openai.com") else "other"


def _target(
    parts: SplitResult,
    resource: str,
    dialect: Dialect,
    service: Service,
    credential: Credential | None,
    ca: Path | None,
    notices: tuple[str, ...],
) -> Target:
    tls = parts.scheme in ("https", "wss")
    beta = (("OpenAI-Beta", "realtime=v1"),) if _path(parts) == OPENAI and dialect is Dialect.PREVIEW else ()
    host = parts.hostname or ""
    query = dict(parse_qsl(parts.query or resource.partition("?")[2]))
    return Target(
        label=as_label(host),
        host=host,
        port=parts.port or _default_port(tls),
        tls=tls,
        resource=resource,
        dialect=dialect,
        service=service,
        headers=(("User-Agent", f"rtbench/{_version()}"), *beta),
        auth=credential,
        way=Way(ca=ca),
        model=query.get("deployment") or query.get("model"),
        notices=notices if ca is None or tls else (*notices, "--ca is not used: the target is reached without TLS"),
    )


def _split(text: str, source: str) -> SplitResult:
    """The parts of a URL that can neither surprise a socket or a request line nor hold a password."""
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise UsageError(f"{source} holds characters that no URL has: percent-encode them")
    try:
        parts = urlsplit(text)
        port_is_usable = parts.port != 0
    except ValueError:  # whose text may quote a password
        raise UsageError(f"{source} is not a URL, or its port is not from 1 to 65535") from None
    if not port_is_usable:
        raise UsageError(f"{source} has port 0: name the port of the service")
    if "@" in parts.netloc:
        raise UsageError(f"{source} holds a user or password, which would end in files: take it out")
    if parts.fragment:
        raise UsageError(f"{source} must end before the `#`")
    host = parts.hostname or ""
    if not (_is_ipv6(host) if "[" in parts.netloc else _is_host_name(host)):
        raise UsageError(f"{source} names no host that can exist: put the name of your resource or server there")
    return parts


def _is_host_name(host: str) -> bool:
    """A name as DNS has it (RFC 1035 §2.3.4: labels of 1 to 63, 253 in all; `_` occurs), or an IPv4 address."""
    return len(host) <= 253 and all(_HOST_LABEL.fullmatch(label) for label in host.removesuffix(".").split("."))


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False


def _path(parts: SplitResult) -> str:
    return parts.path.rstrip("/")


def _default_port(tls: bool) -> int:
    return 443 if tls else 80


def _api_key(environ: Mapping[str, str], named: str | None) -> str:
    """The key in the variable that `--api-key-env` named, else in Azure's."""
    if named is None:
        remedy = "the key of the resource; signing in without one (Entra ID) is not supported yet"
        return _setting(environ, API_KEY, remedy)
    key = cleaned(environ.get(named, ""), "the variable of --api-key-env")
    if not key:  # without its name, for some give the key itself
        raise UsageError("--api-key-env names a variable that is not set: it wants the variable's name, not the key")
    return key


def _setting(environ: Mapping[str, str], name: str, meaning: str) -> str:
    value = cleaned(environ.get(name, ""), name)
    if not value:
        raise UsageError(f"{name} is not set: it is {meaning}")
    return value


def _named_dialect(name: str) -> Dialect:
    try:
        return Dialect(name)
    except ValueError:
        raise UsageError(f"--dialect must be ga or preview, not {name[:40]!r}") from None


def _checked_ca(path: Path) -> Path:
    from cryptography.x509 import load_pem_x509_certificates  # slow to import, and seldom wanted

    try:
        load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise UsageError(f"--ca {path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise UsageError(f"--ca {path} holds no certificate in PEM (-----BEGIN CERTIFICATE-----)") from None
    return path


def _version() -> str:
    try:
        return metadata.version("rtbench")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"
