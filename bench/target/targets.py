"""Targets by name, as a `targets.yaml` describes them; every error names its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.errors import ScriptError, UsageError
from bench.plain import shortened
from bench.protocol.extra import merged
from bench.target.address import with_model
from bench.target.build import build_target
from bench.target.settings import (
    IN_FILE,
    ON_COMMAND_LINE,
    TARGETS,
    Surroundings,
    TargetSettings,
    VariantSettings,
)
from bench.target.target import Target
from bench.target.urls import SettingError
from bench.yaml_file import Value, read_yaml

EXTRA = "extra"
PATHS = ("ca", "client_cert", "client_key")


def file_targets(path: Path, names: Sequence[str], options: TargetSettings, around: Surroundings) -> list[Target]:
    """The named targets of a file, in this order. What `options` say wins over the file.

    A variant is `name.variant`. Raises ScriptError with the line; UsageError where names or options are wrong.
    """
    file = read_yaml(path, "the file")
    settings = TARGETS.read(file)
    _refuse_names(path, names, [*_known(settings)])
    targets = [_named(file, settings, name, options, around) for name in names]
    _refuse_same_labels(names, targets)
    return targets


def target_names(path: Path) -> tuple[str, ...]:
    """The names of a file's targets, without those of variants. Raises ScriptError with the line."""
    return tuple(TARGETS.read(read_yaml(path, "the file")))


def _known(settings: dict[str, TargetSettings]) -> Iterator[str]:
    """Yield every name that can be asked for."""
    for name, target in settings.items():
        yield name
        yield from (f"{name}.{variant}" for variant in target.variants or {})


def _refuse_names(path: Path, names: Sequence[str], known: Sequence[str]) -> None:
    if not names:
        raise UsageError(f"--target-file needs --targets, names of what {path} holds: {', '.join(known)}")
    for name in names:
        if name not in known:
            raise UsageError(f"--targets: {path} has no target '{shortened(name)}', only {', '.join(known)}")
        if names.count(name) > 1:
            raise UsageError(f"--targets names {name} twice: a target is compared with others")


def _refuse_same_labels(names: Sequence[str], targets: Sequence[Target]) -> None:
    labels = [target.label for target in targets]
    for name, label in zip(names, labels, strict=True):
        if labels.count(label) > 1:
            raise UsageError(f"--targets: {name} has the label {label}, and so has another: give one another label")


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
