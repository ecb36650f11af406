"""The SIP URI of a telephone or of an outbound proxy (RFC 3261 §19.1.1). Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from bench.target.target import sip_url
from bench.target.target_settings import KeyNames, SettingError
from bench.transport.sip.messages import hop_of

_SIP_URI = re.compile(
    r"(?P<scheme>sips?):(?:(?P<user>[^@;?:]{1,256})@)?(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.-]{1,253})"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<parameters>(?:;[A-Za-z0-9_.!~*'()=%+-]{1,100}){0,10})",
    re.IGNORECASE,
)
"""The pattern of a SIP URI without a password and headers."""
NOT_A_URI = (
    "is not a SIP URI: its form is sip:USER@HOST:PORT;transport=TRANSPORT, without spaces and headers; "
    "percent-encode characters that a user cannot have"
)
EXAMPLE_SIP = "sip:agent@sip.example.com"
SIP_PORT, SIPS_PORT = 5060, 5061
PARAMETERS = frozenset({"transport", "user", "lr"})
"""The parameters that have their usual effect. Others are only sent."""


class SipUri(NamedTuple):
    """The parts of a SIP URI. `parameters` starts with `;`, or is ""."""

    user: str
    host: str
    port: int
    parameters: str
    tls: bool

    def __str__(self) -> str:
        return sip_url(self.user, self.host, self.port, self.parameters, tls=self.tls)

    def notices(self, source: str) -> tuple[str, ...]:
        """Return a notice for each parameter that may be a typing error. Providers may define parameters."""
        names = [text.partition("=")[0] for text in self.parameters.split(";")[1:]]
        effect = "which this tool sends, but does not use: check its spelling"
        return tuple(f"{source} has the parameter {name}, {effect}" for name in names if name.lower() not in PARAMETERS)


def sip_uri(text: str, key: str, names: KeyNames) -> SipUri:
    """Return the parts of the SIP URI in the setting `key`. Without a port, the port is that of its transport.

    Raise SettingError, whose message does not quote the URI, because it may contain a password.
    """

    def refuse(problem: str) -> SettingError:
        return SettingError(key, f"{names[key]} {problem}")

    scheme, _, rest = text.partition(":")
    if scheme.lower() not in ("sip", "sips"):
        raise refuse(f"must begin with sip: or sips:, because the target is a telephone, e.g. {EXAMPLE_SIP}")
    user, at, host = rest.rpartition("@")
    if ":" in user:
        remedy = f"set {names['api_key_env']} to the name of a variable that contains user:password"
        raise refuse(f"contains a password, which would be written to files: remove it, and {remedy}")
    if not host or host[0] in ":;?":
        raise refuse(f"names no host{' after the @' if at else ''}, e.g. {EXAMPLE_SIP}")
    match = _SIP_URI.fullmatch(text)
    if match is None:
        raise refuse(NOT_A_URI)
    names_of = [text.partition("=")[0].lower() for text in match["parameters"].split(";")[1:]]
    if "maddr" in names_of:
        raise refuse("has maddr, which names another host: write that host after the @")
    if len(set(names_of)) < len(names_of) or any("%" in name for name in names_of):
        raise refuse("has a parameter twice, or a percent sign in the name of a parameter")
    transport = next(iter(re.findall(r";transport=([^;]*)", match["parameters"].lower())), "")
    if transport not in ("", "udp", "tcp", "tls"):
        raise refuse(f"has the transport {transport}: use udp, tcp or tls")
    tls = match["scheme"].lower() == "sips" or transport == "tls"
    port = int(match["port"] or (SIPS_PORT if tls else SIP_PORT))
    if not 0 < port < 65_536:
        raise refuse("has a port that is not from 1 to 65535")
    return SipUri(match["user"] or "", match["host"].strip("[]").lower(), port, match["parameters"], tls)


def check_callable(uri: str, key: str, names: KeyNames) -> None:
    """Raise SettingError if a SIP URI, in which no variable is left, cannot be called."""
    try:
        host = hop_of(uri, "UDP")[0].host.strip("[]")
        if ":" in host or not host.strip("0123456789."):
            ipaddress.ip_address(host)
    except ValueError:
        raise SettingError(key, f"{names[key]} {NOT_A_URI}") from None


def host_text(text: str) -> str:
    """Return the host of a SIP URI, with its port and parameters; "" if the text is not a SIP URI."""
    return text[max(text.find(":"), text.find("@")) + 1 :] if _SIP_URI.fullmatch(text) else ""
