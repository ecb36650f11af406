"""The session timer of a call (RFC 4028): when this side refreshes the session, and when it has expired. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.base.units import NEVER_NS, NS_PER_S
from bench.transport.sip.messages import SipMessage, parameters_of, split_outside_quotes

MIN_INTERVAL_S = 90
MAX_INTERVAL_S = 86_400
GRACE_S = 32
Role = Literal["uac", "uas"]


def interval_of(message: SipMessage, header: str = "Session-Expires") -> tuple[int, str] | None:
    """Return (seconds, refresher) of a header. Return None if it is missing or not valid."""
    try:
        number, *parts = split_outside_quotes(message.first(header), ";")
        refresher = parameters_of(parts).get("refresher", "").lower()
    except ValueError:
        return None
    if not (number.isascii() and number.isdigit() and len(number) < 10 and int(number)):
        return None
    return min(int(number), MAX_INTERVAL_S), refresher


@dataclass(slots=True)
class SessionTimer:
    """The timer. Without an interval it never expires."""

    refresh_ns: int = NEVER_NS
    """The instant at which this side must refresh the session."""
    expiry_ns: int = NEVER_NS

    @property
    def next_ns(self) -> int:
        return min(self.refresh_ns, self.expiry_ns)

    def start(self, interval_s: int, is_refresher: bool, now_ns: int) -> None:
        whole_ns = interval_s * NS_PER_S
        self.refresh_ns = now_ns + whole_ns // 2 if is_refresher else NEVER_NS
        self.expiry_ns = now_ns + whole_ns - min(GRACE_S * NS_PER_S, whole_ns // 3)

    def stop(self) -> None:
        self.refresh_ns = self.expiry_ns = NEVER_NS

    def accept(self, response: SipMessage, now_ns: int) -> None:
        """Apply a 2xx to this side's INVITE or UPDATE (§7.2)."""
        found = interval_of(response)
        if found is None:
            self.stop()
        else:
            self.start(found[0], found[1] != "uas", now_ns)

    def answer(self, request: SipMessage, wanted_s: int | None, now_ns: int) -> list[tuple[str, str]]:
        """Apply the peer's INVITE or UPDATE. Return the headers of the 2xx (§9)."""
        found = interval_of(request)
        supported = "timer" in request.tokens("Supported")
        if found is None and wanted_s is None:
            self.stop()
            return []
        interval_s, asked = found or (wanted_s or 0, "")
        if wanted_s is not None:
            minimum = interval_of(request, "Min-SE")
            interval_s = max(min(interval_s, wanted_s), MIN_INTERVAL_S, minimum[0] if minimum else 0)
        refresher: Role = "uas" if asked == "uas" or not supported else "uac"
        self.start(interval_s, refresher == "uas", now_ns)
        headers = [("Session-Expires", f"{interval_s};refresher={refresher}")]
        return [*headers, ("Require", "timer")] if refresher == "uac" else headers


def is_too_small(request: SipMessage) -> bool:
    """Return whether an INVITE or UPDATE must be refused with 422, which only a peer with `timer` understands."""
    found = interval_of(request)
    return found is not None and found[0] < MIN_INTERVAL_S and "timer" in request.tokens("Supported")
