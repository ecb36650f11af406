"""The settings of a target: every key of `targets.yaml`, and every option that names a service or
the path to it.

A setting is declared once, with its permitted values, its text, and its option if there is one.
Five inputs use the declarations: the file, its JSON Schema (`python -m
bench.target.target_settings` prints it), the environment, the command line of runs with its
environment variables, and the command lines of other commands. Each of them except the schema
becomes a `TargetSettings`, from which `targets.py` makes the target. `docs/targets.md` has the
details.

Every command imports this module when it starts, so this module imports nothing slow.
"""

# How a field is declared determines where it exists: `field_key` only in the file, `option` in the
# file and on command lines, `only_option` only on command lines. The key of a field is its name
# without a final `_` (`IN_FILE`), and its option has dashes in place of underscores, or another
# word. So the file, its schema, the help and the errors cannot differ from what is read.
#
# Nothing here has a default value: None means that a source does not set the key. `targets.py`
# joins the sources. A variant replaces keys of its target, an option replaces both, and a service
# then adds what is not set. Many defaults depend on the address, which is known only after that.
#
# A `quiet` key may contain a secret, or a user may put one there by mistake. No error quotes its
# value.

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from bench.base.errors import UsageError
from bench.files.validation import (
    ENTRY,
    Choice,
    Deferred,
    Field,
    Integer,
    JsonObject,
    MapOf,
    Number,
    OneOrMore,
    OrStruct,
    RegexString,
    Schema,
    String,
    StructOf,
    Validator,
    field_key,
    struct_of,
)
from bench.services.names import NAMES, OfferForm, TrackName
from bench.transport.challenges import TOKEN_CHARACTER
from bench.transport.impairment.profiles import PROFILES, NetworkProfile

if TYPE_CHECKING:
    from bench.catalogue.pricing import Prices
    from bench.files.yaml_file import LocatedValue

OPTION = "option"
EVENT_FORMATS = tuple(name for name in NAMES if name not in get_args(TrackName))
"""The values of `dialect`."""
SIMULATOR_PORT = 8765
"""The port that `rtbench simulate` listens on by default."""
SignInName = Literal[
    "entra", "managed_identity", "service_principal", "workload_identity", "azure_cli"
]
"""The credentials of azure-identity. `entra` is its default chain."""
AUTHS = ("key", "basic", *get_args(SignInName))
"""The ways to sign in."""
MAX_HEADERS = 10
"""The maximum number of custom headers. With more headers, Azure responds with status 431."""
NAME = "[A-Za-z0-9_-]{1,64}"
WORD_PATTERN = "[!-~]{1,1000}"
SHORT_WORD_PATTERN = "[A-Za-z0-9._-]{1,64}"
CODEC = "(?:opus|g722|pcmu|pcma|OPUS|G722|PCMU|PCMA)"
HEADER_NAME = TOKEN_CHARACTER + "{1,64}"
FILE = String("the path of a file", blank=True)
MODEL = RegexString(WORD_PATTERN, "a name without spaces")
ID = RegexString(SHORT_WORD_PATTERN, "an id, not a secret")
HEADERS = MapOf(
    HEADER_NAME,
    String(blank=True),
    f"a table of at most {MAX_HEADERS} headers (`header: text`)",
    maximum=MAX_HEADERS,
)


# The tables of services and of prices import much. Their validators are made when a value is read,
# or the schema is printed (`Deferred`).
def _service() -> Validator[str]:
    from bench.services.registry import SERVICES

    return Choice(tuple(name for name, service in SERVICES.items() if service.url))


def _scope() -> Validator[str]:
    from bench.services.registry import PUBLIC_CLOUD

    return RegexString(WORD_PATTERN, f"text, as in {PUBLIC_CLOUD.scope}")


def _prices() -> Validator[str | Prices]:
    from bench.target.price_table import PRICES

    return PRICES


class ApiVersionValidator(RegexString):
    """The validator of an API version. YAML reads a version without quotes as a date."""

    def read(self, value: LocatedValue) -> str:
        content = value.content()
        return content.isoformat() if isinstance(content, date) else super().read(value)


@dataclass(frozen=True)
class CallerValidator(String):
    """The validator of a caller. YAML reads a number such as +15550100 without quotes as an
    integer without the +.
    """

    def read(self, value: LocatedValue) -> str:
        text = value.source_text
        content = value.content()
        if isinstance(content, int) and not isinstance(content, bool) and text is not None:
            return text
        return super().read(value)

    def schema(self) -> Schema:
        return {"type": ["string", "integer"]}


NETWORK = OrStruct(Choice(tuple(PROFILES)), struct_of(NetworkProfile))
CALLER = CallerValidator("the number or SIP URI of a caller")


@dataclass(frozen=True)
class AuthSettings:
    """The sign-in through Microsoft Entra ID. Secrets come from azure-identity's own environment
    variables.
    """

    type: SignInName = field_key(
        Choice(get_args(SignInName)), "The credential class of azure-identity.", "entra"
    )
    scope: str | None = field_key(
        Deferred(_scope), "The scope of the token; default: determined by the host.", quiet=True
    )
    authority: str | None = field_key(
        RegexString(WORD_PATTERN, "the name of a host"),
        "The sign-in host; default: determined by the target's host.",
        quiet=True,
    )
    client_id: str | None = field_key(
        ID, "The id of an application or a user-assigned identity.", quiet=True
    )
    tenant_id: str | None = field_key(ID, "The tenant, if the credential needs one.", quiet=True)


@dataclass(frozen=True)
class VariantSettings:
    """The settings of a variant: the same target with some other settings."""

    session: dict[str, Any] | None = field_key(
        JsonObject(), "Settings that replace those of the script's `session`."
    )
    deployment: str | None = field_key(MODEL, "Another deployment.")
    model: str | None = field_key(MODEL, "Another model.")
    from_: str | None = field_key(CALLER, "Another caller of telephone calls.", quiet=True)
    network: str | NetworkProfile | None = field_key(NETWORK, "Another network of the caller.")
    prices: str | Prices | None = field_key(Deferred(_prices), "The prices of its sessions.")


@dataclass(frozen=True)
class TargetOption:
    """An option of a command line.

    `note` is its purpose, without a capital letter and a full stop. `words` are the permitted
    values. `kind` is the type of its value: int, Path or str, bool for a switch, or tuple for names
    that are separated by commas. `word` is another word than the name.
    """

    note: str
    metavar: str | None = None
    kind: type = str
    words: tuple[str, ...] = ()
    word: str = ""
    name: str = ""

    @property
    def flag(self) -> str:
        return "--" + (self.word or self.name.replace("_", "-"))

    @property
    def is_switch(self) -> bool:
        return self.kind is bool

    @property
    def sentence(self) -> str:
        return f"{self.note[0].upper()}{self.note[1:]}."

    def read(self, value: Any) -> Any:
        """Return a value of the command line as `ServiceOptions` needs it. Raise UsageError for
        an empty name.
        """
        if self.kind is not tuple:
            return self.kind(value)
        names = tuple(name.strip() for name in value.split(","))
        if not all(names):
            raise UsageError(
                f"{self.flag} must be names of targets.yaml, separated by commas, as in west,east"
            )
        return names


def only_option(note: str, metavar: str | None, *, default: Any = None, **more: Any) -> Any:
    """Return a field that is an option, but no key of `targets.yaml`. `more` is for
    `TargetOption`.
    """
    return field(default=default, metadata={OPTION: TargetOption(note, metavar, **more)})


def option(
    note: str,
    metavar: str | None = None,
    shape: Validator[Any] | None = None,
    *,
    quiet: bool = False,
    **more: Any,
) -> Any:
    """Return a field that is a key of `targets.yaml` and an option. `more` is for `TargetOption`.

    The value has the form `shape`, or is one of the option's `words`. If `quiet` is True, errors do
    not quote it.
    """
    made = TargetOption(note, metavar, **more)
    entry = Field(shape or Choice(made.words), made.sentence, is_hidden=quiet)
    return field(default=None, metadata={OPTION: made, ENTRY: entry})


@dataclass(frozen=True)
class TargetSettings:
    """The settings of one target: a service, and how to reach it."""

    endpoint: str | None = field_key(
        String("a string such as https://RESOURCE.openai.azure.com", blank=True),
        "Azure: the URL of the resource.",
        quiet=True,
    )
    url: str | None = option(
        "WebSocket URL of any compatible server, or SIP URI of a telephone (sip:agent@HOST),"
        " instead of an Azure endpoint; ${NAME} is an environment variable",
        shape=String("a string such as wss://HOST/PATH", blank=True),
        quiet=True,
    )
    service: str | None = field_key(
        Deferred(_service), "A known service, instead of its `url` or in addition to it."
    )
    dialect: str | None = option(
        "format of the service's events (default: determined by its address)",
        "NAME",
        words=EVENT_FORMATS,
    )
    protocol: str | None = option(
        "YAML file that describes the messages of the service, instead of a dialect",
        "FILE",
        FILE,
        kind=Path,
    )
    transport: str | None = option(
        "transport of the audio: in messages, or over WebRTC (default: websocket)",
        "NAME",
        words=("websocket", "webrtc"),
    )
    api_version: str | None = field_key(
        ApiVersionValidator(WORD_PATTERN, 'text, as in "2025-04-01-preview"'),
        "With `endpoint` and the preview dialect.",
    )
    deployment: str | None = field_key(MODEL, "With `endpoint`: the deployment's name.")
    model: str | None = field_key(MODEL, "Another name of `deployment`; with `service`: the model.")
    name: str | None = field_key(
        RegexString(SHORT_WORD_PATTERN, "1 to 64 of A-Z a-z 0-9 . _ -"),
        "The name in rows and reports, if it differs from the key.",
    )
    region: str | None = field_key(
        RegexString("[ -~]{1,64}", "1 to 64 ASCII characters"), "Its region, for reports."
    )
    api_key_env: str | None = option(
        "environment variable that contains the key; with a URL no other key is sent",
        "NAME",
        RegexString(WORD_PATTERN, "the name of an environment variable"),
        quiet=True,
    )
    api_key_header: str | None = option(
        "header in which the key is sent, as in Ocp-Apim-Subscription-Key (default: api-key for"
        " Azure, else Authorization, as a bearer token)",
        "NAME",
        RegexString(HEADER_NAME, "the name of a header, not the key"),
        quiet=True,
    )
    auth: Literal["key", "basic"] | SignInName | AuthSettings | None = option(
        "how to sign in: key, Basic authentication, or Entra ID (entra: DefaultAzureCredential)"
        " (default: key, if one is set)",
        "KIND",
        OrStruct(Choice(AUTHS), struct_of(AuthSettings)),
        words=AUTHS,
        quiet=True,
    )
    headers: dict[str, str] | None = field_key(
        HEADERS, "More headers; ${NAME} is an environment variable.", quiet=True
    )
    subprotocols: tuple[str, ...] | None = field_key(
        OneOrMore(String("the name of a subprotocol")),
        "WebSocket subprotocols to offer; ${NAME} is an environment variable.",
        quiet=True,
    )
    session: dict[str, Any] | None = field_key(
        JsonObject(), "Settings that replace those of the script's `session`."
    )
    ca_file: str | None = option(
        "a certificate authority (PEM) to trust in addition to the system's",
        "FILE",
        FILE,
        kind=Path,
    )
    client_cert: str | None = option(
        "client certificate (PEM), for a service that requires one", "FILE", FILE, kind=Path
    )
    client_key: str | None = option(
        "private key (PEM) of the client certificate, if it is in another file",
        "FILE",
        FILE,
        kind=Path,
    )
    proxy: str | None = option(
        "proxy (http://, socks5://, socks5h://, socks4://; sip: for telephone calls), or none"
        " (default: HTTPS_PROXY); ${NAME} is an environment variable",
        "URL",
        String("a string such as http://HOST:PORT, or none", blank=True),
        quiet=True,
    )
    resolve: str | None = option(
        "IP address to connect to, instead of resolving the host name",
        "ADDRESS",
        RegexString(WORD_PATTERN, "an IP address"),
    )
    compression: str | None = option(
        "compression of messages to offer: deflate means permessage-deflate (default: none)",
        "KIND",
        words=("none", "deflate"),
    )
    max_message_mib: int | None = option(
        "maximum size of a message; a larger one ends its session (default: 16 MiB)",
        "MIB",
        Integer(1, 1_024, "of MiB"),
        kind=int,
    )
    rtp_ports: str | None = option(
        "local UDP ports for the audio of calls by telephone or WebRTC, two for each call (default:"
        " 16384-32767)",
        "FIRST-LAST",
        RegexString(r"\d{1,5}-\d{1,5}", "a range of ports, as in 16384-32767"),
    )
    from_: str | None = option(
        'number or SIP URI of the caller in telephone calls, as in \'"Support"'
        " <sip:+15550100@example.com>'; a number gets the host of the URL (default:"
        " sip:rtbench@ADDRESS)",
        "CALLER",
        CALLER,
        quiet=True,
        word="caller",  # `rtbench capacity --from` is a load
    )
    srtp: str | None = option(
        "encryption of the audio of telephone calls (default: required with TLS, else none)",
        "KIND",
        words=("none", "required"),
    )
    codec: str | None = option(
        "codecs that calls by telephone offer, in this order, as in opus,g722,PCMU (default:"
        " PCMU,PCMA), or the codec of calls over WebRTC (default: opus)",
        "A,B",
        RegexString(
            f"{CODEC}(?:, ?{CODEC})*", "a list of opus, g722, PCMU and PCMA, as in opus,g722,PCMU"
        ),
    )
    call_hosts: tuple[str, ...] | None = option(
        "hosts to which telephone calls may be redirected, and which an agent on this machine, or a"
        " service over WebRTC, may name, as HOST or HOST:PORT (default: only the host and port of"
        " the URL and the proxy)",
        "A,B",
        OneOrMore(String("a host, or a host and a port, as in sip.example.com:5070")),
        quiet=True,
    )
    dial: str | None = option(
        "command that lets the agent call this tool, which listens at the SIP URI of the target"
        " ({callee} in the command), or none: the agent calls by itself",
        "COMMAND",
        String("a command, or none"),
        quiet=True,
    )
    offer: OfferForm | None = option(
        "body of offers over WebRTC: a form, only SDP, or SDP with an ephemeral key (default:"
        " form)",
        "FORM",
        words=get_args(OfferForm),
    )
    turn_server: str | None = option(
        "TURN server that may relay calls over WebRTC, as in turn:HOST:PORT?transport=tcp or"
        " turns:HOST (default: those that the service names)",
        "URI",
        String("a string such as turn:HOST:PORT?transport=udp", blank=True),
    )
    turn_login_env: str | None = option(
        "environment variable that contains user:password of the TURN server",
        "NAME",
        RegexString(WORD_PATTERN, "the name of an environment variable"),
        quiet=True,
    )
    prices: str | Prices | None = field_key(
        Deferred(_prices), "The prices of its sessions, if they differ from those of its model."
    )
    network: str | NetworkProfile | None = field_key(
        NETWORK, "The caller's network: a profile, or its own values. It impairs what calls send."
    )
    connect_rate: float | None = field_key(
        Number(0, 1_000_000, "a minute"), "Maximum new connections per minute; 0: no limit."
    )
    variants: dict[str, VariantSettings] | None = field_key(
        MapOf(NAME, struct_of(VariantSettings)), "The same target with other settings, by name."
    )

    @property
    def codecs(self) -> tuple[str, ...]:
        """The names of the codecs in session descriptions; () if they are not set."""
        names = self.codec.upper().replace(" ", "").split(",") if self.codec else ()
        return tuple(dict.fromkeys(names))


TARGET = struct_of(TargetSettings)
TARGETS: StructOf[dict[str, TargetSettings]] = StructOf(
    {"targets": Field(MapOf(NAME, TARGET, minimum=1), "One entry per service.", required=True)},
    lambda targets: targets,
)


@dataclass(frozen=True)
class ServiceOptions(TargetSettings):
    """The options of a command line for the service. Each option may be missing.

    The values of settings are those of the command line. `resolve_targets` checks and converts
    them. `targets` are names in `target_file`; a variant is `name.variant`. `price_file` is None
    for the built-in price table.
    """

    targets: tuple[str, ...] = only_option(
        "targets of targets.yaml, as in west,east.quick (a variant of east), called in pairs of"
        " sessions",
        "A,B",
        default=(),
        kind=tuple,
    )
    target_file: Path | None = only_option(
        "file that describes --targets (default: targets.yaml)", "FILE", kind=Path
    )
    vary: str | None = only_option(
        "compare the values of a setting, or of several with a semicolon between them, as in"
        " session.turn_detection.silence_duration_ms=200,400,700",
        "KEY=V,V",
    )
    simulator: bool = only_option(
        f"call a simulator on this machine: the one on port {SIMULATOR_PORT}, or one that ends with"
        " the command",
        None,
        default=False,
        kind=bool,
    )
    simulator_profile: str | None = only_option(
        "profile of the simulator that --simulator then starts, as in `rtbench simulate --profile`",
        "PROFILE",
    )
    price_file: Path | None = only_option(
        "file of token prices, instead of the built-in prices", "FILE", kind=Path, word="prices"
    )

    @staticmethod
    def of(values: Mapping[str, Any]) -> ServiceOptions:
        """Return the options with these values, by name; None means no value. Raise UsageError."""
        options: Any = {
            name: OPTIONS[name].read(value) for name, value in values.items() if value is not None
        }
        found = ServiceOptions(**options)
        if found.simulator_profile is not None and not found.simulator:
            raise UsageError(
                f"{OPTIONS['simulator_profile'].flag} needs {OPTIONS['simulator'].flag}: add it"
            )
        return found

    # Commands that start runs pass their options on in this form, so a new option reaches these
    # runs.
    def arguments(self) -> list[str]:
        """Return the command-line arguments that set these options."""
        values = {option.flag: getattr(self, option.name) for option in OPTIONS.values()}
        texts = {
            flag: ",".join(value) if isinstance(value, tuple) else value
            for flag, value in values.items()
        }
        given = {
            flag: value
            for flag, value in texts.items()
            if value not in (None, "") and value is not False
        }
        return [
            str(word)
            for flag, value in given.items()
            for word in ((flag,) if value is True else (flag, value))
        ]


OPTIONS = {
    entry.name: replace(entry.metadata[OPTION], name=entry.name)
    for entry in sorted(
        fields(ServiceOptions), key=lambda entry: not entry.name.startswith("target")
    )
    if OPTION in entry.metadata
}
"""The options in the order of the help: first those that name targets."""
IN_FILE = {entry.name: entry.name.removesuffix("_") for entry in fields(TargetSettings)}
"""The names of the settings, each with its key in the file."""
# Errors name a setting as the user has set it: by its key in the file, by its option, or by a
# variable of the environment. The tables below have these names (`SettingsContext.names`).
AS_OPTION = tuple(name for name in OPTIONS if name in IN_FILE)
"""The keys that are also options."""
ON_COMMAND_LINE = {name: OPTIONS[name].flag for name in AS_OPTION} | {
    "endpoint": "AZURE_OPENAI_ENDPOINT",
    "deployment": "AZURE_OPENAI_DEPLOYMENT_NAME",
    "api_version": "OPENAI_API_VERSION",
}
"""The keys that options or the environment set, each with the name of its option or variable."""

KeyNames = Mapping[str, str]
"""The keys of `TargetSettings`, each with the name that the user knows."""


class SettingError(UsageError):
    """An error in the setting `key`. Its text is a sentence that names the setting."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(problem)
        self.key = key


@dataclass(frozen=True)
class SettingsContext:
    """The data that is needed to read settings, with the name of each key in errors.

    Relative paths start at `folder`. `price_file` is None for the built-in price table. `changes`
    replace settings of every source.
    """

    environ: Mapping[str, str]
    names: KeyNames
    folder: Path = Path()
    price_file: Path | None = None
    changes: VariantSettings | None = None

    def refuse(self, key: str, problem: str) -> SettingError:
        """Return an error for the setting `key`. `problem` follows the name of the setting in
        the text.
        """
        return SettingError(key, f"{self.names[key]} {problem}")


def targets_schema() -> Schema:
    """Return the JSON Schema (draft 2020-12) of `targets.yaml`."""
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Targets of Realtime Bench",
    }
    return head | TARGETS.schema()


if __name__ == "__main__":
    print(json.dumps(targets_schema(), indent=2))
