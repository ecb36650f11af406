"""The options with which a command line names a service and the network path to it, in one table.

The table defines the command line of runs and its environment variables, and the command line of other commands. It
also defines those keys of `targets.yaml` that have the names and meanings of options. Every command imports this module
when it starts, so this module imports nothing slow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from bench.base.errors import UsageError
from bench.services.names import DialectName

OPTION = "option"
SignInName = Literal["entra", "managed_identity", "service_principal", "workload_identity", "azure_cli"]
"""The credentials of azure-identity. `entra` is its default chain."""
AUTHS = ("key", "basic", *get_args(SignInName))
"""The ways to sign in."""


@dataclass(frozen=True)
class TargetOption:
    """An option of a command line.

    `note` is its purpose, without a capital letter and a full stop. `words` are the permitted values. `kind` is the
    type of its value: int, Path or str, or tuple for names that are separated by commas. `word` is the word of the
    option, if it is not the name.
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
    def sentence(self) -> str:
        return f"{self.note[0].upper()}{self.note[1:]}."

    def read(self, value: Any) -> Any:
        """Return a value of the command line in the form that `ServiceOptions` needs.

        Raise UsageError for an empty name.
        """
        if self.kind is not tuple:
            return self.kind(value)
        names = tuple(name.strip() for name in value.split(","))
        if not all(names):
            raise UsageError(f"{self.flag} must be names of targets.yaml, separated by commas, as in west,east")
        return names


def option(note: str, metavar: str | None = None, *, default: Any = None, **more: Any) -> Any:
    """Return a field of `ServiceOptions`. The arguments are those of `TargetOption`."""
    return field(default=default, metadata={OPTION: TargetOption(note, metavar, **more)})


@dataclass(frozen=True)
class ServiceOptions:
    """The options of a command line for the service. Each option may be missing. `resolve_targets` checks the values.

    `targets` are names in `target_file`, which is `targets.yaml` by default. The name of a variant is `name.variant`.
    `prices` is the file of the price table, whose models targets may name. If it is None, the built-in price table is
    used.
    """

    targets: tuple[str, ...] = option(
        "use these targets of targets.yaml, as in west,east.quick (a variant of east); a run compares them in "
        "pairs of sessions",
        "A,B",
        default=(),
        kind=tuple,
    )
    target_file: Path | None = option("file that describes --targets (default: targets.yaml)", "FILE", kind=Path)
    url: str | None = option(
        "WebSocket URL of any compatible server, or SIP URI of a telephone (sip:agent@HOST), instead of an Azure "
        "endpoint; ${NAME} is an environment variable"
    )
    dialect: str | None = option(
        "format of the service's events (default: determined by its address)", "NAME", words=get_args(DialectName)
    )
    api_key_env: str | None = option(
        "environment variable that contains the key; with a URL no other key is sent", "NAME"
    )
    api_key_header: str | None = option(
        "header in which the key is sent, as in Ocp-Apim-Subscription-Key (default: api-key for Azure, else "
        "Authorization, as a bearer token)",
        "NAME",
    )
    auth: str | None = option(
        "how to sign in: key, Basic authentication, or Entra ID (entra: DefaultAzureCredential) (default: key, "
        "if one is set)",
        "KIND",
        words=AUTHS,
    )
    ca_file: Path | None = option(
        "a certificate authority (PEM) to trust in addition to the system's", "FILE", kind=Path
    )
    client_cert: Path | None = option("client certificate (PEM), for a service that requires one", "FILE", kind=Path)
    client_key: Path | None = option(
        "private key (PEM) of the client certificate, if it is in another file", "FILE", kind=Path
    )
    proxy: str | None = option(
        "proxy (http://, socks5://, socks5h://, socks4://; sip: for telephone calls), or none (default: "
        "HTTPS_PROXY); ${NAME} is an environment variable",
        "URL",
    )
    resolve: str | None = option("IP address to connect to, instead of resolving the host name", "ADDRESS")
    compression: str | None = option(
        "compression of messages to offer: deflate means permessage-deflate (default: none)",
        "KIND",
        words=("none", "deflate"),
    )
    max_message_mib: int | None = option(
        "maximum size of a message; a larger one ends its session (default: 16 MiB)", "MIB", kind=int
    )
    rtp_ports: str | None = option(
        "local UDP ports for the audio of telephone calls, two for each call (default: 16384-32767)", "FIRST-LAST"
    )
    from_: str | None = option(
        "number or SIP URI of the caller in telephone calls, as in '\"Support\" <sip:+15550100@example.com>'; a number "
        "gets the host of the URL (default: sip:rtbench@ADDRESS)",
        "CALLER",
        word="caller",  # `rtbench capacity --from` is a load
    )
    srtp: str | None = option(
        "encryption of the audio of telephone calls (default: required with TLS, else none)",
        "KIND",
        words=("none", "required"),
    )
    codec: str | None = option(
        "codec of telephone calls (default: offer both, PCMU first)", "CODEC", words=("PCMU", "PCMA")
    )
    call_hosts: str | None = option(
        "hosts to which telephone calls may be redirected, and which an agent on this machine may name, as "
        "HOST or HOST:PORT (default: only the host and port of the URL and the proxy)",
        "A,B",
    )
    prices: Path | None = option("file of token prices, instead of the built-in prices", "FILE", kind=Path)

    @staticmethod
    def of(values: Mapping[str, Any]) -> ServiceOptions:
        """Return the options with these values. `values` has values by the names of options; None means no value.

        Raise UsageError.
        """
        options: Any = {name: OPTIONS[name].read(value) for name, value in values.items() if value is not None}
        return ServiceOptions(**options)

    def arguments(self) -> list[str]:
        """Return the command-line arguments that set these options."""
        values = {option.flag: getattr(self, option.name) for option in OPTIONS.values()}
        texts = {flag: ",".join(value) if isinstance(value, tuple) else value for flag, value in values.items()}
        return [str(word) for flag, value in texts.items() if value not in (None, "") for word in (flag, value)]


OPTIONS = {entry.name: replace(entry.metadata[OPTION], name=entry.name) for entry in fields(ServiceOptions)}
