"""URLs taken apart, and what is wrong with those that cannot be used. Pure."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from bench.errors import UsageError

_HOST_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,62})")


class SettingError(UsageError):
    """The setting at `key` (see `settings.py`) cannot be used. The text is a sentence that names it."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(problem)
        self.key = key


def split_url(text: str, key: str, source: str) -> SplitResult:
    """The parts of a URL that can neither surprise a socket or a request line nor hold a password.

    Raises SettingError for the setting `key`, which calls it `source`.
    """
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise SettingError(key, f"{source} holds characters that no URL has: percent-encode them")
    try:
        parts = urlsplit(text)
        port_is_usable = parts.port != 0
    except ValueError:  # whose text may quote a password
        raise SettingError(key, f"{source} is not a URL, or its port is not from 1 to 65535") from None
    if not port_is_usable:
        raise SettingError(key, f"{source} has port 0: name the port of the service")
    if "@" in parts.netloc:
        raise SettingError(key, f"{source} holds a user or password, which would end in files: take it out")
    if parts.fragment:
        raise SettingError(key, f"{source} must end before the `#`")
    if not is_host(parts):
        raise SettingError(key, f"{source} names no host that can exist: put the name of your resource or server there")
    return parts


def is_host(parts: SplitResult) -> bool:
    """Whether a URL's host can exist: a name as DNS has it, or an address."""
    host = parts.hostname or ""
    return is_ipv6(host) if "[" in parts.netloc else _is_host_name(host)


def is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False


def path_of(parts: SplitResult) -> str:
    return parts.path.rstrip("/")


def _is_host_name(host: str) -> bool:
    """A name as DNS has it (RFC 1035 §2.3.4: labels of 1 to 63, 253 in all; `_` occurs), or an IPv4 address."""
    return len(host) <= 253 and all(_HOST_LABEL.fullmatch(label) for label in host.removesuffix(".").split("."))
