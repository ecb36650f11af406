"""Decides which services are measured: by names in a `targets.yaml`, by a URL, or by Azure's variables.

With a URL nothing of the environment is read but the key that `--api-key-env` names and the usual variables of proxies,
so no key goes to a server it was not meant for, and nobody is signed in who has not asked for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.errors import ScriptError, UsageError
from bench.plain import shortened
from bench.protocol.settings import merged
from bench.target.address import EXAMPLE_ENDPOINT, with_model
from bench.target.build import build_target
from bench.target.credentials import cleaned, unquoted
from bench.target.options import OPTIONS, ServiceOptions
from bench.target.target import Entra, Target
from bench.target.target_settings import (
    IN_FILE,
    ON_COMMAND_LINE,
    TARGET,
    TARGETS,
    Surroundings,
    TargetSettings,
    VariantSettings,
)
from bench.target.urls import SettingError
from bench.yaml_file import PlainValue, Value, read_yaml

ENDPOINT = "AZURE_OPENAI_ENDPOINT"
DEPLOYMENT = "AZURE_OPENAI_DEPLOYMENT_NAME"
API_KEY = "AZURE_OPENAI_API_KEY"
API_VERSION = "OPENAI_API_VERSION"
TARGET_FILE = Path("targets.yaml")
OF_ONE_TARGET = ("dialect", "api_key_env", "auth", "resolve")
EXTRA = "extra"
PATHS = ("ca", "client_cert", "client_key")


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
    signing_in = next((number for number, target in enumerate(targets) if isinstance(target.auth, Entra)), None)
    if signing_in is not None and environ.get(API_KEY):
        notice = f"{API_KEY} is ignored: {targets[signing_in].label} signs in through Microsoft Entra ID"
        targets[signing_in] = _with_notices(targets[signing_in], notice)
    return targets


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
        return _with_notices(build_target(settings, around), *notices)
    if has_key:
        named = replace(around, names={**around.names, "key_env": API_KEY})
        return build_target(replace(settings, key_env=API_KEY), named)
    if options.auth == "key":
        raise UsageError(f"{API_KEY} is not set: it is the key of the resource; `--auth entra` signs in without one")
    target = build_target(replace(settings, auth="entra"), around)
    return _with_notices(target, "no key is set: signing in through Microsoft Entra ID (DefaultAzureCredential)")


def _with_notices(target: Target, *notices: str) -> Target:
    return replace(target, notices=(*target.notices, *notices))


def _setting(environ: Mapping[str, str], name: str, meaning: str) -> str:
    value = cleaned(environ.get(name, ""), name)
    if not value:
        raise UsageError(f"{name} is not set: it is {meaning}")
    return value


def file_targets(path: Path, names: Sequence[str], options: TargetSettings, around: Surroundings) -> list[Target]:
    """The named targets of a file, in this order. What `options` say wins over the file.

    A variant is `name.variant`. Raises ScriptError with the line; UsageError where names or options are wrong.
    """
    file = read_yaml(path, "the file")
    settings = TARGETS.read(file)
    known = [
        full_name
        for name, target in settings.items()
        for full_name in (name, *(f"{name}.{variant}" for variant in target.variants or {}))
    ]
    _refuse_names(path, names, known)
    targets = [_named(file, settings, name, options, around) for name in names]
    labels = [target.label for target in targets]
    for name, label in zip(names, labels, strict=True):
        if labels.count(label) > 1:
            raise UsageError(f"--targets: {name} has the label {label}, and so has another: give one another label")
    return targets


def target_names(path: Path) -> tuple[str, ...]:
    """The names of a file's targets, without those of variants. Raises ScriptError with the line."""
    return tuple(TARGETS.read(read_yaml(path, "the file")))


def _refuse_names(path: Path, names: Sequence[str], known: Sequence[str]) -> None:
    if not names:
        raise UsageError(f"--target-file needs --targets, names of what {path} holds: {', '.join(known)}")
    for name in names:
        if name not in known:
            raise UsageError(f"--targets: {path} has no target '{shortened(name)}', only {', '.join(known)}")
        if names.count(name) > 1:
            raise UsageError(f"--targets names {name} twice: a target is compared with others")


def _named(
    file: Value, targets: dict[str, TargetSettings], full_name: str, options: TargetSettings, around: Surroundings
) -> Target:
    name, _, variant_name = full_name.partition(".")
    settings = targets[name]
    keys = ("targets", name)
    label = settings.label or name
    if not variant_name:
        target = _built(file, keys, replace(settings, label=label), options, around)
        source = file.nearest(*keys, "session").place if settings.session else ""
        return replace(target, session_source=source)
    variant_keys = (*keys, "variants", variant_name)
    variant = (settings.variants or {})[variant_name]
    changed = replace(_changed(file, variant_keys, settings, variant), label=f"{label}.{variant_name}")
    return replace(
        _built(file, variant_keys, changed, options, around),
        variant_of=label,
        session=_varied(settings.session or {}, variant.session or {}),
        session_source=file.nearest(*variant_keys, "session").place,
    )


def _varied(own: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A target's settings with those of its variant, whose `extra` is merged key by key."""
    both = dict(own) | dict(given)
    extras = own.get(EXTRA), given.get(EXTRA)
    if all(isinstance(extra, Mapping) for extra in extras):
        both[EXTRA] = merged(own[EXTRA], given[EXTRA])
    return both


def _changed(file: Value, keys: tuple[str, ...], settings: TargetSettings, variant: VariantSettings) -> TargetSettings:
    """The settings of a target with those of a variant in their place. Another model has other prices, too."""
    if variant.deployment is not None and variant.model is not None:
        raise file.nearest(*keys, "model").error("model and deployment are two names of the same: leave one out")
    model = variant.deployment or variant.model
    if variant.prices is not None or model is not None:
        settings = replace(settings, prices=variant.prices)
    if model is None:
        return settings
    if settings.url is None:
        named = {"model": model} if settings.service else {"deployment": model, "model": None}
        return replace(settings, **named)
    url = with_model(settings.url, model)
    if url is None:
        raise file.nearest(*keys).error("model has nothing to replace: the target's `url` names no model")
    return replace(settings, url=url)


def _built(
    file: Value, keys: tuple[str, ...], settings: TargetSettings, options: TargetSettings, around: Surroundings
) -> Target:
    """Build the target or variant at the keys. Errors of what a variant leaves to its target have the place there."""
    given = {name: value for name, value in vars(options).items() if value is not None}
    names = IN_FILE | {name: ON_COMMAND_LINE[name] for name in given}
    try:
        target = build_target(_overridden(settings, given), replace(around, names=names))
    except SettingError as error:
        if error.key in given:
            raise
        at = file.within(*keys, error.key) or file.nearest(*keys[:2], error.key)
        raise at.error(str(error)) from None
    except ScriptError:  # of the price table
        raise
    except UsageError as error:  # of a variable's value
        raise file.nearest(*keys).error(str(error)) from None
    return replace(target, notices=tuple(f"{target.label}: {notice}" for notice in target.notices))


def _overridden(settings: TargetSettings, given: dict[str, Any]) -> TargetSettings:
    """The settings with options in the place of keys; a way to sign in takes the place of the other, too."""
    paths = {name: str(Path(given[name]).absolute()) for name in PATHS if name in given}
    other = {"key_env": "auth", "auth": "key_env"}
    ways = {other[name]: None for name in other if name in given and given.get("auth") not in ("key", "basic")}
    return replace(settings, **(ways | given | paths))
