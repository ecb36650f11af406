"""The options by which a command line names a service and the way to it: the one table of them.

The command line of runs with its variables, that of commands, and the keys of `targets.yaml` that say the same are made
of it: an option and the key of its name say the same. Every command reads it at its start, so it imports nothing that
takes long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from bench.errors import UsageError

OPTION = "option"
AgentName = Literal["acs", "twilio", "pcm"]
"""The dialects in which agents are called."""
DialectName = Literal["ga", "preview", "voice-live", "gpt-live", "xai", "inworld", "qwen", "glm", "stepfun", AgentName]
"""The dialects by the names that users know; what each is: `bench.protocol.dialects`."""
SignInName = Literal["entra", "managed_identity", "service_principal", "workload_identity", "azure_cli"]
"""Credentials of azure-identity; entra is its default chain."""
AUTHS = ("key", "basic", *get_args(SignInName))
"""Ways to sign in."""


@dataclass(frozen=True)
class TargetOption:
    """An option. `note`: what it is for, without a capital letter and a full stop; `words`: all that it may be.

    `kind`: int, Path or str, or tuple of names with commas between them.
    """

    note: str
    metavar: str | None = None
    kind: type = str
    words: tuple[str, ...] = ()
    name: str = ""

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def sentence(self) -> str:
        return f"{self.note[0].upper()}{self.note[1:]}."

    def read(self, given: Any) -> Any:
        """What is given, as `ServiceOptions` holds it. Raises UsageError for an empty name of a target."""
        if self.kind is not tuple:
            return self.kind(given)
        names = tuple(name.strip() for name in given.split(","))
        if not all(names):
            raise UsageError(f"{self.flag} wants names of targets.yaml with commas between them, as in west,east")
        return names


def option(note: str, metavar: str | None = None, *, default: Any = None, **more: Any) -> Any:
    """A field of `ServiceOptions`: see `TargetOption`."""
    return field(default=default, metadata={OPTION: TargetOption(note, metavar, **more)})


@dataclass(frozen=True)
class ServiceOptions:
    """What a command line says of the service; each part may be missing. `resolve_targets` checks what is typed.

    `targets`: names in `target_file` (`targets.yaml`, if none is given), those of variants as `name.variant`.
    `prices`: the price table that targets may name models of; None is the one that comes with the tool.
    """

    targets: tuple[str, ...] = option(
        "call these targets of targets.yaml, as in west,east.quick, a variant of east; a run compares them in pairs of "
        "sessions",
        "A,B",
        default=(),
        kind=tuple,
    )
    target_file: Path | None = option("file that describes --targets (default: targets.yaml)", "FILE", kind=Path)
    url: str | None = option(
        "WebSocket URL of any compatible server, instead of Azure's endpoint; ${NAME} is an environment variable"
    )
    dialect: str | None = option(
        "how the service spells its events (default: as its address tells)", "NAME", words=get_args(DialectName)
    )
    api_key_env: str | None = option(
        "environment variable that holds the key; with a URL the only key that is sent", "NAME"
    )
    auth: str | None = option(
        "how to sign in: by key, by Basic authentication, or through Entra ID, entra by DefaultAzureCredential "
        "(default: by key if one is set)",
        "KIND",
        words=AUTHS,
    )
    ca_file: Path | None = option(
        "a certificate authority (PEM) to trust in addition to the system's", "FILE", kind=Path
    )
    client_cert: Path | None = option(
        "a certificate (PEM) that shows who calls, for a service that wants one", "FILE", kind=Path
    )
    client_key: Path | None = option(
        "private key (PEM) of the certificate, if that is in another file", "FILE", kind=Path
    )
    proxy: str | None = option(
        "proxy to go through (http://, socks5://, socks5h://, socks4://), or none (default: that of HTTPS_PROXY); "
        "${NAME} is an environment variable",
        "URL",
    )
    resolve: str | None = option("IP address to connect to, instead of looking the host up", "ADDRESS")
    compression: str | None = option(
        "compression of messages to offer: deflate is permessage-deflate (default: none)",
        "KIND",
        words=("none", "deflate"),
    )
    max_message_mib: int | None = option("a larger message ends its session (default: 16 MiB)", "MIB", kind=int)
    prices: Path | None = option("file of token prices, instead of those that come with the tool", "FILE", kind=Path)

    @staticmethod
    def of(given: Mapping[str, Any]) -> ServiceOptions:
        """Take what is given, by options' names; None for nothing. Raises UsageError."""
        read: Any = {name: OPTIONS[name].read(value) for name, value in given.items() if value is not None}
        return ServiceOptions(**read)

    def words(self) -> list[str]:
        """The same as a command line has it."""
        given = {option.flag: getattr(self, option.name) for option in OPTIONS.values()}
        shown = {flag: ",".join(value) if isinstance(value, tuple) else value for flag, value in given.items()}
        return [str(word) for flag, value in shown.items() if value not in (None, "") for word in (flag, value)]


OPTIONS = {each.name: replace(each.metadata[OPTION], name=each.name) for each in fields(ServiceOptions)}
