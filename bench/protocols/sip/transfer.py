"""The transfer of a call (REFER, RFC 3515, RFC 5589), from the side that is transferred. Pure.

The peer names another target, which this side calls with a call of its own. NOTIFY reports to the
peer whether it was answered. Until then the call with the peer continues.
"""

# Only the target of Refer-To is called, and of its headers only Replaces is sent (RFC 3891), by
# which a call takes the place of one that the peer already has with the target. The target is bound
# by the rules of redirections: it may be at the host that was called, or at one that the user
# permits. Otherwise an agent could let a load test call any number.

from typing import NamedTuple
from urllib.parse import unquote

from bench.files.sanitize import CONTROL
from bench.protocols.sip.header_values import parse_address
from bench.protocols.sip.hops import without_uri_headers
from bench.protocols.sip.messages import SipRequest

FRAGMENT = "message/sipfrag;version=2.0"


class Referral(NamedTuple):
    """The target that the peer names. `replaces` is the value of the header; "" without one."""

    uri: str
    replaces: str


def referral_of(request: SipRequest) -> Referral:
    """Return the target of a REFER. Raise ValueError if it is missing or not valid."""
    (text,) = request.headers.getlist("Refer-To")
    uri = parse_address(text).uri
    target = without_uri_headers(uri)
    headers = (part.partition("=") for part in uri[len(target) :].lstrip("?").split("&"))
    replaces = {name.lower(): unquote(value) for name, _, value in headers}.get("replaces", "")
    method = target.lower().partition(";method=")[2].partition(";")[0]
    if method not in ("", "invite") or CONTROL.search(replaces):
        raise ValueError("the target of the transfer cannot be called")
    return Referral(target, replaces)


def notification(
    status: str, *, is_final: bool, contact: str
) -> tuple[list[tuple[str, str]], bytes]:
    """Return the headers and the body of the NOTIFY that reports a status, such as `200 OK`."""
    state = "terminated;reason=noresource" if is_final else "active;expires=60"
    headers = [
        ("Event", "refer"),
        ("Subscription-State", state),
        ("Contact", f"<{contact}>"),
        ("Content-Type", FRAGMENT),
    ]
    return headers, f"SIP/2.0 {status}\r\n".encode()
