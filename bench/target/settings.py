"""What can be said of a target: every key of `targets.yaml`, with what is allowed at it.

This is the one table of it. The file, its JSON Schema (`schema.py`), the environment and the command line all go by it:
each ends in one `TargetSettings`, of which `build.py` makes the target. `docs/targets.md` says the same at length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from bench.money import Prices
from bench.protocol.dialects import DialectName

MOST_HEADERS = 10
"""Azure answers 431 to more."""
PUBLIC_SCOPE = "https://cognitiveservices.azure.com/.default"

END = r"$(?!\n)"  # Python's `$` also stands before a last line break
Name = Annotated[str, Meta(pattern=rf"^[A-Za-z0-9_-]{{1,64}}{END}")]
Label = Annotated[str, Meta(pattern=rf"^[A-Za-z0-9._-]{{1,64}}{END}")]
HeaderName = Annotated[str, Meta(pattern=rf"^[A-Za-z0-9!#$%&'*+.^_`|~-]{{1,64}}{END}")]
Printable = Annotated[str, Meta(pattern=rf"^[ -~]{{1,64}}{END}")]
Word = Annotated[str, Meta(pattern=rf"^[!-~]{{1,1000}}{END}")]
Dollars = Annotated[float, Meta(ge=0, le=100_000)]
PerMinute = Annotated[float, Meta(ge=0, le=1_000_000)]
Mebibytes = Annotated[int, Meta(ge=1, le=1_024)]
SignIn = Literal["entra", "managed_identity", "service_principal", "workload_identity", "azure_cli"]
"""Credentials of azure-identity; entra is its default chain."""


def key(note: str, allowed: str, *, quiet: bool = False) -> Meta:
    """What a key is for, in a line for people; and what may stand there, as errors go on after "must be".

    `quiet`: errors do not quote the value, for somebody may have put a secret there.
    """
    return Meta(description=note, extra={"allowed": allowed, "quiet": quiet})


NAMED = "made of `name: settings`; names have 1 to 64 of A-Z a-z 0-9 _ -"
DOLLARS = "a number of US dollars from 0 to 100000"
FILE = "the path of a file"
MODEL = "a name without spaces"
ID = "an id, which is no secret"
PRICES = "the name of a model of the price table, or a table of the six prices"
KINDS = "key, entra, managed_identity, service_principal, workload_identity or azure_cli"


class PriceSettings(Struct, forbid_unknown_fields=True, frozen=True):
    """US dollars per million tokens of a kind."""

    text_in: Annotated[Dollars, key("Text that is read.", DOLLARS)]
    text_cached: Annotated[Dollars, key("Text that was read before.", DOLLARS)]
    text_out: Annotated[Dollars, key("Text that is written.", DOLLARS)]
    audio_in: Annotated[Dollars, key("Audio that is heard.", DOLLARS)]
    audio_cached: Annotated[Dollars, key("Audio that was heard before.", DOLLARS)]
    audio_out: Annotated[Dollars, key("Audio that is spoken.", DOLLARS)]

    @property
    def prices(self) -> Prices:
        return Prices(**{name: float(getattr(self, name)) for name in PriceSettings.__struct_fields__})


class AuthSettings(Struct, forbid_unknown_fields=True, frozen=True):
    """How to sign in through Microsoft Entra ID. Secrets come from azure-identity's own environment variables."""

    type: Annotated[SignIn, key("Which credential of azure-identity.", KINDS.removeprefix("key, "))] = "entra"
    scope: Annotated[
        Word | None, key("What the token is for; told by the host.", f"text, as in {PUBLIC_SCOPE}", quiet=True)
    ] = None
    authority: Annotated[
        Word | None, key("The host that signs in; told by the host.", "the name of a host", quiet=True)
    ] = None
    client_id: Annotated[Label | None, key("Of an application or a user-assigned identity.", ID, quiet=True)] = None
    tenant_id: Annotated[Label | None, key("The tenant, where the credential needs one.", ID, quiet=True)] = None


class VariantSettings(Struct, forbid_unknown_fields=True, frozen=True):
    """The same target with other settings."""

    session: Annotated[
        dict[str, Any] | None,
        key("Settings that replace those of the script's `session`.", "settings of a session, as in {voice: verse}"),
    ] = None
    deployment: Annotated[Word | None, key("Another deployment.", MODEL)] = None
    model: Annotated[Word | None, key("Another model.", MODEL)] = None
    prices: Annotated[str | PriceSettings | None, key("What its tokens cost.", PRICES)] = None


class TargetSettings(Struct, forbid_unknown_fields=True, frozen=True):
    """One service and how to reach it."""

    endpoint: Annotated[
        str | None,
        key("Azure: the address of the resource.", "text, as in https://RESOURCE.openai.azure.com", quiet=True),
    ] = None
    url: Annotated[
        str | None, key("Any service: the whole address, used as it is.", "text, as in wss://HOST/PATH", quiet=True)
    ] = None
    dialect: Annotated[DialectName | None, key("How events are spelt.", "ga or preview")] = None
    api_version: Annotated[
        Word | None, key("With `endpoint`, preview dialect.", 'text, as in "2025-04-01-preview"')
    ] = None
    deployment: Annotated[Word | None, key("With `endpoint`: the deployment's name.", MODEL)] = None
    model: Annotated[Word | None, key("The same by its other name.", MODEL)] = None
    label: Annotated[
        Label | None, key("The name in rows and reports, if not the one here.", "1 to 64 of A-Z a-z 0-9 . _ -")
    ] = None
    region: Annotated[Printable | None, key("Where it is, for reports.", "1 to 64 characters of ASCII")] = None
    auth: Annotated[
        Literal["key"] | SignIn | AuthSettings | None,
        key("How to sign in; a table says more.", KINDS, quiet=True),
    ] = None
    key_env: Annotated[
        Word | None,
        key("The environment variable that holds the key.", "the name of an environment variable", quiet=True),
    ] = None
    headers: Annotated[
        Annotated[dict[HeaderName, str], Meta(max_length=MOST_HEADERS)] | None,
        key("Further headers; ${NAME} is an environment variable.", "at most 10 of `header: text`", quiet=True),
    ] = None
    ca: Annotated[str | None, key("A certificate authority to trust as well (PEM).", FILE)] = None
    client_cert: Annotated[str | None, key("A client certificate (PEM).", FILE)] = None
    client_key: Annotated[str | None, key("Its key, where that is in another file.", FILE)] = None
    proxy: Annotated[
        str | None,
        key("A proxy; ${NAME} is an environment variable.", "text, as in http://HOST:PORT, or none", quiet=True),
    ] = None
    resolve: Annotated[Word | None, key("The address to connect to, instead of the host's.", "an IP address")] = None
    compression: Annotated[Literal["none", "deflate"] | None, key("Of messages.", "none or deflate")] = None
    max_message_mib: Annotated[
        Mebibytes | None, key("A larger message ends its session; 16.", "a whole number of MiB from 1 to 1024")
    ] = None
    prices: Annotated[str | PriceSettings | None, key("What its tokens cost; if not what its model costs.", PRICES)] = (
        None
    )
    connect_rate: Annotated[
        PerMinute | None,
        key("Connections that may start in a minute; 0: any number.", "a number a minute from 0 to 1000000"),
    ] = None
    variants: Annotated[
        dict[Name, VariantSettings] | None, key("The same target with other settings, by name.", NAMED)
    ] = None


class TargetsFile(Struct, forbid_unknown_fields=True, frozen=True):
    """Targets by name."""

    targets: Annotated[Annotated[dict[Name, TargetSettings], Meta(min_length=1)], key("One entry per service.", NAMED)]


OPTIONS = (
    *("url", "dialect", "auth", "ca", "client_cert", "client_key", "proxy", "resolve", "compression"),
    "max_message_mib",
)
ON_COMMAND_LINE = {name: "--" + name.replace("_", "-") for name in OPTIONS} | {
    "key_env": "--api-key-env",
    "endpoint": "AZURE_OPENAI_ENDPOINT",
    "deployment": "AZURE_OPENAI_DEPLOYMENT_NAME",
    "api_version": "OPENAI_API_VERSION",
}
"""What keys are called where options and the environment set them."""
IN_FILE = {name: name for name in TargetSettings.__struct_fields__}

Names = Mapping[str, str]
"""Keys of `TargetSettings` → what the user knows them by."""


@dataclass(frozen=True)
class Surroundings:
    """What settings are read with. `names`: what errors call keys; `folder`: where paths are seen from.

    `price_file`: the price table, None for the one that comes with the tool.
    """

    environ: Mapping[str, str]
    names: Names
    folder: Path = Path()
    price_file: Path | None = None
