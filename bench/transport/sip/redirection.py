"""The redirections of a call (RFC 3261 §8.1.3.4): the next URI to call, a limit, and no loops. Pure."""

from __future__ import annotations

from bench.transport.sip.messages import SipResponse, hop_of, parse_address, parse_uri

MAX_REDIRECTS = 5
MAX_CONTACTS = 16


class Redirection:
    """The URIs that a call has been sent to."""

    def __init__(self, uri: str) -> None:
        self._visited = {_key(uri)}
        self._is_secure = uri.lower().startswith("sips:")
        self._first_host = _host(uri)
        self.count = 0
        self.is_elsewhere = False
        """Whether the call goes to another host than the user named. That host gets no credentials."""

    def next(self, response: SipResponse) -> tuple[str | None, str]:
        """Return (URI to call next, why there is none). Of several, the one with the highest `q` is next."""
        if self.count >= MAX_REDIRECTS:
            return None, f"the call was redirected more than {MAX_REDIRECTS} times"
        found = sorted(_contacts(response), key=lambda contact: -contact[0])
        fresh = [uri for _, uri in found if _key(uri) not in self._visited]
        if not fresh:
            return None, "the redirection is a loop" if found else "the redirection has no valid Contact"
        allowed = [uri for uri in fresh if not self._is_secure or uri.lower().startswith("sips:")]
        if not allowed:
            return None, "the redirection leads from sips to sip"
        self.count += 1
        self._visited.add(_key(allowed[0]))
        self.is_elsewhere = _host(allowed[0]) != self._first_host
        return allowed[0], ""


def _contacts(response: SipResponse) -> list[tuple[float, str]]:
    """Return (q, URI) of each valid Contact."""
    found = []
    for text in response.entries("Contact")[:MAX_CONTACTS]:
        try:
            address = parse_address(text)
            hop_of(address.uri, "UDP")
            found.append((_quality(address.parameters.get("q", "1")), address.uri))
        except ValueError:
            continue
    return found


def _quality(text: str) -> float:
    value = float(text)
    return value if 0 <= value <= 1 else 0.0  # NaN, too, is not between them


def _key(uri: str) -> str:
    parsed = parse_uri(uri)
    transport = (parsed.parameters.get("transport") or "").lower()
    return f"{parsed.scheme}:{parsed.user}@{parsed.host.lower()}:{parsed.port};{transport}"


def _host(uri: str) -> str:
    return parse_uri(uri).host.lower()
