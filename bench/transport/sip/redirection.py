"""The redirections of a call (RFC 3261 §8.1.3.4): the next URI to call, a limit, and no loops. Pure."""

from __future__ import annotations

from urllib.parse import unquote

from bench.catalogue.causes import REDIRECTED, UNNAMED
from bench.transport.interface import bracketed
from bench.transport.sip.messages import SipResponse, parse_address
from bench.transport.sip.reach import Reach, canonical
from bench.transport.sip.uri import hop_of, parse_uri, without_uri_headers

MAX_REDIRECTS = 5
MAX_CONTACTS = 16


class Redirection:
    """The URIs that a call has been sent to. `transport` is that of a URI that names none."""

    def __init__(self, uri: str, transport: str, reach: Reach) -> None:
        self._called, self._transport, self._reach = hop_of(uri, transport), transport, reach
        self._visited = {self._key(uri)}
        self._is_secure = uri.lower().startswith("sips:")
        self._count = 0
        self.last = ""
        """The hop of the last redirection that was followed."""
        self.is_elsewhere = False
        """Whether the call goes to another hop than the user named. That hop gets no headers and no credentials."""

    def next(self, response: SipResponse) -> tuple[str | None, str]:
        """Return (URI to call next, why there is none). Of several, the one with the highest `q` is next."""
        if self._count >= MAX_REDIRECTS:
            return None, f"the call was redirected more than {MAX_REDIRECTS} times"
        found = sorted(_contacts(response), key=lambda contact: -contact[0])
        fresh = [uri for _, uri in found if self._key(uri) not in self._visited]
        if not fresh:
            return None, "the redirection is a loop" if found else "the redirection has no valid Contact"
        allowed = [uri for uri in fresh if not self._is_secure or uri.lower().startswith("sips:")]
        if not allowed:
            return None, "the redirection leads from sips to sip"
        allowed = [uri for uri in allowed if self._called[1] != "TLS" or hop_of(uri, self._transport)[1] == "TLS"]
        if not allowed:
            return None, "the redirection leads from TLS to a transport that does not encrypt"
        permitted = [uri for uri in allowed if self._is_permitted(uri)]
        if not permitted:
            return None, f"{REDIRECTED} {self._hop_text(allowed[0])}, {UNNAMED}"
        uri = permitted[0]
        self._count += 1
        self._visited.add(self._key(uri))
        self.last = self._hop_text(uri)
        hop, transport = hop_of(uri, self._transport)
        called, called_transport = self._called
        self.is_elsewhere = transport != called_transport or not (
            canonical(hop, transport) == canonical(called, transport) or self._reach.is_named(hop, transport)
        )
        return uri, ""

    def _is_permitted(self, uri: str) -> bool:
        hop, transport = hop_of(uri, self._transport)
        return self._reach.may_redirect(hop, transport, self._called[0])

    def _hop_text(self, uri: str) -> str:
        host, port = canonical(*hop_of(uri, self._transport))
        return f"{bracketed(host)}:{port}"

    def _key(self, uri: str) -> str:
        parsed = parse_uri(uri)
        hop, transport = hop_of(uri, self._transport)
        return f"{parsed.scheme}:{unquote(parsed.user)}@{canonical(hop, transport)};{transport}"


def _contacts(response: SipResponse) -> list[tuple[float, str]]:
    """Return (q, URI) of each valid Contact, without the headers of the URI."""
    found = []
    for text in response.entries("Contact")[:MAX_CONTACTS]:
        try:
            address = parse_address(text)
            uri = without_uri_headers(address.uri)
            hop_of(uri, "UDP")
            found.append((_quality(address.parameters.get("q", "1")), uri))
        except ValueError:
            continue
    return found


def _quality(text: str) -> float:
    value = float(text)
    return value if 0 <= value <= 1 else 0.0  # NaN, too, is not between them
