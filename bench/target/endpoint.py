"""Which services are measured: by names in a `targets.yaml`, by a URL, or by the environment of Azure's quickstarts.

With a URL nothing of the environment is read but the key that `--api-key-env` names and the usual variables of proxies,
so no key goes to a server it was not meant for, and nobody is signed in who has not asked for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bench.errors import UsageError
from bench.target.address import EXAMPLE_ENDPOINT
from bench.target.build import build_target
from bench.target.credentials import cleaned, unquoted
from bench.target.options import OPTIONS, ServiceOptions
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
    given = {option: getattr(service_options, option.name) for option in OPTIONS.values() if option.key}
    values = {
        option.key: PlainValue(option.flag, str(value) if isinstance(value, Path) else value)
        for option, value in given.items()
        if value is not None
    }
    settings = TargetSettings(**{key: TARGET.fields[key].read(value) for key, value in values.items()})
    return settings if settings.url is None else replace(settings, url=unquoted(settings.url))


def _from_file(environ: Mapping[str, str], service_options: ServiceOptions, options: TargetSettings) -> list[Target]:
    if service_options.url is not None:
        raise UsageError("--targets and --url both say what is measured: leave one out")
    if len(service_options.targets) > 1 and (
        given := [name for name in OF_ONE_TARGET if getattr(service_options, name) is not None]
    ):
        raise UsageError(
            f"{OPTIONS[given[0]].flag} is for one target, and --targets names {len(service_options.targets)}: "
            "set it in the file"
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
