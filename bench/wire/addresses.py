"""Hosts and ports: their forms in URLs and messages, and addresses with a meaning of their own."""

import ipaddress
import re
from typing import NamedTuple

_HOST_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,62})")
UNSPECIFIED = ("0.0.0.0", "::")
"""The addresses of no host. The kernel sends packets for them to this machine."""
DISCARD_PORT = 9
"""The port of no service: that of a line m= whose address is in its candidates (RFC 8839
§4.1.2)."""


class HostPort(NamedTuple):
    """A host and a port. The port is None if the text did not contain one."""

    host: str
    port: int | None = None

    def __str__(self) -> str:
        return self.host if self.port is None else f"{self.host}:{self.port}"


def whole_number(text: str, max_digits: int) -> int | None:
    """Return the number that ASCII digits state; None if the text is something else, or too
    long.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= max_digits else None


def bracketed(host: str) -> str:
    """Return a host in the form that URLs have: an IPv6 address is in brackets (RFC 3986
    §3.2.2).
    """
    return f"[{host}]" if ":" in host else host


def is_host_name(host: str) -> bool:
    """Return whether a host is a possible DNS name.

    It has at most 253 characters, in labels of 1 to 63 characters (RFC 1035 §2.3.4). `_` is
    permitted, because it is used in practice.
    """
    return len(host) <= 253 and all(
        _HOST_LABEL.fullmatch(label) for label in host.removesuffix(".").split(".")
    )


def is_address(host: str) -> bool:
    """Return whether a host is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Return whether a host is localhost, an address in 127.0.0.0/8, or ::1."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.removesuffix(".") == "localhost"


def authority(host: str, port: int) -> str:
    """Return host and port in the form that URLs have."""
    return f"{bracketed(host)}:{port}"
