"""How the network is crossed to a target: certificates, a proxy, another address, compression."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from bench.target.address import Address
from bench.target.headers import filled_url
from bench.target.proxies import NONE, environment_proxy, parsed_proxy
from bench.target.settings import KeyNames, Surroundings, TargetSettings
from bench.target.target import Way, is_loopback
from bench.target.urls import SettingError
from bench.transport.base import MAX_MESSAGE_MIB, Proxy


def way_of(settings: TargetSettings, around: Surroundings, address: Address) -> tuple[Way, tuple[str, ...]]:
    """(the way, notices). Raises SettingError."""
    names, folder = around.names, around.folder
    proxy, proxy_notices = _proxy(settings.proxy, around, address)
    way = Way(
        ca=_certificates(settings.ca, "ca", names, folder),
        client_cert=_certificates(settings.client_cert, "client_cert", names, folder),
        client_key=_client_key(settings, names, folder),
        proxy=proxy,
        address=_ip_address(settings.resolve, names),
        deflate=settings.compression == "deflate",
        max_message_mib=settings.max_message_mib or MAX_MESSAGE_MIB,
    )
    if not address.tls:
        _refuse_open_way(way, names)
    return way, proxy_notices + _without_tls(way, names, address)


def _proxy(url: str | None, around: Surroundings, address: Address) -> tuple[Proxy | None, tuple[str, ...]]:
    if url is not None:
        filled = filled_url(url, around.environ, "proxy")
        return None if filled == NONE else parsed_proxy(filled, around.names["proxy"]), ()
    found = environment_proxy(around.environ, address.host, address.port)
    if found is None:
        return None, ()
    proxy, variable = found
    return proxy, (f"through the proxy {proxy.public} ({variable})",)


def _ip_address(text: str | None, names: KeyNames) -> str | None:
    if text is None:
        return None
    try:
        return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        raise SettingError(
            "resolve", f"{names['resolve']} must be an IP address, as in 10.0.0.4 or 2001:db8::4"
        ) from None


def _certificates(path: str | None, key: str, names: KeyNames, folder: Path) -> Path | None:
    if path is None:
        return None
    from cryptography.x509 import load_pem_x509_certificates  # slow to import, and seldom wanted

    try:
        load_pem_x509_certificates(_content(folder / path, key, path, names))
    except ValueError:
        problem = "holds no certificate in PEM (-----BEGIN CERTIFICATE-----)"
        raise SettingError(key, f"{names[key]} {path} {problem}") from None
    return folder / path


def _client_key(settings: TargetSettings, names: KeyNames, folder: Path) -> Path | None:
    if settings.client_key is None:
        return None
    if settings.client_cert is None:
        raise SettingError("client_key", f"{names['client_key']} needs {names['client_cert']}, the key's certificate")
    path = folder / settings.client_key
    if b"PRIVATE KEY-----" not in _content(path, "client_key", settings.client_key, names):
        problem = "holds no key in PEM (-----BEGIN PRIVATE KEY-----)"
        raise SettingError("client_key", f"{names['client_key']} {settings.client_key} {problem}")
    return path


def _content(path: Path, key: str, written: str, names: KeyNames) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingError(key, f"{names[key]} {written} cannot be read: {error.strerror}") from None
    except ValueError:  # a NUL in the name
        raise SettingError(key, f"{names[key]} is not the path of a file") from None


def _refuse_open_way(way: Way, names: KeyNames) -> None:
    """Without TLS everything, keys too, is open to whoever is on the way: it must not leave this machine."""
    if way.address is not None and not is_loopback(way.address):
        raise SettingError("resolve", f"{names['resolve']} leads away from this machine, without TLS: use wss://")
    if way.proxy is not None and not is_loopback(way.proxy.host):
        raise SettingError("proxy", f"{names['proxy']} leads away from this machine, without TLS: use wss://")


def _without_tls(way: Way, names: KeyNames, address: Address) -> tuple[str, ...]:
    given = [key for key in ("ca", "client_cert") if getattr(way, key) is not None]
    return () if address.tls else tuple(f"{names[key]} is not used: the target is reached without TLS" for key in given)
