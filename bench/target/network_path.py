"""The network path to a target, from its settings: certificates, a proxy, another address,
compression, SRTP.

A proxy is named by a URL, or by the usual environment variables: HTTPS_PROXY or, if that is not
set, ALL_PROXY. NO_PROXY has the exceptions. If a name is set in lower case and in upper case, lower
case has priority (as in curl and Python). HTTP_PROXY is for addresses without TLS. Such targets are
on this machine, and need no proxy (as in Go).
"""

import base64
import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote, unquote

from bench.files.validation import either
from bench.protocols.rtp.rtp import G722
from bench.protocols.sip.header_values import parse_host_port
from bench.protocols.turn.servers import TurnLogin, TurnServer, parse_turn_uri
from bench.target.address import fill_variables, is_host, is_variable, percent_encoded, url_parts
from bench.target.sip_uri import sip_uri
from bench.target.target import Address, Credential, unquoted
from bench.target.target_settings import SettingError, SettingsContext, TargetSettings
from bench.transport.interface import DIRECT, NetworkPath, Proxy
from bench.wire.addresses import HostPort, authority, is_loopback
from bench.wire.connection import MAX_MESSAGE_MIB
from bench.wire.service import MEDIA_LINKS, WEBSOCKET, Link

SCHEMES: Mapping[str, tuple[Literal["http", "socks4", "socks5"], int, bool]] = {
    "http": ("http", 80, True),
    "socks5": ("socks5", 1080, False),
    "socks5h": ("socks5", 1080, True),
    "socks4": ("socks4", 1080, False),
    "socks4a": ("socks4", 1080, True),
}
"""The proxy schemes of URLs, each with (protocol, usual port, True if the proxy resolves host
names)."""
EXAMPLE = "http://HOST:PORT or socks5h://HOST:PORT"
VARIABLES = ("HTTPS_PROXY", "ALL_PROXY")
READ_BY_OTHERS = (*VARIABLES, "HTTP_PROXY")
"""The environment variables with proxies that libraries read themselves."""
NONE: Final = "none"


class Information(str):
    """A notice about a setting that is no mistake. All other notices are warnings."""

    __slots__ = ()


# A setting is refused if the link of the target cannot have it and the measurement would differ. It
# is a notice if it only has no effect. One rule is behind the checks of addresses: without TLS,
# nothing leaves this machine. It holds for each hop that a setting can name, which are the target,
# `resolve` and a proxy.
#
# Files are read here, and not later, so that a wrong path or certificate is an error at a line
# before the run, and not an outcome of each session.
def network_path_of(
    settings: TargetSettings, context: SettingsContext, address: Address
) -> tuple[NetworkPath, tuple[str, ...]]:
    """Return (the network path to a target, notices to show). Raise SettingError."""
    link = address.link
    for key in dict.fromkeys(key for each in MEDIA_LINKS for key in each.settings):
        if key not in (*link.settings, *WEBSOCKET.settings) and getattr(settings, key) is not None:
            having = either(
                f"{each.title} ({each.selector})" for each in MEDIA_LINKS if key in each.settings
            )
            raise context.refuse(key, f"is only for {having}")
    unused = [
        key
        for key in WEBSOCKET.settings
        if key not in link.settings and getattr(settings, key) is not None
    ]
    notices = tuple(f"{context.names[key]} is not used by {link.title}" for key in unused)
    if link.address_form == "SIP URI":
        path, proxy_notices = _telephone_path(settings, context, address)
        return path, (*proxy_notices, *notices)
    if len(settings.codecs) > 1 or G722 in settings.codecs:
        raise context.refuse("codec", f"must be opus, PCMU or PCMA for {link.title}")
    proxy, proxy_notices = _proxy(settings.proxy, context, address)
    notices = (*proxy_notices, *notices)
    if proxy is not None and link.has_media:
        raise context.refuse(
            "proxy", f"must be none for {link.title}, whose audio does not pass a proxy"
        )
    path = replace(
        _direct_path(settings, context, link),
        proxy=proxy,
        srtp=link.has_media,
        deflate=settings.compression == "deflate",
        max_message_mib=settings.max_message_mib or MAX_MESSAGE_MIB,
    )
    if address.tls:
        return path, notices
    # without TLS everyone on the path can read everything, even keys, so it must not leave this
    # machine
    for key, host in (
        ("resolve", path.address),
        ("proxy", path.proxy.host if path.proxy else None),
    ):
        if host is not None and not is_loopback(host):
            raise context.refuse(
                key, f"is not on this machine, so TLS is required: use {link.schemes[1]}://"
            )
    unused = [key for key in ("ca_file", "client_cert") if getattr(settings, key) is not None]
    problem = "is not used: the connection to the target does not use TLS"
    return path, (*notices, *(f"{context.names[key]} {problem}" for key in unused))


def _direct_path(settings: TargetSettings, context: SettingsContext, link: Link) -> NetworkPath:
    """Return what all links have in common: the certificates, the address, and the settings of
    media.
    """
    return NetworkPath(
        ca=_certificates(settings.ca_file, "ca_file", context),
        client_cert=_certificates(settings.client_cert, "client_cert", context),
        client_key=_client_key(settings, context),
        address=_ip_address(settings.resolve, context),
        rtp_ports=_rtp_ports(settings.rtp_ports, context),
        codecs=settings.codecs or link.codecs,
        call_hosts=_call_hosts(settings.call_hosts or (), context),
        offer=settings.offer or DIRECT.offer,
        turn=_turn_server(settings, context),
    )


def _turn_server(settings: TargetSettings, context: SettingsContext) -> TurnServer | None:
    """Return the TURN server of calls over WebRTC. Errors do not quote the login, nor its
    variable.
    """
    uri = settings.turn_server
    variable = settings.turn_login_env
    names = context.names
    if uri is None:
        if variable is not None:
            raise context.refuse("turn_login_env", f"needs {names['turn_server']}, the TURN server")
        return None
    if variable is None:
        raise context.refuse(
            "turn_server",
            f"needs {names['turn_login_env']}, the variable that contains user:password",
        )
    # a user that is valid for a short time has a colon: `1790000000:NAME`
    user, _, password = unquoted(context.environ.get(variable, "")).rpartition(":")
    if not user or not password:
        raise context.refuse(
            "turn_login_env", "names a variable that does not contain user:password"
        )
    server = parse_turn_uri(uri, TurnLogin(user, password))
    if server is None:
        raise context.refuse(
            "turn_server",
            "must be the URI of a TURN server, as in turn:HOST:3478?transport=udp or turns:HOST",
        )
    return server


def turn_secrets(server: TurnServer) -> Iterator[Credential]:
    """Yield the secrets of a TURN server. Services that issue a login for a short time have a
    secret in the user.
    """
    yield from (Credential("turn_server", text) for text in (*server.login, ":".join(server.login)))


def _telephone_path(
    settings: TargetSettings, context: SettingsContext, address: Address
) -> tuple[NetworkPath, tuple[str, ...]]:
    """Return the network path of telephone calls. The proxies of the environment are not for SIP.

    The signalling contains the keys of SRTP. So by default the audio is encrypted if TLS protects
    the signalling.
    """
    text, _ = fill_variables(settings.proxy or "", context.environ, "proxy", "proxy")
    proxy = None if text in ("", NONE) else sip_uri(text, "proxy", context.names)
    tls = address.tls or (proxy is not None and proxy.tls)
    direct = _direct_path(settings, context, address.link)
    path = replace(
        direct,
        address=direct.address or (address.zoned if proxy is None else proxy.address),
        sip_proxy="" if proxy is None else str(proxy),
        srtp=tls if settings.srtp is None else settings.srtp == "required",
        dial=None if settings.dial in (None, NONE) else settings.dial,
    )
    return path, () if proxy is None else proxy.notices(context.names["proxy"])


def _call_hosts(entries: tuple[str, ...], context: SettingsContext) -> tuple[HostPort, ...]:
    try:
        return tuple(
            parse_host_port(text.strip()) for entry in entries for text in entry.split(",")
        )
    except ValueError:
        problem = (
            "must have hosts, or hosts and ports, as in sip.example.com:5070 or [2001:db8::4]:5070"
        )
        raise context.refuse("call_hosts", problem) from None


def _rtp_ports(text: str | None, context: SettingsContext) -> range:
    """Return the ports for RTP, which are even. RTCP has the next port (RFC 3550 §11)."""
    if text is None:
        return DIRECT.rtp_ports
    first, last = (int(port) for port in text.split("-"))
    ports = range(first + first % 2, last, 2)
    if not 1_024 <= first < last < 65_536 or not ports:
        raise context.refuse(
            "rtp_ports",
            "must be a range of at least two ports from 1024 to 65535, as in 20000-20999",
        )
    return ports


def _proxy(
    url: str | None, context: SettingsContext, address: Address
) -> tuple[Proxy | None, tuple[str, ...]]:
    if url is not None:
        encode = str if is_variable(url) else percent_encoded
        text, _ = fill_variables(url, context.environ, "proxy", "proxy", encode=encode)
        return None if text == NONE else parsed_proxy(text, context.names["proxy"]), ()
    from_environment = environment_proxy(context.environ, address.host, address.port)
    if from_environment is None:
        return None, ()
    proxy, variable = from_environment
    return proxy, (Information(f"through the proxy {proxy.public} ({variable})"),)


def _ip_address(text: str | None, context: SettingsContext) -> str | None:
    try:
        return text and str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        raise context.refuse(
            "resolve", "must be an IP address, as in 10.0.0.4 or 2001:db8::4"
        ) from None


def _certificates(path: str | None, key: str, context: SettingsContext) -> Path | None:
    if path is None:
        return None
    from cryptography.x509 import load_pem_x509_certificates  # slow to import, and rarely needed

    try:
        load_pem_x509_certificates(_content(path, key, context))
    except ValueError:
        raise context.refuse(
            key, f"{path} contains no PEM certificate (-----BEGIN CERTIFICATE-----)"
        ) from None
    return context.folder / path


def _client_key(settings: TargetSettings, context: SettingsContext) -> Path | None:
    path = settings.client_key
    if path is None:
        return None
    if settings.client_cert is None:
        raise context.refuse(
            "client_key", f"needs {context.names['client_cert']}, the key's certificate"
        )
    if b"PRIVATE KEY-----" not in _content(path, "client_key", context):
        raise context.refuse(
            "client_key", f"{path} contains no PEM key (-----BEGIN PRIVATE KEY-----)"
        )
    return context.folder / path


def _content(path: str, key: str, context: SettingsContext) -> bytes:
    try:
        return (context.folder / path).read_bytes()
    except OSError as error:
        raise context.refuse(key, f"{path} cannot be read: {error.strerror}") from None
    except ValueError:  # a NUL in the path
        raise context.refuse(key, "is not the path of a file") from None


def parsed_proxy(text: str, source: str) -> Proxy:
    """Parse the URL of a proxy. Raise SettingError, which never quotes the URL, because of its
    password.
    """

    def refuse(problem: str) -> SettingError:
        return SettingError("proxy", f"{source} {problem}")

    text = text if "://" in text else f"http://{text}"
    scheme = text.partition("://")[0].lower()
    if scheme == "https":
        raise refuse("begins with https://: use http://, because TLS passes through the proxy")
    if scheme not in SCHEMES:
        raise refuse(f"must begin with {', '.join(f'{name}://' for name in SCHEMES)}")
    parts, port = url_parts(text, "proxy", source)
    if port == 0 or not is_host(parts) or parts.path.strip("/") or parts.query or parts.fragment:
        raise refuse(f"is not the URL of a proxy: {EXAMPLE}")
    protocol, usual_port, remote_dns = SCHEMES[scheme]
    user, password = (
        None if value is None else unquote(value) for value in (parts.username, parts.password)
    )
    if protocol == "socks4" and password:
        raise refuse("contains a password, but SOCKS4 has none: use socks5:// or socks5h://")
    return Proxy(protocol, parts.hostname or "", port or usual_port, user, password, remote_dns)


def environment_proxy(environ: Mapping[str, str], host: str, port: int) -> tuple[Proxy, str] | None:
    """Return (the proxy that the environment sets for a host, the name of the variable); None
    for a direct path.
    """
    variable = next(
        (variable for name in VARIABLES if (variable := _variable(environ, name)) is not None), None
    )
    _, no_proxy = _variable(environ, "NO_PROXY") or ("", "")
    exceptions = no_proxy.replace(",", " ").lower().split()
    if (
        variable is None
        or is_loopback(host)
        or any(_names(entry, host.removesuffix("."), port) for entry in exceptions)
    ):
        return None
    name, value = variable
    return parsed_proxy(value, name), name


def proxy_url(proxy: Proxy) -> str:
    """Return the URL of a proxy with user and password, as libraries need it. It must not be
    stored or shown.
    """
    dns_suffix = {"socks5": "h", "socks4": "a"}.get(proxy.scheme, "") if proxy.remote_dns else ""
    password = "" if proxy.password is None else f":{quote(proxy.password, safe='')}"
    user = "" if proxy.user is None else f"{quote(proxy.user, safe='')}{password}@"
    return f"{proxy.scheme}{dns_suffix}://{user}{authority(proxy.host, proxy.port)}"


def proxy_secrets(proxy: Proxy) -> Iterator[Credential]:
    """Yield a proxy's secrets in each encoding. A user without a password counts, because it may
    be a token.
    """
    secret = proxy.password or proxy.user
    if secret:
        user_and_password = f"{proxy.user or ''}:{proxy.password or ''}"
        encoded_pairs = {
            base64.b64encode(user_and_password.encode(code, "replace")).decode()
            for code in ("utf-8", "latin-1")
        }
        yield from (
            Credential("proxy", spelling)
            for spelling in {secret, quote(secret, safe="")} | encoded_pairs
        )


def environment_proxy_secrets(environ: Mapping[str, str]) -> Iterator[Credential]:
    """Yield users and passwords of the environment's proxies, which errors may quote even from
    invalid URLs.
    """
    for name in READ_BY_OTHERS:
        for spelling in (name.lower(), name):
            user_part = environ.get(spelling, "").rpartition("@")[0].rpartition("://")[2]
            password = user_part.partition(":")[2] or user_part
            yield from (
                Credential(spelling, text) for text in {user_part, password, unquote(password)}
            )


def _variable(environ: Mapping[str, str], name: str) -> tuple[str, str] | None:
    """Return (name, value) of a variable, in lower case before upper case; None if it is not
    set, or empty.
    """
    for spelling in (name.lower(), name):
        value = environ.get(spelling)
        if value is not None:
            return (spelling, value.strip()) if value.strip() else None
    return None


def _names(entry: str, host: str, port: int) -> bool:
    """Return whether an entry of NO_PROXY (`*`, address, CIDR range, or domain; a port) matches
    a host and port.
    """
    if entry == "*":
        return True
    name, entry_port = _host_and_port(entry)
    if entry_port not in ("", str(port)):
        return False
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False)
    except ValueError:  # one of the two is a name, not an address
        name = name.removeprefix("*").strip(".")
        return bool(name) and f".{host}".endswith(f".{name}")


def _host_and_port(entry: str) -> tuple[str, str]:
    if entry.startswith("["):
        host, _, port = entry[1:].partition("]")
        return host, port.removeprefix(":")
    host, _, port = entry.partition(":") if entry.count(":") == 1 else (entry, "", "")
    return host, port
