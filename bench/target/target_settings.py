"""The settings of a target: every key of `targets.yaml`, with its permitted values.

No other table has these keys. Settings that are also options are described in `options.py`. Four inputs use the table:
the file, its JSON Schema (`python -m bench.target.target_settings` prints it), the environment and the command line.
Each of them except the schema becomes a `TargetSettings`, from which `targets.py` makes the target. `docs/targets.md`
has the details.

The price table has the prices of tokens and minutes of each model, with their date and sources.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import msgspec

from bench.base.errors import UsageError
from bench.catalogue.pricing import Prices, cost_usd
from bench.files.validation import (
    Choice,
    Date,
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
from bench.files.yaml_file import LocatedValue, read_yaml
from bench.services.registry import PUBLIC_CLOUD, SERVICES
from bench.target.options import AUTHS, OPTIONS, SignInName
from bench.transport.challenges import TOKEN_CHARACTER
from bench.wire.events import TokenUsage

T = TypeVar("T")
MAX_HEADERS = 10
"""The maximum number of custom headers. With more headers, Azure responds with status 431."""
NAME = "[A-Za-z0-9_-]{1,64}"
WORD_PATTERN = "[!-~]{1,1000}"
SHORT_WORD_PATTERN = "[A-Za-z0-9._-]{1,64}"
HEADER_NAME = TOKEN_CHARACTER + "{1,64}"
ENDPOINT = String("a string such as https://RESOURCE.openai.azure.com", blank=True)
URL = String("a string such as wss://HOST/PATH", blank=True)
PROXY = String("a string such as http://HOST:PORT, or none", blank=True)
RTP_PORTS = RegexString(r"\d{1,5}-\d{1,5}", "a range of ports, as in 16384-32767")
FILE = String("the path of a file", blank=True)
MODEL = RegexString(WORD_PATTERN, "a name without spaces")
SCOPE = RegexString(WORD_PATTERN, f"text, as in {PUBLIC_CLOUD.scope}")
HOST = RegexString(WORD_PATTERN, "the name of a host")
VARIABLE = RegexString(WORD_PATTERN, "the name of an environment variable")
TARGET_NAME = RegexString(SHORT_WORD_PATTERN, "1 to 64 of A-Z a-z 0-9 . _ -")
ID = RegexString(SHORT_WORD_PATTERN, "an id, not a secret")
REGION = RegexString("[ -~]{1,64}", "1 to 64 ASCII characters")
HEADERS = MapOf(
    HEADER_NAME, String(blank=True), f"a table of at most {MAX_HEADERS} headers (`header: text`)", maximum=MAX_HEADERS
)
SERVICE = Choice(tuple(name for name, service in SERVICES.items() if service.url))
SUBPROTOCOLS = OneOrMore(String("the name of a subprotocol"))
CALL_HOSTS = OneOrMore(String("a host, or a host and a port, as in sip.example.com:5070"))
PER_MINUTE = Number(0, 1_000_000, "a minute")
DOLLARS = Number(0, 100_000, "of US dollars")
SIGN_IN = Choice(get_args(SignInName))


class ApiVersionValidator(RegexString):
    """The validator of an API version that is a date.

    The value is a text or a date, because YAML reads a version without quotes as a date.
    """

    def read(self, value: LocatedValue) -> str:
        content = value.content()
        return content.isoformat() if isinstance(content, date) else super().read(value)


@dataclass(frozen=True)
class CallerValidator(String):
    """The validator of a caller. YAML reads a number such as +15550100 without quotes as an integer without the +."""

    def read(self, value: LocatedValue) -> str:
        text, content = value.source_text, value.content()
        if isinstance(content, int) and not isinstance(content, bool) and text is not None:
            return text
        return super().read(value)

    def schema(self) -> Schema:
        return {"type": ["string", "integer"]}


CALLER = CallerValidator("the number or SIP URI of a caller")
PER_MINUTE_OF_SESSION = "usd_per_minute"
OF_TOKENS: dict[str, Field[float]] = {
    "text_input": Field(DOLLARS, "Per million tokens: input text.", required=True),
    "text_cached_input": Field(DOLLARS, "Cached input text.", required=True),
    "text_output": Field(DOLLARS, "Output text.", required=True),
    "audio_input": Field(DOLLARS, "Input audio.", required=True),
    "audio_cached_input": Field(DOLLARS, "Cached input audio.", required=True),
    "audio_output": Field(DOLLARS, "Output audio.", required=True),
}
NOT_TOKENS: dict[str, Field[float]] = {
    "image_input": Field(DOLLARS, "Input images; default: the price of text."),
    "image_cached_input": Field(DOLLARS, "Cached input images; default: the price of text."),
    "text_cache_write": Field(DOLLARS, "Input text that is written into the cache; default: the price of input text."),
    PER_MINUTE_OF_SESSION: Field(DOLLARS, "Per minute of a session. Prices of tokens are then optional."),
}
OF_STANDBY: dict[str, Field[float]] = {
    "usd_per_standby_minute": Field(DOLLARS, "Per minute of a session in standby; default: as other minutes."),
}


@dataclass(frozen=True)
class PricesValidator(Validator[T]):
    """The validator of prices: of tokens, of minutes, or of both.

    If there is a price of minutes, each omitted price of tokens is 0. `build` makes the result. `extra_keys` are
    additional keys, which `build` must accept.
    """

    build: Callable[..., T]
    extra_keys: Mapping[str, Field[Any]] = field(default_factory=dict)

    def read(self, value: LocatedValue) -> T:
        entries = value.content()
        by_minute = isinstance(entries, dict) and PER_MINUTE_OF_SESSION in entries
        return self._table(by_minute=by_minute).read(value)

    def schema(self) -> Schema:
        of_tokens, by_minute = (self._table(by_minute=by_minute).schema() for by_minute in (False, True))
        return {"if": {"required": [PER_MINUTE_OF_SESSION]}, "then": by_minute, "else": of_tokens}

    def _table(self, *, by_minute: bool) -> StructOf[T]:
        of_tokens, extra_keys = OF_TOKENS, NOT_TOKENS
        if by_minute:
            of_tokens = {name: replace(entry, required=False, default=0.0) for name, entry in OF_TOKENS.items()}
            extra_keys = extra_keys | {PER_MINUTE_OF_SESSION: replace(extra_keys[PER_MINUTE_OF_SESSION], required=True)}
            extra_keys |= OF_STANDBY
        return StructOf({**of_tokens, **extra_keys, **self.extra_keys}, self.build, nothing=False)


PRICES = OrStruct(String("the name of a model of the price table, or a table of prices"), PricesValidator(Prices))


@dataclass(frozen=True)
class AuthSettings:
    """The sign-in through Microsoft Entra ID. Secrets come from azure-identity's own environment variables."""

    type: SignInName = field_key(SIGN_IN, "The credential class of azure-identity.", "entra")
    scope: str | None = field_key(SCOPE, "The scope of the token; default: determined by the host.", quiet=True)
    authority: str | None = field_key(HOST, "The sign-in host; default: determined by the target's host.", quiet=True)
    client_id: str | None = field_key(ID, "The id of an application or a user-assigned identity.", quiet=True)
    tenant_id: str | None = field_key(ID, "The tenant, if the credential needs one.", quiet=True)


AUTH = OrStruct(Choice(AUTHS), struct_of(AuthSettings))


@dataclass(frozen=True)
class VariantSettings:
    """The settings of a variant: the same target with some other settings."""

    session: dict[str, Any] | None = field_key(JsonObject(), "Settings that replace those of the script's `session`.")
    deployment: str | None = field_key(MODEL, "Another deployment.")
    model: str | None = field_key(MODEL, "Another model.")
    from_: str | None = field_key(CALLER, "Another caller of telephone calls.", quiet=True)
    prices: str | Prices | None = field_key(PRICES, "The prices of its sessions.")


VARIANTS = MapOf(NAME, struct_of(VariantSettings))


def as_option(name: str, shape: Validator[Any] | None = None, *, quiet: bool = False) -> Any:
    """Return a key of `targets.yaml` with the meaning of the option `name`.

    If `shape` is None, the permitted values are those of the option.
    """
    return field_key(shape or Choice(OPTIONS[name].words), OPTIONS[name].sentence, quiet=quiet)


@dataclass(frozen=True)
class TargetSettings:
    """The settings of one target: a service, and how to reach it."""

    endpoint: str | None = field_key(ENDPOINT, "Azure: the URL of the resource.", quiet=True)
    url: str | None = as_option("url", URL, quiet=True)
    service: str | None = field_key(SERVICE, "A known service, instead of its `url` or in addition to it.")
    dialect: str | None = as_option("dialect")
    api_version: str | None = field_key(
        ApiVersionValidator(WORD_PATTERN, 'text, as in "2025-04-01-preview"'),
        "With `endpoint` and the preview dialect.",
    )
    deployment: str | None = field_key(MODEL, "With `endpoint`: the deployment's name.")
    model: str | None = field_key(MODEL, "Another name of `deployment`; with `service`: the model.")
    name: str | None = field_key(TARGET_NAME, "The name in rows and reports, if it differs from the key.")
    region: str | None = field_key(REGION, "Its region, for reports.")
    auth: Literal["key", "basic"] | SignInName | AuthSettings | None = as_option("auth", AUTH, quiet=True)
    api_key_env: str | None = as_option("api_key_env", VARIABLE, quiet=True)
    api_key_header: str | None = as_option(
        "api_key_header", RegexString(HEADER_NAME, "the name of a header, not the key"), quiet=True
    )
    headers: dict[str, str] | None = field_key(HEADERS, "More headers; ${NAME} is an environment variable.", quiet=True)
    subprotocols: tuple[str, ...] | None = field_key(
        SUBPROTOCOLS, "WebSocket subprotocols to offer; ${NAME} is an environment variable.", quiet=True
    )
    session: dict[str, Any] | None = field_key(JsonObject(), "Settings that replace those of the script's `session`.")
    ca_file: str | None = as_option("ca_file", FILE)
    client_cert: str | None = as_option("client_cert", FILE)
    client_key: str | None = as_option("client_key", FILE)
    proxy: str | None = as_option("proxy", PROXY, quiet=True)
    resolve: str | None = as_option("resolve", RegexString(WORD_PATTERN, "an IP address"))
    compression: str | None = as_option("compression")
    max_message_mib: int | None = as_option("max_message_mib", Integer(1, 1_024, "of MiB"))
    rtp_ports: str | None = as_option("rtp_ports", RTP_PORTS)
    codec: str | None = as_option("codec")
    from_: str | None = as_option("from_", CALLER, quiet=True)
    srtp: str | None = as_option("srtp")
    call_hosts: tuple[str, ...] | None = as_option("call_hosts", CALL_HOSTS, quiet=True)
    prices: str | Prices | None = field_key(
        PRICES, "The prices of its sessions, if they differ from those of its model."
    )
    connect_rate: float | None = field_key(PER_MINUTE, "Maximum new connections per minute; 0: no limit.")
    variants: dict[str, VariantSettings] | None = field_key(VARIANTS, "The same target with other settings, by name.")


TARGET = struct_of(TargetSettings)
TARGETS: StructOf[dict[str, TargetSettings]] = StructOf(
    {"targets": Field(MapOf(NAME, TARGET, minimum=1), "One entry per service.", required=True)},
    lambda targets: targets,
)

IN_FILE = {entry.name: entry.name.removesuffix("_") for entry in fields(TargetSettings)}
"""The names of the settings, each with its key in the file."""
AS_OPTION = tuple(name for name in OPTIONS if name in IN_FILE and name != "prices")
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
    """The data that is needed to read settings.

    `names` maps each key to its name in error messages. `folder` is the folder at which relative paths start.
    `price_file` is the file of the price table; None for the built-in price table.
    """

    environ: Mapping[str, str]
    names: KeyNames
    folder: Path = Path()
    price_file: Path | None = None

    def refuse(self, key: str, problem: str) -> SettingError:
        """Return an error for the setting `key`. `problem` follows the name of the setting in the text."""
        return SettingError(key, f"{self.names[key]} {problem}")


def targets_schema() -> Schema:
    """Return the JSON Schema (draft 2020-12) of `targets.yaml`."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Targets of Realtime Bench"}
    return head | TARGETS.schema()


GIVE_PRICES = "add `prices:` to the target in targets.yaml, or use a price file: --prices FILE"


@dataclass(frozen=True)
class PriceTable:
    """The prices of models.

    `as_of` is the date of the prices, YYYY-MM-DD. `name` is the name of the file. `sources` has a line for each model.
    """

    as_of: str
    name: str
    sources: tuple[str, ...]
    models: Mapping[str, Prices]


@dataclass(frozen=True)
class PricedModel:
    """The prices of one model. `source` describes where they come from."""

    prices: Prices
    source: str


def _priced(source: str = "", **prices: float) -> PricedModel:
    return PricedModel(Prices(**prices), source)


PRICED = PricesValidator(_priced, {"source": Field(String(blank=True), "The source of the prices, in words.")})


@dataclass(frozen=True)
class PriceFileValidator:
    """The validator of a file of prices."""

    as_of: date = field_key(Date(), "The date of the prices.", required=True)
    models: dict[str, PricedModel] = field_key(MapOf("[!-~]{1,100}", PRICED), "Prices by model.", required=True)


def load_price_table(path: Path | None) -> PriceTable:
    """Return the price table in a file. If `path` is None, return the built-in price table.

    Raise ScriptError with the file and the line.
    """
    if path is None:
        return _shipped()
    file = struct_of(PriceFileValidator).read(read_yaml(path, "the file"))
    models = {name: model.prices for name, model in file.models.items()}
    sources = tuple(f"{name}: {model.source}" for name, model in file.models.items() if model.source)
    return PriceTable(file.as_of.isoformat(), path.name, sources, models)


@cache
def _shipped() -> PriceTable:
    with resources.as_file(resources.files("bench.target") / "prices.yaml") as path:
        return load_price_table(path)


def usage_usd(prices: Prices, usage: TokenUsage) -> float:
    """Return the cost of these tokens in US dollars."""
    return float(cost_usd(prices, msgspec.structs.asdict(usage)))


if __name__ == "__main__":
    print(json.dumps(targets_schema(), indent=2))
