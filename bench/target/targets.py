"""The choice of services to measure: by names in a `targets.yaml`, by a URL, or by Azure's
variables.

If the service is chosen by a URL, only two things are read from the environment: the key that
`--api-key-env` names, and the usual variables of proxies. So no key is sent to a server for which
it is not intended, and clients sign in only on request.

A target is made from its settings: its address, its prices, and its sign-in. The settings may come
from any source. The sign-in is by a key or through Microsoft Entra ID, or there is none. This
module fetches nothing from a network.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl, quote

from bench.base.errors import Mistakes, ScriptError, UsageError
from bench.base.installation import tool_version
from bench.catalogue.pricing import Prices, prices_of
from bench.files.sanitize import excerpt
from bench.files.validation import either
from bench.files.yaml_file import LocatedValue, PythonValue, read_yaml
from bench.protocols.sip.hops import escaped_user
from bench.services.registry import (
    DIALECTS,
    PUBLIC_CLOUD,
    SERVICES,
    TRACKS,
    scope_of,
    user_service,
)
from bench.target.address import (
    EXAMPLE_ENDPOINT,
    check_headers,
    check_references,
    check_transcription,
    endpoint_address,
    fill_variables,
    further_headers,
    has_placeholder,
    is_of_upgrade,
    is_secret,
    percent_encoded,
    refuse_agent,
    subprotocols,
    url_address,
    with_model,
)
from bench.target.network_path import NONE, Information, network_path_of
from bench.target.price_table import load_price_table
from bench.target.sip_uri import caller_address, sip_uri
from bench.target.target import Address, Auth, Credential, EntraSignIn, Target, clean, unquoted
from bench.target.target_settings import (
    AS_OPTION,
    IN_FILE,
    ON_COMMAND_LINE,
    OPTIONS,
    TARGET,
    TARGETS,
    AuthSettings,
    KeyNames,
    ServiceOptions,
    SettingError,
    SettingsContext,
    TargetSettings,
    VariantSettings,
)
from bench.target.unread_variables import (
    API_KEY,
    API_VERSION,
    DEPLOYMENT,
    ENDPOINT,
    key_variable,
    unread,
    unread_address,
)
from bench.target.vary import OPTION, Setting, settings_of
from bench.transport.impairment.profiles import network_of
from bench.transport.interface import NetworkPath, Proxy
from bench.wire.addresses import is_loopback
from bench.wire.dialect import CALL_ID, Peer
from bench.wire.service import (
    BASIC,
    BEARER,
    FIRST_REGION,
    MODEL,
    REGION,
    SIP,
    SIP_CALLEE,
    WEBSOCKET,
    Service,
)
from bench.wire.settings import merged

WITHOUT_SERVICE = "to try it without a service, use --simulator"
SIGNS_IN = Information(
    "no key is set: signs in through Microsoft Entra ID (DefaultAzureCredential)"
)
TARGET_FILE = Path("targets.yaml")
OF_ONE_TARGET = ("dialect", "protocol", "api_key_env", "api_key_header", "auth", "resolve")
EXTRA = "extra"
CALL_ID_CHARACTERS = 32
"""The length of the id that replaces `{uuid}`."""
PATHS = ("ca_file", "client_cert", "client_key", "protocol")


# A setting has up to four origins. An option of the command line replaces the file's value, a
# variant's value replaces its target's, and the defaults of a service fill what is left. An error
# names the origin: a `SettingError` has the key, and `_built` makes a line of the file from it,
# unless an option set that key.
#
# `build_target` makes the parts in the order of their dependence: the address, the values of
# variables in it, the network path, the sign-in (which uses the path), the headers. Values of
# variables are secrets, unless the setting is one of those that reports show. Checks of the address
# are repeated with these values.
def resolve_targets(environ: Mapping[str, str], service_options: ServiceOptions) -> list[Target]:
    """Return the targets that a command line or the environment names, one or more, with unique
    names.

    Raise UsageError. Its text is one line, which names what to change.
    """
    if service_options.vary is None:
        return _named(environ, service_options, None)
    settings = settings_of(service_options.vary)
    of_settings = [_named(environ, service_options, each.changes) for each in settings]
    return [
        _with_setting(target, each, is_alone=len(targets) == 1)
        for each, targets in zip(settings, of_settings, strict=True)
        for target in targets
    ]


def _with_setting(target: Target, setting: Setting, *, is_alone: bool) -> Target:
    """Return a target with the values of `--vary`. It is named after them if it `is_alone`."""
    return replace(
        target,
        label=setting.label if is_alone else f"{target.label}.{setting.label}",
        variant_of=target.label,
        varied=setting.values,
        session=merged(target.session, setting.session),
        session_source=f"{OPTION} {setting.label}",
    )


def _named(
    environ: Mapping[str, str], service_options: ServiceOptions, changes: VariantSettings | None
) -> list[Target]:
    """Return the targets that a command line or the environment names, with `changes` of all."""
    options = _options(service_options)
    if service_options.targets or service_options.target_file is not None:
        return _from_file(environ, service_options, options, changes)
    context = SettingsContext(
        environ, ON_COMMAND_LINE, price_file=service_options.price_file, changes=changes
    )
    if service_options.url is not None or service_options.protocol is not None:
        return [build_target(options, context)]
    return [_from_environment(options, context)]


def resolve_every_target(
    environ: Mapping[str, str], service_options: ServiceOptions
) -> tuple[list[Target], list[str]]:
    """Return the targets as `resolve_targets` does, and no names. If neither options nor
    environment name one, return all in the file, except those whose address has a placeholder of
    an example, and the names of these.
    """
    path = service_options.target_file or TARGET_FILE
    named = service_options.targets or service_options.url is not None
    if named or (
        service_options.target_file is None and (environ.get(ENDPOINT) or not path.exists())
    ):
        return resolve_targets(environ, service_options), []
    every = _read_targets(path)[1]
    examples = [
        name
        for name, settings in every.items()
        if has_placeholder(settings.url or settings.endpoint or "")
    ]
    names = tuple(name for name in every if name not in examples) or tuple(every)
    return resolve_targets(environ, replace(service_options, targets=names)), examples


def _options(service_options: ServiceOptions) -> TargetSettings:
    """Return the values of the options, checked like the keys of a file. Errors name the
    options.
    """
    settings = TargetSettings(
        **{
            name: TARGET.fields[IN_FILE[name]].read(PythonValue(OPTIONS[name].flag, value))
            for name in AS_OPTION
            if (value := getattr(service_options, name)) is not None
        }
    )
    return settings if settings.url is None else replace(settings, url=unquoted(settings.url))


def _from_file(
    environ: Mapping[str, str],
    service_options: ServiceOptions,
    options: TargetSettings,
    changes: VariantSettings | None,
) -> list[Target]:
    """Return the named targets of a file, or variants (`name.variant`), with `options` in place of
    settings.

    Raise ScriptError with the line, or UsageError if names or options are wrong.
    """
    if service_options.url is not None:
        raise UsageError("--targets and --url both set the target: omit one of them")
    names = service_options.targets
    path = service_options.target_file or TARGET_FILE
    option = next(
        (name for name in OF_ONE_TARGET if getattr(service_options, name) is not None), None
    )
    if option is not None and len(names) > 1:
        problem = f"is for one target, but --targets names {len(names)}: set it in the file"
        raise UsageError(f"{OPTIONS[option].flag} {problem}")
    file, settings = _read_targets(path)
    known = [
        full_name
        for name, target in settings.items()
        for full_name in (name, *(f"{name}.{variant}" for variant in target.variants or {}))
    ]
    _refuse_names(path, names, known)
    context = SettingsContext(environ, {}, path.parent, service_options.price_file, changes)
    targets = [_with_name(file, settings, name, options, context) for name in names]
    labels = [target.label for target in targets]
    for name, label in zip(names, labels, strict=True):
        if labels.count(label) > 1:
            raise UsageError(
                f"--targets: {name} has the name {label}, and so has another target: rename one of"
                " them"
            )
    signing_in = next(
        (number for number, target in enumerate(targets) if isinstance(target.auth, EntraSignIn)),
        None,
    )
    if signing_in is not None and environ.get(API_KEY):
        notice = f"{API_KEY} is ignored: {labels[signing_in]} signs in through Microsoft Entra ID"
        targets[signing_in] = _with_notices(targets[signing_in], notice)
    return targets


def _from_environment(options: TargetSettings, context: SettingsContext) -> Target:
    """Return the Azure target that is named by the variables which Azure's quickstarts use."""
    environ = context.environ
    if options.dialect is not None:
        refuse_agent(DIALECTS[options.dialect], context.names)
    addressed = unread_address(environ, SERVICES["openai"], options, context.names)
    endpoint = _setting(
        environ,
        ENDPOINT,
        f"your resource, e.g. {EXAMPLE_ENDPOINT}, or use --url; {WITHOUT_SERVICE}",
        addressed,
    )
    deployment = _setting(environ, DEPLOYMENT, "the name of your deployment of a realtime model")
    notices: list[str] = [] if options.dialect == "ga" else [unread(environ, API_VERSION)]
    version = clean(environ.get(API_VERSION, ""), API_VERSION) or None
    settings = replace(options, endpoint=endpoint, deployment=deployment, api_version=version)
    has_key = bool(unquoted(environ.get(API_KEY, "")))
    signs_in = options.auth not in (None, "key")
    if options.api_key_env is not None or signs_in:
        if has_key and signs_in:
            notices.append(f"{API_KEY} is ignored: --auth {options.auth} is set")
    elif has_key:
        settings = replace(settings, api_key_env=API_KEY)
        context = replace(context, names={**context.names, "api_key_env": API_KEY})
    elif options.auth == "key" or options.api_key_header is not None:
        raise UsageError(
            f"{API_KEY} is not set: it is the key of the resource; `--auth entra` signs in"
            f" without one{_after(unread(environ, API_KEY))}"
        )
    else:
        settings = replace(settings, auth="entra")
        notices += (unread(environ, API_KEY), SIGNS_IN)
    return _with_notices(build_target(settings, context), *filter(None, notices))


def _after(notice: str) -> str:
    return notice and f"; {notice}"


def _with_notices(target: Target, *notices: str) -> Target:
    return replace(target, notices=(*target.notices, *notices))


def _setting(environ: Mapping[str, str], name: str, meaning: str, *notices: str) -> str:
    value = clean(environ.get(name, ""), name)
    if not value:
        unused = "".join(map(_after, (unread(environ, name), *notices)))
        raise UsageError(f"{name} is not set: it is {meaning}{unused}")
    return value


FILLED_KEYS = ("url", "headers", "subprotocols", "proxy", "from")
"""The keys of a target in which `${NAME}` is an environment variable. Its value is hidden.

Reports show the other keys, and compare runs by them. They must be the same on each machine of a
run.
"""
REFERENCE = re.compile(r"\$\{[^}]*\}?|\$\([^)]*\)?|\$[A-Za-z_]\w*")
"""What users of shells and CIs write for a variable: `${NAME}`, `$NAME` and `$(NAME)`."""


def _read_targets(path: Path) -> tuple[LocatedValue, dict[str, TargetSettings]]:
    """Return the content of a file, and the settings of its targets. Raise ScriptError."""
    file = read_yaml(path, "the file")
    mistakes = Mistakes()
    for target in _inner(file.within("targets")):
        for settings in (target, *_inner(target.within("variants"))):
            for entry in _inner(settings):
                with mistakes.gather():
                    _check_references(entry)
    mistakes.refuse()
    return file, TARGETS.read(file)


def _inner(value: LocatedValue | None) -> Iterable[LocatedValue]:
    """Return the values in a table or a list; none if it is neither."""
    match None if value is None else value.content():
        case dict() as table:
            return table.values()
        case list() as entries:
            return entries
    return ()


def _check_references(entry: LocatedValue) -> None:
    """Check the variables of a setting of a target. Raise ScriptError.

    In `session`, texts may have the variables of a script, but only instructions may be nothing
    else.
    """
    key = entry.name
    values = [entry]
    if key == "variants":
        return
    search = REFERENCE.fullmatch if key == "session" else REFERENCE.search
    for value in values:
        values += _inner(value)
        text = "" if value.name == "instructions" else value.source_text or ""
        if key not in FILLED_KEYS and (found := search(text)) is not None:
            if key == "api_key_env":  # not quoted, because some users give the key itself
                raise value.error(f"{key} must be the name of a variable, without $")
            filled = ", ".join(FILLED_KEYS)
            only = f"but variables are filled in only in {filled}: write the value"
            raise value.error(f"{value.name} contains {excerpt(found[0])}, {only}")
        if key in FILLED_KEYS:
            try:
                check_references(text, key, value.name)
            except SettingError as error:
                raise value.error(str(error)) from None


def check_targets(path: Path) -> None:
    """Check a file of targets, as far as this needs no environment. Raise ScriptError with the
    line of each mistake.
    """
    mistakes = Mistakes()
    file, targets = _read_targets(path)
    for name, settings in targets.items():
        url = settings.url or (SERVICES[settings.service].url if settings.service else "")
        is_sip = url.lower().startswith(("sip:", "sips:"))
        with mistakes.gather():
            try:
                check_headers(settings.headers or {}, is_sip=is_sip)
                if settings.url and "://" in url:
                    url_address(url, settings, IN_FILE)
                for key, text in (("url", url), ("proxy", settings.proxy or "")) if is_sip else ():
                    if text and not (key == "proxy" and ("${" in text or text == NONE)):
                        sip_uri(text, key, IN_FILE)
            except SettingError as error:
                raise file.nearest("targets", name, error.key).error(str(error)) from None
        variants = {
            ("variants", key): variant.from_ for key, variant in (settings.variants or {}).items()
        }
        for keys, caller in ({(): settings.from_} | variants).items():
            if is_sip and caller is not None and "${" not in caller:
                with mistakes.gather():
                    try:
                        caller_address(caller, "host.example", IN_FILE)
                    except SettingError as error:
                        raise file.nearest("targets", name, *keys, "from").error(
                            str(error)
                        ) from None
    mistakes.refuse()


def _refuse_names(path: Path, names: Sequence[str], known: Sequence[str]) -> None:
    if not names:
        raise UsageError(
            f"--target-file needs --targets, with names from {path}: {', '.join(known)}"
        )
    for name in names:
        if name not in known:
            raise UsageError(
                f"--targets: {path} has no target '{excerpt(name)}'; it has {', '.join(known)}"
            )
        if names.count(name) > 1:
            raise UsageError(
                f"--targets names {name} twice: a target cannot be compared with itself"
            )


def _with_name(
    file: LocatedValue,
    targets: dict[str, TargetSettings],
    full_name: str,
    options: TargetSettings,
    context: SettingsContext,
) -> Target:
    name, _, variant_name = full_name.partition(".")
    settings = targets[name]
    keys = ("targets", name)
    label = settings.name or name
    if not variant_name:
        target = _built(file, keys, replace(settings, name=label), options, context)
        source = file.nearest(*keys, "session").position if settings.session else ""
        return replace(target, session_source=source)
    variant_keys = (*keys, "variants", variant_name)
    variant = (settings.variants or {})[variant_name]
    try:
        changed = replace(_with_changes(settings, variant), name=f"{label}.{variant_name}")
    except SettingError as error:
        raise file.nearest(*variant_keys, error.key).error(str(error)) from None
    return replace(
        _built(file, variant_keys, changed, options, context),
        variant_of=label,
        session=_with_variants(settings.session or {}, variant.session or {}),
        session_source=file.nearest(*variant_keys, "session").position,
    )


def _with_variants(own: Mapping[str, Any], variant: Mapping[str, Any]) -> dict[str, Any]:
    """Return `session` settings, replaced by those of a variant; in `extra`, only the keys that
    the variant has.
    """
    combined = dict(own) | dict(variant)
    extras = own.get(EXTRA), variant.get(EXTRA)
    if all(isinstance(extra, Mapping) for extra in extras):
        combined[EXTRA] = merged(own[EXTRA], variant[EXTRA])
    return combined


def _with_changes(settings: TargetSettings, variant: VariantSettings) -> TargetSettings:
    """Return settings, replaced by those of a variant. The target's prices do not hold for
    another model. Raise SettingError.
    """
    if variant.deployment is not None and variant.model is not None:
        raise SettingError("model", "model and deployment set the same value: omit one of them")
    settings = replace(
        settings, from_=variant.from_ or settings.from_, network=variant.network or settings.network
    )
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
        raise SettingError(
            "url", "model cannot be replaced, because the target's `url` names no model"
        )
    return replace(settings, url=url)


def _built(
    file: LocatedValue,
    keys: tuple[str, ...],
    settings: TargetSettings,
    options: TargetSettings,
    context: SettingsContext,
) -> Target:
    """Build a target or variant. If a variant inherited a wrong setting, the error has the
    target's position.
    """
    overrides = {name: value for name, value in vars(options).items() if value is not None}
    names = IN_FILE | {name: ON_COMMAND_LINE[name] for name in overrides}
    settings = _with_overrides(settings, overrides)
    try:
        target = build_target(settings, replace(context, names=names))
    except SettingError as error:
        if error.key in overrides:
            raise
        key = IN_FILE[error.key]
        location = file.within(*keys, key) or file.nearest(*keys[:2], key)
        raise location.error(str(error)) from None
    except ScriptError:  # an error of the price table
        raise
    except UsageError as error:  # an error of a variable's value
        raise file.nearest(*keys).error(str(error)) from None
    if settings.service is not None and settings.url is None:
        unused = unread_address(context.environ, SERVICES[settings.service], settings, names)
        target = _with_notices(target, *filter(None, (unused,)))
    return replace(
        target,
        notices=tuple(type(notice)(f"{target.label}: {notice}") for notice in target.notices),
    )


def _with_overrides(settings: TargetSettings, overrides: dict[str, Any]) -> TargetSettings:
    """Return the file's settings, replaced by options. One that sets the sign-in removes the
    other way to sign in.
    """
    paths = {name: str(Path(overrides[name]).absolute()) for name in PATHS if name in overrides}
    other = {"api_key_env": "auth", "auth": "api_key_env"}
    cleared = {
        other[name]: None
        for name in other
        if name in overrides and overrides.get("auth") not in ("key", "basic")
    }
    return replace(settings, **(cleared | overrides | paths))


def build_target(settings: TargetSettings, context: SettingsContext) -> Target:
    """Return the target with these settings, named after its host by default. Raise SettingError
    or UsageError.
    """
    if context.changes is not None:
        settings = _with_changes(settings, context.changes)
    described = _described(settings, context)
    if described is not None:
        settings = with_service_defaults(settings, described, context)
    elif settings.service is not None:
        settings = with_service_defaults(settings, SERVICES[settings.service], context)
    address = _address(settings, context.names, described)
    if settings.dial is not None and address.link is SIP:
        address = replace(address, link=SIP_CALLEE)
    has_sip_uri = address.link.address_form == "SIP URI"
    encode = escaped_user if has_sip_uri else percent_encoded
    resource, url_secrets = fill_variables(
        address.resource, context.environ, "url", "the url", encode=encode
    )
    if address.dialect.peer is Peer.SERVICE:  # again, because a variable may have set it
        check_transcription(
            resource.partition("?")[2], address.dialect, address.known_service, context.names["url"]
        )
    network_path, path_notices = network_path_of(settings, context, address)
    if settings.network is not None:
        try:
            network = network_of(settings.network, in_packets=address.link.has_media)
        except UsageError as error:
            raise context.refuse("network", str(error)) from None
        network_path = replace(network_path, network=network)
    auth, auth_secrets, sign_in_notices = auth_of(settings, context, address, network_path)
    own_headers = settings.headers or {}
    is_sip = not address.link.is_http
    target_headers, header_secrets = further_headers(own_headers, context.environ, is_sip=is_sip)
    caller, caller_secrets = _caller(settings, context, address)
    tool_headers = (("User-Agent", f"rtbench/{tool_version()}"), *address.dialect_headers, *caller)
    # if both set a header, the target's is used
    target_header_names = {name.lower() for name, _ in target_headers}
    offered, subprotocol_secrets = subprotocols(settings.subprotocols or (), context.environ)
    target = Target(
        **vars(address)
        | {
            "resource": resource,
            "notices": address.notices + sign_in_notices + path_notices,
        },
        label=settings.name or re.sub(r"[^A-Za-z0-9._-]", "_", address.host),
        auth=auth,
        headers=(
            *(header for header in tool_headers if header[0].lower() not in target_header_names),
            *target_headers,
        ),
        subprotocols=offered,
        secrets=(
            *url_secrets,
            *auth_secrets,
            *header_secrets,
            *subprotocol_secrets,
            *caller_secrets,
        ),
        session=settings.session or {},
        network_path=network_path,
        region=settings.region,
        connect_rate_per_min=settings.connect_rate,
        prices=_prices(settings, context.price_file),
        model=address.requested_model or (settings.session or {}).get("model"),
    )
    if has_sip_uri:
        # again, with the variables
        sip_uri(target.connection_url("0" * CALL_ID_CHARACTERS), "url", context.names)
    return target


def _described(settings: TargetSettings, context: SettingsContext) -> Service | None:
    """Return the service that a protocol file describes; None without one. Raise SettingError, or
    ScriptError for a mistake in the file.
    """
    if settings.protocol is None:
        return None
    for key in ("dialect", "service", "endpoint", "transport"):
        if getattr(settings, key) is not None:
            other = context.names.get(key, key)
            raise context.refuse("protocol", f"describes the messages: omit {other}")
    service = user_service(context.folder / settings.protocol)
    if settings.url is None and not service.url:
        raise context.refuse("protocol", f"has no `url`: set {context.names['url']}")
    return service


def _address(
    settings: TargetSettings, names: KeyNames, described: Service | None = None
) -> Address:
    address = _address_of_events(settings, names, described)
    tracks = TRACKS.get(address.dialect)
    own = None if tracks is None or tracks.link is not address.link else tracks
    wanted = (own.link.transport if own else "") or settings.transport
    codecs = settings.codecs
    if wanted in (None, WEBSOCKET.transport):
        return replace(address, dialect=own.dialect(codecs)) if own else address
    source = f"{names['transport']} {wanted}"
    if tracks is None or tracks.link.transport != wanted:
        schemes = address.link.schemes
        known = either(
            dialect.name for dialect, each in TRACKS.items() if each.link.schemes == schemes
        )
        raise SettingError(
            "transport", f"{source} needs the dialect {known}, not {address.dialect.name}"
        )
    dialect = tracks.dialect(codecs or tracks.link.codecs)
    return replace(address, dialect=dialect, link=tracks.link)


def _address_of_events(
    settings: TargetSettings, names: KeyNames, described: Service | None
) -> Address:
    if settings.url is not None:
        if settings.endpoint is not None:
            other = "url" if settings.service is None else "service"
            raise SettingError(
                "endpoint",
                f"endpoint and {other} both set the address of the service: omit one of them",
            )
        for key in ("deployment", "model", "api_version"):
            if getattr(settings, key) is not None:
                raise SettingError(key, f"{key} needs `endpoint`: with `url`, put it into the URL")
        return url_address(settings.url, settings, names, described)
    if settings.endpoint is None:
        raise SettingError(
            "endpoint", "the target needs `endpoint` (Azure), `service` or `url` (any service)"
        )
    if settings.deployment is not None and settings.model is not None:
        raise SettingError("model", "model and deployment set the same value: omit one of them")
    deployment = settings.deployment or settings.model
    if deployment is None:
        raise SettingError(
            "deployment",
            "the target needs `deployment`, the name of a deployment of a realtime model",
        )
    return endpoint_address(
        clean(settings.endpoint, names["endpoint"]), deployment, settings, names
    )


def _caller(
    settings: TargetSettings, context: SettingsContext, address: Address
) -> tuple[Sequence[tuple[str, str]], tuple[Credential, ...]]:
    """Return (the headers that name the caller of telephone calls, the values of variables in
    them).

    Carriers check P-Asserted-Identity (RFC 3325), or From. A host in .invalid names no one (RFC
    3323 §4.1.1.3).
    """
    if settings.from_ is None:
        return (), ()
    text, secrets = fill_variables(settings.from_, context.environ, "from_", context.names["from_"])
    value = caller_address(text, address.host, context.names)
    names = ["From"] if value.endswith(".invalid>") else ["From", "P-Asserted-Identity"]
    return [(name, value) for name in names], secrets


def _prices(settings: TargetSettings, price_file: Path | None) -> Prices | None:
    match settings.prices:
        case None:
            return None
        case Prices() as own:
            return own
        case str() as model:
            table = load_price_table(price_file)
            prices = prices_of(table.models, model)
            if prices is None:
                raise SettingError(
                    "prices", f"prices must name a model of {table.name}: {', '.join(table.models)}"
                )
            return prices


# A key is sent only where the user meant it. The usual variable of a service is used only with the
# address that this tool knows. With a `url`, even one of the same service, the user names the
# variable.
def with_service_defaults(
    settings: TargetSettings, known: Service, context: SettingsContext
) -> TargetSettings:
    """Return the settings, in which the service's defaults replace missing settings. Raise
    SettingError.

    The key in its usual variable is sent only to its own address. A `url` needs the name of the
    variable.
    """
    if settings.url is not None:
        return settings
    model = settings.model or known.model
    if MODEL not in known.url:
        session = dict(settings.session or {})
        if model is not None and "model" in known.dialect.setting_keys.session:
            session.setdefault("model", model)
        elif model is not None:
            session["extra"] = {"model": model, **session.get("extra", {})}
        named = replace(settings, url=known.url, session=session)
    elif model is None:
        raise SettingError(
            "model", f"the target needs `model`, the name of a model of {known.title}"
        )
    else:
        region = settings.region or FIRST_REGION
        url = known.url.replace(MODEL, quote(model, safe="")).replace(REGION, region)
        named = replace(settings, url=url)
    return replace(
        named, model=None, api_key_env=settings.api_key_env or _usual_key(settings, known, context)
    )


def _usual_key(settings: TargetSettings, known: Service, context: SettingsContext) -> str | None:
    """Return the usual variable of the service's key; None if the target signs in in another
    way.
    """
    if known.api_key_env is None or settings.headers or settings.auth not in (None, "key", "basic"):
        return None
    is_set = bool(unquoted(context.environ.get(known.api_key_env, "")))
    if known.hosts and not is_set:
        other = "`api_key_env` names another variable"
        problem = (
            f"{known.api_key_env} is not set: it must contain the key of {known.title}, unless"
            f" {other}{_after(unread(context.environ, known.api_key_env))}"
        )
        raise SettingError("service", problem)
    return known.api_key_env if is_set else None


class SignInResult(NamedTuple):
    """The sign-in of a target. `secrets` are its secrets other than the key. `notices` are to be
    shown before a run.
    """

    auth: Auth
    secrets: tuple[Credential, ...] = ()
    notices: tuple[str, ...] = ()


def auth_of(
    settings: TargetSettings, context: SettingsContext, address: Address, path: NetworkPath
) -> SignInResult:
    """Return the sign-in of a target. Raise SettingError, or UsageError for a key that cannot be
    in a header.
    """
    auth = settings.auth
    names = context.names
    needs_password = address.link.credential == "digest"
    if (
        needs_password
        and auth != "basic"
        and (auth is not None or settings.api_key_env is not None)
    ):
        needs = f"with user:password in the variable that {names['api_key_env']} names"
        raise context.refuse("auth", f"must be basic for telephone calls, {needs}")
    if (header := settings.api_key_header) is not None:
        if auth not in (None, "key"):
            raise context.refuse(
                "api_key_header", "is for a key, but `auth` sets another way to sign in: omit one"
            )
        if is_of_upgrade(header) or header.lower() in map(str.lower, settings.headers or {}):
            raise context.refuse(
                "api_key_header", f"must not be {header}: the upgrade or `headers` sets this header"
            )
        if settings.api_key_env is None:
            raise context.refuse(
                "api_key_header", f"needs {names['api_key_env']}, the name of the key's variable"
            )
    if auth is None or auth == "key" or auth == "basic":
        return _by_key(settings, context, address)
    if settings.api_key_env is not None:
        raise context.refuse(
            "auth", f"and {names['api_key_env']} are two ways to sign in: omit one of them"
        )
    entra = _by_entra(AuthSettings(type=auth) if isinstance(auth, str) else auth, context, address)
    proxy: Proxy | Literal["none"] | None = None if settings.proxy is None else path.proxy or NONE
    return SignInResult(replace(entra, proxy=proxy, ca=path.ca))


def _by_key(settings: TargetSettings, context: SettingsContext, address: Address) -> SignInResult:
    source = context.names["api_key_env"]
    variable = settings.api_key_env
    if variable is not None:
        key = clean(
            context.environ.get(variable, ""),
            source if source == variable else f"the variable of {source}",
        )
        if not key:  # the error does not quote it, because some users give the key itself
            problem = "names a variable that is not set: use the variable's name, not the key"
            raise context.refuse("api_key_env", problem)
        if address.link.credential == "digest" and ":" not in key:
            raise context.refuse(
                "api_key_env", "names a variable that does not contain user:password"
            )
        if (
            settings.api_key_header is not None
            and settings.api_key_header.lower() != "authorization"
        ):
            return SignInResult(Credential(settings.api_key_header, key))
        own = address.known_service.key_header if address.known_service else BEARER
        if settings.auth == "basic" or (settings.auth is None and own is BASIC):
            return _basic(key)
        header = BEARER if own is BASIC or settings.api_key_header is not None else own
        return SignInResult(Credential(header.name, key, header.scheme))
    if settings.auth is not None:
        raise context.refuse(
            "auth", f"{settings.auth} needs {source}, the name of the key's variable"
        )
    is_agent = address.dialect.peer is Peer.AGENT  # most agents need no key
    is_signed = bool(address.link.signed_by)
    may_need_none = (
        is_agent or is_signed or address.known_service is None or is_loopback(address.host)
    )
    query = parse_qsl(address.resource.partition("?")[2])
    has_key = any(is_secret(name) and value != CALL_ID for name, value in query)
    if may_need_none or has_key or settings.headers or settings.subprotocols:
        return SignInResult(None)
    usual = (address.known_service and address.known_service.api_key_env) or ""
    found = key_variable(context.environ, usual)
    return SignInResult(
        None,
        notices=(
            f"no key is sent: set {source} to the name of the variable that contains the"
            f" key{found}",
        ),
    )


def _basic(key: str) -> SignInResult:
    """Return a sign-in by Basic authentication (RFC 7617). The key is user:password, or its
    base64 form.
    """
    if ":" not in key:
        return SignInResult(Credential(BASIC.name, key, BASIC.scheme))
    coded = base64.b64encode(key.encode()).decode()
    return SignInResult(
        Credential(BASIC.name, coded, BASIC.scheme),
        (Credential("key", key), Credential("key", key.partition(":")[2])),
    )


def _by_entra(auth: AuthSettings, context: SettingsContext, address: Address) -> EntraSignIn:
    service = address.known_service
    if auth.scope is None and not (service and service.clouds) and not is_loopback(address.host):
        remedy = "set the scope of its tokens in `auth` of targets.yaml"
        raise context.refuse(
            "auth", f"is for Azure, but {address.host} is not an Azure host: {remedy}"
        )
    scope, authority = cloud = (service and service.cloud_of(address.host)) or PUBLIC_CLOUD
    if cloud is PUBLIC_CLOUD:
        scope = scope_of(address.dialect) or scope
    return EntraSignIn(
        scope=auth.scope or scope,
        kind="default" if auth.type == "entra" else auth.type,
        authority=auth.authority or authority,
        client_id=auth.client_id,
        tenant_id=auth.tenant_id,
    )
