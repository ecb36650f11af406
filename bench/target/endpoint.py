"""Which services are measured: by names in a `targets.yaml`, by a URL, or by the environment of Azure's quickstarts.

With a URL nothing of the environment is read but the key that `--api-key-env` names and the usual variables of proxies,
so no key goes to a server it was not meant for, and nobody is signed in who has not asked for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.target.address import EXAMPLE_ENDPOINT
from bench.target.build import build_target
from bench.target.credentials import cleaned, unquoted
from bench.target.settings import ON_COMMAND_LINE, TARGET, Surroundings, TargetSettings
from bench.target.target import Entra, Target
from bench.target.targets import file_targets, target_names
from bench.yaml_file import PlainValue

ENDPOINT = "AZURE_OPENAI_ENDPOINT"
DEPLOYMENT = "AZURE_OPENAI_DEPLOYMENT_NAME"
API_KEY = "AZURE_OPENAI_API_KEY"
API_VERSION = "OPENAI_API_VERSION"
TARGET_FILE = Path("targets.yaml")
OF_ONE_TARGET = ("dialect", "api_key_env", "auth", "resolve")


@dataclass(frozen=True)
class ServiceOptions:
    """What a command line says of the service; each part may be missing.

    `targets`: names in `target_file` (`targets.yaml`, if none is given), those of variants as `name.variant`. `url`,
    `dialect` (a name of `DIALECTS`), `api_key_env`, `auth` (key, entra, managed_identity, …), `proxy` (a URL, or none),
    `resolve` (an IP address), `compression` (none, deflate) and `max_message_mib` are as typed, and checked by
    `resolve_targets`.
    `prices`: the price table that targets may name models of; None is the one that comes with the tool.
    """

    targets: tuple[str, ...] = ()
    target_file: Path | None = None
    url: str | None = None
    dialect: str | None = None
    api_key_env: str | None = None
    auth: str | None = None
    ca: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    proxy: str | None = None
    resolve: str | None = None
    compression: str | None = None
    max_message_mib: int | None = None
    prices: Path | None = None


def resolve_targets(environ: Mapping[str, str], service_options: ServiceOptions) -> list[Target]:
    """The targets that a command line and the environment name, at least one, each with a label of its own.

    Raises UsageError, one line that names what to change.
    """
    options = _options(service_options)
    if service_options.targets or service_options.target_file is not None:
        return _from_file(environ, service_options, options)
    around = Surroundings(environ, ON_COMMAND_LINE, price_file=service_options.prices)
    if service_options.url is not None:
        return [build_target(options, around)]
    return [_from_environment(options, around)]


def resolve_every_target(environ: Mapping[str, str], service_options: ServiceOptions) -> list[Target]:
    """As `resolve_targets`; where neither options nor the environment name one, every target of the file."""
    path = service_options.target_file or TARGET_FILE
    named = service_options.targets or service_options.url is not None
    if named or (service_options.target_file is None and (environ.get(ENDPOINT) or not path.exists())):
        return resolve_targets(environ, service_options)
    return resolve_targets(environ, replace(service_options, targets=target_names(path)))


def _options(service_options: ServiceOptions) -> TargetSettings:
    """What the options say, checked as a file's keys are, and called by the options' names."""
    given = {"key_env" if name == "api_key_env" else name: value for name, value in _given(service_options).items()}
    values = {name: PlainValue(ON_COMMAND_LINE[name], value) for name, value in given.items()}
    return TargetSettings(**{name: TARGET.fields[name].read(value) for name, value in values.items()})


def _given(service_options: ServiceOptions) -> dict[str, Any]:
    texts = {field.name: getattr(service_options, field.name) for field in fields(service_options)}
    for name in ("targets", "target_file", "prices"):
        del texts[name]
    given = {
        name: value if isinstance(value, int) else str(value) for name, value in texts.items() if value is not None
    }
    return given | ({"url": unquoted(str(given["url"]))} if "url" in given else {})


def _from_file(environ: Mapping[str, str], service_options: ServiceOptions, options: TargetSettings) -> list[Target]:
    if service_options.url is not None:
        raise UsageError("--targets and --url both say what is measured: leave one out")
    if len(service_options.targets) > 1 and (
        given := [name for name in OF_ONE_TARGET if getattr(service_options, name) is not None]
    ):
        option = "--" + given[0].replace("_", "-")
        raise UsageError(
            f"{option} is for one target, and --targets names {len(service_options.targets)}: set it in the file"
        )
    path = service_options.target_file or TARGET_FILE
    targets = file_targets(
        path, service_options.targets, options, Surroundings(environ, {}, path.parent, service_options.prices)
    )
    return _told_of_an_idle_key(targets, environ)


def _told_of_an_idle_key(targets: list[Target], environ: Mapping[str, str]) -> list[Target]:
    """The first target that signs in says that the key of the environment is not used."""
    number = next((number for number, target in enumerate(targets) if isinstance(target.auth, Entra)), None)
    if number is None or not environ.get(API_KEY):
        return targets
    notice = f"{API_KEY} is ignored: {targets[number].label} signs in through Microsoft Entra ID"
    noticed = replace(targets[number], notices=(*targets[number].notices, notice))
    return [*targets[:number], noticed, *targets[number + 1 :]]


def _from_environment(options: TargetSettings, around: Surroundings) -> Target:
    """Azure, by the variables of its quickstarts."""
    environ = around.environ
    endpoint = _setting(environ, ENDPOINT, f"your resource, e.g. {EXAMPLE_ENDPOINT}, or use --url")
    deployment = _setting(environ, DEPLOYMENT, "the name of your deployment of a realtime model")
    version = cleaned(environ.get(API_VERSION, ""), API_VERSION) or None
    settings = replace(options, endpoint=endpoint, deployment=deployment, api_version=version)
    if options.key_env is not None:
        return build_target(settings, around)
    has_key = bool(unquoted(environ.get(API_KEY, "")))
    if options.auth not in (None, "key"):
        notices = (f"{API_KEY} is ignored: --auth {options.auth} was asked for",) if has_key else ()
        return _with_notices(build_target(settings, around), notices)
    if has_key:
        named = replace(around, names={**around.names, "key_env": API_KEY})
        return build_target(replace(settings, key_env=API_KEY), named)
    if options.auth == "key":
        raise UsageError(f"{API_KEY} is not set: it is the key of the resource; `--auth entra` signs in without one")
    target = build_target(replace(settings, auth="entra"), around)
    return _with_notices(target, ("no key is set: signing in through Microsoft Entra ID (DefaultAzureCredential)",))


def _with_notices(target: Target, notices: tuple[str, ...]) -> Target:
    return replace(target, notices=(*target.notices, *notices))


def _setting(environ: Mapping[str, str], name: str, meaning: str) -> str:
    value = cleaned(environ.get(name, ""), name)
    if not value:
        raise UsageError(f"{name} is not set: it is {meaning}")
    return value
