"""The SIP URI of a telephone, of its caller, or of an outbound proxy, as a user writes it (RFC
3261 §19.1.1). Pure.
"""

import re
from typing import NamedTuple

from bench.protocols.sip.header_values import DEFAULT_PORTS, quoted_string, unquoted_string
from bench.protocols.sip.hops import SipUri, escaped_user, parse_uri
from bench.target.target import sip_url
from bench.target.target_settings import KeyNames, SettingError
from bench.wire.addresses import bracketed, is_address, is_host_name
from bench.wire.dialect import CALL_ID
from bench.wire.service import SIP

_PLACEHOLDER = re.compile(rf"(\$\{{[A-Za-z_][A-Za-z0-9_]*\}}|{re.escape(CALL_ID)})")
"""The pattern of a variable, or of the id of the call. Both are replaced later."""
_USER = re.compile(r"([^%?{}]|%[0-9A-Fa-f]{2})*")
"""The pattern of the rest of a user, which may have characters that are escaped on the wire."""
_PARAMETERS = re.compile(
    r"(;([A-Za-z0-9_.!~*'()\[\]/:&+$-]|%[0-9A-Fa-f]{2})+(=[A-Za-z0-9_.!~*'()\[\]/:&+$%-]+)?)*"
)
FORM = (
    "its form is sip:USER@HOST:PORT;transport=TRANSPORT, without headers; write %25, %3F, %7B and"
    " %7D for %, ?, { and } in a user"
)
_ZONE = re.compile(r"\[[^%\]]*%(?:25)?([^\]]*)\]")
_CALLER = re.compile(
    r"""(?P<name>"(?:[^"\\]|\\.)*"|[^"<>]*)\s*<(?P<uri>[^<>]+)>|(?P<user>[^"<>]+)"""
)
NOT_A_URI = f"is not a valid SIP URI: {FORM}"
EXAMPLE_CALLER = '+15550100, or "Support" <sip:+15550100@example.com>'
PARAMETERS = frozenset({"transport", "user", "lr"})
"""The parameters that have their usual effect. Others are only sent."""


# A URI is checked twice: as the file has it, and again when variables have replaced `${NAME}`,
# because a value may contain anything (`;`, `@`, a line break). Both times no message quotes it: a
# user part may be a password, and messages go to logs of a CI.
class TelephoneUri(NamedTuple):
    """The parts of a SIP URI, as they are sent. `parameters` starts with `;`, or is "".

    The host has no brackets. `zone` is the interface of an IPv6 address, such as eth0, or "". It is
    not sent.
    """

    user: str
    host: str
    port: int
    parameters: str
    tls: bool
    zone: str

    def __str__(self) -> str:
        return sip_url(self.user, self.host, self.port, self.parameters, tls=self.tls)

    @property
    def address(self) -> str | None:
        """The IP address with its zone; None if there is no zone."""
        return f"{self.host}%{self.zone}" if self.zone else None

    def notices(self, source: str) -> tuple[str, ...]:
        """Return a notice for each parameter that may be a typing error. Providers may define
        parameters.
        """
        names = [text.partition("=")[0] for text in self.parameters.split(";")[1:]]
        effect = "which this tool sends, but does not use: check its spelling"
        return tuple(
            f"{source} has the parameter {name}, {effect}"
            for name in names
            if name.lower() not in PARAMETERS
        )


def sip_uri(text: str, key: str, names: KeyNames) -> TelephoneUri:
    """Return the parts of a SIP URI, with the usual port if it has none. Raise SettingError."""
    parsed = checked_uri(text, key, names)
    names_of = [part.partition("=")[0].lower() for part in parsed.parameters.split(";")[1:]]
    if "maddr" in names_of:
        raise SettingError(
            key, f"{names[key]} has maddr, which names another host: write that host after the @"
        )
    if len(set(names_of)) < len(names_of) or any("%" in name for name in names_of):
        problem = "has a parameter twice, or a percent sign in the name of a parameter"
        raise SettingError(key, f"{names[key]} {problem}")
    transport = parsed.values.get("transport", "udp").lower()
    if transport not in ("udp", "tcp", "tls"):
        raise SettingError(key, f"{names[key]} has the transport {transport}: use udp, tcp or tls")
    tls = parsed.scheme == "sips" or transport == "tls"
    host = parsed.hop.host.strip("[]")
    zone = _ZONE.search(text)
    port = parsed.hop.port or DEFAULT_PORTS["TLS" if tls else "UDP"]
    return TelephoneUri(parsed.user, host, port, parsed.parameters, tls, zone[1] if zone else "")


def caller_address(text: str, domain: str, names: KeyNames) -> str:
    """Return the value of From for the caller in the setting `from`, which is a number, a SIP URI,
    or a name with one.

    A user without a host is at `domain`. Raise SettingError, whose message does not quote the text.
    """
    match = _CALLER.fullmatch(text := text.strip())
    if match is None or not text.isprintable():
        raise SettingError(
            "from_", f"{names['from_']} is not the address of a caller, such as {EXAMPLE_CALLER}"
        )
    written = re.sub(
        "^tel:", "", (match["uri"] or match["user"] or "").strip(), flags=re.IGNORECASE
    )
    if not re.match("[a-z][a-z0-9.+-]*:", written, re.IGNORECASE):
        written = f"sip:{written}" if "@" in written else f"sip:{written}@{bracketed(domain)}"
    uri = checked_uri(written, "from_", names)
    name = unquoted_string((match["name"] or "").strip())
    return f"{quoted_string(name)} <{uri}>" if name else f"<{uri}>"


def checked_uri(text: str, key: str, names: KeyNames) -> SipUri:
    """Return the SIP URI in the setting `key`, as it is sent.

    Characters that a user cannot have are escaped. The host is in lower case, and an international
    one in its ASCII form. Raise SettingError, whose message does not quote the URI, because it may
    contain a password.
    """

    def refuse(problem: str) -> SettingError:
        return SettingError(key, f"{names[key]} {problem}")

    scheme, _, rest = text.partition(":")
    if scheme.lower() not in ("sip", "sips"):
        raise refuse(
            f"must begin with sip: or sips:, because the target is a telephone, e.g. {SIP.example}"
        )
    user, at, host = rest.rpartition("@")
    if ":" in user:
        remedy = f"set {names['api_key_env']} to the name of a variable that contains user:password"
        raise refuse(
            f"contains a password, which would be written to files: remove it, and {remedy}"
        )
    if not host or host[0] in ":;?":
        raise refuse(f"names no host{' after the @' if at else ''}, e.g. {SIP.example}")
    parts = _PLACEHOLDER.split(user)
    if (
        not user.isprintable()
        or bool(at) != bool(user)
        or not all(map(_USER.fullmatch, parts[::2]))
    ):
        raise refuse(NOT_A_URI)
    user = "".join(part if number % 2 else escaped_user(part) for number, part in enumerate(parts))
    try:
        parsed = parse_uri(f"{scheme}:{user}{at}{host}")
    except ValueError as error:
        raise refuse(f"{error}: {FORM}") from None
    hop = parsed.hop._replace(host=parsed.hop.host.lower())
    if (
        parsed.headers
        or not _PARAMETERS.fullmatch(parsed.parameters)
        or not _is_host(hop.host.strip("[]"))
    ):
        raise refuse(NOT_A_URI)
    return parsed._replace(hop=hop)


def _is_host(host: str) -> bool:
    """Return whether a host is an address or a possible name. A name that looks like an address
    is neither.
    """
    return is_address(host) if ":" in host or not host.strip("0123456789.") else is_host_name(host)


def host_text(text: str) -> str:
    """Return the host of a SIP URI, with its port and parameters; "" if the text is not a SIP
    URI with a host.
    """
    try:
        parsed = parse_uri(text)
    except ValueError:
        return ""
    return "" if ":" in parsed.user else f"{parsed.hop}{parsed.parameters}"
